"""Schedulers on an event loop, for timed operators and for finding the loop that a subscription belongs to."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler

from rxnodes.clock import utc_now

if TYPE_CHECKING:
    from reactivex import abc

__all__ = ["LoopScheduler", "ThreadSafeLoopScheduler", "loop_of", "running_loop"]


class _LoopClock:
    """Tells schedulers the time by the event loop's clock.

    reactivex's own ask the wall clock: timed operators then go wrong when it is set, and never end in virtual time.
    What is asked for at a wall-clock time still comes then, as long as nobody sets the clock.
    """

    _loop: asyncio.AbstractEventLoop

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue] - the scheduler's
        self._began_at = utc_now(loop) - timedelta(seconds=loop.time())

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it schedules on."""
        return self._loop

    @property
    def now(self) -> datetime:
        return self._began_at + timedelta(seconds=self._loop.time())


class LoopScheduler(_LoopClock, AsyncIOScheduler):
    """Schedules on an event loop, from its own thread."""


class ThreadSafeLoopScheduler(_LoopClock, AsyncIOThreadSafeScheduler):
    """Schedules on an event loop, from any thread."""


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def loop_of(scheduler: abc.SchedulerBase | None) -> asyncio.AbstractEventLoop | None:
    """The loop that a subscription belongs to: that of its scheduler, or the one that runs in this thread."""
    if isinstance(scheduler, LoopScheduler | ThreadSafeLoopScheduler):
        return scheduler.loop
    return running_loop()
