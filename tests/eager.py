"""Task factories that begin a coroutine at once."""

from __future__ import annotations

import asyncio
import contextlib
import sys


class _EagerTask(asyncio.Task):
    """Runs the beginning of its coroutine at once, as those of CPython 3.12 can."""

    def __init__(self, coro, **options):
        super().__init__(self._go_on(coro, *self._begin(coro)), **options)

    @staticmethod
    def _begin(coro):
        try:
            return coro.send(None), None, False
        except StopIteration as stop:
            return None, stop.value, True

    @staticmethod
    async def _go_on(coro, awaited, value, is_done):
        if is_done:
            return value
        if awaited is not None:
            awaited._asyncio_future_blocking = False
            with contextlib.suppress(BaseException):
                await awaited
        return await _Rest(coro)


class _Rest:
    def __init__(self, coro):
        self._coro = coro

    def __await__(self):
        return self._coro.__await__()


def an_eager_factory():
    if sys.version_info >= (3, 12):
        return asyncio.eager_task_factory
    return lambda loop, coro, **options: _EagerTask(coro, loop=loop, **options)
