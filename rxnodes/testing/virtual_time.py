"""An event loop on which waiting takes no time.

Timers run in their order, and the clock jumps from one to the next. With a `ScriptedTransport`, a whole graph of nodes
runs in milliseconds, with its timeouts and retries, and in the same way each time.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import selectors
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from rxnodes.rx.schedulers import running_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["VirtualTimeLoop", "in_virtual_time", "run_in_virtual_time"]

P = ParamSpec("P")
T = TypeVar("T")

#: How long, in real seconds, another thread may take to wake a loop that has nothing to do.
PATIENCE = 5.0


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: when the loop would sleep, its clock jumps."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is not None:
            self.now += timeout
            return ready
        ready = super().select(PATIENCE)
        if not ready:
            raise RuntimeError("the program waits for something that will never come: no timer, no socket, no thread")
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose `time()` begins at 0 and jumps from timer to timer.

    Example:
        >>> async def main() -> float:
        ...     await asyncio.sleep(3600)
        ...     return asyncio.get_running_loop().time()
        >>> run_in_virtual_time(main())
        3600.0
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._began_at = datetime.now(UTC)
        # A timer is due when its time has come exactly; rounding would make the loop spin.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now

    def utc_now(self) -> datetime:
        """The time of day: when the loop was made, plus the virtual seconds since."""
        return self._began_at + timedelta(seconds=self.time())

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
        """Waits for the executor's threads, without the timeout, which would be over at once in virtual time."""
        await super().shutdown_default_executor()


def run_in_virtual_time(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Runs a coroutine as `asyncio.run` does, on a `VirtualTimeLoop`.

    Args:
        main: The coroutine.
        debug: asyncio's debug mode.

    Returns:
        What the coroutine returns. What it raises is raised here.

    Raises:
        TypeError: If it is no coroutine.
        RuntimeError: If an event loop runs in this thread already, or the program waits for something that never comes.

    Example:
        >>> async def patience() -> str:
        ...     await asyncio.sleep(3600)
        ...     return "done"
        >>> run_in_virtual_time(patience())
        'done'
    """
    # Callers without a type checker pass other types too.
    if not asyncio.iscoroutine(main):  # pyright: ignore[reportUnnecessaryComparison]
        raise TypeError(f"run_in_virtual_time takes a coroutine, such as main(), not {type(main).__name__}")
    if running_loop() is not None:
        main.close()
        raise RuntimeError("virtual time has an event loop of its own, and one runs in this thread already")
    with asyncio.Runner(debug=debug, loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Makes an async test a plain one, which runs in virtual time. It needs no plugin, and disturbs none.

    Args:
        test: The coroutine function. Its parameters may be fixtures, as usual.

    Returns:
        A function that takes the same arguments, and runs the test as `run_in_virtual_time` does.

    Raises:
        TypeError: If it is no coroutine function.

    Example:
        >>> @in_virtual_time
        ... async def test_patience() -> None:
        ...     await asyncio.sleep(3600)
        >>> test_patience()
    """
    if not inspect.iscoroutinefunction(test):
        name = getattr(test, "__qualname__", type(test).__name__)
        raise TypeError(
            f"in_virtual_time takes a coroutine function, and {name} is none; a decorator that makes a plain function "
            "of one, such as hypothesis's @given, stands above @in_virtual_time"
        )

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        __tracebackhide__ = True
        return run_in_virtual_time(test(*args, **kwargs))

    return run
