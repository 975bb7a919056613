"""Reading what our system still holds of a connection whose transport has given up.

A write that fails tells nothing about what the peer had sent before it left: the system keeps that, readable to its
end. But asyncio's transports, and uvloop's, close without reading it. So it is read here, past the transport.
"""

from __future__ import annotations

import gc
import ssl
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

__all__ = ["Drain", "TlsTail"]

#: How much is read in one turn of the loop.
READ_SIZE: Final = 256 * 1024


class TlsTail:
    """Decrypts what comes behind the end of a TLS transport.

    The layer goes on taking ciphertext when its transport is gone, and its `ssl_object` still decrypts that, and what
    was held back by a pause. Neither asyncio nor uvloop has a public name for the layer, but it is what the transport
    refers to.

    Args:
        transport: The TLS transport, while it is open.
    """

    __slots__ = ("_layer", "_ssl_object")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._ssl_object: ssl.SSLObject = transport.get_extra_info("ssl_object")
        self._layer: Any = next(held for held in gc.get_referents(transport) if hasattr(held, "buffer_updated"))

    def decrypt(self, data: bytes) -> bytes:
        """What this ciphertext, and what came before and was not read, holds in whole records."""
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
            # A part of a record, or what is no TLS: there is nothing more to be had of it.
            pass
        return b"".join(plain)


class Drain:
    """Reads a socket to its end, a chunk in each turn of the loop.

    Args:
        loop: The loop.
        sock: A socket that does not block, of which nobody else reads.
        tls: What decrypts; `None`: it is plain.
        feed: Given what was read.
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
        # Before it is fed: whoever is told something may end it all.
        self._handle = self._loop.call_soon(self._read if data else self._done)
        if plain:
            self._feed(plain)
