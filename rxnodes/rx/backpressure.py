"""Back-pressure: how a slow consumer pauses the connection that delivers to it.

Rx has no way upstream. But delivery is synchronous: while a source delivers, its thread remembers the source's pause
control. So an operator far down a pipeline can pause the connection whose message it has just received. The operators
between them may be any that pass items on at once.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from rxnodes.rx.forking import guard

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["PauseControl", "current_pause_control", "deliver", "put_off"]

T = TypeVar("T")
R = TypeVar("R")


#: All pause controls share this lock, which saves each connection one. It is held only for moments.
_lock = threading.Lock()
guard(_lock)


#: All sources that nobody pauses share this one. Since Python 3.10, each empty frozenset takes 230 bytes.
_NO_HOLDERS: frozenset[Hashable] = frozenset()


class PauseControl:
    """Pauses a source for as long as at least one holder wants that.

    A holder may pause or resume the source on any thread, and that counts at once. The source is called later, on its
    own thread, with what is true by then. So if one holder resumes it while another pauses it, the last one counts.

    Args:
        on_change: Called with `True` when the first holder pauses the source, and with `False` when the last one
            resumes it.
        run: Calls a function on the source's own thread.
    """

    __slots__ = ("_holders", "_is_source_paused", "_on_change", "_run")

    def __init__(self, on_change: Callable[[bool], None], run: Callable[[Callable[[], None]], None]) -> None:
        self._on_change = on_change
        self._run = run
        # It is replaced, never changed.
        self._holders = _NO_HOLDERS
        # What the source was last called with.
        self._is_source_paused = False

    @property
    def is_paused(self) -> bool:
        """Whether at least one holder pauses the source."""
        return bool(self._holders)

    def pause(self, holder: Hashable) -> None:
        """Pauses the source until the same holder resumes it. Repeating it changes nothing."""
        self._change(lambda holders: holders | {holder})

    def resume(self, holder: Hashable) -> None:
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
        self._run(self._call_source)

    def _call_source(self) -> None:
        if self._is_source_paused is not self.is_paused:
            self._is_source_paused = self.is_paused
            self._on_change(self._is_source_paused)


class _Current(threading.local):
    """The source that is delivering in this thread, and whether it does so in a call that was put off."""

    source: tuple[PauseControl | None, bool] = (None, False)


_current = _Current()


def current_pause_control() -> PauseControl | None:
    """The pause control of the source that delivers in this thread; `None` if none does, or it cannot be paused."""
    return _current.source[0]


def deliver(pause_control: PauseControl, show: Callable[[T], R], value: T) -> R:
    """Calls `show(value)`, which can pause the source, as can everything that it calls."""
    return _deliver((pause_control, False), show, value)


def put_off(act: Callable[[T], R]) -> Callable[[T], R]:
    """Wraps a function that will be called later, so that it can still pause the source that delivers now.

    This works for one step only. A queue that schedules itself again and again delivers items of many sources, so it
    must not pause the one whose item happened to come first.
    """
    pause_control, is_put_off = _current.source
    if pause_control is None or is_put_off:
        return act
    return lambda value: _deliver((pause_control, True), act, value)


def _deliver(source: tuple[PauseControl, bool], show: Callable[[T], R], value: T) -> R:
    before, _current.source = _current.source, source
    try:
        return show(value)
    finally:
        _current.source = before
