"""Isolated subjects: hot streams whose subscribers cannot harm one another.

If a subscriber of reactivex's own `Subject` raises, those after it do not get the value. An isolated subject calls
every subscriber, whatever another one does. docs/streams.md compares the two.
"""

from __future__ import annotations

import inspect
import logging
from operator import length_hint
from typing import TYPE_CHECKING, Any, TypeVar, cast

from reactivex import Observable, abc
from reactivex.internal import default_error

from rxnodes.rx.event_loops import on_loop_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Derived", "IsolatedBehaviorSubject", "IsolatedSubject", "Subscription", "View", "Views", "log_for"]

S = TypeVar("S")
T = TypeVar("T")

logger = logging.getLogger("rxnodes")


def log_for(whose: str) -> Callable[[BaseException], None]:
    """Makes the `report` of a stream that belongs to no connection. It logs what the subscribers of `whose` raise."""

    def report(error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise error
        logger.error("a subscriber of %s raised", whose, exc_info=error)

    return report


def _ignore(_value: object = None) -> None:
    """Replaces the callbacks of a disposed subscription, which a notification under way may still call."""


class Subscription(abc.DisposableBase):
    """One subscriber of a hot stream."""

    __slots__ = ("is_disposed", "on_completed", "on_error", "on_next", "stream")

    def __init__(
        self,
        stream: IsolatedSubject[Any],
        on_next: Callable[[Any], object],
        on_error: Callable[[Exception], object] = _ignore,
        on_completed: Callable[[], object] = _ignore,
    ) -> None:
        self.stream = stream
        self.is_disposed = False
        self.on_next = on_next
        self.on_error = on_error
        self.on_completed = on_completed

    def dispose(self) -> None:
        """Removes the subscriber. It is not called any more."""
        self.is_disposed = True
        self.let_go()
        self.stream.detach(self)

    def let_go(self) -> None:
        """Drops the callbacks, which may refer to the subscription. The subscriber is not called any more."""
        self.on_next = self.on_error = self.on_completed = _ignore


class IsolatedSubject(Observable[T], abc.SubjectBase[T]):
    """A subject whose subscribers cannot harm one another.

    As reactivex's `Subject`, it is an observable and an observer, and passes on what it gets until it completes or
    errors. If a subscriber raises, the exception goes to `report`, and all subscribers are notified further, that one
    too.

    Subscribing and disposing are allowed from any thread and at any moment, also within a notification. A subscriber
    that comes during a notification sees the next one. One that is disposed during it is not called any more.

    Args:
        report: Called with each exception that a subscriber raises.
        lock: The lock that several streams share, such as those of one connection. It is held only for moments.
    """

    #: The error with which the stream has ended; `None`: with none.
    _error: Exception | None = None

    def __init__(self, report: Callable[[BaseException], None], lock: threading.RLock | None = None) -> None:
        super().__init__()
        if lock is not None:
            self.lock = lock
        self._report = report
        self._subscriptions: tuple[Subscription, ...] = ()
        self._is_stopped = False

    def subscribe(
        self,
        on_next: abc.ObserverBase[T] | abc.OnNext[T] | None = None,
        on_error: abc.OnError | None = None,
        on_completed: abc.OnCompleted | None = None,
        *,
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        """Subscribes an observer, or callbacks.

        They are called directly, without the guard that reactivex puts around every observer. The guard would
        unsubscribe an observer that raises when a value is replayed to it.

        Args:
            on_next: The observer, or a function to call with each value.
            on_error: Called when the stream ends with an error. Without it, the error is raised, as in Rx, and so
                reported.
            on_completed: Called when the stream completes.
            scheduler: An `AsyncIOScheduler` has the values emitted on its loop. A coroutine that awaits the stream
                subscribes with one. With any other scheduler, or none, values are emitted when they come.

        Returns:
            The subscription. Dispose it to unsubscribe.

        Raises:
            TypeError: If `on_next` is a coroutine function.
        """
        if hasattr(on_next, "on_next"):
            observer = cast("abc.ObserverBase[T]", on_next)
            on_next, on_error, on_completed = observer.on_next, observer.on_error, observer.on_completed
        if inspect.iscoroutinefunction(on_next):
            raise TypeError(
                "on_next: expected a plain function, got a coroutine function, which is not awaited here; use "
                "stream.pipe(for_each_async(function))"
            )
        subscription = Subscription(
            self,
            on_loop_of(scheduler, cast("Callable[[T], object]", on_next or _ignore)),
            on_loop_of(scheduler, on_error or default_error),
            on_loop_of(scheduler, on_completed or _ignore),
        )
        self.attach(subscription)
        return subscription

    def attach(self, subscription: Subscription) -> None:
        """Adds a subscriber. If the stream has ended, the subscriber gets the end at once."""
        with self.lock:
            is_late = self._is_stopped
            if not is_late:
                self._subscriptions = (*self._subscriptions, subscription)
        if is_late:
            self._tell_end(subscription)
        self.note_observed()

    def detach(self, subscription: Subscription) -> None:
        """Removes a subscriber."""
        with self.lock:
            self._subscriptions = tuple([other for other in self._subscriptions if other is not subscription])
        self.note_observed()

    def note_observed(self) -> None:
        """Called when a subscriber has come or gone. Streams override it that do something only while observed."""

    @property
    def is_observed(self) -> bool:
        """Whether the stream has a subscriber."""
        return bool(self._subscriptions)

    @property
    def is_stopped(self) -> bool:
        """Whether the stream has completed or errored."""
        return self._is_stopped

    def on_next(self, value: T) -> None:
        """Emits a value to every subscriber."""
        for subscription in self._subscriptions:
            try:
                subscription.on_next(value)
            except BaseException as error:  # noqa: BLE001 - isolation is what this class is for
                self._report_raised(error)

    def on_error(self, error: Exception) -> None:
        """Ends the stream with an error, which every subscriber gets. Nothing is emitted after that."""
        self._stop(error)

    def on_completed(self) -> None:
        """Completes the stream. Nothing is emitted after that."""
        self._stop(None)

    def _stop(self, error: Exception | None) -> None:
        with self.lock:
            if self._is_stopped:
                return
            self._is_stopped = True
            self._error = error
            subscriptions, self._subscriptions = self._subscriptions, ()
        for subscription in subscriptions:
            self._tell_end(subscription)

    def _tell_end(self, subscription: Subscription) -> None:
        try:
            if self._error is None:
                subscription.on_completed()
            else:
                subscription.on_error(self._error)
        except BaseException as error:  # noqa: BLE001 - as in on_next
            self._report_raised(error)
        finally:
            subscription.let_go()

    def _report_raised(self, error: BaseException) -> None:
        """Reports an exception of a subscriber. If the report fails too, that is logged, and nobody else suffers."""
        try:
            self._report(error)
        except Exception:
            logger.exception("what a subscriber raised cannot be reported")


class IsolatedBehaviorSubject(IsolatedSubject[T]):
    """An isolated subject that first replays the last value to each new subscriber.

    The replayed value must not overtake one that is being emitted. So a subscriber is added on the thread that emits.

    Args:
        report: As for `IsolatedSubject`.
        last: Returns the value to replay. It is called on the thread that emits.
        run: Calls a function on that thread.
        lock: As for `IsolatedSubject`.
    """

    def __init__(
        self,
        report: Callable[[BaseException], None],
        last: Callable[[], T],
        run: Callable[[Callable[[], None]], None],
        lock: threading.RLock | None = None,
    ) -> None:
        super().__init__(report, lock)
        self._last = last
        self._run = run

    def attach(self, subscription: Subscription) -> None:
        """Emits the last value to a new subscriber, and adds it."""

        def replay_and_attach() -> None:
            if not self._is_stopped:
                try:
                    subscription.on_next(self._last())
                except BaseException as error:  # noqa: BLE001 - as in on_next
                    self._report_raised(error)
            if not subscription.is_disposed:
                super(IsolatedBehaviorSubject, self).attach(subscription)

        self._run(replay_and_attach)


class Derived(IsolatedSubject[T]):
    """A hot stream that emits what a function makes of each value of another stream.

    It subscribes to the other stream only while it is observed itself. It calls the function once per value, for all
    subscribers, and emits what the function makes within the notification of that value.

    Args:
        source: The other stream.
        relay: Called with a value of `source` and with a function that emits. It may emit any number of values.
    """

    def __init__(self, source: IsolatedSubject[S], relay: Callable[[S, Callable[[T], None]], None]) -> None:
        super().__init__(source._report, source.lock)  # noqa: SLF001 - our own
        self._source: IsolatedSubject[Any] = source
        self._relay = relay
        self._subscription: Subscription | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether the stream, or its source, has completed or errored."""
        return self._is_stopped or self._source.is_stopped

    def note_observed(self) -> None:
        """Subscribes to the source when the first subscriber comes, and unsubscribes when the last one goes."""
        with self.lock:
            subscription = self._subscription
            if subscription is not None:
                if not self._subscriptions:
                    self._subscription = None
                    subscription.dispose()
                return
            if not self._subscriptions:
                return
            subscription = Subscription(self._source, self._take, self.on_error, self.on_completed)
            if not self._source.is_stopped:
                self._subscription = subscription
                self._source.attach(subscription)
                return
        # Outside the lock: the source has ended, so this calls subscribers at once, and they may do anything.
        self._source.attach(subscription)

    def _take(self, value: Any) -> None:
        self._relay(value, self.on_next)

    def _stop(self, error: Exception | None) -> None:
        self._subscription = None
        super()._stop(error)


#: All sources that nobody observes share this one. Each empty frozenset takes 230 bytes.
_NO_VIEWS: frozenset[View[Any]] = frozenset()


class Views:
    """Which of the views of one source are observed.

    The set is replaced at every change, so that a loop over many values notices the change.

    Args:
        lock: The lock of the views.
        on_change: Called after every change.
    """

    __slots__ = ("_on_change", "lock", "observed")

    def __init__(self, lock: threading.RLock, on_change: Callable[[], None] | None = None) -> None:
        self.lock = lock
        self._on_change = on_change
        self.observed = _NO_VIEWS

    def note(self, view: View[Any]) -> None:
        """Notes whether this view is observed now."""
        with self.lock:
            self.observed = self.observed | {view} if view.is_observed else self.observed - {view}
        if self._on_change is not None:
            self._on_change()


class View(IsolatedSubject[T]):
    """A hot stream of a source's values in one of several forms, such as messages as text or as bytes.

    While only this view of the source is observed, it can emit many values in a row and ignore the others.
    """

    def __init__(self, report: Callable[[BaseException], None], views: Views) -> None:
        super().__init__(report, views.lock)
        self._views = views

    def note_observed(self) -> None:
        """Notes for all views whether this one is observed."""
        self._views.note(self)

    def emit_run(self, values: Sequence[Any], start: int) -> int:
        """Emits the values from `start` on, until another view is observed. Returns how many it has emitted."""
        views = self._views
        observed = views.observed
        if len(observed) != 1 or self not in observed:
            return 0
        left = iter(values[start:] if start else values)
        subscriptions = self._subscriptions
        if len(subscriptions) == 1:
            self._emit_to_one(subscriptions[0].on_next, left, observed)
        else:
            for value in left:
                self.on_next(value)
                if views.observed is not observed:
                    break
        return len(values) - start - length_hint(left)

    def _emit_to_one(
        self, on_next: Callable[[Any], object], values: Iterator[Any], observed: frozenset[View[Any]]
    ) -> None:
        """Emits the values to the only subscriber, until anyone subscribes or unsubscribes.

        The subscriber is looked up once and not for each value, which saves two fifths of the time.
        """
        views = self._views
        for value in values:
            try:
                on_next(value)
            except BaseException as error:  # noqa: BLE001 - as in on_next
                self._report_raised(error)
            if views.observed is not observed:
                break
