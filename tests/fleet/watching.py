"""Who watches a store in a test: keeps what it is told, and waits for what is to come."""

from __future__ import annotations

import asyncio


class Watching:
    """A `Watcher` and a `LogWatcher`."""

    def __init__(self):
        self.told = []
        self.current = False
        self.gaps = []
        self._news = asyncio.Event()

    def seen(self, seen):
        self._note(seen)

    def logged(self, entry):
        self._note(entry)

    def is_current(self, current):
        assert not (current and self.current), "told only when it changes"
        self.current = current
        self._news.set()

    def gap(self, reason):
        self.gaps.append(reason)
        self.told.clear()
        self._news.set()

    def _note(self, told):
        self.told.append(told)
        self._news.set()

    @property
    def values(self):
        return [(it.name, it.value) for it in self.told]

    async def until(self, holds, patience=20):
        """Waits until that holds, of what was told so far."""
        try:
            async with asyncio.timeout(patience):
                while not holds(self):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"told: {self.told[-20:]}, gaps: {self.gaps}, current: {self.current}") from None

    async def until_current(self):
        await self.until(lambda it: it.current)

    async def until_away(self):
        await self.until(lambda it: not it.current)
