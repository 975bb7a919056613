"""Consumers that are awaited: coroutine functions as operators, and observables as asynchronous iterators.

A consumer that awaits cannot keep up with whatever comes. What waits for it waits in a `Buffer`, which holds so much
and no more: when it is full it pauses the source, drops, or fails, as its policy says.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, get_args

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from rxnodes.errors import BufferOverflow, RxNodesError
from rxnodes.flow import Valve, current_valve, deliver
from rxnodes.schedulers import LoopScheduler, loop_of, running_loop
from rxnodes.streams import HotStream

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Drops", "ObservableIterator", "Overflow", "aiter_observable", "for_each_async", "map_async"]

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("rxnodes")

Overflow = Literal["pause", "drop_oldest", "drop_newest", "latest", "error"]
"""What happens when a buffer is full."""


class Drops(HotStream[T]):
    """What a full buffer has dropped: counted, and emitted item by item.

    Give one to `map_async`, `for_each_async`, `aiter_observable` or `messages`, or to several of them. It emits on the
    thread on which the item came that did not fit, and never completes. A subscriber that raises is logged.

    Attributes:
        total: How many items were dropped so far.

    Example:
        >>> drops = Drops[str]()
        >>> subscription = drops.subscribe(lambda item: print("dropped:", item))
        >>> drops.total
        0
    """

    def __init__(self) -> None:
        super().__init__(_log)
        self.total = 0

    def note(self, item: T) -> None:
        """Counts an item and emits it."""
        with self.lock:
            self.total += 1
        self.emit(item)


def _log(error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        raise error
    logger.error("a subscriber of drops raised", exc_info=error)


class Buffer(Generic[T]):
    """What waits for a consumer. Items may be put from any thread.

    Args:
        size: How many items may wait besides those that the consumer is free to take.
        overflow: What happens when it is full.
        drops: What is told of the items that were dropped.
        least: The least size that makes sense here.

    Raises:
        ValueError: If the size or the policy cannot be.
    """

    def __init__(self, size: int, overflow: Overflow, drops: Drops[T] | None, *, least: int = 0) -> None:
        if overflow not in get_args(Overflow):
            raise ValueError(f"overflow must be one of {', '.join(get_args(Overflow))}; not {overflow!r}")
        if size < least:
            raise ValueError(f"buffer must be {least} or more, not {size}")
        self._size = 1 if overflow == "latest" else size
        self._overflow = overflow
        self._drops = drops
        self._items: deque[T] = deque()
        # The valves that it holds closed.
        self._held: set[Valve] = set()
        self._is_closed = False
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T, free: int = 0) -> None:
        """Keeps an item, or drops one.

        Args:
            item: The item.
            free: How many items the consumer will take at once.

        Raises:
            BufferOverflow: If it is full, and nothing may be dropped, and the source cannot be paused.
        """
        valve = current_valve() if self._overflow == "pause" else None
        room = self._size + free
        dropped: tuple[T, ...] = ()
        with self._lock:
            if self._is_closed:
                return
            if len(self._items) < room or valve is not None:
                self._items.append(item)
            else:
                dropped = (self._make_room(item),)
            if valve is not None and len(self._items) >= room and valve not in self._held:
                self._held.add(valve)
                valve.close(self)
        if self._drops is not None:
            for one in dropped:
                self._drops.note(one)

    def _make_room(self, item: T) -> T:
        """What is dropped."""
        if self._overflow in ("pause", "error"):
            raise BufferOverflow(self._complaint(), size=self._size)
        if self._overflow == "drop_newest" or not self._items:
            return item
        self._items.append(item)
        return self._items.popleft()

    def _complaint(self) -> str:
        what = f"the buffer is full ({self._size} items wait)"
        if self._overflow == "error":
            return what
        return (
            f"{what}, and the source cannot be paused: only what a connection is delivering can; "
            'use a larger buffer, or overflow="drop_oldest", "drop_newest" or "latest"'
        )

    def pop(self) -> T:
        """Takes the item that has waited longest."""
        with self._lock:
            return self._items.popleft()

    def reopen(self, free: int = 0) -> None:
        """Lets a paused source go on, if no more than half of the buffer is in use."""
        with self._lock:
            if len(self._items) <= self._size // 2 and len(self._items) < self._size + free:
                self.let_go()

    def let_go(self) -> None:
        """Lets a paused source go on."""
        with self._lock:
            held, self._held = self._held, set()
            for valve in held:
                valve.open(self)

    def close(self) -> None:
        """Forgets what waits, keeps nothing from here on, and lets a paused source go on."""
        with self._lock:
            self._is_closed = True
            self._items.clear()
            self.let_go()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan(Generic[T, R]):
    """What an operator was asked for."""

    name: str
    fn: Callable[[T], Awaitable[R]]
    max_concurrent: int
    ordered: bool
    buffer: int
    overflow: Overflow
    on_error: Callable[[T, Exception], R] | None
    drops: Drops[T] | None

    def new_buffer(self) -> Buffer[T]:
        return Buffer(self.buffer, self.overflow, self.drops)


def map_async(  # noqa: PLR0913 - each is a choice of its own
    fn: Callable[[T], Awaitable[R]],
    *,
    max_concurrent: int = 1,
    ordered: bool = True,
    buffer: int = 64,
    overflow: Overflow = "pause",
    on_error: Callable[[T, Exception], R] | None = None,
    drops: Drops[T] | None = None,
) -> Callable[[Observable[T]], Observable[R]]:
    """Awaits a coroutine function for each item, and emits what it returns.

    ::

        source:            ---1--2--3---------|
              map_async(fn)
        fn:                   1====2====3====
        result:            --------a----b----c|

    At most `buffer` items wait. What happens beyond that, `overflow` says; with `"pause"`, the connection whose
    messages these are is read no further until half of the buffer is empty again, so that TCP holds up the peer. What
    one read of the socket brought is kept all the same.

    Args:
        fn: The coroutine function. It must not wait for a message that the paused connection would bring.
        max_concurrent: How many items are worked on at a time, from 1.
        ordered: Whether results come in the order of their items. One that is done before its turn waits, and counts
            against `max_concurrent`; an error has its turn, too. Off: as they are completed.
        buffer: How many items may wait besides those that are worked on, from 0.
        overflow: When an item comes and the buffer is full: `"pause"` pauses the source; where that is no connection,
            it cannot be paused, and the stream ends with `BufferOverflow`. `"drop_oldest"` drops the item that waits
            longest, `"drop_newest"` the one that comes; `"latest"` lets only the newest wait, whatever `buffer` says.
            `"error"`: the stream ends with `BufferOverflow`.
        on_error: Given an item and what `fn` raised for it: makes a result of it. `None`: it is the stream's error.
        drops: What is told of the items that were dropped.

    Returns:
        A pipeable operator. An error, the source's or its own, passes at once, and what runs is cancelled; completion
        waits for what waits and runs. Disposing cancels what runs and forgets what waits. It works on the event loop
        that runs where it is subscribed to, or on that of the project whose scope subscribes; items from other threads
        are handed over. A result is emitted when it is there, which may be after `Stopped`. A subscriber that raises is
        logged, and sees the next result.

    Raises:
        ValueError: If a number or the policy cannot be.

    Example:
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
    plan = _Plan(
        name="map_async",
        fn=fn,
        max_concurrent=max_concurrent,
        ordered=ordered,
        buffer=buffer,
        overflow=overflow,
        on_error=on_error,
        drops=drops,
    )
    return _operator(plan)


