"""Pulses: what travels along a pipeline and makes each node execute."""

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
        value: What travels; action nodes pass it on unchanged.

    Returns:
        An observable that emits `value` to each subscriber when it subscribes, and completes.

    Example:
        >>> pulse("hello").subscribe(print) and None
        hello
    """

    def subscribe(
        observer: abc.ObserverBase[object], _scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        # At once, and not by way of a scheduler: what is subscribed before sees it, whatever scheduler that has.
        observer.on_next(value)
        observer.on_completed()
        return Disposable()

    return Observable(subscribe)


class Trigger(IsolatedSubject[T]):
    """A source of pulses that code fires by hand.

    ::

        trigger.fire():    ●     ●  ●
        trigger:        ---●-----●--●--

    Every fire reaches all subscribers, on the thread that fires. One that raises is logged, and keeps nothing from the
    others.

    Example:
        >>> button = Trigger[str]()
        >>> subscription = button.subscribe(print)
        >>> button.fire("pressed")
        pressed
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
            value: What travels.
        """
        self.emit(value)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
