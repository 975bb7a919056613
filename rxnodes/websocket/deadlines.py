"""The deadlines of many who wait, with one timer of the event loop."""

from __future__ import annotations

import asyncio
from itertools import takewhile
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Deadlines"]

W = TypeVar("W")


class Deadlines(Generic[W]):
    """Tells waiters when their time is over. It is used on the loop's thread.

    A timer of the loop for each of them costs more than all the rest of a request. But among those who wait equally
    long, the first who began is the first who is due. So each needs an entry in a `dict`, and all of them one timer.

    Args:
        tell: Called with a waiter whose time is over. It removes the waiter, and does not raise.
    """

    __slots__ = ("_due", "_strikes_at", "_tell", "_timer")

    def __init__(self, tell: Callable[[W], None]) -> None:
        self._tell = tell
        # When each is due, in one inner dict for each length of time.
        self._due: dict[float, dict[W, float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        # When the timer is due. uvloop's handle cannot say it if that is in less than half a millisecond.
        self._strikes_at = 0.0

    def add(self, seconds: float, waiter: W) -> None:
        """Tells the waiter in so many seconds, counted from now."""
        due = asyncio.get_running_loop().time() + seconds
        self._due.setdefault(seconds, {})[waiter] = due
        if self._timer is None or due < self._strikes_at:
            self._set_timer(due)

    def remove(self, seconds: float, waiter: W) -> None:
        """Does not tell the waiter any more."""
        waiters = self._due[seconds]
        del waiters[waiter]
        if not waiters:
            del self._due[seconds]
            if not self._due and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._strikes_at = due
        self._timer = asyncio.get_running_loop().call_at(due, self._strike)

    def _strike(self) -> None:
        """Tells those whose time is over. There may be none: the waiter that the timer was set for may be gone."""
        # A loop may call a timer a moment too early.
        now = max(self._strikes_at, asyncio.get_running_loop().time())
        self._timer = None
        for waiters in tuple(self._due.values()):
            for waiter, _ in tuple(takewhile(lambda item: item[1] <= now, waiters.items())):
                if waiter in waiters:
                    self._tell(waiter)
        if self._due:
            self._set_timer(min(next(iter(waiters.values())) for waiters in self._due.values()))
