"""Back-pressure: how a slow consumer pauses the connection that delivers to it.

Rx has no way upstream. But delivery is synchronous: while a source delivers, its thread remembers the source's pause
control. So an operator far down a pipeline can pause the connection whose message it has just received, whatever
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


#: All pause controls share this lock. It is held only for moments, and a lock for each would cost every connection one.
_lock = threading.Lock()
guard(_lock)


class Valve:
    """Pauses a source for as long as at least one holder wants that.

    Holders come and go on any thread, and count at once. The source is called on its own thread, with what is true by
    then. So when one holder resumes while another pauses on a second thread, the source does what the last one wants.

    Args:
        turn: Called with `True` when the first holder pauses the source, and with `False` when the last one
            resumes it.
        run: Calls a function on the source's own thread.
    """

    __slots__ = ("_holders", "_is_turned", "_run", "_turn")

    def __init__(self, turn: Callable[[bool], None], run: Callable[[Callable[[], None]], None]) -> None:
        self._turn = turn
        self._run = run
        # A frozenset that is replaced, because an empty one takes no memory of its own.
        self._holders: frozenset[Hashable] = frozenset()
        #: What the source was last called with.
        self._is_turned = False

    @property
    def is_closed(self) -> bool:
        """Whether at least one holder pauses the source."""
        return bool(self._holders)

    def close(self, holder: Hashable) -> None:
        """Pauses the source until the same holder resumes it. Repeating it changes nothing."""
        self._change(lambda holders: holders | {holder})

    def open(self, holder: Hashable) -> None:
        """Resumes the source, unless another holder pauses it."""
        self._change(lambda holders: holders - {holder})

    def _change(self, make: Callable[[frozenset[Hashable]], frozenset[Hashable]]) -> None:
        is_done = False
        while not is_done:
            before = self._holders
            after = make(before)
            if after == before:
                break
            # `after` is made before the lock is taken: making it can start a garbage collection, and a consumer that is
            # collected resumes its source, which takes this lock.
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
    """The pause control of the source that is delivering in this thread; `None` if no source that can be paused is."""
    return _current.valve


def deliver(valve: Valve, show: Callable[[T], R], value: T) -> R:
    """Calls `show(value)`. Whatever that calls can pause the source meanwhile."""
    return _deliver(valve, show, value, is_put_off=False)


def put_off(act: Callable[[T], R]) -> Callable[[T], R]:
    """Wraps a function that will be called later, so that it still counts as part of what is being delivered now.

    This works for one step only. A queue that schedules itself again and again works off items of many sources, so it
    must not count as part of the source whose item happened to come first.
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
