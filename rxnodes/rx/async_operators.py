"""Operators that await a coroutine function for each item."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.scheduler.eventloop import AsyncIOScheduler

from rxnodes.rx.arguments import check_callback, check_count
from rxnodes.rx.async_worker import Plan, Worker
from rxnodes.rx.buffer import Buffer
from rxnodes.rx.schedulers import ThreadSafeLoopScheduler, loop_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rxnodes.rx.buffer import Drops, Overflow

__all__ = ["for_each_async", "map_async"]

T = TypeVar("T")
R = TypeVar("R")


def map_async(  # noqa: PLR0913 - each is a choice of its own
    fn: Callable[[T], Awaitable[R]],
    *,
    max_concurrent: int = 1,
    ordered: bool = True,
    buffer: int = 64,
    overflow: Overflow = "pause",
    on_error: Callable[[Exception, T], R] | None = None,
    drops: Drops[T] | None = None,
) -> Callable[[Observable[T]], Observable[R]]:
    """Awaits a coroutine function for each item, and emits what it returns.

    ::

        source:            ---1--2--3---------|
              map_async(fn)
        fn:                   1====2====3====
        result:            --------a----b----c|

    At most `buffer` items wait, and `overflow` says what happens when one more comes. With `"pause"`, rxnodes stops
    reading from the connection that delivered the item, so that TCP slows the peer down. It reads on when half of the
    buffer is empty. Messages that were read from the socket together with that item are kept all the same.

    Args:
        fn: The coroutine function. It must not wait for a message of the connection that it pauses.
        max_concurrent: For how many items `fn` runs at a time, from 1.
        ordered: On: results are emitted in the order of their items. A result that is ready before its turn waits, and
            counts against `max_concurrent`; an error waits for its turn, too. Off: results are emitted when they are
            ready.
        buffer: How many items may wait for `fn`, from 0.
        overflow: What happens to an item that comes when the buffer is full. `"pause"` keeps it and pauses the source;
            a source that is not a connection cannot be paused, and the stream ends with `BufferOverflow`.
            `"drop_oldest"` drops the item that has waited longest, `"drop_newest"` the one that comes. `"latest"` keeps
            only the newest, whatever `buffer` is. `"error"` ends the stream with `BufferOverflow`.
        on_error: A plain function. It is called with the exception that `fn` raised and with the item, and returns the
            result. An exception that it raises ends the stream. Without `on_error`, an exception of `fn` ends the
            stream. An `fn` that is not a coroutine function always ends it.
        drops: Counts and emits the items that are dropped.

    Returns:
        A pipeable operator. An error, of the source or its own, is passed on at once, and cancels the coroutines that
        run. Completion is passed on when the last item is done. Disposing cancels the coroutines that run, and discards
        the items that wait.

        The coroutines run on the event loop of the thread that subscribes, or on the loop of the project whose scope
        subscribes. Items from other threads are handed over to that loop. A result is emitted when it is ready, which
        may be after `Stopped`. If a subscriber raises, that is logged, and it is called with the next result.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a number is too small, or `overflow` is no policy.

    Example:
        >>> import asyncio
        >>> import reactivex
        >>> async def double(number: int) -> int:
        ...     await asyncio.sleep(0)
        ...     return 2 * number
        >>> async def main() -> None:
        ...     await reactivex.of(1, 2, 3).pipe(map_async(double), reactivex.operators.do_action(print))
        >>> asyncio.run(main())
        2
        4
        6
    """
    check_callback("on_error", on_error, gives="the result", is_optional=True)
    new_buffer = partial(Buffer[T], buffer, overflow, drops)
    return _operator(Plan("map_async", fn, lambda _, result: result, on_error, max_concurrent, ordered, new_buffer))


def for_each_async(  # noqa: PLR0913 - as above
    fn: Callable[[T], Awaitable[object]],
    *,
    max_concurrent: int = 1,
    ordered: bool = True,
    buffer: int = 64,
    overflow: Overflow = "pause",
    on_error: Callable[[Exception, T], object] | None = None,
    drops: Drops[T] | None = None,
) -> Callable[[Observable[T]], Observable[T]]:
    """Awaits a coroutine function for each item, and then emits the item.

    ::

        source:            ---1--2--3---------|
              for_each_async(fn)
        fn:                   1====2====3====
        result:            --------1----2----3|

    It is for coroutine functions what `do_action` is for functions. The steps after it in the pipeline, such as an
    acknowledgement, come when `fn` is done with the item.

    Args:
        fn: The coroutine function. Its result is ignored.
        max_concurrent: As for `map_async`.
        ordered: As for `map_async`.
        buffer: As for `map_async`.
        overflow: As for `map_async`.
        on_error: A plain function, such as one that logs. It is called with the exception that `fn` raised and with the
            item; then the item is emitted. An exception that it raises ends the stream. Without `on_error`, an
            exception of `fn` ends the stream.
        drops: As for `map_async`.

    Returns:
        A pipeable operator, in all else like the one of `map_async`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a number is too small, or `overflow` is no policy.

    Example:
        >>> import asyncio
        >>> import reactivex
        >>> async def save(text: str) -> None:
        ...     print("saved", text)
        >>> async def main() -> None:
        ...     print("last:", await reactivex.of("a", "b").pipe(for_each_async(save)))
        >>> asyncio.run(main())
        saved a
        saved b
        last: b
    """
    check_callback("on_error", on_error, gives="nothing", is_optional=True)
    new_buffer = partial(Buffer[T], buffer, overflow, drops)
    return _operator(Plan("for_each_async", fn, lambda item, _: item, on_error, max_concurrent, ordered, new_buffer))


def _operator(plan: Plan[T, R]) -> Callable[[Observable[T]], Observable[R]]:
    if not callable(plan.fn):
        raise TypeError(f"{plan.operator}: expected a coroutine function, got {type(plan.fn).__name__}")
    check_count("max_concurrent", plan.max_concurrent, least=1)
    # Raises here, and not on subscription, if its arguments are wrong.
    plan.new_buffer()

    def operator(source: Observable[T]) -> Observable[R]:
        def subscribe(observer: abc.ObserverBase[R], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            loop = loop_of(scheduler)
            worker = Worker(plan, observer, loop)
            if loop is not None and type(scheduler) is AsyncIOScheduler:
                # A coroutine that awaits the pipeline subscribes with an AsyncIOScheduler. With that one, a connection
                # on another loop would hand over each message itself, and could not be paused. The worker hands over.
                scheduler = ThreadSafeLoopScheduler(loop)
            subscription = source.subscribe(worker.on_next, worker.on_error, worker.on_completed, scheduler=scheduler)
            return CompositeDisposable(subscription, Disposable(worker.dispose))

        return Observable(subscribe)

    return operator
