"""The lifecycle events of connections as log events.

Python's package keeps the logs API in `opentelemetry._logs`. The specification has declared it stable, and other
instrumentations are built on it.
"""

from __future__ import annotations

from functools import partial
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
    Attributes,
    end_attributes,
    error_attributes,
    event_attributes,
    initiator_attribute,
    nanoseconds,
)

if TYPE_CHECKING:
    from opentelemetry._logs import Logger, LoggerProvider

    from rxnodes.telemetry.guarded import Watch

__all__ = ["log_events"]


def log_events(provider: LoggerProvider | None) -> Watch:
    """Emits a log event for each lifecycle event of a connection, by the provider or else the global one."""
    emit = guarded(partial(_emit, get_logger(SCOPE, __version__, provider)))
    return lambda connection: connection.lifecycle.subscribe(emit)


def _emit(logger: Logger, event: LifecycleEvent) -> None:
    kind = "error" if isinstance(event, ErrorEvent) else type(event).__name__.lower()
    severity = _severity_of(event)
    logger.emit(
        timestamp=nanoseconds(event.at),
        # It belongs to no span, even if the program is in one.
        context=Context(),
        severity_number=severity,
        severity_text=severity.name,
        body=f"{event.connection}: {event.message if isinstance(event, ErrorEvent) else kind}",
        attributes=event_attributes(event) | _own_attributes(event),
        event_name=f"rxnodes.{kind}",
    )


def _severity_of(event: LifecycleEvent) -> SeverityNumber:
    if isinstance(event, ErrorEvent):
        return SeverityNumber.ERROR
    return SeverityNumber.WARN if isinstance(event, Dropped) else SeverityNumber.INFO


def _own_attributes(event: LifecycleEvent) -> Attributes:
    match event:
        case Connecting():
            return {URL: event.url}
        case Opened():
            # Without the subprotocol: some services take a token there.
            return {CONNECT_DURATION: event.elapsed}
        case Dropped():
            return end_attributes(event) | {RETRY_DELAY: event.retry_in}
        case Closing():
            return initiator_attribute(event)
        case Stopped():
            why = {} if event.error is None else error_attributes(event.error)
            return end_attributes(event) | initiator_attribute(event) | why
        case _:
            assert isinstance(event, ErrorEvent)
            return {PHASE: event.phase} | error_attributes(event.error)