def for_each_async(  # noqa: PLR0913 - as above
    fn: Callable[[T], Awaitable[object]],
    *,
    max_concurrent: int = 1,
    ordered: bool = True,
    buffer: int = 64,
    overflow: Overflow = "pause",
    on_error: Callable[[T, Exception], T] | None = None,
    drops: Drops[T] | None = None,
) -> Callable[[Observable[T]], Observable[T]]:
    """Awaits a coroutine function for each item, and passes the item on when that is done.

    ::

        source:            ---1--2--3---------|
              for_each_async(fn)
        fn:                   1====2====3====
        result:            --------1----2----3|

    What `do_action` is for functions, this is for coroutine functions: what stands behind it in the pipeline, such as
    an acknowledgement, comes when the work is done.

    Args:
        fn: The coroutine function; what it returns is not used.
        max_concurrent: As for `map_async`.
        ordered: Likewise.
        buffer: Likewise.
        overflow: Likewise.
        on_error: Given an item and what `fn` raised for it; what it returns passes on in the item's place. `None`: it
            is the stream's error.
        drops: As for `map_async`.

    Returns:
        A pipeable operator, in all else like that of `map_async`.

    Raises:
        ValueError: If a number or the policy cannot be.

    Example:
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

    async def pass_on(item: T) -> T:
        await fn(item)
        return item

    plan = _Plan(
        name="for_each_async",
        fn=pass_on,
        max_concurrent=max_concurrent,
        ordered=ordered,
        buffer=buffer,
        overflow=overflow,
        on_error=on_error,
        drops=drops,
    )
    return _operator(plan)


def _operator(plan: _Plan[T, R]) -> Callable[[Observable[T]], Observable[R]]:
    if plan.max_concurrent < 1:
        raise ValueError(f"max_concurrent must be 1 or more, not {plan.max_concurrent}")
    # Refuses what cannot be where the call is made.
    plan.new_buffer()

    def operator(source: Observable[T]) -> Observable[R]:
        def subscribe(observer: abc.ObserverBase[R], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            worker = _Worker(plan, observer, loop_of(scheduler))
            subscription = source.subscribe(worker.on_next, worker.on_error, worker.on_completed, scheduler=scheduler)
            return CompositeDisposable(subscription, Disposable(worker.dispose))

        return Observable(subscribe)

    return operator


class _Job(Generic[T]):
    """An item that is being worked on."""

    __slots__ = ("item", "task")

    def __init__(self, item: T) -> None:
        self.item = item
        self.task: asyncio.Task[Any] | None = None


class _Worker(Generic[T, R]):
    """One subscription of `map_async`.

    Items are put into the buffer on whatever thread they come; all else happens on the loop's.
    """

    def __init__(
        self, plan: _Plan[T, R], observer: abc.ObserverBase[R], loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self._plan = plan
        self._observer = observer
        self._loop = loop
        self._buffer = plan.new_buffer()
        self._jobs: dict[_Job[T], None] = {}
        # What comes behind in the pipeline can pause us, as we can pause what comes before.
        self._valve = Valve(lambda is_closed: None if is_closed else self._work(), self._run)
        self._is_called = False
        self._is_completed = False
        self._has_ended = False

    # What comes, on any thread

    def on_next(self, item: T) -> None:
        if self._loop is None:
            self._loop = running_loop()
        if self._loop is None or self._loop.is_closed():
            self._fail(RxNodesError(self._homeless()))
            return
        try:
            self._buffer.put(item, self._free())
        except BufferOverflow as error:
            failure = error
        else:
            self._call()
            return
        self._run(lambda: self._fail(failure))

    def on_error(self, error: Exception) -> None:
        self._run(lambda: self._fail(error))

    def on_completed(self) -> None:
        self._run(self._complete)

    def dispose(self) -> None:
        """Cancels what runs, and forgets what waits."""
        self._has_ended = True
        self._run(self._end)

    def _homeless(self) -> str:
        return (
            f"{self._plan.name} has no event loop: none runs where the item came or where it was subscribed to, or it "
            "is closed by now; subscribe in a coroutine, or with the subscribe() of a project that is open"
        )

    def _free(self) -> int:
        """How many items can be taken at once."""
        return 0 if self._valve.is_closed else self._plan.max_concurrent - len(self._jobs)

    def _call(self) -> None:
        """Has work done on the loop, once for however many items have come."""
        if self._loop is running_loop():
            self._work()
        elif not self._is_called:
            self._is_called = True
            self._run(self._answer_call)

    def _answer_call(self) -> None:
        self._is_called = False
        self._work()

    def _run(self, action: Callable[[], None]) -> None:
        """Runs `action` on the loop: at once where this is its thread, or where there is none (any more)."""
        loop = self._loop
        if loop is None or loop is running_loop():
            action()
            return
        try:
            loop.call_soon_threadsafe(action)
        except RuntimeError:
            # The loop is closed.
            action()

    # What is done, on the loop

    def _work(self) -> None:
        """Begins with as many items as may be worked on."""
        while len(self._buffer) > 0 and self._free() > 0 and not self._has_ended:
            self._begin(self._buffer.pop())
        self._buffer.reopen(self._free())

    def _begin(self, item: T) -> None:
        assert self._loop is not None
        job = _Job(item)
        self._jobs[job] = None
        job.task = self._loop.create_task(self._await(item), name=f"rxnodes {self._plan.name}")
        job.task.add_done_callback(lambda task: self._on_done(job, task))
        if self._has_ended:
            # A loop may begin a task at once, and what it runs may have disposed us.
            job.task.cancel()

    async def _await(self, item: T) -> R:
        return await self._plan.fn(item)

    def _on_done(self, job: _Job[T], task: asyncio.Task[R]) -> None:
        if self._has_ended:
            self._note_late(task)
            return
        for done in self._jobs_to_tell(job):
            del self._jobs[done]
            self._tell(done)
            if self._has_ended:
                return
        self._work()
        self._complete_if_done()

    def _note_late(self, task: asyncio.Task[R]) -> None:
        """What a coroutine raises while it is being cancelled concerns no stream any more."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("%s: a coroutine raised while it was cancelled", self._plan.name, exc_info=error)

    def _jobs_to_tell(self, job: _Job[T]) -> list[_Job[T]]:
        """The jobs whose turn has come, now that this one is done."""
        if not self._plan.ordered:
            return [job]
        turns: list[_Job[T]] = []
        for next_job in self._jobs:
            if next_job.task is None or not next_job.task.done():
                break
            turns.append(next_job)
        return turns

    def _tell(self, job: _Job[T]) -> None:
        """Emits the result of a job, or what went wrong."""
        try:
            result = self._result_of(job)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the stream's error
            self._fail(error)
            return
        try:
            deliver(self._valve, self._observer.on_next, result)
        except BaseException as error:  # noqa: BLE001 - what waits must not be left behind
            self._report(error)

    def _report(self, error: BaseException) -> None:
        """A subscriber raised. The stream goes on."""
        if not isinstance(error, KeyboardInterrupt | SystemExit):
            logger.error("%s: a subscriber raised", self._plan.name, exc_info=error)
            return

        def reraise() -> None:
            raise error

        assert self._loop is not None
        # Meant for the program; raised here it would cut this turn short.
        self._loop.call_soon(reraise)

    def _result_of(self, job: _Job[T]) -> R:
        assert job.task is not None
        error = self._error_of(job.task)
        if error is None:
            result: R = job.task.result()
            return result
        if self._plan.on_error is None:
            raise error
        return self._plan.on_error(job.item, error)

    def _error_of(self, task: asyncio.Task[R]) -> Exception | None:
        if task.cancelled():
            return RxNodesError(f"{self._plan.name}: a coroutine was cancelled, though nobody disposed the pipeline")
        error = task.exception()
        if error is None or isinstance(error, Exception):
            return error
        wrapped = RxNodesError(f"{self._plan.name}: a coroutine raised {type(error).__name__}")
        wrapped.__cause__ = error
        return wrapped

    def _complete(self) -> None:
        self._is_completed = True
        # Nothing comes any more that would have to be held up.
        self._buffer.let_go()
        self._complete_if_done()

    def _complete_if_done(self) -> None:
        if self._is_completed and not self._has_ended and not self._jobs and not len(self._buffer):
            self._end()
            self._observer.on_completed()

    def _fail(self, error: Exception) -> None:
        if not self._has_ended:
            self._end()
            self._observer.on_error(error)

    def _end(self) -> None:
        self._has_ended = True
        self._buffer.close()
        jobs, self._jobs = self._jobs, {}
        # The tasks of a loop that is closed have come to their end with it.
        if self._loop is None or self._loop.is_closed():
            return
        for job in jobs:
            if job.task is not None:
                job.task.cancel()


