"""What is under way to the store: many errands, some of them at once, and no task where there is none."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Errand = Callable[[], Coroutine[Any, Any, None]]

__all__ = ["Errands"]

logger = logging.getLogger("rxnodes")

#: So many are under way at once: more only wait for each other at the store.
AT_ONCE: Final = 128


class Errands:
    """Runs errands, those that came first first. On the loop's thread."""

    def __init__(self) -> None:
        self._waiting: deque[Errand] = deque()
        self._runners: set[asyncio.Task[None]] = set()

    def run(self, errand: Errand) -> None:
        """Runs an errand as soon as there is room."""
        self._waiting.append(errand)
        if len(self._runners) < AT_ONCE:
            runner = asyncio.get_running_loop().create_task(self._run())
            self._runners.add(runner)
            runner.add_done_callback(self._runners.discard)

    async def _run(self) -> None:
        while self._waiting:
            errand = self._waiting.popleft()
            try:
                await errand()
            except Exception:
                logger.exception("a worker's errand to the fleet's store failed")

    async def end(self) -> None:
        """Gives up what is under way."""
        self._waiting.clear()
        for runner in self._runners:
            runner.cancel()
        await asyncio.gather(*self._runners, return_exceptions=True)
