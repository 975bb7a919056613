"""The layers of a connection: asyncio's transport, and the TCP transport below it where there is TLS."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any, Final

from rxnodes.transport.aiohttp.sockets import count_unacknowledged

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection
    from socket import socket

__all__ = ["Layers", "tls_layer"]

#: RFC 8446 section 5.1: the most that one record of TLS carries.
TLS_RECORD_SIZE: Final = 2**14


class Layers:
    """Pauses reading, and counts unwritten bytes, on every layer of a connection.

    Args:
        transport: The transport that the connection was opened with.

    Attributes:
        transport: Likewise.
        lowest: The lowest transport that is known: that of TCP, except below uvloop's TLS, which hides it.
        is_tls: Whether the connection is encrypted.
        is_opaque: Whether it is encrypted and the layer below TLS is not known.
    """

    __slots__ = ("is_opaque", "is_tls", "lowest", "transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        below = below_tls(transport)
        self.transport = transport
        self.lowest = transport if below is None else below
        self.is_tls = transport.get_extra_info("ssl_object") is not None
        self.is_opaque = self.is_tls and below is None
        # With these limits, a transport is paused exactly while some of our bytes have not left for the network.
        transport.set_write_buffer_limits(high=1, low=0)
        if below is not None:
            below.set_write_buffer_limits(high=1, low=0)

    def close(self) -> None:
        """Ends the connection behind what was written. The second time, it does nothing.

        From Python 3.13 on, a TLS transport that is closed twice forgets its layer, and can do nothing any more.
        """
        if not self.transport.is_closing():
            self.transport.close()

    def count_held(self, sockets: Collection[socket]) -> int:
        """How many of the bytes that we wrote have not left.

        Args:
            sockets: The connection's sockets. The transport lets go of its own as soon as TLS has seen the end.
        """
        held = self.transport.get_write_buffer_size()
        if not self.is_tls:
            return held
        # The layer below uvloop's TLS cannot be asked; the system's buffer bounds what it holds.
        held += sum(map(count_unacknowledged, sockets)) if self.is_opaque else self.lowest.get_write_buffer_size()
        # A record of TLS that has left in part is of no use to the peer.
        return held + TLS_RECORD_SIZE if held else 0

    def pause_reading(self) -> None:
        """Reads nothing from the socket any more.

        A TLS transport that is paused reads on by itself, and takes an end that comes meanwhile for ours: in asyncio it
        then drops what we write, in uvloop what it has read and not delivered. So the layer below is paused; or, if it
        is not known, the TLS transport is made to pause as soon as it holds anything.
        """
        if not self.is_opaque:
            self.lowest.pause_reading()
            return
        tls: Any = self.transport
        # A transport that has ended fails on this, for the turn of the loop before its protocol learns of the end.
        if not tls.is_closing():
            tls.set_read_buffer_limits(high=1, low=0)
            tls.pause_reading()

    def resume_reading(self) -> None:
        """Reads on.

        A TLS transport whose layer below is not known delivers what it holds in the next turn of the loop, and throws
        it away where it reads an end before that. So it reads no further until `read_ahead` is called, behind that.
        """
        if not (self.is_opaque and self.lowest.is_closing()):
            self.lowest.resume_reading()

    def read_ahead(self) -> None:
        """Lets a TLS transport whose layer below is not known read before it has delivered, as it does by itself."""
        tls: Any = self.transport
        if not tls.is_closing():
            tls.set_read_buffer_limits()


def below_tls(transport: asyncio.Transport) -> asyncio.Transport | None:
    """The TCP transport below a TLS transport of asyncio; `None` for any other transport.

    asyncio has no public name for it, and without it nobody can tell whether the bytes that we wrote have left.
    """
    below: asyncio.Transport | None = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return below


def tls_layer(transport: asyncio.Transport) -> Any:
    """The protocol between a TLS transport and TCP, for which neither asyncio nor uvloop has a public name.

    uvloop's transport is compiled, and has no attribute of it. But the garbage collector knows what it refers to.
    """
    layer = getattr(transport, "_ssl_protocol", None)
    return layer or next(held for held in gc.get_referents(transport) if hasattr(held, "buffer_updated"))
