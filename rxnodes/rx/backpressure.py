"""Flow control: how a consumer that cannot keep up reaches the connection that delivers to it.

Rx has no way upstream. But delivery is synchronous: while a source delivers, the thread knows whose valve that is. So
an operator far down a pipeline can close the valve of the connection whose message it has just been given, whatever
operators lie between, as long as they pass items on at once.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from rxnodes.rx.forking import guard

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["Valve", "current_valve", "deliver", "put_off"]

T = TypeVar("T")
R = TypeVar("R")


#: Held for moments only, so that all valves can share it: a lock for each would cost every connection one.
_lock = threading.Lock()
guard(_lock)


class Valve:
    """Whether a source goes on: open, as long as nobody holds it closed.

    Holders come and go on any thread, and count at once. The source is told on its own thread, of what is true then: so
    one that lets go on one thread while another takes hold on a second leaves the source as the last of them wants it.

    Args:
        turn: Called with `True` when the first holder has closed it, and with `False` when the last one has let go.
        run: Brings what is done to the source's own thread.
    """

    __slots__ = ("_holders", "_is_turned", "_run", "_turn")

    def __init__(self, turn: Callable[[bool], None], run: Callable[[Callable[[], None]], None]) -> None:
        self._turn = turn
        self._run = run
        # Replaced, not changed: an empty one costs a connection nothing.
        self._holders: frozenset[Hashable] = frozenset()
        #: What the source was told last.
        self._is_turned = False

    @property
    def is_closed(self) -> bool:
        """Whether anybody holds it closed."""
        return bool(self._holders)

    def close(self, holder: Hashable) -> None:
        """Holds it closed, until `holder` opens it. Once is enough, more does no harm."""
        self._change(lambda holders: holders | {holder})

    def open(self, holder: Hashable) -> None:
        """Lets go. It opens when nobody else holds it."""
        self._change(lambda holders: holders - {holder})

    def _change(self, make: Callable[[frozenset[Hashable]], frozenset[Hashable]]) -> None:
        is_done = False
        while not is_done:
            before = self._holders
            after = make(before)
            if after == before:
                break
            # Nothing is made while the lock is held: that could set off a collection of garbage, in which a consumer
            # that nobody holds any more lets go of its source, here or elsewhere.
            with _lock:
                if self._holders is before:
                    self._holders = after
                    is_done = True
        self._run(self._tell)

    def _tell(self) -> None:
        if self._is_turned is not self.is_closed:
            self._is_turned = self.is_closed
            self._turn(self._is_turned)


class _Current(threading.local):
    valve: Valve | None = None
    is_put_off = False


_current = _Current()


def current_valve() -> Valve | None:
    """The valve of whoever delivers in this thread at this moment; `None`: it cannot be paused."""
    return _current.valve


def deliver(valve: Valve, show: Callable[[T], R], value: T) -> R:
    """Calls `show(value)`, and whoever is called by it can close the valve meanwhile."""
    return _deliver(valve, show, value, is_put_off=False)


def put_off(act: Callable[[T], R]) -> Callable[[T], R]:
    """What is to be called later in place of `act`, so that it belongs to what is being delivered now.

    Once only: what puts itself off again and again, such as a queue that is worked off, does not belong to whatever
    happened to be the first in it.
    """
    valve = None if _current.is_put_off else _current.valve
    if valve is None:
        return act
    return lambda value: _deliver(valve, act, value, is_put_off=True)


def _deliver(valve: Valve, show: Callable[[T], R], value: T, *, is_put_off: bool) -> R:
    before, was_put_off = _current.valve, _current.is_put_off
    _current.valve, _current.is_put_off = valve, is_put_off
    try:
        return show(value)
    finally:
        _current.valve, _current.is_put_off = before, was_put_off
