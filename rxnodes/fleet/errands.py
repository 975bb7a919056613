"""What is under way to the store: many errands, some of them at once, and no task where there is none."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Errand = Callable[[], Coroutine[Any, Any, None]]

__all__ = ["Errands"]

logger = logging.getLogger("rxnodes")


class Errands:
    """Runs errands, those that came first first. On the loop's thread.

    Args:
        at_once: How many are under way at a time: more would only wait for each other at the store.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._waiting: deque[Errand] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._working = 0

    def run(self, errand: Errand) -> None:
        """Runs an errand as soon as there is room."""
        self._waiting.append(errand)
        if self._working < self._at_once:
            self._working += 1
            self._keep(asyncio.get_running_loop().create_task(self._work()))

    def run_now(self, errand: Errand) -> None:
        """Runs an errand that waits for no other: the worker's lease depends on it."""
        self._keep(asyncio.get_running_loop().create_task(self._do(errand)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._do(self._waiting.popleft())
        finally:
            self._working -= 1

    async def _do(self, errand: Errand) -> None:
        try:
            await errand()
        except Exception:
            logger.exception("an errand to the fleet's store failed")

    async def end(self) -> None:
        """Gives up what is under way."""
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
