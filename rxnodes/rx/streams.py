"""Hot streams: isolated, ordered, replaying where asked.

reactivex's own `Subject` lets an observer that raises keep a value from the others, and shows two observers a different
order when one of them emits while it is being notified. An `IsolatedSubject` calls every subscriber, whatever another
does. An `Outbox` lets one notification reach all of them before the next begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import math
import threading
from operator import length_hint
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from reactivex import Observable, Observer, abc
from reactivex.scheduler.eventloop import AsyncIOScheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rxnodes.rx.backpressure import Valve

__all__ = [
    "Derived",
    "IsolatedBehaviorSubject",
    "IsolatedSubject",
    "Outbox",
    "View",
    "Views",
    "call_on",
    "log_for",
    "observer_on_loop_of",
    "on_loop_of",
    "pipeline_reporter",
]

S = TypeVar("S")
T = TypeVar("T")

logger = logging.getLogger("rxnodes")

#: For how long an outbox delivers before the loop's other work has its turn, in seconds, and how much it delivers at
#: least: where few notifications are told, it is at once, whatever else the machine does meanwhile.
TURN: Final = 0.01
AT_ONCE: Final = 4


def on_loop_of(scheduler: abc.SchedulerBase | None, notify: Callable[..., Any]) -> Callable[..., Any]:
    """The callback as it is to be called where it was subscribed with this scheduler.

    An `AsyncIOScheduler`, which is what a coroutine that awaits an observable subscribes with, is for its loop's own
    thread alone. So from another thread it is called by way of that loop: a future that is given its result from
    elsewhere does not wake whoever awaits it.
    """
    if type(scheduler) is AsyncIOScheduler:
        return functools.partial(call_on, scheduler._loop, notify)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return notify


def observer_on_loop_of(scheduler: abc.SchedulerBase | None, observer: abc.ObserverBase[T]) -> abc.ObserverBase[T]:
    """The observer as it is to be called where it was subscribed with this scheduler."""
    if type(scheduler) is AsyncIOScheduler:
        return Observer(
            on_loop_of(scheduler, observer.on_next),
            on_loop_of(scheduler, observer.on_error),
            on_loop_of(scheduler, observer.on_completed),
        )
    return observer


def call_on(loop: asyncio.AbstractEventLoop, notify: Callable[..., Any], *values: Any) -> None:
    """Calls `notify(*values)` on that loop: at once where it is the one that runs in this thread."""
    # get_running_loop would raise where there is none.
    if asyncio._get_running_loop() is loop:  # noqa: SLF001
        notify(*values)
        return
    # A loop that has closed has nobody left who waits.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(notify, *values)


def log_for(whose: str) -> Callable[[BaseException], None]:
    """What a stream that belongs to no connection reports with: what a subscriber raises is logged.

    Args:
        whose: What the stream is called in the log.
    """

    def report(error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise error
        logger.error("a subscriber of %s raised", whose, exc_info=error)

    return report


def _ignore(_value: object = None) -> None:
    """What a disposed subscription does with a notification that is already on its way."""


class _Subscription(abc.DisposableBase):
    """One subscriber of a hot stream."""

    __slots__ = ("is_disposed", "on_completed", "on_next", "stream")

    def __init__(
        self, stream: IsolatedSubject[Any], on_next: Callable[[Any], object], on_completed: Callable[[], object]
    ) -> None:
        self.stream = stream
        self.is_disposed = False
        self.on_next = on_next
        self.on_completed = on_completed

    def dispose(self) -> None:
        self.is_disposed = True
        self.on_next = _ignore
        self.on_completed = _ignore
        self.stream.detach(self)


class IsolatedSubject(Observable[T]):
    """A hot observable whose subscribers cannot harm one another.

    It never errors, and completes when its owner says so. A subscriber that raises goes on being notified; what it
    raised goes to `report`. Subscribing and disposing are allowed from any thread and at any moment, also from within a
    notification: who subscribes during one sees the next, who is disposed during one is not called any more.
    """

    def __init__(self, report: Callable[[BaseException], None], lock: threading.RLock | None = None) -> None:
        super().__init__()
        if lock is not None:
            # The streams of one connection share one, which is held for moments only.
            self.lock = lock
        self._report = report
        self._subscriptions: tuple[_Subscription, ...] = ()
        self._completed = False

    def subscribe(
        self,
        on_next: abc.ObserverBase[T] | abc.OnNext[T] | None = None,
        on_error: abc.OnError | None = None,  # noqa: ARG002 - part of what an observable is
        on_completed: abc.OnCompleted | None = None,
        *,
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        """Subscribes an observer, or callbacks.

        The subscriber is called directly: the guard that reactivex puts around every observer would end the
        subscription when it raises.

        Args:
            on_next: The observer, or what to call with each value.
            on_error: Never called: a hot stream does not error.
            on_completed: What to call when the stream completes.
            scheduler: Values are emitted when they come, whatever scheduler this is; but those for an
                `AsyncIOScheduler`, as of a coroutine that awaits them, on its loop.

        Returns:
            What ends the subscription.

        Raises:
            TypeError: If it is a coroutine function.
        """
        if not callable(on_next) and hasattr(on_next, "on_next"):
            observer = cast("abc.ObserverBase[T]", on_next)
            on_next, on_completed = observer.on_next, observer.on_completed
        if inspect.iscoroutinefunction(on_next):
            raise TypeError(
                "a coroutine function cannot be a subscriber, for nobody would await it: for_each_async does, as in "
                "stream.pipe(for_each_async(function))"
            )
        subscription = _Subscription(
            self,
            on_loop_of(scheduler, on_next or _ignore),  # pyright: ignore[reportArgumentType]
            on_loop_of(scheduler, on_completed or _ignore),
        )
        self.attach(subscription)
        return subscription

    def attach(self, subscription: _Subscription) -> None:
        """Adds a subscriber; one that comes after completion is told so at once."""
        with self.lock:
            is_late = self._completed
            if not is_late:
                self._subscriptions = (*self._subscriptions, subscription)
        if is_late:
            self._notify(subscription.on_completed)
        self.note_observed()

    def detach(self, subscription: _Subscription) -> None:
        """Removes a subscriber."""
        with self.lock:
            self._subscriptions = tuple(other for other in self._subscriptions if other is not subscription)
        self.note_observed()

    def note_observed(self) -> None:
        """Called when a subscriber has come or gone: for streams that do something only while they are observed."""

    @property
    def is_observed(self) -> bool:
        """Whether anybody is subscribed."""
        return bool(self._subscriptions)

    @property
    def is_completed(self) -> bool:
        """Whether nothing is emitted any more."""
        return self._completed

    def emit(self, value: T) -> None:
        """Shows the value to every subscriber."""
        for subscription in self._subscriptions:
            try:
                subscription.on_next(value)
            except BaseException as error:  # noqa: BLE001 - isolation is what this class is for
                self._report_raised(error)

    def complete(self) -> None:
        """Completes the stream. Nothing is emitted after that."""
        with self.lock:
            subscriptions, self._subscriptions = self._subscriptions, ()
            self._completed = True
        for subscription in subscriptions:
            self._notify(subscription.on_completed)

    def _notify(self, on_completed: Callable[[], object]) -> None:
        try:
            on_completed()
        except BaseException as error:  # noqa: BLE001 - as in emit
            self._report_raised(error)

    def _report_raised(self, error: BaseException) -> None:
        """Reports what a subscriber raised. Where that fails, the other subscribers are notified all the same."""
        try:
            self._report(error)
        except Exception:
            logger.exception("what a subscriber raised cannot be reported")


class IsolatedBehaviorSubject(IsolatedSubject[T]):
    """A hot stream that shows the last value to each new subscriber first.

    What is replayed must not overtake what is emitted. So `run` brings each subscription to the thread that emits.
    """

    def __init__(
        self,
        report: Callable[[BaseException], None],
        initial: T,
        run: Callable[[Callable[[], None]], None],
        lock: threading.RLock | None = None,
    ) -> None:
        super().__init__(report, lock)
        self._last = initial
        self._run = run

    def attach(self, subscription: _Subscription) -> None:
        """Shows the last value to a new subscriber, and adds it."""

        def replay_and_attach() -> None:
            if not self._completed:
                try:
                    subscription.on_next(self._last)
                except BaseException as error:  # noqa: BLE001 - as in emit
                    self._report_raised(error)
            if not subscription.is_disposed:
                super(IsolatedBehaviorSubject, self).attach(subscription)

        self._run(replay_and_attach)

    def emit(self, value: T) -> None:
        """Shows the value to every subscriber, and keeps it."""
        self._last = value
        super().emit(value)


class Derived(IsolatedSubject[T]):
    """A hot stream that shows what is made of each value of another one, which it follows while it is observed.

    All that is made of a value is shown to every subscriber within the notification of that value.

    Args:
        source: The other stream.
        relay: Given each value of `source`, and what emits, it emits what it makes of the value, if anything.
    """

    def __init__(self, source: IsolatedSubject[S], relay: Callable[[S, Callable[[T], None]], None]) -> None:
        super().__init__(source._report, source.lock)  # noqa: SLF001 - our own
        self._source: IsolatedSubject[Any] = source
        self._relay = relay
        self._following: _Subscription | None = None

    @property
    def is_completed(self) -> bool:
        """Whether nothing is emitted any more."""
        return self._completed or self._source.is_completed

    def complete(self) -> None:
        """Completes the stream. Nothing is emitted after that."""
        self._following = None
        super().complete()

    def note_observed(self) -> None:
        """Follows the source from the first subscriber on, up to the last."""
        with self.lock:
            if self.is_observed == (self._following is not None):
                return
            if self._following is not None:
                following, self._following = self._following, None
                following.dispose()
                return
            if not self._source.is_completed:
                self._following = _Subscription(self._source, self._take, self.complete)
                self._source.attach(self._following)
                return
        # Not within the lock: whoever is told may do anything.
        self.complete()

    def _take(self, value: Any) -> None:
        self._relay(value, self.emit)


class Views:
    """What the views of one source share: which of them are observed.

    The set is replaced at every change, so that whoever is in the midst of a run sees that there was one.
    """

    __slots__ = ("lock", "observed")

    def __init__(self, lock: threading.RLock) -> None:
        self.lock = lock
        self.observed: frozenset[View[Any]] = frozenset()

    def note(self, view: View[Any]) -> None:
        """Notes whether this view is observed now."""
        with self.lock:
            others = self.observed - {view}
            self.observed = others | {view} if view.is_observed else others


class View(IsolatedSubject[T]):
    """A hot stream that shows the values of a source in one form; of a source there are several views.

    Where only one of them is observed, a run of values goes to it without asking the others for each.
    """

    def __init__(self, report: Callable[[BaseException], None], views: Views) -> None:
        super().__init__(report, views.lock)
        self._views = views

    def note_observed(self) -> None:
        """Tells the other views."""
        self._views.note(self)

    def emit_run(self, values: Sequence[Any], start: int) -> int:
        """Shows the values from `start` on, as long as no other view is observed.

        Returns:
            How many were shown.
        """
        views = self._views
        observed = views.observed
        if len(observed) != 1 or self not in observed:
            return 0
        left = iter(values[start:] if start else values)
        subscriptions = self._subscriptions
        if len(subscriptions) == 1:
            self._show_to_one(subscriptions[0].on_next, left, observed)
        else:
            for value in left:
                self.emit(value)
                if views.observed is not observed:
                    break
        return len(values) - start - length_hint(left)

    def _show_to_one(
        self, on_next: Callable[[Any], object], values: Iterator[Any], observed: frozenset[View[Any]]
    ) -> None:
        """Shows the values to the only subscriber, until anybody comes or goes.

        Until then that is the same one, and need not be looked up for each value: two fifths of the time it takes.
        """
        views = self._views
        for value in values:
            try:
                on_next(value)
            except BaseException as error:  # noqa: BLE001 - as in emit
                self._report_raised(error)
            if views.observed is not observed:
                break


class _Notifying(threading.local):
    """Whose notification is being delivered in this thread: what is told of a pipeline that ends with an error."""

    report: Callable[[Exception], None] | None = None


_notifying = _Notifying()


def pipeline_reporter() -> Callable[[Exception], None] | None:
    """What is told of a pipeline that ends with an error here and now; `None`: nothing is being delivered.

    Where a connection's notification has led to another one's, it is that of the inner one.
    """
    return _notifying.report


class Outbox:
    """A queue of notifications, of which one is delivered to all before the next begins.

    Whoever posts while a notification is being delivered comes after it. Only the thread that owns the outbox posts.

    What takes long is delivered in several turns of the loop, so that others have theirs. Until all of it is, the valve
    is closed: a source that went on would have it grow.

    Args:
        report: What is told of a pipeline that ends with an error while a notification is being delivered.
        valve: The valve of the source.

    Attributes:
        is_delivering: Whether a notification is being delivered.
        is_put_off: Whether some wait for another turn of the loop.
    """

    __slots__ = ("_queue", "_report", "_valve", "is_delivering", "is_put_off")

    def __init__(self, report: Callable[[Exception], None], valve: Valve) -> None:
        # Not a deque, which is 600 bytes even when it is empty.
        self._queue: list[tuple[Callable[[Any], None], Any]] = []
        self._report = report
        self._valve = valve
        self.is_put_off = False
        self.is_delivering = False

    def post(self, deliver: Callable[[T], None], value: T) -> None:
        """Queues a notification."""
        self._queue.append((deliver, value))

    def flush(self) -> None:
        """Delivers what is queued, unless that is being done already. A delivery never raises."""
        if not self._queue or self.is_delivering or self.is_put_off:
            return
        # get_running_loop would raise where there is none.
        loop = asyncio._get_running_loop()  # noqa: SLF001
        try:
            self._deliver(self._work_off, loop)
        finally:
            # Also where the program was interrupted.
            if loop is not None and self._queue:
                self.is_put_off = True
                self._valve.close(self)
                loop.call_soon(self._go_on)

    def send(self, deliver: Callable[[T], None], value: T) -> None:
        """Posts and flushes; without a detour through the queue where nothing is ahead."""
        if self.is_delivering or self._queue:
            self._queue.append((deliver, value))
            self.flush()
            return
        # As _deliver does, without a call more: this is the hot path.
        before, _notifying.report = _notifying.report, self._report
        self.is_delivering = True
        try:
            deliver(value)
        finally:
            self.is_delivering = False
            _notifying.report = before
        if self._queue:
            self.flush()

    def within(self, act: Callable[[], None]) -> None:
        """Does what is no notification of its own, such as showing a new subscriber the last one."""
        before, _notifying.report = _notifying.report, self._report
        try:
            act()
        finally:
            _notifying.report = before

    def _deliver(self, deliver: Callable[[T], None], value: T) -> None:
        before, _notifying.report = _notifying.report, self._report
        self.is_delivering = True
        try:
            deliver(value)
        finally:
            self.is_delivering = False
            _notifying.report = before

    def _work_off(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Delivers one after the other, until nothing is left or the turn has lasted long enough."""
        ends = math.inf if loop is None else loop.time() + TURN
        left: Iterator[tuple[Callable[[Any], None], Any]] = iter(())
        done = 0
        try:
            while self._queue:
                # What is posted meanwhile goes behind these: taken from its head, a long list is moved each time.
                left, self._queue = iter(self._queue), []
                for deliver, value in left:
                    deliver(value)
                    # A list is that of the messages of one read.
                    done += len(value) if type(value) is list else 1  # pyright: ignore[reportUnknownArgumentType]
                    if done >= AT_ONCE and loop is not None and loop.time() >= ends:
                        return
        finally:
            self._queue[:0] = left

    def _go_on(self) -> None:
        self.is_put_off = False
        try:
            self.flush()
        finally:
            if not self.is_put_off:
                self._valve.open(self)
