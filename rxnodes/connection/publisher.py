"""What a connection publishes: its states, its lifecycle events, and the errors of its subscribers."""

from __future__ import annotations

import logging
from threading import RLock
from typing import TYPE_CHECKING

from rxnodes.errors import HandlerError, text_of, with_type
from rxnodes.lifecycle.events import ErrorEvent, LifecycleEvent, Opened, Stopped
from rxnodes.lifecycle.inputs import Delivered, Reported
from rxnodes.lifecycle.states import ConnectionState
from rxnodes.rx.filtered import Filtered
from rxnodes.rx.streams import IsolatedBehaviorSubject, IsolatedSubject

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.connection.parts import AnyParts

__all__ = ["Publisher"]

logger = logging.getLogger("rxnodes")


class Publisher:
    """Publishes the states and the lifecycle events of a connection, one after the other.

    Attributes:
        lifecycle: Every lifecycle event. On WebSocket Start, Stop and Error are filters over it.
        report: Called with what subscribers raise.
    """

    __slots__ = (
        *("_delivering", "_driver", "_ended", "_gaps", "_holding", "_is_held", "_last_state", "_latency", "_loop"),
        *("_outbox", "_states", "_waiters", "lifecycle", "report"),
    )

    def __init__(self, driver: AnyParts) -> None:
        self._driver = driver
        self._loop = driver.loop
        self._outbox = driver.outbox
        self._waiters = driver.waiters
        self._delivering: LifecycleEvent | None = None
        self.report = report = self._on_handler_error
        self.lifecycle: IsolatedSubject[LifecycleEvent] = IsolatedSubject(report, RLock())
        self._last_state = ConnectionState.IDLE
        self._is_held = True
        # All are made late: few connections need them, and there may be very many connections.
        self._states: IsolatedBehaviorSubject[ConnectionState] | None = None
        self._ended: IsolatedSubject[Stopped | None] | None = None
        self._holding: IsolatedBehaviorSubject[bool] | None = None
        self._latency: IsolatedSubject[float] | None = None
        self._gaps: IsolatedSubject[LifecycleEvent] | None = None

    @property
    def states(self) -> IsolatedBehaviorSubject[ConnectionState]:
        """The `ConnectionState`: the last one for each new subscriber, then every change."""
        with self.lifecycle.lock:
            if self._states is None:
                self._states = IsolatedBehaviorSubject(
                    self.report, lambda: self._last_state, self._replay, self.lifecycle.lock
                )
            return self._states

    @property
    def ended(self) -> IsolatedSubject[Stopped | None]:
        """Every `Stopped`, once all subscribers of `lifecycle` have seen it: then no session is live.

        If `is_live` has become false for another reason, it emits the last one again.
        """
        with self.lifecycle.lock:
            if self._ended is None:
                self._ended = IsolatedSubject(self.report, self.lifecycle.lock)
            return self._ended

    @property
    def holding(self) -> IsolatedBehaviorSubject[bool]:
        """Whether the connection is held here: the last value for each new subscriber, then every change.

        It is, unless a fleet says otherwise.
        """
        with self.lifecycle.lock:
            if self._holding is None:
                self._holding = IsolatedBehaviorSubject(
                    self.report, lambda: self._is_held, self._replay, self.lifecycle.lock
                )
            return self._holding

    @property
    def latency(self) -> IsolatedSubject[float]:
        """The round-trip time of each heartbeat's ping, in seconds."""
        with self.lifecycle.lock:
            if self._latency is None:
                self._latency = IsolatedSubject(self.report, self.lifecycle.lock)
            return self._latency

    def publish_holding(self, is_held: bool) -> None:  # noqa: FBT001 - the one value there is
        """Delivers whether the connection is held here."""
        self._is_held = is_held
        if self._holding is not None:
            self._holding.on_next(is_held)

    @property
    def gaps(self) -> IsolatedSubject[LifecycleEvent]:
        """Gaps that the connection itself knows of, as a fleet's connection does that is seen from outside."""
        with self.lifecycle.lock:
            if self._gaps is None:
                self._gaps = IsolatedSubject(self.report, self.lifecycle.lock)
            return self._gaps

    def publish_gap(self, gap: LifecycleEvent) -> None:
        """Delivers a gap, if anybody has ever asked for gaps."""
        if self._gaps is not None:
            self._gaps.on_next(gap)

    def publish_latency(self, round_trip: float) -> None:
        """Delivers the round-trip time of a ping, if anybody has ever asked for that."""
        if self._latency is not None:
            self._outbox.send(self._latency.on_next, round_trip)

    def publish(self, event: ConnectionState | LifecycleEvent) -> None:
        """Delivers one notification to all."""
        if isinstance(event, ConnectionState):
            self._last_state = event
            if self._states is not None:
                self._states.on_next(event)
            return
        self._delivering = event
        if isinstance(event, Opened):
            # Its subscribers can see it already. Waiting programs are woken behind them.
            self._waiters.last_opened = event
        elif isinstance(event, ErrorEvent):
            self._warn_where_nobody_listens(event)
        self.lifecycle.on_next(event)
        if isinstance(event, Stopped):
            self.end(event)
        elif isinstance(event, Opened):
            self._waiters.wake()
        self._delivering = None

    def end(self, stopped: Stopped) -> None:
        """Ends the session: every subscriber has seen its `Stopped`."""
        self._waiters.last_stopped = stopped
        self.answer_waiting(stopped)
        self._delivering = None
        self._driver.feed(Delivered())

    def answer_waiting(self, stopped: Stopped | None) -> None:
        """Tells that a session may be over to all who wait for that."""
        if self._ended is not None:
            self._ended.on_next(stopped)
        self._waiters.wake()

    def complete(self) -> None:
        """Completes the streams. Those that nobody has asked for yet are made, to be complete later."""
        for stream in (self.states, self.lifecycle, self.ended, self.latency, self.holding, self.gaps):
            stream.on_completed()

    def _warn_where_nobody_listens(self, event: ErrorEvent) -> None:
        """Logs an error that no subscriber sees. Errors are values, so it would be lost."""
        if event.phase != "handler" and not Filtered(self.lifecycle, ErrorEvent).is_observed:
            logger.warning("%s: %s", self._loop.name, event.message)

    def _replay(self, show: Callable[[], None]) -> None:
        """Shows a new subscriber the last value, as a notification on the loop's thread."""
        self._loop.run(lambda: self._outbox.within(show))

    # Errors of subscribers

    def _on_handler_error(self, error: BaseException) -> None:
        """Reports what a subscriber has raised. The connection goes on, and so do the other subscribers."""
        if isinstance(error, KeyboardInterrupt | SystemExit):
            # It is meant for the program. Raised here, it would cut a delivery or a parser short.
            self._loop.run(lambda: self._loop.raise_soon(error))
            return
        logger.error("%s: a subscriber raised", self._loop.name, exc_info=error)
        self._report_handler(f"a subscriber raised {text_of(error, with_type)}", error)

    def on_pipeline_error(self, error: Exception) -> None:
        """Reports that a pipeline has ended with an error while a notification was being delivered."""
        logger.error("%s: a pipeline ended with an error", self._loop.name, exc_info=error)
        self._report_handler(f"a pipeline ended with {text_of(error, with_type)}", error)

    def _report_handler(self, what: str, error: BaseException) -> None:
        # A subscriber that raises at an ErrorEvent would get its own errors again and again.
        if self._loop.loop is None or isinstance(self._delivering, ErrorEvent | Stopped):
            return
        report = HandlerError(what)
        report.__cause__ = error
        self._loop.run(lambda: self._driver.feed(Reported("handler", report)))
