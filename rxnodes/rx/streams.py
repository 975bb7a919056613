"""Isolated subjects: hot streams whose subscribers cannot harm one another.

With reactivex's own `Subject`, a subscriber that raises keeps the value from those behind it. An isolated subject calls
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
    """Makes the `report` of a stream that belongs to no connection: it logs what a subscriber of `whose` raises."""

    def report(error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise error
        logger.error("a subscriber of %s raised", whose, exc_info=error)

    return report


def _ignore(_value: object = None) -> None:
    """Replaces the callbacks of a disposed subscription, for a notification that is already on its way."""


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
        """Removes the subscriber, which is not called any more."""
        self.is_disposed = True
        self.let_go()
        self.stream.detach(self)

    def let_go(self) -> None:
        """Forgets the subscriber, which may refer to the subscription: nothing more is told."""
        self.on_next = self.on_error = self.on_completed = _ignore


class IsolatedSubject(Observable[T], abc.SubjectBase[T]):
    """A subject whose subscribers cannot harm one another.

    As reactivex's `Subject`, it is an observable and an observer, and passes on what it is given until it completes or
    errors. But a subscriber that raises goes on being notified, and so do the others: what it raised goes to `report`.

    Subscribing and disposing are allowed from any thread and at any moment, also within a notification. A subscriber
    that comes during a notification sees the next one. One that is disposed during it is not called any more.

    Args:
        report: Called with what a subscriber raises.
        lock: The lock that several streams share, such as those of one connection. It is held only for moments.
    """

    #: What the stream ended with, if that was an error.
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
        unsubscribe an observer that raises at a value that is replayed to it.

        Args:
            on_next: The observer, or a function to call with each value.
            on_error: Called when the stream ends with an error. Without it, the error is raised, as in Rx, and so
                reported.
            on_completed: Called when the stream completes.
            scheduler: Values are emitted when they come, whatever the scheduler is. With an `AsyncIOScheduler`, which
                is what a coroutine that awaits the stream subscribes with, they are emitted on its loop.

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
        """Adds a subscriber. If the stream has ended, the subscriber is told at once."""
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
        """Called when a subscriber has come or gone: for streams that do something only while they are observed."""

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
        """Ends the stream with an error, which goes to every subscriber. Nothing is emitted after that."""
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
        """Reports what a subscriber raised. If the report fails, the other subscribers are notified all the same."""
        try:
            self._report(error)
        except Exception:
            logger.exception("what a subscriber raised cannot be reported")


class IsolatedBehaviorSubject(IsolatedSubject[T]):
    """An isolated subject that emits the last value to each new subscriber first.

    The replayed value must not overtake one that is being emitted. So each subscription is made on the thread that
    emits.

    Args:
        report: Called with what a subscriber raises.
        last: Gives the value that is replayed; called on the thread that emits.
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
    """A hot stream that emits what a function makes of each value of another one.

    It subscribes to the other stream only while it is observed itself, and calls the function once per value, however
    many subscribers there are. All that is made of a value is emitted within the notification of that value.

    Args:
        source: The other stream.
        relay: Given a value of `source` and a function that emits, it emits what it makes of the value, if anything.
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
        # The source tells at once how it ended, which calls subscribers: they may do anything, so not within the lock.
        self._source.attach(subscription)

    def _take(self, value: Any) -> None:
        self._relay(value, self.on_next)

    def _stop(self, error: Exception | None) -> None:
        self._subscription = None
        super()._stop(error)


#: Of all sources that nobody observes: each empty frozenset takes 230 bytes of its own.
_NO_VIEWS: frozenset[View[Any]] = frozenset()


class Views:
    """Which of the views of one source are observed.

    The set is replaced at every change, so that a loop over many values sees that there was one.

    Args:
        lock: That of the views.
        tell: Called behind every change.
    """

    __slots__ = ("_tell", "lock", "observed")

    def __init__(self, lock: threading.RLock, tell: Callable[[], None] | None = None) -> None:
        self.lock = lock
        self._tell = tell
        self.observed = _NO_VIEWS

    def note(self, view: View[Any]) -> None:
        """Notes whether this view is observed now."""
        with self.lock:
            self.observed = self.observed | {view} if view.is_observed else self.observed - {view}
        if self._tell is not None:
            self._tell()


class View(IsolatedSubject[T]):
    """A hot stream of a source's values in one of several forms, such as messages as text or as bytes.

    While only one view of a source is observed, it can emit many values in a row without a look at the others.
    """

    def __init__(self, report: Callable[[BaseException], None], views: Views) -> None:
        super().__init__(report, views.lock)
        self._views = views

    def note_observed(self) -> None:
        """Notes for all views whether this one is observed."""
        self._views.note(self)

    def emit_run(self, values: Sequence[Any], start: int) -> int:
        """Emits the values from `start` on, for as long as no other view is observed. Returns how many those were."""
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
