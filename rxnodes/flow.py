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


class Valve:
    """Whether a source goes on: open, as long as nobody holds it closed.

    Args:
        turn: Called with `True` when the first holder closes it, and with `False` when the last one lets go.
        run: Brings what is done to the source's own thread.
    """

    __slots__ = ("_holders", "_run", "_turn")

    def __init__(self, turn: Callable[[bool], None], run: Callable[[Callable[[], None]], None]) -> None:
        self._turn = turn
        self._run = run
        # Replaced, not changed: an empty one costs a connection nothing.
        self._holders: frozenset[Hashable] = frozenset()

    @property
    def is_closed(self) -> bool:
        """Whether anybody holds it closed."""
        return bool(self._holders)

    def close(self, holder: Hashable) -> None:
        """Holds it closed, until `holder` opens it. Once is enough, more does no harm."""
        self._run(lambda: self._hold(self._holders | {holder}))

    def open(self, holder: Hashable) -> None:
        """Lets go. It opens when nobody else holds it."""
        self._run(lambda: self._hold(self._holders - {holder}))

    def _hold(self, holders: frozenset[Hashable]) -> None:
        was_closed, self._holders = self.is_closed, holders
        if self.is_closed is not was_closed:
            self._turn(self.is_closed)


class _Current(threading.local):
    valve: Valve | None = None


_current = _Current()


def current_valve() -> Valve | None:
    """The valve of whoever delivers in this thread at this moment; `None`: it cannot be paused."""
    return _current.valve


def deliver(valve: Valve, show: Callable[[T], object], value: T) -> None:
    """Calls `show(value)`, and whoever is called by it can close the valve meanwhile."""
    before = _current.valve
    _current.valve = valve
    try:
        show(value)
    finally:
        _current.valve = before
