"""Schedulers on an event loop, for timed operators and for finding the loop that a subscription belongs to."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler

from rxnodes.clock import utc_now
from rxnodes.flow import put_off

if TYPE_CHECKING:
    from reactivex import abc, typing

S = TypeVar("S")

__all__ = ["LoopScheduler", "ThreadSafeLoopScheduler", "loop_of", "running_loop"]


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


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def loop_of(scheduler: abc.SchedulerBase | None) -> asyncio.AbstractEventLoop | None:
    """The loop that a subscription belongs to: that of its scheduler, or the one that runs in this thread."""
    if isinstance(scheduler, AsyncIOScheduler):
        return scheduler._loop  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return running_loop()
