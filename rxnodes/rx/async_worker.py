"""One subscription of `map_async` or `for_each_async`: it starts tasks, keeps to its limits, and emits results."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rxnodes.errors import BufferOverflow, RxNodesError
from rxnodes.rx.backpressure import PauseControl, deliver
from rxnodes.rx.schedulers import running_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from reactivex import abc

    from rxnodes.rx.buffer import Buffer

__all__ = ["Plan", "Worker"]

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("rxnodes")


@dataclass(frozen=True, slots=True)
class Plan(Generic[T, R]):
    """What an operator does. The other attributes are those arguments of `map_async`.

    Attributes:
        operator: The operator's name, for messages.
        result: Called with an item and what `fn` or `on_error` returned for it. It returns the item to emit.
        new_buffer: Makes the buffer of one subscription.
    """

    operator: str
    fn: Callable[[T], Awaitable[Any]]
    result: Callable[[T, Any], R]
    on_error: Callable[[Exception, T], Any] | None
    max_concurrent: int
    ordered: bool
    new_buffer: Callable[[], Buffer[T]]


class _NotAwaitableError(TypeError):
    """The user's function is no coroutine function. This ends the stream, because every item would fail."""

    def __init__(self, operator: str, result: object) -> None:
        plain = "ops.map" if operator == "map_async" else "ops.do_action"
        super().__init__(
            f"{operator}: expected a coroutine function, got one that returns {type(result).__name__}; "
            f"for a plain function use {plain}"
        )


class _Job(Generic[T]):
    """An item, and the task that works on it."""

    __slots__ = ("item", "task")

    def __init__(self, item: T) -> None:
        self.item = item
        self.task: asyncio.Task[Any] | None = None


