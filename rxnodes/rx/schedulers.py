"""Schedulers on an event loop, clocks, and the loop that a subscription belongs to."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from reactivex.disposable import SingleAssignmentDisposable
from reactivex.scheduler import CurrentThreadScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from rxnodes.rx.backpressure import put_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import abc, typing

S = TypeVar("S")

__all__ = [
    "AtOnceScheduler",
    "LateScheduler",
    "LoopScheduler",
    "ThreadSafeLoopScheduler",
    "clock_of",
    "loop_of",
    "running_loop",
    "stopwatch_of",
    "utc_now",
]


class LoopScheduler(AsyncIOScheduler):
    """Schedules on an event loop, from the loop's own thread.

    It differs from reactivex's `AsyncIOScheduler` in two ways:

    - It uses the loop's clock and not the wall clock. So timed operators stay right when somebody sets the wall clock,
      and they work in virtual time. An action for a time of day runs at that time, unless somebody sets the wall clock
      meanwhile.
    - An action for the next turn of the loop still counts as part of the message that is being delivered. So a consumer
      of the items that `from_iterable` makes of a message can pause the connection.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._began_at = utc_now(loop) - timedelta(seconds=loop.time())

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop."""
        return self._loop

    @property
    def now(self) -> datetime:
        """The time of day in UTC, by the loop's clock."""
        return self._began_at + timedelta(seconds=self._loop.time())

    def schedule(self, action: typing.ScheduledAction[S], state: S | None = None) -> abc.DisposableBase:
        """Schedules an action for the next turn of the loop."""

        def act(scheduler: abc.SchedulerBase) -> abc.DisposableBase | None:
            return action(scheduler, state)

        act_in_place = put_off(act)
        return super().schedule(lambda scheduler, _: act_in_place(scheduler))


class ThreadSafeLoopScheduler(LoopScheduler, AsyncIOThreadSafeScheduler):
    """Schedules on an event loop, from any thread."""


class AtOnceScheduler(PeriodicScheduler):
    """Runs actions without a delay at once, in the same thread, and passes timed ones to another scheduler.

    It is for an observable beside a pipeline, such as a switch of a node. The pipeline's scheduler would emit the
    switch's first value only in the next turn of the loop, too late for the pulses of this turn.
    """

    def __init__(self, timed: abc.SchedulerBase) -> None:
        super().__init__()
        self.timed = timed

    @property
    def now(self) -> datetime:
        """The time of day in UTC, by the other scheduler's clock."""
        return self.timed.now

    def schedule(self, action: typing.ScheduledAction[S], state: S | None = None) -> abc.DisposableBase:
        """Runs the action at once. Within another action it runs after that one."""
        return CurrentThreadScheduler.singleton().schedule(_given(self, action), state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[S], state: S | None = None
    ) -> abc.DisposableBase:
        """Runs the action after that time."""
        if self.to_seconds(duetime) <= 0:
            return self.schedule(action, state)
        return self.timed.schedule_relative(duetime, _given(self, action), state)

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: typing.ScheduledAction[S], state: S | None = None
    ) -> abc.DisposableBase:
        """Runs the action at that time."""
        return self.schedule_relative(self.to_datetime(duetime) - self.now, action, state)


class LateScheduler(PeriodicScheduler):
    """Schedules, from any thread, on an event loop that may not exist yet.

    Until the loop is attached, actions without a delay run at once, and timed actions wait. Then a delay begins to
    count, and an action runs at once if its time of day has passed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        self._on_loop: LoopScheduler | None = None
        self._elsewhere: LoopScheduler | None = None
        self._waiting: list[tuple[Callable[[abc.SchedulerBase], abc.DisposableBase], SingleAssignmentDisposable]] = []

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Attaches the loop, which runs in this thread, and schedules the actions that wait for it."""
        on_loop = LoopScheduler(loop)
        with self._lock:
            self._on_loop, self._elsewhere = on_loop, ThreadSafeLoopScheduler(loop)
            waiting, self._waiting = self._waiting, []
        for begin, begun in waiting:
            if not begun.is_disposed:
                begun.disposable = begin(on_loop)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop; `None` until it is attached."""
        return None if self._on_loop is None else self._on_loop.loop

    @property
    def now(self) -> datetime:
        """The time of day in UTC, by the loop's clock once the loop is attached."""
        scheduler = self._scheduler()
        return utc_now(running_loop()) if scheduler is None else scheduler.now

    def schedule(self, action: typing.ScheduledAction[S], state: S | None = None) -> abc.DisposableBase:
        """Runs the action in the next turn of the loop, or at once if no loop is attached."""
        scheduler = self._scheduler() or CurrentThreadScheduler.singleton()
        return scheduler.schedule(_given(self, action), state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[S], state: S | None = None
    ) -> abc.DisposableBase:
        """Runs the action after that time."""
        return self._begin(lambda scheduler: scheduler.schedule_relative(duetime, _given(self, action), state))

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: typing.ScheduledAction[S], state: S | None = None
    ) -> abc.DisposableBase:
        """Runs the action at that time."""
        return self._begin(lambda scheduler: scheduler.schedule_absolute(duetime, _given(self, action), state))

    def _scheduler(self) -> LoopScheduler | None:
        return self._on_loop if self.loop is running_loop() else self._elsewhere

    def _begin(self, begin: Callable[[abc.SchedulerBase], abc.DisposableBase]) -> abc.DisposableBase:
        begun = SingleAssignmentDisposable()
        with self._lock:
            scheduler = self._scheduler()
            if scheduler is None:
                self._waiting.append((begin, begun))
        return begun if scheduler is None else begin(scheduler)


def _given(scheduler: abc.SchedulerBase, action: typing.ScheduledAction[S]) -> typing.ScheduledAction[S]:
    """Wraps an action so that it gets this scheduler, whichever one runs it."""
    return lambda _caller, state: action(scheduler, state)


#: Returns the event loop that runs in this thread, or `None` if there is none.
running_loop = asyncio._get_running_loop  # noqa: SLF001


def loop_of(scheduler: abc.SchedulerBase | None) -> asyncio.AbstractEventLoop | None:
    """The loop that a subscription belongs to: the loop of its scheduler, or else the one that runs in this thread."""
    if isinstance(scheduler, AtOnceScheduler):
        return loop_of(scheduler.timed)
    if isinstance(scheduler, LateScheduler):
        return scheduler.loop or running_loop()
    if isinstance(scheduler, AsyncIOScheduler):
        return scheduler._loop  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return running_loop()


def _now() -> datetime:
    return datetime.now(UTC)


def clock_of(loop: asyncio.AbstractEventLoop | None) -> Callable[[], datetime]:
    """Returns a function that gives the time of day in UTC. A loop in virtual time has a time of day of its own."""
    return getattr(loop, "utc_now", _now)


def stopwatch_of(loop: asyncio.AbstractEventLoop | None) -> Callable[[], float]:
    """Returns a monotonic clock, in seconds. A loop in virtual time has its own."""
    return loop.time if loop is not None and hasattr(loop, "utc_now") else time.monotonic


def utc_now(loop: asyncio.AbstractEventLoop | None) -> datetime:
    """The time of day in UTC."""
    return clock_of(loop)()
