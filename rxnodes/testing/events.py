"""Makes lifecycle events as a connection would, to test a handler by itself.

Example:
    >>> import reactivex
    >>> seen = []
    >>> reactivex.of(opened(), stopped(1012, "restarting")).subscribe(seen.append) and None
    >>> [(type(event).__name__, event.connection, event.session) for event in seen]
    [('Opened', 'chat', 1), ('Stopped', 'chat', 1)]
    >>> seen[1].was_clean, seen[1].initiator.name
    (True, 'REMOTE')
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rxnodes.errors import CloseTimeout, ConnectionLost, RxNodesError
from rxnodes.headers import Headers
from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, Opened, Stopped
from rxnodes.lifecycle.states import CloseCode, Initiator
from rxnodes.websocket.gaps import Gap

if TYPE_CHECKING:
    from rxnodes.lifecycle.events import ErrorPhase

__all__ = ["closing", "connecting", "dropped", "error_event", "gap", "opened", "stopped"]

#: The same time for all, so that two events with the same fields are equal.
AT = datetime(2000, 1, 1, tzinfo=UTC)

COUNTS = ("messages_received", "bytes_received", "messages_sent", "bytes_sent", "unsent", "undelivered")

#: Who ends a session with one of these codes, unless the caller says otherwise. For any other code, it is the peer.
USUAL_INITIATORS: dict[int, Initiator] = {
    CloseCode.NORMAL_CLOSURE: Initiator.LOCAL,
    CloseCode.ABNORMAL_CLOSURE: Initiator.NETWORK,
}


def connecting(**fields: Any) -> Connecting:
    """A `Connecting`.

    Args:
        **fields: Any of its fields. The others are those of the first attempt in the first session of "chat".

    Example:
        >>> connecting(attempt=2).attempt, connecting().url
        (2, 'ws://chat.test/')
    """
    return Connecting(**_common(fields, {"url": "ws://chat.test/"}))


def opened(**fields: Any) -> Opened:
    """An `Opened`.

    Args:
        **fields: Any of its fields. The others are as in `connecting`; the handshake took no time, and its answer had
            no headers.

    Example:
        >>> opened(is_reconnect=True).is_reconnect, opened() == opened()
        (True, True)
    """
    fields["headers"] = Headers(fields.get("headers", {}))
    return Opened(**_common(fields, {"subprotocol": None, "elapsed": 0.0, "is_reconnect": False}))


def dropped(code: int = 1006, reason: str = "", **fields: Any) -> Dropped:
    """A `Dropped`.

    Args:
        code: The peer's close code.
        reason: The peer's reason.
        **fields: Any other of its fields. By default it was clean unless the code is 1006, and the next attempt begins
            at once.

    Example:
        >>> dropped(1012, retry_in=0.5).retry_in, dropped().was_clean
        (0.5, False)
    """
    was_clean = code != CloseCode.ABNORMAL_CLOSURE
    return Dropped(code=code, reason=reason, **_common(fields, {"was_clean": was_clean, "retry_in": 0.0}))


def closing(initiator: Initiator = Initiator.LOCAL, **fields: Any) -> Closing:
    """A `Closing`.

    Args:
        initiator: Who began to close.
        **fields: Any other of its fields.

    Example:
        >>> closing(Initiator.REMOTE).initiator.name, closing(session=3).session
        ('REMOTE', 3)
    """
    return Closing(initiator=initiator, **_common(fields))


def stopped(code: int = 1000, reason: str = "", *, initiator: Initiator | None = None, **fields: Any) -> Stopped:
    """A `Stopped` of a session that was open.

    Args:
        code: The peer's close code.
        reason: The peer's reason.
        initiator: Who ended it; by default `LOCAL` for 1000, `NETWORK` for 1006, and `REMOTE` for any other code.
        **fields: Any other of its fields. By default it was clean unless the code is 1006, and its error depends on the
            initiator: a `ConnectionLost` for `NETWORK`, a `CloseTimeout` for `TIMEOUT`.

    Example:
        >>> stopped(1006).was_clean, stopped(1006).initiator.name, stopped(unsent=3).unsent
        (False, 'NETWORK', 3)
    """
    if initiator is None:
        initiator = USUAL_INITIATORS.get(code, Initiator.REMOTE)
    usual: dict[str, Any] = {
        "was_clean": code != CloseCode.ABNORMAL_CLOSURE,
        "opened": True,
        "duration": 0.0,
        "attempts": 1,
        "error": _usual_error(initiator),
        **dict.fromkeys(COUNTS, 0),
    }
    return Stopped(code=code, reason=reason, initiator=initiator, **_common(fields, usual))


def error_event(phase: ErrorPhase = "receive", error: RxNodesError | None = None, **fields: Any) -> ErrorEvent:
    """An `ErrorEvent`.

    Args:
        phase: What the connection was doing.
        error: The exception, by default a `ConnectionLost`. Its text is the event's message.
        **fields: Any other of its fields.

    Example:
        >>> error_event("close", CloseTimeout("no answer")).message, type(error_event().error).__name__
        ('no answer', 'ConnectionLost')
    """
    error = error or ConnectionLost("the connection broke")
    return ErrorEvent(phase=phase, error=error, **_common(fields, {"message": str(error)}))


def gap(missed: range | None = None, **fields: Any) -> Gap:
    """A `Gap` of one second before a reconnect.

    Args:
        missed: The numbers that were skipped.
        **fields: Any other of its fields.

    Example:
        >>> gap(range(9, 11)).missed, (gap().until - gap().since).total_seconds()
        (range(9, 11), 1.0)
    """
    until = AT + timedelta(seconds=1)
    return Gap(missed=missed, **_common(fields, {"attempt": 2, "at": until, "since": AT, "until": until}))


def _common(fields: dict[str, Any], usual: dict[str, Any] | None = None) -> dict[str, Any]:
    """These fields, and the usual values of all others."""
    return {"connection": "chat", "session": 1, "attempt": 1, "at": AT, **(usual or {}), **fields}


def _usual_error(initiator: Initiator) -> RxNodesError | None:
    if initiator is Initiator.NETWORK:
        return ConnectionLost("the connection broke")
    if initiator is Initiator.TIMEOUT:
        return CloseTimeout("the closing was not done within close_timeout")
    return None
