"""Lifetimes: when a scope is left, all subscriptions in it are disposed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from reactivex.disposable import CompositeDisposable, Disposable, SingleAssignmentDisposable

from rxnodes.connection.protocols import check_connection
from rxnodes.errors import RxNodesError
from rxnodes.rx.arguments import check_disposable, check_observable
from rxnodes.rx.event_loops import call_on
from rxnodes.rx.forking import inherited
from rxnodes.rx.outbox import pipeline_reporter
from rxnodes.rx.schedulers import LoopScheduler, ThreadSafeLoopScheduler

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

    from reactivex import Observable, abc

    from rxnodes.connection.connection import Connection
    from rxnodes.lifecycle.events import Stopped
    from rxnodes.project.project import Project
    from rxnodes.rx.schedulers import LateScheduler

__all__ = ["Scene", "Scope", "UncancellableFuture", "await_end", "run_to_end", "wait_all_stopped"]

T = TypeVar("T")

logger = logging.getLogger("rxnodes")


class Outermost(Protocol):
    """The scope that contains all others, as they need it: a project, or a fleet that is seen from outside."""

    @property
    def name(self) -> str:
        """Its name in messages."""
        ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop, while it is open."""
        ...

    @property
    def late_scheduler(self) -> LateScheduler:
        """The scheduler for pipelines that are subscribed before it is open."""
        ...

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked from the one that opened it."""
        ...

    @property
    def has_ended(self) -> bool:
        """Whether it has been left."""
        ...

    def is_on_loop(self) -> bool:
        """Whether this is the event loop's thread."""
        ...


class Scope:
    """A lifetime. The project is the outer one; a scene is an inner one that can be left while the project runs on.

    Leaving a scope disposes all subscriptions in it. Projects are scopes, and `project.scene` makes others.

    Attributes:
        name: The scope's name in messages.

    Example:
        >>> from reactivex import operators as ops
        >>> from rxnodes import Project, pulse
        >>> def greet(scope: Scope) -> None:
        ...     scope.subscribe(pulse("hello").pipe(ops.do_action(lambda text: print(text, "from", scope.name))))
        >>> async def main() -> None:
        ...     async with Project() as project, project.scene("menu") as menu:
        ...         greet(project)
        ...         greet(menu)
        >>> asyncio.run(main())
        hello from the project
        hello from scene 'menu'
    """

    def __init__(self, name: str, outermost: Outermost) -> None:
        self.name = name
        self._outermost = outermost
        self._kept: dict[object, abc.DisposableBase] = {}
        self._has_ended = False

    @property
    def has_ended(self) -> bool:
        """Whether the scope has been left."""
        return self._has_ended

    @property
    def scheduler(self) -> abc.SchedulerBase:
        """The scheduler of timed operators: the project's event loop and its clock, which may be virtual.

        `subscribe` gives it to the pipelines. For a pipeline that is awaited, or subscribed without a scope, give it to
        the operators: `ops.delay(3, scheduler=project.scheduler)`. On the loop's own thread this is a scheduler for
        that thread alone; in any other thread it is one for all threads.

        Raises:
            RxNodesError: If the project is not open (any more).
        """
        scheduler = self._scheduler()
        if scheduler is None:
            raise self._not_open("scheduled on its loop")
        return scheduler

    def subscribe(self, *pipelines: Observable[Any]) -> abc.DisposableBase:
        """Subscribes to each of the pipelines, in order, until the scope is left.

        The pipelines are isolated: an error ends the pipeline it happened in, and no other. It is logged with its
        traceback; if it was raised while a connection notified, it is an `ErrorEvent` of phase `handler` as well. Timed
        operators run on the project's event loop, by its clock. Before the project is open they wait for it, and their
        times count from its opening.

        Args:
            *pipelines: Observables; usually an event node, operators and action nodes.

        Returns:
            A disposable that ends these subscriptions earlier.

        Raises:
            RxNodesError: If the scope has been left.
            TypeError: If one of them is not an observable. Then none is subscribed.
        """
        for pipeline in pipelines:
            check_observable("subscribe", pipeline)
        self._check_open()
        scheduler = self._scheduler()
        if scheduler is None and not self._outermost.has_ended:
            scheduler = self._outermost.late_scheduler
        return CompositeDisposable([self._subscribe(pipeline, scheduler) for pipeline in pipelines])

    def add(self, disposable: abc.DisposableBase) -> abc.DisposableBase:
        """Disposes something when the scope is left. If it raises then, that is logged, and harms nothing else.

        Args:
            disposable: Anything that can be disposed, such as a subscription that was made without the scope.

        Returns:
            A disposable that disposes it earlier.

        Raises:
            RxNodesError: If the scope has been left.
            TypeError: If it cannot be disposed.
        """
        check_disposable("add", disposable)
        self._check_open()
        return self._keep(disposable)

    def _check_open(self) -> None:
        if self._outermost.is_inherited:
            raise inherited(self._outermost.name)
        if self._has_ended:
            raise RxNodesError(f"{self.name} has been left: nothing can be subscribed in it any more")

    def _not_open(self, done: str) -> RxNodesError:
        if self._outermost.is_inherited:
            return inherited(self._outermost.name)
        if self._outermost.has_ended:
            return RxNodesError(f"{self._outermost.name} has been left: nothing can be {done} any more")
        return RxNodesError(f"{self._outermost.name} is not open: enter it with 'async with' or 'with' first")

    def _subscribe(self, pipeline: Observable[Any], scheduler: abc.SchedulerBase | None) -> abc.DisposableBase:
        subscription = SingleAssignmentDisposable()
        lifetime = self._keep(subscription)

        def fail(error: Exception) -> None:
            # The scope does not keep what is over, because a program may subscribe again and again in it.
            lifetime.dispose()
            self._on_pipeline_error(error)

        try:
            begun = pipeline.subscribe(on_error=fail, on_completed=lifetime.dispose, scheduler=scheduler)
        except Exception as error:  # noqa: BLE001 - Rx raises where the pipeline is over already
            fail(error)
        else:
            subscription.disposable = begun
        return lifetime

    def _keep(self, disposable: abc.DisposableBase) -> abc.DisposableBase:
        """Disposes something when the scope ends, or at once if it has ended meanwhile."""
        key = object()
        self._kept[key] = disposable
        lifetime = Disposable(partial(self._let_go, key))
        if self._has_ended:
            lifetime.dispose()
        return lifetime

    def _let_go(self, key: object) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            kept.dispose()

    def _end(self) -> None:
        """Disposes everything in the scope, even if one of the pipelines raises in its cleanup."""
        self._has_ended = True
        for key in list(self._kept):
            try:
                self._let_go(key)
            except Exception as error:  # noqa: BLE001 - reported
                self._on_pipeline_error(error)

    def _scheduler(self) -> abc.SchedulerBase | None:
        loop = self._outermost.loop
        if loop is None:
            return None
        return LoopScheduler(loop) if self._outermost.is_on_loop() else ThreadSafeLoopScheduler(loop)

    def _on_pipeline_error(self, error: Exception) -> None:
        # If it were raised here, it would pass through Rx to the stream that notifies, and Rx swallows some errors.
        report = pipeline_reporter()
        if report is not None:
            report(error)
        else:
            logger.error("%s: a pipeline ended with an error", self.name, exc_info=error)


