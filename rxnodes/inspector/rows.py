"""What the live page shows of one connection."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Protocol

from rxnodes.connection.protocols import ConnectionLike
from rxnodes.durations import in_words
from rxnodes.lifecycle.events import (
    STATE_AFTER,
    Closing,
    Connecting,
    Dropped,
    ErrorEvent,
    LifecycleEvent,
    Opened,
    Stopped,
    Traffic,
)
from rxnodes.lifecycle.plain_values import plain_event
from rxnodes.lifecycle.states import ConnectionState, Initiator

__all__ = ["Row", "Shown", "event_as_json"]

#: How many round trips the curve of the latency has.
LATENCIES: Final = 30

_ENDED_BY: Final = {
    Initiator.LOCAL: "by us",
    Initiator.REMOTE: "by the peer",
    Initiator.NETWORK: "by the network",
    Initiator.TIMEOUT: "by us, since the peer did not answer in time",
}

_NO_TRAFFIC: Final = Traffic()
_NO_RATES: Final = (0, 0, 0, 0)

#: The counts that also have a rate for each second.
_RATED: Final = Traffic._fields[:4]


class HasTraffic(Protocol):
    """Knows the traffic of a connection."""

    @property
    def traffic(self) -> tuple[int, Traffic]:
        """The number of the live or last session, and its traffic so far."""
        ...


class Shown(ConnectionLike, Protocol):
    """A connection that can be shown: one of a project, or of a fleet."""

    @property
    def for_project(self) -> HasTraffic:
        """The side of a connection that its project or fleet uses."""
        ...


class Row:
    """One connection as the page shows it.

    Args:
        connection: The connection.

    Attributes:
        connection: The connection.
        state: The state behind its last lifecycle event.
        counted_at: When its traffic was last counted, by the clock of the caller.
        traffic: The traffic of its session when it was last counted.
        numbers: The traffic, and behind it messages and bytes received, and messages and bytes sent, each second. These
            numbers change most often, so that they can be sent without the rest.
    """

    def __init__(self, connection: Shown) -> None:
        self.connection = connection
        self.state = connection.state
        # Held, because every connection is counted once a second.
        self._counts = connection.for_project
        self._counted_session: int
        self._counted_session, self.traffic = self._counts.traffic
        self.numbers: tuple[int, ...] = (*self.traffic, *_NO_RATES)
        self._session = connection.session
        self._attempt = connection.attempt
        self._reason = "never started" if self.state is ConnectionState.IDLE else ""
        self._since: float | None = None
        self._retry_at: float | None = None
        self._has_failed = False
        self._error: ErrorEvent | None = None
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._rates: tuple[int, int, int, int] = _NO_RATES
        self.counted_at = float("-inf")
        self._catch_up()

    def _catch_up(self) -> None:
        """Takes the last event of a connection that was used before."""
        opened, stopped = self.connection.last_opened, self.connection.last_stopped
        if self.state is ConnectionState.OPEN and opened is not None:
            self.take(opened)
        elif self.state is ConnectionState.CLOSED and stopped is not None:
            self.take(stopped)

    def take(self, event: LifecycleEvent) -> None:
        """Follows a lifecycle event."""
        if isinstance(event, ErrorEvent):
            self._error = event
            return
        self.state = STATE_AFTER[type(event)]
        self._session, self._attempt = event.session, event.attempt
        self._since = event.at.timestamp()
        self._retry_at = self._since + event.retry_in if isinstance(event, Dropped) else None
        self._has_failed = isinstance(event, Stopped) and event.error is not None
        self._reason = self._why(event)

    def take_latency(self, round_trip: float) -> None:
        """Notes a round trip, in seconds."""
        self._latencies.append(round_trip)

    def sample(self, now: float) -> bool:
        """Counts the traffic, and its rates since it was last counted.

        Args:
            now: Seconds, by a clock that only goes forward.

        Returns:
            Whether a number has changed.
        """
        before, (session, traffic) = self.traffic, self._counts.traffic
        elapsed, self.counted_at = now - self.counted_at, now
        if traffic == before and self._rates == _NO_RATES:
            return False
        rates = _NO_RATES
        if traffic != before:
            # A new session counts from zero.
            base = before if session == self._counted_session else _NO_TRAFFIC
            # 0 for the first count, which has none before it.
            scale = 1 / max(elapsed, 1e-3)
            # Written out, because every connection is counted once a second. Never below 0: the traffic of an attempt
            # that ends may be missing for a moment.
            rates = (
                max(0, round((traffic[0] - base[0]) * scale)),
                max(0, round((traffic[1] - base[1]) * scale)),
                max(0, round((traffic[2] - base[2]) * scale)),
                max(0, round((traffic[3] - base[3]) * scale)),
            )
        self._counted_session, self.traffic = session, traffic
        self._rates = rates
        self.numbers = (*traffic, *rates)
        return True

    def _why(self, event: LifecycleEvent) -> str:
        """Why the connection is as it is, in one line."""
        if isinstance(event, Connecting):
            return f"dialling {event.url}" + (f", attempt {event.attempt}" if event.attempt > 1 else "")
        if isinstance(event, Opened):
            chosen = f", subprotocol {event.subprotocol}" if event.subprotocol else ""
            return f"connected{' again' if event.is_reconnect else ''} in {in_words(event.elapsed)}{chosen}"
        if isinstance(event, Closing):
            return f"closing, begun {_ENDED_BY[event.initiator]}"
        assert isinstance(event, Dropped | Stopped)
        error = self._error_of(event)
        if error:
            return error
        ended = "" if isinstance(event, Dropped) else f", ended {_ENDED_BY[event.initiator]}"
        return f"closed with {event.code}" + (f' "{event.reason}"' if event.reason else "") + ended

    def _error_of(self, event: Dropped | Stopped) -> str:
        """What went wrong in the attempt that has ended; empty if nothing did."""
        if isinstance(event, Stopped):
            return "" if event.error is None else str(event.error)
        error = self._error
        is_its_own = error is not None and (error.session, error.attempt) == (event.session, event.attempt)
        return error.message if error is not None and is_its_own else ""

    def as_json(self) -> dict[str, Any]:
        """The row as plain values."""
        return {
            "name": self.connection.name,
            "state": self.state.value,
            "reason": self._reason,
            "failed": self._has_failed,
            "session": self._session,
            "attempt": self._attempt,
            "since": self._since,
            "retry_at": self._retry_at,
            "latency": list(self._latencies),
            **self.traffic._asdict(),
            "per_second": dict(zip(_RATED, self._rates, strict=True)),
        }


def event_as_json(event: LifecycleEvent) -> dict[str, Any]:
    """A lifecycle event as plain values: its class as `event`, `at` in seconds since 1970, an exception as its text."""
    plain = plain_event(event)
    if plain.get("error") is not None:
        plain["error"] = plain["error"]["message"]
    return {"event": type(event).__name__, **plain, "at": event.at.timestamp()}
