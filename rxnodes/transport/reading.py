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

__all__ = ["PeerSystem", "ask_system", "pause", "resume"]

#: Of Linux's `struct tcp_info`: the state, the probes of a closed window that were not answered, the segments that were
#: sent and not acknowledged, and the milliseconds since anything was acknowledged.
TCP_INFO: Final = Struct("=B2xB20xI28xI")
ESTABLISHED: Final = 1

#: One probe may be under way, and one may get lost.
MAX_PROBES: Final = 2


@dataclass(frozen=True, slots=True)
class PeerSystem:
    """What the peer's system has shown.

    Attributes:
        has_ended: Whether it has ended the connection, or its direction of it. All that comes is here then.
        owes_answer: Whether something was sent to it that it has not acknowledged. What waits because its program does
            not read was not sent.
        quiet_for: For how many seconds nothing has come from it.
    """

    has_ended: bool
    owes_answer: bool
    quiet_for: float


def ask_system(sock: socket.socket) -> PeerSystem | None:
    """Asks our system about a TCP connection; `None` where it does not say."""
    if sys.platform != "linux":
        return None
    try:
        answer = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
    except OSError:
        # Closed.
        return None
    if len(answer) < TCP_INFO.size:
        return None
    state, probes, in_flight, quiet_for = TCP_INFO.unpack(answer)
    return PeerSystem(
        has_ended=state != ESTABLISHED,
        owes_answer=in_flight > 0 or probes > MAX_PROBES,
        quiet_for=quiet_for / 1000,
    )


def pause(layers: Sequence[asyncio.Transport], *, is_opaque: bool) -> None:
    """Reads nothing from the socket any more.

    With TLS it is the layer below that pauses. A TLS transport that is told to pause reads on by itself, and takes an
    end that comes meanwhile for ours: asyncio's then drops what we write, and uvloop's what it has read.

    Args:
        layers: The transport, and the one below it where it is known.
        is_opaque: Whether it is a TLS transport whose layer below is not known.
    """
    if is_opaque:
        # With no room for what it has read, it pauses the layer below: at once, or behind what it is reading.
        _set_room(layers[0], 0)
    else:
        layers[-1].pause_reading()


def resume(layers: Sequence[asyncio.Transport], *, is_opaque: bool) -> None:
    """Reads on."""
    if is_opaque:
        _set_room(layers[0], None)
    else:
        layers[-1].resume_reading()


def _set_room(transport: Any, size: int | None) -> None:
    transport.set_read_buffer_limits(size, size)
    # Makes it look at its limits, in the loop's next turn.
    transport.pause_reading()
    transport.resume_reading()
