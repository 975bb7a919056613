"""A bounded buffer for items that wait for a slow consumer.

When it is full it pauses the source, drops an item, or raises, as its policy says.
"""

from __future__ import annotations

from collections import deque
from threading import RLock
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, get_args

from rxnodes.errors import BufferOverflow
from rxnodes.rx.arguments import check_count
from rxnodes.rx.backpressure import current_pause_control
from rxnodes.rx.streams import IsolatedSubject, log_for

if TYPE_CHECKING:
    from rxnodes.rx.backpressure import PauseControl

__all__ = ["Buffer", "Drops", "Overflow"]

T = TypeVar("T")

Overflow = Literal["pause", "drop_oldest", "drop_newest", "latest", "error"]
"""What happens when a buffer is full."""


class Drops(IsolatedSubject[T]):
    """Counts the items that full buffers dropped, and emits each of them.

    ::

        source:                  ---1--2-3-4--5------
              map_async(fn, buffer=1, overflow="drop_oldest", drops=drops)
        fn:                         1=========4====5====
        drops:                   --------2-3---------      drops.total: 2

    Give one to `map_async`, `for_each_async`, `aiter_observable` or `messages`, or to several of them. `Drops` emits an
    item on the thread of the item that did not fit. It never completes by itself. If a subscriber raises, that is
    logged.

    Attributes:
        total: How many items were dropped so far.

    Example:
        >>> drops = Drops[str]()
        >>> subscription = drops.subscribe(lambda item: print("dropped:", item))
        >>> drops.total
        0
    """

    def __init__(self) -> None:
        super().__init__(log_for("drops"))
        self.total = 0

    def note(self, item: T) -> None:
        """Counts an item and emits it."""
        with self.lock:
            self.total += 1
        self.on_next(item)


class Buffer(Generic[T]):
    """Holds items that wait for a consumer. Items may be put from any thread.

    Raises:
        TypeError: If the size is not an integer, or `drops` is not a `Drops`.
        ValueError: If the size is too small, or there is no such policy.
    """

    def __init__(self, size: int, overflow: Overflow, drops: Drops[T] | None, *, least: int = 0) -> None:
        if overflow not in get_args(Overflow):
            raise ValueError(f"overflow: expected one of {', '.join(get_args(Overflow))}; got {overflow!r}")
        if drops is not None and not isinstance(drops, Drops):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"drops: expected a Drops(), got {drops!r}")
        size = check_count("buffer", size, least=least)
        self._size = 1 if overflow == "latest" else size
        self._overflow = overflow
        self._drops = drops
        self._items: deque[T] = deque()
        # The sources that this buffer pauses.
        self._paused: set[PauseControl] = set()
        self._is_closed = False
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T, free: int = 0) -> None:
        """Keeps an item, or drops one. `free` is how many items the consumer would take at once.

        Raises:
            BufferOverflow: If the buffer is full, nothing may be dropped, and the source cannot be paused.
        """
        pause_control = current_pause_control() if self._overflow == "pause" else None
        room = self._size + free
        dropped: tuple[T, ...] = ()
        with self._lock:
            if self._is_closed:
                return
            if len(self._items) < room or pause_control is not None:
                self._items.append(item)
            else:
                dropped = (self._make_room(item),)
            if pause_control is not None and len(self._items) >= room and pause_control not in self._paused:
                self._paused.add(pause_control)
                pause_control.pause(self)
        if self._drops is not None:
            for one in dropped:
                self._drops.note(one)

    def _make_room(self, item: T) -> T:
        """Drops the item that came, or the one that has waited longest, and returns it."""
        if self._overflow in ("pause", "error"):
            raise BufferOverflow(self._complaint(), size=self._size)
        if self._overflow == "drop_newest" or not self._items:
            return item
        self._items.append(item)
        return self._items.popleft()

    def _complaint(self) -> str:
        complaint = f"the buffer is full ({self._size} items wait)"
        if self._overflow == "error":
            return complaint
        return (
            f"{complaint}, and the source cannot be paused, because no connection is delivering this item; "
            'use a larger buffer, or overflow="drop_oldest", "drop_newest" or "latest"'
        )

    def pop(self) -> T:
        """Takes the item that has waited longest."""
        with self._lock:
            return self._items.popleft()

    def resume_source_at_half(self, free: int = 0) -> None:
        """Resumes the sources that this buffer pauses, if no more than half of it is in use."""
        with self._lock:
            if len(self._items) <= self._size // 2 and len(self._items) < self._size + free:
                self.resume_source()

    def resume_source(self) -> None:
        """Resumes the sources that this buffer pauses."""
        with self._lock:
            paused, self._paused = self._paused, set()
            for pause_control in paused:
                pause_control.resume(self)

    def close(self) -> None:
        """Discards the items that wait and all that come later, and resumes the sources that this buffer pauses."""
        with self._lock:
            self._is_closed = True
            self._items.clear()
            self.resume_source()
