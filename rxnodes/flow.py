"""Flow control: how a consumer that cannot keep up reaches the connection that delivers to it.

Rx has no way upstream. But delivery is synchronous: while a source delivers, the thread knows whose valve that is. So
an operator far down a pipeline can close the valve of the connection whose message it has just been given, whatever
operators lie between, as long as they pass items on at once.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["Valve", "current_valve", "deliver"]

T = TypeVar("T")
R = TypeVar("R")


#: Held for moments only, so that all valves can share it: a lock for each would cost every connection one.
_lock = threading.Lock()


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
        with _lock:
            self._holders |= {holder}
        self._run(self._tell)

    def open(self, holder: Hashable) -> None:
        """Lets go. It opens when nobody else holds it."""
        with _lock:
            self._holders -= {holder}
        self._run(self._tell)

    def _tell(self) -> None:
        if self._is_turned is not self.is_closed:
            self._is_turned = self.is_closed
            self._turn(self._is_turned)


class _Current(threading.local):
    valve: Valve | None = None


_current = _Current()


def current_valve() -> Valve | None:
    """The valve of whoever delivers in this thread at this moment; `None`: it cannot be paused."""
    return _current.valve


def deliver(valve: Valve, show: Callable[[T], R], value: T) -> R:
    """Calls `show(value)`, and whoever is called by it can close the valve meanwhile."""
    before = _current.valve
    _current.valve = valve
    try:
        return show(value)
    finally:
        _current.valve = before
