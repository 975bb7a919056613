"""Schedulers on an event loop, for timed operators and for finding the loop that a subscription belongs to."""

from __future__ import annotations

import asyncio
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
    "loop_of",
    "running_loop",
    "utc_now",
]


class LoopScheduler(AsyncIOScheduler):
    """Schedules on an event loop, from its own thread.

    reactivex's own asks the wall clock: timed operators then go wrong when it is set, and never end in virtual time. By
    the loop's clock, what is asked for at a wall-clock time still comes then, as long as nobody sets the clock.

    And here what is put off to the next turn of the loop, such as the items of a list that stands for a message,
    belongs to what is being delivered: whoever gets it can hold up the source.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._began_at = utc_now(loop) - timedelta(seconds=loop.time())

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop."""
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

        def act_later(scheduler: abc.SchedulerBase, _state: object = None) -> abc.DisposableBase | None:
            return act_in_place(scheduler)

        return super().schedule(act_later)


class ThreadSafeLoopScheduler(LoopScheduler, AsyncIOThreadSafeScheduler):
    """Schedules on an event loop, from any thread."""


class AtOnceScheduler(PeriodicScheduler):
    """Does at once, in the same thread, what is not timed; and what is, by another scheduler.

    For what is followed beside a pipeline, such as a node's attribute: a loop's own scheduler would give what an
    observable has from the beginning in the next turn, after pulses that come in this one.

    Args:
        timed: The scheduler of the pipeline.
    """

    def __init__(self, timed: abc.SchedulerBase) -> None:
        super().__init__()
        self.timed = timed

    @property
    def now(self) -> datetime:
        """The time of day in UTC, by the other scheduler's clock."""
        return self.timed.now

    def schedule(self, action: typing.ScheduledAction[S], state: S | None = None) -> abc.DisposableBase:
        """Does it at once, or behind what is being done so."""
        return CurrentThreadScheduler.singleton().schedule(_given(self, action), state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[S], state: S | None = None
    ) -> abc.DisposableBase:
        """Does it after that time."""
        if self.to_seconds(duetime) <= 0:
            return self.schedule(action, state)
        return self.timed.schedule_relative(duetime, _given(self, action), state)

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: typing.ScheduledAction[S], state: S | None = None
    ) -> abc.DisposableBase:
        """Does it at that time."""
        return self.schedule_relative(self.to_datetime(duetime) - self.now, action, state)


class LateScheduler(PeriodicScheduler):
    """Schedules, from any thread, on an event loop that is not there yet.

    Until it is, what is not timed is done at once. What is to be done after some time waits for the loop, and its time
    counts from then on; what is to be done at a time of day waits likewise, and is done then or at that time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        self._on_loop: LoopScheduler | None = None
        self._elsewhere: LoopScheduler | None = None
        self._waiting: list[tuple[Callable[[abc.SchedulerBase], abc.DisposableBase], SingleAssignmentDisposable]] = []

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop is there, and runs in this thread: what waits begins."""
        on_loop = LoopScheduler(loop)
        with self._lock:
            self._on_loop, self._elsewhere = on_loop, ThreadSafeLoopScheduler(loop)
            waiting, self._waiting = self._waiting, []
        for begin, begun in waiting:
            if not begun.is_disposed:
                begun.disposable = begin(on_loop)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop, once it is there."""
        return None if self._on_loop is None else self._on_loop.loop

    @property
    def now(self) -> datetime:
        """The time of day in UTC, by the loop's clock, once it is there."""
        scheduler = self._scheduler()
        return utc_now(running_loop()) if scheduler is None else scheduler.now

    def schedule(self, action: typing.ScheduledAction[S], state: S | None = None) -> abc.DisposableBase:
        """Does it in the next turn of the loop; at once, where that is not there."""
        scheduler = self._scheduler() or CurrentThreadScheduler.singleton()
        return scheduler.schedule(_given(self, action), state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[S], state: S | None = None
    ) -> abc.DisposableBase:
        """Does it after that time."""
        return self._begin(lambda scheduler: scheduler.schedule_relative(duetime, _given(self, action), state))

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: typing.ScheduledAction[S], state: S | None = None
    ) -> abc.DisposableBase:
        """Does it at that time."""
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
    """The action, which is to be given this scheduler, whichever calls it."""

    def act(_caller: abc.SchedulerBase, state: S | None = None) -> abc.DisposableBase | None:
        return action(scheduler, state)

    return act


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def loop_of(scheduler: abc.SchedulerBase | None) -> asyncio.AbstractEventLoop | None:
    """The loop that a subscription belongs to: that of its scheduler, or the one that runs in this thread."""
    if isinstance(scheduler, AtOnceScheduler):
        return loop_of(scheduler.timed)
    if isinstance(scheduler, LateScheduler):
        return scheduler.loop or running_loop()
    if isinstance(scheduler, AsyncIOScheduler):
        return scheduler._loop  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return running_loop()


def utc_now(loop: asyncio.AbstractEventLoop | None) -> datetime:
    """The time of day, in UTC: the loop's own where there is one that has one, as a loop in virtual time does."""
    loops_own = getattr(loop, "utc_now", None)
    return datetime.now(UTC) if loops_own is None else loops_own()
