"""Reading no further, and what the system knows of a connection that is not read from.

Who does not read sees neither a pong nor an end. The system below still speaks with the peer's, and can be asked.
"""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

__all__ = ["PeerSystem", "ask_system", "count_come", "has_come", "has_ended", "layers", "pause", "read_ahead", "resume"]

#: Tells what has come, without taking it and without waiting. An int, since an enum takes longer to combine.
LOOK: Final = int(socket.MSG_PEEK) | int(getattr(socket, "MSG_DONTWAIT", 0))

#: Of Linux's `struct tcp_info`: the state; how often what is unanswered was sent again, and a window that is closed was
#: probed; the segments that are not acknowledged; the milliseconds since data was sent, and since anything came.
TCP_INFO: Final = Struct("=BxBB20xI16xI8xI")
ESTABLISHED: Final = 1

#: More than a system keeps for a connection unless its owner has changed that.
MOST_TO_COUNT: Final = 8 * 1024 * 1024

#: What is sent for the first time may be under way, and one answer may get lost.
MAX_RETRANSMITS: Final = 1
MAX_PROBES: Final = 2


@dataclass(frozen=True, slots=True)
class PeerSystem:
    """What the peer's system has shown.

    Attributes:
        has_ended: Whether it has ended the connection, or its direction of it. All that comes is here then.
        owes_answer: Whether something was sent to it, again and again, and no answer came. What waits because its
            program does not read is not sent.
        quiet_for: For how many seconds nothing has come from it.
    """

    has_ended: bool
    owes_answer: bool
    quiet_for: float


def ask_system(sock: socket.socket) -> PeerSystem | None:
    """Asks our system about a TCP connection; `None` where it does not say."""
    if sys.platform != "linux" or not hasattr(socket, "TCP_INFO"):
        return None
    try:
        answer = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
    except OSError:
        # Closed.
        return None
    if len(answer) < TCP_INFO.size:
        return None
    state, retransmits, probes, in_flight, since_sent, quiet_for = TCP_INFO.unpack(answer)
    is_unanswered = in_flight > 0 and quiet_for > since_sent
    return PeerSystem(
        has_ended=state != ESTABLISHED,
        owes_answer=(is_unanswered and retransmits > MAX_RETRANSMITS) or probes > MAX_PROBES,
        quiet_for=quiet_for / 1000,
    )


def has_come(sock: socket.socket) -> bool:
    """Whether something has come that is not read yet."""
    try:
        return bool(sock.recv(1, LOOK))
    except OSError:
        return False


def has_ended(sock: socket.socket) -> bool:
    """Whether the peer has ended TCP, and everything that came before is read."""
    try:
        return not sock.recv(1, LOOK)
    except OSError:
        return False


def count_come(sock: socket.socket) -> int:
    """How many bytes have come and are not read yet, the end of TCP counting as one."""
    try:
        return len(sock.recv(MOST_TO_COUNT, LOOK)) or 1
    except OSError:
        return 0


def pause(layers: Sequence[asyncio.Transport], *, is_opaque: bool) -> None:
    """Reads nothing from the socket any more.

    A TLS transport that is told to pause reads on by itself, and takes an end that comes meanwhile for ours: asyncio's
    then drops what we write, and uvloop's what it has read and not delivered. So the layer below is paused, or is made
    to pause as soon as there is anything that could be lost.

    Args:
        layers: The transport, and the one below it where it is known.
        is_opaque: Whether it is a TLS transport whose layer below is not known.
    """
    if is_opaque:
        tls: Any = layers[0]
        # One that has ended fails on this, for a turn of the loop in which its protocol has not heard of the end.
        if not tls.is_closing():
            tls.set_read_buffer_limits(high=1, low=0)
            tls.pause_reading()
    else:
        layers[-1].pause_reading()


def resume(layers: Sequence[asyncio.Transport], *, is_opaque: bool) -> None:
    """Reads on.

    A TLS transport whose layer below is not known delivers what it holds in the next turn of the loop, and throws it
    away where it reads an end before that. So it reads no further until `read_ahead` is called, behind that.
    """
    transport = layers[-1]
    if not (is_opaque and transport.is_closing()):
        transport.resume_reading()


def read_ahead(layers: Sequence[asyncio.Transport]) -> None:
    """Lets a TLS transport whose layer below is not known read before it has delivered, as it does by itself."""
    tls: Any = layers[0]
    if not tls.is_closing():
        tls.set_read_buffer_limits()


def layers(transport: asyncio.Transport) -> list[asyncio.Transport]:
    """A TLS transport of asyncio, and the TCP transport below it; any other transport alone.

    asyncio has no public name for the lower one, and without it nobody can tell whether what was written has left.
    """
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return [transport] if below is None else [transport, below]
