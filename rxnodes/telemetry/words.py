"""The words in which metrics, spans and log events speak of a connection.

Those that begin with `rxnodes.` are our own. The others are OpenTelemetry's semantic conventions.
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

Words: TypeAlias = dict[str, str | bool | int | float]
"""Attributes."""


def words_of_event(event: LifecycleEvent) -> Words:
    """Of which connection, session and attempt it is."""
    return {NAME: event.connection, SESSION: event.session, ATTEMPT: event.attempt}


def words_of_end(event: Dropped | Stopped) -> Words:
    """How an attempt or a session ended."""
    return {CODE: event.code, REASON: event.reason, CLEAN: event.was_clean}


def initiated_by(event: Closing | Stopped) -> Words:
    """Who began the end."""
    return {INITIATOR: event.initiator.value}


def words_of_error(error: RxNodesError) -> Words:
    """What went wrong."""
    words: Words = {ERROR_TYPE: type(error).__name__}
    if isinstance(error, ConnectError) and error.status is not None:
        words[STATUS] = error.status
    return words


def nanoseconds(at: datetime) -> int:
    """The time of an event, since 1970."""
    # The number of seconds alone, as a float, has no room for them.
    return int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1_000
