"""The event loop that a project lives on, and how other threads reach it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from rxnodes.errors import RxNodesError
from rxnodes.rx.forking import separate_poll

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

__all__ = ["ProjectLoop", "result_of"]

P = ParamSpec("P")
T = TypeVar("T")


class ProjectLoop:
    """The event loop of one project, from when it is opened until it is left.

    Attributes:
        loop: The event loop, while the project is open.
        thread: The identifier of its thread; 0 before it is opened.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._was_opened = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread = 0

    @property
    def is_here(self) -> bool:
        """Whether this is its thread."""
        return threading.get_ident() == self.thread

    @property
    def can_run(self) -> bool:
        """Whether there is a loop, and nobody has closed it under the project."""
        return self.loop is not None and not self.loop.is_closed()

    def open(self) -> asyncio.AbstractEventLoop:
        """Takes the loop that runs here.

        Raises:
            RxNodesError: If the project was opened before.
        """
        with self._lock:
            if self._was_opened:
                raise RxNodesError("a project is opened once; make a new one")
            self._was_opened = True
            self.thread = threading.get_ident()
            self.loop = asyncio.get_running_loop()
        return self.loop

    def leave(self) -> None:
        """Forgets the loop: from here on it is handed nothing."""
        with self._lock:
            self.loop = None

    def disown(self) -> None:
        """In a forked process: the loop is the parent's."""
        loop = self.loop if self.is_here else None
        self.loop = None
        self.thread = 0
        if loop is not None:
            separate_poll(loop)

    def hand_over(self, function: Callable[[], Coroutine[Any, Any, T]]) -> Future[T] | None:
        """Runs a coroutine function on the loop, from another thread. It returns `None` if there is no loop."""
        # Under the lock: a coroutine handed over after the loop's end would never run, and never be cancelled.
        with self._lock:
            return None if self.loop is None else asyncio.run_coroutine_threadsafe(function(), self.loop)

    def call(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> Future[T] | None:
        """Calls a function on the loop, from another thread, and awaits its result there.

        Returns:
            A future of that result; `None` if there is no loop.

        Raises:
            RxNodesError: If this is the loop's own thread, which would wait for itself.
            TypeError: If `function` is not callable. The future has this error if the result cannot be awaited.
        """
        if not callable(function):
            raise TypeError(f"call() takes a function and its arguments, not {_what_was_called(function)}")

        async def run() -> T:
            result = function(*args, **kwargs)
            # Callers without a type checker pass other functions too.
            if not isinstance(result, Awaitable):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"call() takes a function whose result can be awaited; it gave {type(result).__name__}")
            return await result

        if self.loop is not None and self.is_here:
            raise RxNodesError("call() is for other threads; on the loop's own thread, await the coroutine")
        return self.hand_over(run)


def result_of(call: Future[T]) -> T:
    """Waits for the result of a call."""
    try:
        return call.result()
    except BaseException:
        # The waiting was interrupted; or the call is over, and this does nothing.
        call.cancel()
        raise


def _what_was_called(value: object) -> str:
    """Describes a value that is no function. A coroutine is closed, because nobody will await it."""
    if isinstance(value, Coroutine):
        value.close()
        return "a coroutine: leave out the parentheses behind its name"
    return type(value).__name__
