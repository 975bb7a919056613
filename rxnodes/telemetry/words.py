"""The attributes of metrics, spans and log events.

Names that begin with `rxnodes.` are our own. The others are from OpenTelemetry's semantic conventions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from rxnodes.errors import ConnectError

if TYPE_CHECKING:
    from datetime import datetime

    from rxnodes.errors import RxNodesError
    from rxnodes.lifecycle.events import Closing, Dropped, LifecycleEvent, Stopped

#: The instrumentation scope.
SCOPE: Final = "rxnodes"

NAME: Final = "rxnodes.connection.name"
STATE: Final = "rxnodes.connection.state"
SESSION: Final = "rxnodes.session.id"
ATTEMPT: Final = "rxnodes.attempt.id"
OUTCOME: Final = "rxnodes.outcome"
INITIATOR: Final = "rxnodes.initiator"
PHASE: Final = "rxnodes.phase"
CODE: Final = "rxnodes.close.code"
REASON: Final = "rxnodes.close.reason"
CLEAN: Final = "rxnodes.close.clean"
RETRY_DELAY: Final = "rxnodes.retry.delay"
CONNECT_DURATION: Final = "rxnodes.connect.duration"
DIRECTION: Final = "network.io.direction"
ERROR_TYPE: Final = "error.type"
STATUS: Final = "http.response.status_code"
URL: Final = "url.full"

Attributes: TypeAlias = dict[str, str | bool | int | float]
"""Attributes by their names."""


def event_attributes(event: LifecycleEvent) -> Attributes:
    """The connection, session and attempt that an event belongs to."""
    return {NAME: event.connection, SESSION: event.session, ATTEMPT: event.attempt}


def end_attributes(event: Dropped | Stopped) -> Attributes:
    """How an attempt or a session ended."""
    return {CODE: event.code, REASON: event.reason, CLEAN: event.was_clean}


def initiator_attribute(event: Closing | Stopped) -> Attributes:
    """Who began the end."""
    return {INITIATOR: event.initiator.value}


def error_attributes(error: RxNodesError) -> Attributes:
    """What went wrong."""
    attributes: Attributes = {ERROR_TYPE: type(error).__name__}
    if isinstance(error, ConnectError) and error.status is not None:
        attributes[STATUS] = error.status
    return attributes


def nanoseconds(at: datetime) -> int:
    """A time in nanoseconds since 1970."""
    # A float of seconds would round the microseconds.
    return int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1_000
