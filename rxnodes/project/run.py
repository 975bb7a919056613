"""Running a program so that SIGINT (Ctrl+C) and SIGTERM end it in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from rxnodes.project.open_projects import abort_open_projects
from rxnodes.rx.event_loops import new_event_loop

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import FrameType

__all__ = ["run"]

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
#: Seconds from a second signal until the connections are aborted.
_BEFORE_CUTTING_SHORT: Final = 0.05


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Runs a coroutine as `asyncio.run` does, and lets SIGINT and SIGTERM end it in order.

    The first signal cancels the coroutine's task: an `async with Project` in it stops every connection and waits for
    every `Stopped`. A second one aborts the connections of all projects that are open, as `Project.abort` does, and
    cancels the task once more, in case it waits for something else. Further signals do what they did before `run`, so
    that a program that is stuck can still be ended.

    A signal that the program ignores stays ignored; a shell arranges that for programs in the background. Signals reach
    the main thread only: in any other thread this is `asyncio.run`. The loop is uvloop's where that is installed.

    Args:
        main: The coroutine.
        debug: Whether asyncio's debug mode is on. With `None`, asyncio's own settings decide.

    Returns:
        What the coroutine returns.

    Raises:
        TypeError: If `main` is not a coroutine.
        KeyboardInterrupt: If SIGINT came first. It is raised once everything has ended, even if the coroutine returned.
        SystemExit: With the code 143, if SIGTERM came first, likewise.

    Example:
        >>> from rxnodes import Project
        >>> async def main() -> str:
        ...     async with Project(websocket={"chat": "ws://127.0.0.1:8080/"}):
        ...         return "in order"
        >>> run(main())
        'in order'
    """
    # Callers without a type checker pass other types too.
    if not asyncio.iscoroutine(main):  # pyright: ignore[reportUnnecessaryComparison]
        raise TypeError(f"run takes a coroutine, such as main(), not {type(main).__name__}")
    if threading.current_thread() is not threading.main_thread():
        return _run(main, debug=debug)
    with _Signals() as signals:
        try:
            result = _run(signals.hold(main), debug=debug)
        except asyncio.CancelledError:
            if not signals.received:
                raise
        else:
            if not signals.received:
                return result
    if signals.received[0] == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + signals.received[0])


def _run(main: Coroutine[Any, Any, T], *, debug: bool | None) -> T:
    with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)


class _Signals:
    """SIGINT and SIGTERM, while a coroutine is run.

    Attributes:
        received: The first two signals, or those that have come.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self._task: asyncio.Task[Any] | None = None
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}

    def __enter__(self) -> Self:
        for number, handler in self._before.items():
            # None stands for a handler from outside Python, which Python could not put back.
            if handler not in (signal.SIG_IGN, None):
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    async def hold(self, main: Coroutine[Any, Any, T]) -> T:
        """Awaits `main`, in the task that the signals cancel."""
        self._task = asyncio.current_task()
        assert self._task is not None
        if self.received:
            self._task.cancel()
        return await main

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(number)
        is_first = len(self.received) == 1
        if not is_first:
            self._restore()
        if self._task is None:
            return
        loop = self._task.get_loop()
        # The loop may have closed a moment ago: then there is nothing left to cancel.
        with contextlib.suppress(RuntimeError):
            if is_first:
                # At once, so that code that holds up the loop can see the cancellation. The call wakes the loop.
                self._task.cancel()
                loop.call_soon_threadsafe(lambda: None)
            else:
                loop.call_soon_threadsafe(loop.call_later, _BEFORE_CUTTING_SHORT, self._cut_short, self._task)

    def _cut_short(self, task: asyncio.Task[Any]) -> None:
        """Aborts the connections that are being closed, and cancels again.

        This runs a moment after the signal. If a second cancellation comes before the task has noticed the first,
        asyncio makes one of both; and a project that is not being left yet could start again what was aborted.
        """
        abort_open_projects()
        task.cancel()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            # If the program has set a handler of its own meanwhile, that one stays.
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, handler)
