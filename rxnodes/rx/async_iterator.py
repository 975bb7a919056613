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

    The source is subscribed to at once, so nothing is missed before the loop begins. When the source completes, the
    loop ends after the last item. When it errors, the error is raised after the last item.

    The loop may be left early, by `break` or an exception. The subscription is disposed when the iterator is garbage
    collected. CPython does that at once if the iterator was made in the `async for` itself. An iterator in a variable
    goes on receiving, and pauses its source when the buffer is full: end it with `aclose()` or `async with`.

    Args:
        source: The observable.
        buffer: How many items may wait, from 1.
        overflow: What happens to an item that comes when the buffer is full, as for `map_async`. `BufferOverflow` is
            raised after the items that wait.
        drops: Counts and emits the items that are dropped.
        scope: The project or the scene with which the loop ends, even if items wait. Without it, the loop ends with the
            source; the streams of a connection complete when the project closes.

    Returns:
        An asynchronous iterator for one task. A second task that waits for the next item at the same time gets a
        `RuntimeError`. Cancelling the task that waits loses no item.

    Raises:
        RuntimeError: If no event loop runs in this thread.
        RxNodesError: If the scope has been left.
        TypeError: If an argument has the wrong type.
        ValueError: If `buffer` is too small, or `overflow` is no policy.

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
        # The source refers to the feed and not to the iterator. So the iterator is garbage once its user drops it.
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
        """Disposes the subscription and discards the items that wait. A task that waits for an item sees the end."""
        self._feed.close()

    def __del__(self) -> None:
        self._feed.close()


class _Feed(Generic[T]):
    """The subscription to the source, and the items that wait for the iterator."""

    def __init__(self, loop: asyncio.AbstractEventLoop, buffer: Buffer[T]) -> None:
        self._loop = loop
        self._buffer = buffer
        self._subscription: abc.DisposableBase = Disposable()
        self._lifetime: abc.DisposableBase = Disposable()
        self._waiter: asyncio.Future[None] | None = None
        self._is_wake_scheduled = False
        self._is_closed = False
        self._is_over = False
        self._error: Exception | None = None

    def end_with(self, scope: Scope) -> None:
        """Closes the feed when the scope is left."""
        self._lifetime = scope.add(Disposable(self.close))

    def follow(self, source: Observable[T]) -> None:
        """Subscribes to the source."""
        # Thread-safe, because the source may emit on another thread than this one.
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
            # The source is paused no longer, because it has ended.
            self._buffer.resume_source()
            self._wake()

    def _wake(self) -> None:
        if self._loop is running_loop():
            self._resolve()
        elif not self._is_wake_scheduled:
            self._is_wake_scheduled = True
            # If the loop is closed, no task waits.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._scheduled_wake)

    def _scheduled_wake(self) -> None:
        self._is_wake_scheduled = False
        self._resolve()

    def _resolve(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> T:
        """Waits for the next item."""
        if self._waiter is not None:
            raise RuntimeError("another task already waits for the next item")
        while not len(self._buffer):
            if self._is_over:
                self._raise_end()
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        item = self._buffer.pop()
        self._buffer.resume_source_at_half()
        return item

    def _raise_end(self) -> NoReturn:
        error, self._error = self._error, None
        if error is None:
            raise StopAsyncIteration
        if isinstance(error, StopAsyncIteration):
            # `async for` would take it for the end of the loop. Asynchronous generators raise the same.
            raise RuntimeError("the observable ended with a StopAsyncIteration as its error") from error  # noqa: TRY004 - no type is wrong
        raise error

    def close(self) -> None:
        """Disposes the subscription, and discards the items that wait."""
        if self._is_closed:
            return
        self._is_closed = True
        self._lifetime.dispose()
        self._is_over = True
        self._error = None
        self._subscription.dispose()
        self._buffer.close()
        self._wake()