def aiter_observable(
    source: Observable[T], *, buffer: int = 64, overflow: Overflow = "pause", drops: Drops[T] | None = None
) -> ObservableIterator[T]:
    """The items of an observable, for `async for`.

    ::

        source:                       ---1--2--------3---|
        async for item in aiter_...:     1====2===   3==     and the loop ends

    The source is subscribed to at once, so that nothing is missed before the loop begins. When it completes, the loop
    ends behind its last item; its error is raised there. Leaving the loop early, with `break` or otherwise, disposes
    the subscription as soon as nobody holds the iterator any more, which for one that stands in the `async for` itself
    is at once (in CPython); `aclose()` and `async with` do it for certain.

    Args:
        source: The observable.
        buffer: How many items may wait, from 1.
        overflow: What happens when it is full: as for `map_async`. `BufferOverflow` is raised behind what waits.
        drops: What is told of the items that were dropped.

    Returns:
        An asynchronous iterator, for one task: a second one that waits for the next item meanwhile gets a
        `RuntimeError`. Cancelling the task that waits loses no item.

    Raises:
        RuntimeError: If no event loop runs here.
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
    feed = _Feed(asyncio.get_running_loop(), Buffer(buffer, overflow, drops, least=1))
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
        self._waiter: asyncio.Future[None] | None = None
        self._is_called = False
        self._is_closed = False
        self._is_over = False
        self._error: Exception | None = None

    def follow(self, source: Observable[T]) -> None:
        """Subscribes."""
        subscription = source.subscribe(
            self._on_next, self._finish, lambda: self._finish(None), scheduler=LoopScheduler(self._loop)
        )
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
                error, self._error = self._error, None
                raise StopAsyncIteration if error is None else error
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        item = self._buffer.pop()
        self._buffer.reopen()
        return item

    def close(self) -> None:
        """Disposes the subscription, and forgets what waits."""
        self._is_over = True
        self._error = None
        self._subscription.dispose()
        self._buffer.close()
        self._wake()
