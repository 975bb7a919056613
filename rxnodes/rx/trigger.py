"""Pulses: items that travel along a pipeline and make each node execute."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, overload

import reactivex
from reactivex.scheduler import ImmediateScheduler

from rxnodes.rx.streams import IsolatedSubject, log_for

if TYPE_CHECKING:
    from reactivex import Observable

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
    # The subscription's scheduler might emit later. But the pipelines that were subscribed before this one must see
    # what the pulse causes.
    return reactivex.return_value(value, ImmediateScheduler.singleton())


class Trigger(IsolatedSubject[T]):
    """A source of pulses that code fires by hand, or that another source feeds.

    ::

        trigger.fire():    ●     ●  ●
        trigger:        ---●-----●--●--

    Every pulse reaches all subscribers, on the thread that fires. If a subscriber raises, that is logged, and the
    others get the pulse all the same.

    A trigger is an observer too, as a `Subject` of Rx is. `source.subscribe(trigger)` passes on what `source` emits,
    and ends the trigger when `source` errors or completes. From then on firing does nothing.
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
