"""Pulses: items that travel along a pipeline and make each node execute."""

from __future__ import annotations

from typing import TypeVar, overload

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxnodes.rx.streams import IsolatedSubject, log_for

__all__ = ["Trigger", "pulse"]

T = TypeVar("T")


@overload
def pulse() -> Observable[None]: ...
@overload
def pulse(value: T) -> Observable[T]: ...
def pulse(value: object = None) -> Observable[object]:
    """One pulse.

    ::

        pulse():  ---●|

    Args:
        value: The item that travels. Action nodes pass it on unchanged.

    Returns:
        An observable that emits `value` to each subscriber when it subscribes, and completes.

    Example:
        >>> pulse("hello").subscribe(print) and None
        hello
    """

    def subscribe(
        observer: abc.ObserverBase[object], _scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        # The scheduler is not used, because it might emit later: pipelines that were subscribed before this one must
        # see what the pulse causes, whatever scheduler this is.
        observer.on_next(value)
        observer.on_completed()
        return Disposable()

    return Observable(subscribe)


class Trigger(IsolatedSubject[T]):
    """A source of pulses that code fires by hand, or that another source feeds.

    ::

        trigger.fire():    ●     ●  ●
        trigger:        ---●-----●--●--

    Every pulse reaches all subscribers, on the thread that fires. What a subscriber raises is logged, and keeps nothing
    from the others.

    It is an observer too: `source.subscribe(trigger)` passes on what `source` emits, and ends the trigger as `source`
    ends, with its error or by completion, as a `Subject` of Rx does. From then on firing does nothing.
    `source.subscribe(trigger.fire)` passes on the items alone, and the trigger outlives its source.

    Example:
        >>> button = Trigger[str]()
        >>> subscription = button.subscribe(print)
        >>> button.fire("pressed")
        pressed
        >>> pulse("pressed by another").subscribe(button.fire) and None
        pressed by another
    """

    def __init__(self) -> None:
        super().__init__(log_for("a trigger"))

    @overload
    def fire(self: Trigger[None]) -> None: ...
    @overload
    def fire(self, value: T) -> None: ...
    def fire(self, value: object = None) -> None:
        """Emits a pulse.

        Args:
            value: The item that travels.
        """
        self.on_next(value)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
