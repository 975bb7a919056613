"""The inputs of the machine, and its effects.

Inputs come from commands, from the attempt's link, from the clock, and from the shell around the machine. An input from
a link carries the number of its attempt, and one from the clock the number of its timer, so that the machine recognizes
an input that comes too late. The shell performs the effects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from rxnodes.errors import ConnectError, ProtocolError, RxNodesError
    from rxnodes.headers import Headers
    from rxnodes.lifecycle.events import ErrorPhase, Traffic

__all__ = [
    "Abort",
    "AbortLink",
    "BeginLogin",
    "CancelLogin",
    "CancelTimer",
    "CloseNow",
    "CloseReceived",
    "CloseSent",
    "Delivered",
    "Dial",
    "Discarded",
    "Effect",
    "Elapsed",
    "HandshakeDone",
    "Input",
    "LinkInput",
    "LoginDone",
    "LoginFailed",
    "Lost",
    "Now",
    "Postponed",
    "Reported",
    "SendClose",
    "SetTimer",
    "Shutdown",
    "Start",
    "Stop",
    "Violated",
]


class Now(NamedTuple):
    """The time and a random number for one step, because the machine has neither a clock nor dice.

    Attributes:
        at: The wall clock, in UTC.
        monotonic: A clock that never jumps, in seconds.
        chance: A random number in [0, 1).
    """

    at: datetime
    monotonic: float
    chance: float


# Commands


@dataclass(frozen=True, slots=True)
class Start:
    """Begin a session."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the session with a closing handshake."""

    code: int = 1000
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Abort:
    """End the session without a closing handshake."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Stop, and start nothing any more: the project is being left, or the connection removed."""


# From the attempt's link


@dataclass(frozen=True, slots=True)
class LinkInput:
    """An input from a link, with the numbers of the session and the attempt that it belongs to."""

    session: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Postponed(LinkInput):
    """The dial, and with it `connect_timeout`, begins in `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class HandshakeDone(LinkInput):
    """The opening handshake is done."""

    subprotocol: str | None
    headers: Headers = field(repr=False, hash=False)


@dataclass(frozen=True, slots=True)
class CloseReceived(LinkInput):
    """The peer's Close frame has come; `tcp_ended` says whether its side of TCP has ended as well."""

    code: int
    reason: str
    tcp_ended: bool = False


@dataclass(frozen=True, slots=True)
class CloseSent(LinkInput):
    """Our Close frame has left."""


@dataclass(frozen=True, slots=True)
class Violated(LinkInput):
    """The peer broke the protocol."""

    error: ProtocolError


@dataclass(frozen=True, slots=True)
class LoginDone(LinkInput):
    """`after_connect` has logged in."""


@dataclass(frozen=True, slots=True)
class LoginFailed(LinkInput):
    """`after_connect` has failed to log in, and the link is still there."""

    error: ConnectError


@dataclass(frozen=True, slots=True)
class Lost(LinkInput):
    """The link has ended. Nothing is left of it, nor of a login on it."""

    error: RxNodesError | None
    traffic: Traffic


# From the clock and the shell


@dataclass(frozen=True, slots=True)
class Elapsed:
    """A timer has run out."""

    timer: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """Every subscriber has seen the session's `Stopped`."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """`count` messages waited for the connection to open, and were given up."""

    count: int


@dataclass(frozen=True, slots=True)
class Reported:
    """Something went wrong that changes no state."""

    phase: ErrorPhase
    error: RxNodesError


Input = (
    Start
    | Stop
    | Abort
    | Shutdown
    | Postponed
    | HandshakeDone
    | CloseReceived
    | CloseSent
    | Violated
    | LoginDone
    | LoginFailed
    | Lost
    | Elapsed
    | Delivered
    | Discarded
    | Reported
)


# Effects


@dataclass(frozen=True, slots=True)
class Dial:
    """Begin an attempt in `delay` seconds. Its inputs carry these numbers.

    `last_error` says why the last attempt ended.
    """

    session: int
    attempt: int
    last_error: RxNodesError | None = None
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class BeginLogin:
    """Call `after_connect` to log in, with the handshake's answer."""

    handshake: HandshakeDone


@dataclass(frozen=True, slots=True)
class CancelLogin:
    """Cancel `after_connect`."""


@dataclass(frozen=True, slots=True)
class SendClose:
    """Send a Close frame after all messages that wait."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class CloseNow:
    """Send a Close frame before all messages that wait, unless one has left already."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class AbortLink:
    """Cancel the dial, or the login, and drop the TCP connection."""


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Feed `Elapsed(timer)` after `delay` seconds. This replaces the timer that was set before."""

    timer: int
    delay: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Stop the timer."""


Effect = Dial | BeginLogin | CancelLogin | SendClose | CloseNow | AbortLink | SetTimer | CancelTimer
