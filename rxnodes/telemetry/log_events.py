"""The lifecycle events of connections as log events.

Python's package keeps the logs API in `opentelemetry._logs`. The specification has declared it stable, and other
instrumentations are built on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry._logs import SeverityNumber, get_logger
from opentelemetry.context import Context

from rxnodes import __version__
from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, LifecycleEvent, Opened, Stopped
from rxnodes.telemetry.guarded import guarded
from rxnodes.telemetry.words import (
    CONNECT_DURATION,
    PHASE,
    RETRY_DELAY,
    SCOPE,
    URL,
    Words,
    initiated_by,
    nanoseconds,
    words_of_end,
    words_of_error,
    words_of_event,
)

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from reactivex import abc

    from rxnodes.connection.connection import Connection

__all__ = ["LogEvents"]


class LogEvents:
    """Makes the log events of a project's connections.

    Args:
        provider: Gives the logger; `None`: the global one.
    """

    def __init__(self, provider: LoggerProvider | None) -> None:
        self._logger = get_logger(SCOPE, __version__, provider)

    def watch(self, connection: Connection) -> abc.DisposableBase:
        """Begins with a connection."""
        return connection.lifecycle.subscribe(guarded(self._tell))

    def _tell(self, event: LifecycleEvent) -> None:
        """Emits the log event of a lifecycle event."""
        kind = "error" if isinstance(event, ErrorEvent) else type(event).__name__.lower()
        severity = _severity_of(event)
        self._logger.emit(
            timestamp=nanoseconds(event.at),
            # No span is its own, whatever span the program is in.
            context=Context(),
            severity_number=severity,
            severity_text=severity.name,
            body=f"{event.connection}: {event.message if isinstance(event, ErrorEvent) else kind}",
            attributes=words_of_event(event) | _words_of(event),
            event_name=f"rxnodes.{kind}",
        )


def _severity_of(event: LifecycleEvent) -> SeverityNumber:
    if isinstance(event, ErrorEvent):
        return SeverityNumber.ERROR
    return SeverityNumber.WARN if isinstance(event, Dropped) else SeverityNumber.INFO


def _words_of(event: LifecycleEvent) -> Words:  # noqa: PLR0911 - one for each kind
    match event:
        case Connecting():
            return {URL: event.url}
        case Opened():
            # Without the subprotocol, because some services take a token there.
            return {CONNECT_DURATION: event.elapsed}
        case Dropped():
            return words_of_end(event) | {RETRY_DELAY: event.retry_in}
        case Closing():
            return initiated_by(event)
        case Stopped():
            why = {} if event.error is None else words_of_error(event.error)
            return words_of_end(event) | initiated_by(event) | why
        case ErrorEvent():
            return {PHASE: event.phase} | words_of_error(event.error)
        case _:
            return {}
