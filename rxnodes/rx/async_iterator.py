"""Observables as asynchronous iterators."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Generic, NoReturn, Self, TypeVar

from reactivex.disposable import Disposable

from rxnodes.errors import BufferOverflow
from rxnodes.rx.arguments import check_observable
from rxnodes.rx.buffer import Buffer
from rxnodes.rx.schedulers import ThreadSafeLoopScheduler, running_loop

if TYPE_CHECKING:
    from types import TracebackType

    from reactivex import Observable, abc

    from rxnodes.project.scope import Scope
    from rxnodes.rx.buffer import Drops, Overflow

__all__ = ["ObservableIterator", "aiter_observable"]

T = TypeVar("T")


def aiter_observable(
    source: Observable[T],
    *,
    buffer: int = 64,
    overflow: Overflow = "pause",
    drops: Drops[T] | None = None,
    scope: Scope | None = None,
) -> ObservableIterator[T]:
    """The items of an observable, for `async for`.

    ::

        source:                       ---1--2--------3---|
        async for item in aiter_...:     1====2===   3==     and the loop ends

    The source is subscribed to at once, so that nothing is missed before the loop begins. When it completes, the loop
    ends behind its last item; its error is raised there. Leaving the loop early, with `break` or otherwise, disposes
    the subscription as soon as nobody holds the iterator any more, which for one that stands in the `async for` itself
    is at once (in CPython). One that is held in a variable goes on to receive, and pauses its source when its buffer is
    full: `aclose()` and `async with` end it for certain.

    Args:
        source: The observable.
        buffer: How many items may wait, from 1.
        overflow: What happens when it is full: as for `map_async`. `BufferOverflow` is raised behind what waits.
        drops: What is told of the items that were dropped.
        scope: The project or the scene with which the loop ends, whatever is left. `None`: it ends with the source; the
            streams of a connection complete when the project closes.

    Returns:
        An asynchronous iterator, for one task: a second one that waits for the next item meanwhile gets a
        `RuntimeError`. Cancelling the task that waits loses no item.

    Raises:
        RuntimeError: If no event loop runs here.
        RxNodesError: If the scope has been left.
        TypeError: If the source is no observable, or another argument is not of its type.
        ValueError: If the buffer's size or the policy cannot be.

    Example:
        >>> import reactivex
        >>> async def main() -> None:
        ...     async for number in aiter_observable(reactivex.of(1, 2, 3)):
        ...         print(number)
        >>> asyncio.run(main())
        1
        2
        3
    """
    check_observable("aiter_observable", source)
    feed = _Feed(asyncio.get_running_loop(), Buffer(buffer, overflow, drops, least=1))
    if scope is not None:
        feed.end_with(scope)
    feed.follow(source)
    return ObservableIterator(feed)


class ObservableIterator(AsyncIterator[T]):
    """The items of an observable; made by `aiter_observable`."""

    def __init__(self, feed: _Feed[T]) -> None:
        # The source knows the feed, and not the iterator: so this is gone as soon as its user lets it go.
        self._feed = feed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        return await self._feed.next()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Disposes the subscription and forgets what waits. Whoever waits for an item sees the end."""
        self._feed.close()

    def __del__(self) -> None:
        self._feed.close()


class _Feed(Generic[T]):
    """What a source feeds and an iterator takes from."""

    def __init__(self, loop: asyncio.AbstractEventLoop, buffer: Buffer[T]) -> None:
        self._loop = loop
        self._buffer = buffer
        self._subscription: abc.DisposableBase = Disposable()
        self._lifetime: abc.DisposableBase = Disposable()
        self._waiter: asyncio.Future[None] | None = None
        self._is_called = False
        self._is_closed = False
        self._is_over = False
        self._error: Exception | None = None

    def end_with(self, scope: Scope) -> None:
        """Closes when the scope is left."""
        self._lifetime = scope.add(Disposable(self.close))

    def follow(self, source: Observable[T]) -> None:
        """Subscribes."""
        # It may emit on another thread than this.
        scheduler = ThreadSafeLoopScheduler(self._loop)
        subscription = source.subscribe(self._on_next, self._finish, lambda: self._finish(None), scheduler=scheduler)
        self._subscription = subscription
        if self._is_over:
            subscription.dispose()

    def _on_next(self, item: T) -> None:
        if self._is_over:
            return
        try:
            self._buffer.put(item)
        except BufferOverflow as error:
            self._finish(error)
            self._subscription.dispose()
        self._wake()

    def _finish(self, error: Exception | None) -> None:
        if not self._is_over:
            self._error = error
            self._is_over = True
            # Nothing comes any more that would have to be held up.
            self._buffer.let_go()
            self._wake()

    def _wake(self) -> None:
        if self._loop is running_loop():
            self._resolve()
        elif not self._is_called:
            self._is_called = True
            # A loop that is closed has nobody who waits.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._answer_call)

    def _answer_call(self) -> None:
        self._is_called = False
        self._resolve()

    def _resolve(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> T:
        """Waits for the next item."""
        if self._waiter is not None:
            raise RuntimeError("another task waits for the next item already")
        while not len(self._buffer):
            if self._is_over:
                self._raise_end()
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        item = self._buffer.pop()
        self._buffer.reopen()
        return item

    def _raise_end(self) -> NoReturn:
        error, self._error = self._error, None
        if error is None:
            raise StopAsyncIteration
        if isinstance(error, StopAsyncIteration):
            # The loop would take it for the end, as an asynchronous generator knows.
            raise RuntimeError("the observable ended with a StopAsyncIteration as its error") from error  # noqa: TRY004 - no type is wrong
        raise error

    def close(self) -> None:
        """Disposes the subscription, and forgets what waits."""
        if self._is_closed:
            return
        self._is_closed = True
        self._lifetime.dispose()
        self._is_over = True
        self._error = None
        self._subscription.dispose()
        self._buffer.close()
        self._wake()
