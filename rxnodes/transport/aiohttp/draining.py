"""Reading the data that our system still holds of a connection whose transport has given up.

When a write fails, our system still has the data that the peer sent before it left. But the transports of asyncio and
uvloop close without reading it. So it is read here, past the transport.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from rxnodes.transport.aiohttp.layers import tls_layer

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

__all__ = ["Drain", "TlsTail"]

#: How much is read in one turn of the loop.
READ_SIZE: Final = 256 * 1024


class TlsTail:
    """Decrypts data when its TLS transport is gone.

    The TLS layer still takes ciphertext then, and its `ssl_object` still decrypts that, and data that a pause held
    back.

    Args:
        transport: The TLS transport, while it is open.
    """

    __slots__ = ("_layer", "_ssl_object")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._ssl_object: ssl.SSLObject = transport.get_extra_info("ssl_object")
        self._layer = tls_layer(transport)

    def decrypt(self, data: bytes) -> bytes:
        """Returns the plaintext of all complete records, those that were held back included."""
        while data:
            buffer = self._layer.get_buffer(len(data))
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            self._layer.buffer_updated(size)
            data = data[size:]
        plain: list[bytes] = []
        try:
            while part := self._ssl_object.read(READ_SIZE):
                plain.append(part)
        except ssl.SSLError:
            # A part of a record, or no TLS at all: nothing more can be decrypted.
            pass
        return b"".join(plain)


class Drain:
    """Reads a socket to its end, a chunk in each turn of the loop.

    Args:
        loop: The loop.
        sock: A socket that does not block, and that nothing else reads.
        tls: Decrypts the data; `None`: it is plain.
        feed: Called with the data.
        done: Called when nothing more is to be read. Not within the constructor.
    """

    __slots__ = ("_done", "_feed", "_handle", "_loop", "_sock", "_tls")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        tls: TlsTail | None,
        feed: Callable[[bytes], None],
        done: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._tls = tls
        self._feed = feed
        self._done = done
        self._handle = loop.call_soon(self._read)

    def stop(self) -> None:
        """Reads no more; `done` is not called."""
        self._handle.cancel()

    def _read(self) -> None:
        try:
            data = self._sock.recv(READ_SIZE)
        except OSError:
            # There is nothing more, or all was read and here is what broke the connection.
            data = b""
        plain = data if self._tls is None else self._tls.decrypt(data)
        # Before the data is fed, because a subscriber may abort the link, which cancels the next step.
        self._handle = self._loop.call_soon(self._read if data else self._done)
        if plain:
            self._feed(plain)
