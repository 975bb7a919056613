"""TLS on the server's side, record by record."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

from rxnodes.testing.server.tcp import CHUNK, EndOfStream

if TYPE_CHECKING:
    from rxnodes.testing.server.tcp import Tcp

__all__ = ["Tls"]


class Tls:
    """The server's side of TLS over a `Tcp`, with control over each record, also over one that is missing."""

    def __init__(self, tcp: Tcp, context: ssl.SSLContext) -> None:
        self._tcp = tcp
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def handshake(self) -> None:
        """Makes the TLS handshake."""
        while True:
            try:
                self._ssl.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            except ssl.SSLError:
                await self._flush()  # the alert that says why
                raise
            else:
                return await self._flush()

    async def receive(self) -> bytes:
        """Waits for bytes and gives them; empty bytes mean that the client has sent close_notify, or FIN without it."""
        while True:
            try:
                return self._ssl.read(CHUNK)
            except ssl.SSLWantReadError:
                try:
                    await self._feed()
                except EndOfStream:
                    return b""

    async def send(self, data: bytes) -> None:
        """Sends bytes, encrypted."""
        self._ssl.write(data)
        await self._flush()

    async def notify_close(self) -> None:
        """Sends close_notify."""
        with contextlib.suppress(ssl.SSLError):  # "want read": we do not wait for the client's
            self._ssl.unwrap()
        await self._flush()

    async def _feed(self) -> None:
        data = await self._tcp.receive()
        if not data:
            raise EndOfStream("the client has ended its side")
        self._incoming.write(data)

    async def _flush(self) -> None:
        await self._tcp.send(self._outgoing.read())