class Scene(Scope):
    """An inner scope, as an (async) context manager.

    `project.scene` makes one. On leaving, its subscriptions are disposed, then the connections that were given to it
    are stopped, and their `Stopped` is waited for.

    Example:
        >>> from reactivex import operators as ops
        >>> from rxnodes import Project, Trigger
        >>> knock = Trigger[str]()
        >>> async def main() -> None:
        ...     async with Project() as project:
        ...         async with project.scene("hall") as hall:
        ...             hall.subscribe(knock.pipe(ops.do_action(print)))
        ...             knock.fire("heard in the hall")
        ...         knock.fire("heard by nobody")
        >>> asyncio.run(main())
        heard in the hall
    """

    def __init__(self, name: str, project: Project, connections: Iterable[Connection]) -> None:
        super().__init__(f"scene {name!r}", project)
        self._project = project
        if not isinstance(connections, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"expected a list of connections, such as [chat], got {type(connections).__name__}")
        self._connections = tuple(connections)
        for connection in self._connections:
            check_connection(connection)
        self._was_entered = False

    async def __aenter__(self) -> Self:
        return self._enter()

    async def __aexit__(self, *_: object) -> None:
        if not self._project.is_inherited:
            await self._leave()

    def __enter__(self) -> Self:
        if self._project.is_on_loop():
            raise RxNodesError(
                f"{self.name}: leaving a plain 'with' blocks, and the project's own thread must not; use 'async with'"
            )
        return self._enter()

    def __exit__(self, *_: object) -> None:
        if self._project.is_inherited:
            return
        try:
            self._project.call(self._leave)
        except (CancelledError, RxNodesError):
            if not self._project.has_ended:
                raise
            # The project was left before or meanwhile, which has stopped the connections and waited for them.
            self._end()

    def _enter(self) -> Self:
        if self._was_entered:
            raise RxNodesError(f"{self.name} has been entered before: a scene is entered once; make a new one")
        self._was_entered = True
        return self

    async def _leave(self) -> None:
        self._end()
        for connection in self._connections:
            connection.stop()
        await wait_all_stopped(self._connections)


class UncancellableFuture(asyncio.Future[T]):
    """A future that a cancelled task goes on awaiting until it is done.

    The task keeps the cancellation, which is raised there when the future is done. Further cancellations change
    nothing; anyio, for one, cancels again in every turn of the loop.
    """

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ARG002 - a future's signature
        """Returns `False`: the future was not cancelled, and the waiting task remembers its cancellation."""
        return False


async def wait_all_stopped(connections: Iterable[Connection]) -> None:
    """Waits until no session of these connections, which are being stopped, is live.

    A cancellation meanwhile is raised after the end. No task of its own waits, because a loop that is shut down would
    cancel it with all others.
    """
    ends: list[UncancellableFuture[Stopped]] = []
    for connection in connections:
        if connection.is_live:
            ends.append(UncancellableFuture())
            connection.for_project.tell_stopped(ends[-1])
    passed_on: asyncio.CancelledError | RxNodesError | None = None
    for end in ends:
        try:
            await end
        except (asyncio.CancelledError, RxNodesError) as error:
            passed_on = error
    if passed_on is not None:
        raise passed_on


async def run_to_end(work: Coroutine[Any, Any, None]) -> None:
    """Awaits a coroutine to its end. A cancellation meanwhile does not reach it, and is raised after it."""
    await await_end(asyncio.get_running_loop().create_task(work))


async def await_end(work: asyncio.Task[None] | Future[None]) -> None:
    """Awaits the end of a task, on whatever loop that runs. A cancellation meanwhile is raised after it."""
    end: UncancellableFuture[None] = UncancellableFuture()
    work.add_done_callback(lambda _: call_on(end.get_loop(), end.set_result, None))
    try:
        await end
    finally:
        # If another loop is shut down, that cancels the work and not us.
        with contextlib.suppress(CancelledError):
            work.result()
