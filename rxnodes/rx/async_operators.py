"""Consumers that are awaited: coroutine functions as operators."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.scheduler.eventloop import AsyncIOScheduler

from rxnodes.errors import BufferOverflow, RxNodesError
from rxnodes.rx.arguments import check_callback, check_count
from rxnodes.rx.backpressure import Valve, deliver
from rxnodes.rx.buffer import Buffer
from rxnodes.rx.schedulers import ThreadSafeLoopScheduler, loop_of, running_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from rxnodes.rx.buffer import Drops, Overflow

__all__ = ["for_each_async", "map_async"]

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("rxnodes")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan(Generic[T, R]):
    """What an operator was asked for."""

    name: str
    fn: Callable[[T], Awaitable[Any]]
    result: Callable[[T, Any], R]
    max_concurrent: int
    ordered: bool
    buffer: int
    overflow: Overflow
    on_error: Callable[[Exception, T], R] | None
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
    on_error: Callable[[Exception, T], R] | None = None,
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
        on_error: A plain function: given what `fn` raised and the item, it makes the result. `None`: what `fn` raised
            is the stream's error. So is what it raises itself, and an `fn` that is no coroutine function.
        drops: What is told of the items that were dropped.

    Returns:
        A pipeable operator. An error, the source's or its own, passes at once, and what runs is cancelled; completion
        waits for what waits and runs. Disposing cancels what runs and forgets what waits. It works on the event loop
        that runs where it is subscribed to, or on that of the project whose scope subscribes; items from other threads
        are handed over. A result is emitted when it is there, which may be after `Stopped`. A subscriber that raises is
        logged, and sees the next result.

    Raises:
        TypeError: If an argument is not of its type.
        ValueError: If a number or the policy cannot be.

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
    plan = _Plan(
        name="map_async",
        fn=fn,
        result=lambda _, result: result,
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
    on_error: Callable[[Exception, T], object] | None = None,
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
        on_error: A plain function, such as one that logs, given what `fn` raised and the item; then the item passes on.
            `None`: what `fn` raised is the stream's error. So is what it raises itself.
        drops: As for `map_async`.

    Returns:
        A pipeable operator, in all else like that of `map_async`.

    Raises:
        TypeError: If an argument is not of its type.
        ValueError: If a number or the policy cannot be.

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

    def handle(error: Exception, item: T) -> T:
        assert on_error is not None
        on_error(error, item)
        return item

    check_callback("on_error", on_error, gives="nothing", is_optional=True)
    plan = _Plan(
        name="for_each_async",
        fn=fn,
        result=lambda item, _: item,
        max_concurrent=max_concurrent,
        ordered=ordered,
        buffer=buffer,
        overflow=overflow,
        on_error=None if on_error is None else handle,
        drops=drops,
    )
    return _operator(plan)


def _operator(plan: _Plan[T, R]) -> Callable[[Observable[T]], Observable[R]]:
    if not callable(plan.fn):
        raise TypeError(f"{plan.name} takes a coroutine function, not {type(plan.fn).__name__}")
    check_count("max_concurrent", plan.max_concurrent, least=1)
    plan.new_buffer()

    def operator(source: Observable[T]) -> Observable[R]:
        def subscribe(observer: abc.ObserverBase[R], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            loop = loop_of(scheduler)
            worker = _Worker(plan, observer, loop)
            if loop is not None and type(scheduler) is AsyncIOScheduler:
                # What a coroutine that awaits subscribes with. A connection of another loop would hand over what it
                # delivers, where it could not be held up any more. The worker does that by itself.
                scheduler = ThreadSafeLoopScheduler(loop)
            subscription = source.subscribe(worker.on_next, worker.on_error, worker.on_completed, scheduler=scheduler)
            return CompositeDisposable(subscription, Disposable(worker.dispose))

        return Observable(subscribe)

    return operator


class _NothingToAwaitError(TypeError):
    """The function is no coroutine function: no matter of an item, but of the pipeline."""

    def __init__(self, name: str, result: object) -> None:
        plain = "ops.map" if name == "map_async" else "ops.do_action"
        super().__init__(
            f"{name} takes a coroutine function; this one gave {type(result).__name__}, which cannot be awaited: for a "
            f"plain function take {plain}"
        )


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
        awaitable = self._plan.fn(item)
        if not isawaitable(awaitable):
            raise _NothingToAwaitError(self._plan.name, awaitable)
        return self._plan.result(item, await awaitable)

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
        if self._plan.on_error is None or isinstance(error, _NothingToAwaitError):
            raise error
        return self._plan.on_error(error, job.item)

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
