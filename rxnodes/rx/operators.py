"""Operators for any node family: one that executes an action, with its switches, and one that holds pulses back."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable

from rxnodes.rx.event_loops import observer_on_loop_of
from rxnodes.rx.schedulers import AtOnceScheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Latest", "Switch", "action", "hold_while"]

T = TypeVar("T")

Switch = bool | Observable[bool]
"""A switch of a node: a constant, or an observable whose latest value counts."""


class Latest(Generic[T]):
    """The latest value that an observable has emitted, for one subscription. Before the first one it is `initial`."""

    __slots__ = ("has_value", "value")

    def __init__(self, initial: T) -> None:
        self.value = initial
        self.has_value = False

    def follow(
        self, source: Observable[T], observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None
    ) -> abc.DisposableBase:
        """Subscribes to `source`. Its error ends the pipeline. After its completion the last value still counts."""
        beside = None if scheduler is None else AtOnceScheduler(scheduler)
        return source.subscribe(self._set, observer.on_error, scheduler=beside)

    def _set(self, value: T) -> None:
        self.value = value
        self.has_value = True


def action(
    execute: Callable[[T], object],
    *,
    enabled: Switch = True,
    pass_through: Switch = False,
    name: str = "",
    observers: Sequence[Callable[[str], object]] = (),
) -> Callable[[Observable[T]], Observable[T]]:
    """An action node: executes for each pulse, then passes it.

    ::

        source:          ---1---2---3---|
              action(execute)
        result:          ---1---2---3---|     execute(1), execute(2), execute(3)

        enabled=False:   ---------------|     nothing
        pass_through:    ---1---2---3---|     nothing

    Args:
        execute: Called with the pulse. An exception that it raises ends the pipeline.
        enabled: Off: pulses end here.
        pass_through: On: pulses pass, but the node does not execute. If `enabled` is off, pulses end here all the same.
        name: The node's name.
        observers: Called with the name each time before the node executes. They must not raise. The list may change.

    Returns:
        A pipeable operator.

    Raises:
        TypeError: If `enabled` or `pass_through` is neither a bool nor an observable.
    """
    for attribute, switch in (("enabled", enabled), ("pass_through", pass_through)):
        if not isinstance(switch, bool | Observable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"{attribute}: expected a bool or an observable of bools, got {type(switch).__name__}")

    def operator(source: Observable[T]) -> Observable[T]:
        def subscribe(observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            group = CompositeDisposable()
            is_enabled = _follow_switch(enabled, observer, scheduler, group, initial=True)
            is_passed = _follow_switch(pass_through, observer, scheduler, group, initial=False)

            def on_next(pulse: T) -> None:
                if not is_enabled.value:
                    return
                if not is_passed.value:
                    if observers:
                        _call_each(observers, name)
                    try:
                        execute(pulse)
                    except Exception as error:  # noqa: BLE001 - as in every operator
                        observer.on_error(error)
                        return
                observer.on_next(pulse)

            group.add(source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler))
            return group

        return Observable(subscribe)

    return operator


def _call_each(observers: Sequence[Callable[[str], object]], name: str) -> None:
    for observe in tuple(observers):
        observe(name)


def _follow_switch(
    switch: Switch,
    observer: abc.ObserverBase[Any],
    scheduler: abc.SchedulerBase | None,
    group: CompositeDisposable,
    *,
    initial: bool,
) -> Latest[bool]:
    """Follows a switch that is an observable, from `initial` on. A constant is its own latest value."""
    if isinstance(switch, Observable):
        latest = Latest(initial)
        group.add(latest.follow(switch, observer, scheduler))
        return latest
    return Latest(switch)


def hold_while(
    is_held: Callable[[], bool], released: Observable[Any], run: Callable[[Callable[[], None]], None]
) -> Callable[[Observable[T]], Observable[T]]:
    """Holds pulses back while a condition holds, and emits them in order when it ends.

    ::

        is_held:     ...______xxxxxxxxx____...
        source:      ---1--------2--3------4--|
              hold_while(is_held, released, run)
        result:      ---1-------------23---4--|

    Args:
        is_held: Whether a pulse that comes now must wait.
        released: Emits when `is_held` may have become false.
        run: Calls a function on the thread on which `released` emits.

    Returns:
        A pipeable operator. An error of the source passes at once. Its completion waits for the pulses that are held.
    """

    def operator(source: Observable[T]) -> Observable[T]:
        def subscribe(observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            observer = observer_on_loop_of(scheduler, observer)
            held: deque[T] = deque()
            is_completed = False

            def take(pulse: T) -> None:
                if held or is_held():
                    held.append(pulse)
                else:
                    observer.on_next(pulse)

            def complete() -> None:
                nonlocal is_completed
                is_completed = True
                if not held:
                    observer.on_completed()

            def release(_: object) -> None:
                while held and not is_held():
                    observer.on_next(held.popleft())
                if is_completed and not held:
                    observer.on_completed()

            return CompositeDisposable(
                # Without the scheduler, which could call `release` on another thread than `take`.
                released.subscribe(release),
                source.subscribe(
                    lambda pulse: run(lambda: take(pulse)),
                    lambda error: run(lambda: observer.on_error(error)),
                    lambda: run(complete),
                    scheduler=scheduler,
                ),
            )

        return Observable(subscribe)

    return operator
