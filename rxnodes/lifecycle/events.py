"""The lifecycle events: all that subscribers see of a connection besides its messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import add, sub
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from rxnodes.lifecycle.states import ConnectionState

if TYPE_CHECKING:
    from datetime import datetime

    from multidict import CIMultiDict

    from rxnodes.errors import RxNodesError
    from rxnodes.lifecycle.states import Initiator

__all__ = [
    "STATE_AFTER",
    "Closing",
    "Connecting",
    "Dropped",
    "ErrorEvent",
    "ErrorPhase",
    "LifecycleEvent",
    "Opened",
    "Stopped",
    "Traffic",
]

ErrorPhase = Literal["connect", "send", "receive", "close", "handler"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleEvent:
    """The fields that all lifecycle events have.

    Attributes:
        connection: The connection's name.
        session: The session's number, from 1; 0 for an error outside a live session.
        attempt: The attempt's number within the session, from 1; 0 likewise.
        at: When it happened, in UTC.
    """

    connection: str
    session: int
    attempt: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Connecting(LifecycleEvent):
    """An attempt begins.

    Attributes:
        url: The server's URL, without user, password and the values of the query.
    """

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened(LifecycleEvent):
    """Messages can be sent: the handshake is done, and `after_connect`, if there is one, has logged in.

    Attributes:
        subprotocol: The subprotocol that the server chose; `None`: none. If `before_connect` gave it, it may be a
            token: it can be compared, but shows as `<secret>` when it is printed.
        elapsed: Seconds since the attempt began.
        is_reconnect: Whether the session has been open before.
        headers: The headers of the server's answer, such as `Set-Cookie` or a request's id. They cannot be changed.
            Names are compared without regard to case (RFC 9110 section 5.1). The `repr` does not show them, since they
            may hold secrets.
    """

    subprotocol: str | None
    elapsed: float
    is_reconnect: bool
    # A mapping has no hash.
    headers: CIMultiDict[str] = field(repr=False, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped(LifecycleEvent):
    """An attempt ended, and another one will follow.

    Attributes:
        code: The peer's close code; 1005 for an empty Close frame, 1006 for none (RFC 6455 section 7.1.5).
        reason: The peer's reason.
        was_clean: Whether both Close frames were exchanged.
        retry_in: Seconds until the next attempt.
    """

    code: int
    reason: str
    was_clean: bool
    retry_in: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing(LifecycleEvent):
    """The session has begun to end.

    Attributes:
        initiator: Who began it.
    """

    initiator: Initiator


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(LifecycleEvent):
    """The session is over: the last event of every session, once for each start.

    Attributes:
        code: The peer's close code; 1005 for an empty Close frame, 1006 for none (RFC 6455 section 7.1.5).
        reason: The peer's reason.
        was_clean: Whether both Close frames were exchanged (as in the WHATWG CloseEvent).
        initiator: Who ended it.
        opened: Whether it was ever open.
        duration: Seconds since the start.
        attempts: How many attempts were made.
        messages_received: How many messages came, over all attempts.
        bytes_received: Their bytes, unpacked, without framing.
        messages_sent: How many messages went out.
        bytes_sent: Their bytes, before compression, without framing.
        unsent: How many messages were accepted but could not be sent.
        undelivered: How many messages came but were not delivered, because a consumer had paused and did not take them
            before `close_timeout` was over.
        error: What went wrong; `None`: nothing.
    """

    code: int
    reason: str
    was_clean: bool
    initiator: Initiator
    opened: bool
    duration: float
    attempts: int
    messages_received: int
    bytes_received: int
    messages_sent: int
    bytes_sent: int
    unsent: int
    undelivered: int
    error: RxNodesError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent(LifecycleEvent):
    """Something went wrong. The streams go on.

    Attributes:
        phase: Where it went wrong: `connect`, `send`, `receive`, `close`, or `handler` if a subscriber raised.
        message: What went wrong, in words, without any secret.
        error: The exception.
    """

    phase: ErrorPhase
    message: str
    error: RxNodesError


#: The state of a connection behind each event. An `ErrorEvent` changes none.
STATE_AFTER: Final[dict[type[LifecycleEvent], ConnectionState]] = {
    Connecting: ConnectionState.CONNECTING,
    Opened: ConnectionState.OPEN,
    Dropped: ConnectionState.RECONNECTING,
    Closing: ConnectionState.CLOSING,
    Stopped: ConnectionState.CLOSED,
}


class Traffic(NamedTuple):
    """What one or more attempts carried. Bytes are those of the messages, unpacked, without framing."""

    messages_received: int = 0
    bytes_received: int = 0
    messages_sent: int = 0
    bytes_sent: int = 0
    unsent: int = 0
    undelivered: int = 0

    def plus(self, other: Traffic) -> Traffic:
        """The sum of both."""
        return Traffic(*map(add, self, other))

    def minus(self, other: Traffic) -> Traffic:
        """The difference of both."""
        return Traffic(*map(sub, self, other))
