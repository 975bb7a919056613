"""Lifecycle events as a connection would tell them, to test a handler alone.

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

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict

from rxnodes.errors import CloseTimeout, ConnectionLost, RxNodesError
from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, Opened, Stopped
from rxnodes.lifecycle.states import CloseCode, Initiator
from rxnodes.websocket.gaps import Gap

if TYPE_CHECKING:
    from rxnodes.lifecycle.events import ErrorPhase

__all__ = ["closing", "connecting", "dropped", "error_event", "gap", "opened", "stopped"]

#: The same each time, so that two events with the same fields are equal.
AT = datetime(2000, 1, 1, tzinfo=UTC)

#: Who ends a session with that code, unless something else is said. Any other code is the peer's.
USUAL_INITIATORS: dict[int, Initiator] = {
    CloseCode.NORMAL_CLOSURE: Initiator.LOCAL,
    CloseCode.ABNORMAL_CLOSURE: Initiator.NETWORK,
}


def connecting(**fields: Any) -> Connecting:
    """A `Connecting`.

    Args:
        **fields: Any of its fields; the others are those of the first attempt of the first session of "chat".

    Example:
        >>> connecting(attempt=2).attempt, connecting().url
        (2, 'ws://chat.test/')
    """
    return replace(Connecting(connection="chat", session=1, attempt=1, at=AT, url="ws://chat.test/"), **fields)


def opened(**fields: Any) -> Opened:
    """An `Opened`.

    Args:
        **fields: Any of its fields; the others are those of `connecting`, and of a handshake that took no time
            and whose answer had no headers.

    Example:
        >>> opened(is_reconnect=True).is_reconnect, opened() == opened()
        (True, True)
    """
    event = Opened(
        connection="chat",
        session=1,
        attempt=1,
        at=AT,
        subprotocol=None,
        elapsed=0.0,
        is_reconnect=False,
        headers=CIMultiDict(),
    )
    return replace(event, **fields)


def dropped(code: int = 1006, reason: str = "", **fields: Any) -> Dropped:
    """A `Dropped`.

    Args:
        code: The peer's close code.
        reason: The peer's reason.
        **fields: Any other of its fields; unless told otherwise it was clean if the code is not 1006, and the next
            attempt begins at once.

    Example:
        >>> dropped(1012, retry_in=0.5).retry_in, dropped().was_clean
        (0.5, False)
    """
    event = Dropped(
        connection="chat",
        session=1,
        attempt=1,
        at=AT,
        code=code,
        reason=reason,
        was_clean=code != CloseCode.ABNORMAL_CLOSURE,
        retry_in=0.0,
    )
    return replace(event, **fields)


def closing(initiator: Initiator = Initiator.LOCAL, **fields: Any) -> Closing:
    """A `Closing`.

    Args:
        initiator: Who began it.
        **fields: Any other of its fields.

    Example:
        >>> closing(Initiator.REMOTE).initiator.name, closing(session=3).session
        ('REMOTE', 3)
    """
    return replace(Closing(connection="chat", session=1, attempt=1, at=AT, initiator=initiator), **fields)


def stopped(code: int = 1000, reason: str = "", *, initiator: Initiator | None = None, **fields: Any) -> Stopped:
    """A `Stopped`, of a session that was open.

    Args:
        code: The peer's close code.
        reason: The peer's reason.
        initiator: Who ended it; `None`: for 1000 we did, for 1006 the network, for any other code the peer.
        **fields: Any other of its fields. Unless told otherwise it was clean if the code is not 1006, and its error is
            what goes with its initiator: a `ConnectionLost` for the network, a `CloseTimeout` for a timeout.

    Example:
        >>> stopped(1006).was_clean, stopped(1006).initiator.name, stopped(unsent=3).unsent
        (False, 'NETWORK', 3)
    """
    if initiator is None:
        initiator = USUAL_INITIATORS.get(code, Initiator.REMOTE)
    event = Stopped(
        connection="chat",
        session=1,
        attempt=1,
        at=AT,
        code=code,
        reason=reason,
        was_clean=code != CloseCode.ABNORMAL_CLOSURE,
        initiator=initiator,
        opened=True,
        duration=0.0,
        attempts=1,
        messages_received=0,
        bytes_received=0,
        messages_sent=0,
        bytes_sent=0,
        unsent=0,
        undelivered=0,
        error=_usual_error(initiator),
    )
    return replace(event, **fields)


def error_event(phase: ErrorPhase = "receive", error: RxNodesError | None = None, **fields: Any) -> ErrorEvent:
    """An `ErrorEvent`.

    Args:
        phase: What was being done.
        error: The exception, whose words are the event's message; `None`: a `ConnectionLost`.
        **fields: Any other of its fields.

    Example:
        >>> error_event("close", CloseTimeout("no answer")).message, type(error_event().error).__name__
        ('no answer', 'ConnectionLost')
    """
    error = error or ConnectionLost("the connection broke")
    event = ErrorEvent(connection="chat", session=1, attempt=1, at=AT, phase=phase, message=str(error), error=error)
    return replace(event, **fields)


def gap(missed: range | None = None, **fields: Any) -> Gap:
    """A `Gap` of a second, behind a reconnect.

    Args:
        missed: The numbers that were skipped.
        **fields: Any other of its fields.

    Example:
        >>> gap(range(9, 11)).missed, (gap().until - gap().since).total_seconds()
        (range(9, 11), 1.0)
    """
    until = AT + timedelta(seconds=1)
    event = Gap(connection="chat", session=1, attempt=2, at=until, since=AT, until=until, missed=missed)
    return replace(event, **fields)


def _usual_error(initiator: Initiator) -> RxNodesError | None:
    if initiator is Initiator.NETWORK:
        return ConnectionLost("the connection broke")
    if initiator is Initiator.TIMEOUT:
        return CloseTimeout("the closing was not done within close_timeout")
    return None