class Worker(Generic[T, R]):
    """One subscription of `map_async` or `for_each_async`.

    An item is put into the buffer on the thread on which it comes. All else happens on the event loop.
    """

    def __init__(self, plan: Plan[T, R], observer: abc.ObserverBase[R], loop: asyncio.AbstractEventLoop | None) -> None:
        self._plan = plan
        self._observer = observer
        self._loop = loop
        self._buffer = plan.new_buffer()
        # In the order of their items.
        self._jobs: dict[_Job[T], None] = {}
        # A second operator like this one, further down the pipeline, pauses this one, as this one pauses its source.
        self._pause_control = PauseControl(lambda is_paused: None if is_paused else self._work(), self._run_on_loop)
        self._is_work_scheduled = False
        self._is_completed = False
        self._has_ended = False

    # Called by the source, on any thread

    def on_next(self, item: T) -> None:
        """Puts an item into the buffer, and works on it when its turn comes."""
        if self._loop is None:
            self._loop = running_loop()
        if self._loop is None or self._loop.is_closed():
            self._fail(
                RxNodesError(
                    f"{self._plan.operator}: no event loop runs in this thread, or the one it was subscribed on is "
                    "closed; subscribe in a coroutine, or with subscribe() of an open project"
                )
            )
            return
        try:
            self._buffer.put(item, self._free())
        except BufferOverflow as error:
            self._run_on_loop(partial(self._fail, error))
        else:
            self._schedule_work()

    def on_error(self, error: Exception) -> None:
        """Passes the error on at once."""
        self._run_on_loop(lambda: self._fail(error))

    def on_completed(self) -> None:
        """Completes when the last item is done."""
        self._run_on_loop(self._complete)

    def dispose(self) -> None:
        """Cancels the tasks, and discards the items that wait."""
        self._has_ended = True
        self._run_on_loop(self._end)

    def _free(self) -> int:
        """How many more items may be worked on now."""
        return 0 if self._pause_control.is_paused else self._plan.max_concurrent - len(self._jobs)

    def _schedule_work(self) -> None:
        """Works at once in the loop's thread. Another thread schedules one call for all the items that it brings."""
        if self._loop is running_loop():
            self._work()
        elif not self._is_work_scheduled:
            self._is_work_scheduled = True
            self._run_on_loop(self._scheduled_work)

    def _scheduled_work(self) -> None:
        self._is_work_scheduled = False
        self._work()

    def _run_on_loop(self, action: Callable[[], None]) -> None:
        """Calls `action` on the loop; at once if this is the loop's thread, or if the loop is missing or closed."""
        loop = self._loop
        if loop is None or loop is running_loop():
            action()
            return
        try:
            loop.call_soon_threadsafe(action)
        except RuntimeError:
            # The loop is closed.
            action()

    # On the loop

    def _work(self) -> None:
        """Starts a task for each item that may be worked on now."""
        while len(self._buffer) > 0 and self._free() > 0 and not self._has_ended:
            self._start(self._buffer.pop())
        self._buffer.resume_source_at_half(self._free())

    def _start(self, item: T) -> None:
        assert self._loop is not None
        job = _Job(item)
        self._jobs[job] = None
        job.task = self._loop.create_task(self._await(item), name=f"rxnodes {self._plan.operator}")
        job.task.add_done_callback(lambda task: self._on_done(job, task))
        if self._has_ended:
            # With an eager task factory the coroutine has run already, and may have disposed this subscription.
            job.task.cancel()

    async def _await(self, item: T) -> Any:
        awaitable = self._plan.fn(item)
        if not isawaitable(awaitable):
            raise _NotAwaitableError(self._plan.operator, awaitable)
        return await awaitable

    def _on_done(self, job: _Job[T], task: asyncio.Task[Any]) -> None:
        if self._has_ended:
            self._log_late_error(task)
            return
        for done in self._jobs_to_emit(job):
            del self._jobs[done]
            self._emit(done)
            if self._has_ended:
                return
        self._work()
        self._complete_if_done()

    def _log_late_error(self, task: asyncio.Task[Any]) -> None:
        """Logs an exception of a coroutine that was cancelled, because its stream has ended."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("%s: a coroutine raised while it was cancelled", self._plan.operator, exc_info=error)

    def _jobs_to_emit(self, job: _Job[T]) -> list[_Job[T]]:
        """The jobs whose results can be emitted because this job is done."""
        if not self._plan.ordered:
            return [job]
        return list(takewhile(lambda it: it.task is not None and it.task.done(), self._jobs))

    def _emit(self, job: _Job[T]) -> None:
        """Emits the result of a job, or fails with its error."""
        try:
            result = self._result_of(job)
        except Exception as error:  # noqa: BLE001 - any exception is the stream's error
            self._fail(error)
            return
        try:
            deliver(self._pause_control, self._observer.on_next, result)
        except BaseException as error:  # noqa: BLE001 - the results after this one must be emitted too
            self._report(error)

    def _report(self, error: BaseException) -> None:
        """Logs an exception of a subscriber. The stream goes on."""
        if not isinstance(error, KeyboardInterrupt | SystemExit):
            logger.error("%s: a subscriber raised", self._plan.operator, exc_info=error)
            return

        def reraise() -> None:
            raise error

        assert self._loop is not None
        # It is meant for the program. If it were raised here, the results after this one would not be emitted.
        self._loop.call_soon(reraise)

    def _result_of(self, job: _Job[T]) -> R:
        assert job.task is not None
        error = self._error_of(job.task)
        if error is None:
            return self._plan.result(job.item, job.task.result())
        if self._plan.on_error is None or isinstance(error, _NotAwaitableError):
            raise error
        return self._plan.result(job.item, self._plan.on_error(error, job.item))

    def _error_of(self, task: asyncio.Task[Any]) -> Exception | None:
        operator = self._plan.operator
        if task.cancelled():
            return RxNodesError(f"{operator}: a coroutine was cancelled, but not by disposing the subscription")
        error = task.exception()
        if error is None or isinstance(error, Exception):
            return error
        wrapped = RxNodesError(f"{operator}: a coroutine raised {type(error).__name__}")
        wrapped.__cause__ = error
        return wrapped

    def _complete(self) -> None:
        self._is_completed = True
        # The source is paused no longer, because it has ended.
        self._buffer.resume_source()
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
        # The tasks of a closed loop have ended with it.
        if self._loop is None or self._loop.is_closed():
            return
        for job in jobs:
            if job.task is not None:
                job.task.cancel()
