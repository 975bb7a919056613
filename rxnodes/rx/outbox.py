"""The outbox: one notification is delivered to every subscriber before the next begins."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rxnodes.rx.backpressure import Valve

__all__ = ["Outbox", "pipeline_reporter"]

T = TypeVar("T")

#: For how long an outbox delivers before the loop's other work has its turn, in seconds, and how much it delivers at
#: least: where few notifications are told, it is at once, whatever else the machine does meanwhile.
TURN: Final = 0.01
AT_ONCE: Final = 4


class _Notifying(threading.local):
    """Whose notification is being delivered in this thread: what is told of a pipeline that ends with an error."""

    report: Callable[[Exception], None] | None = None


_notifying = _Notifying()


def pipeline_reporter() -> Callable[[Exception], None] | None:
    """What is told of a pipeline that ends with an error here and now; `None`: nothing is being delivered.

    Where a connection's notification has led to another one's, it is that of the inner one.
    """
    return _notifying.report


class Outbox:
    """A queue of notifications, of which one is delivered to all before the next begins.

    Whoever posts while a notification is being delivered comes after it. Only the thread that owns the outbox posts.

    What takes long is delivered in several turns of the loop, so that others have theirs. Until all of it is, the valve
    is closed: a source that went on would have it grow.

    Args:
        report: What is told of a pipeline that ends with an error while a notification is being delivered.
        valve: The valve of the source.

    Attributes:
        is_delivering: Whether a notification is being delivered.
        is_put_off: Whether some wait for another turn of the loop.
    """

    __slots__ = ("_queue", "_report", "_valve", "is_delivering", "is_put_off")

    def __init__(self, report: Callable[[Exception], None], valve: Valve) -> None:
        # Not a deque, which is 600 bytes even when it is empty.
        self._queue: list[tuple[Callable[[Any], None], Any]] = []
        self._report = report
        self._valve = valve
        self.is_put_off = False
        self.is_delivering = False

    def post(self, deliver: Callable[[T], None], value: T) -> None:
        """Queues a notification."""
        self._queue.append((deliver, value))

    def flush(self) -> None:
        """Delivers what is queued, unless that is being done already. A delivery never raises."""
        if not self._queue or self.is_delivering or self.is_put_off:
            return
        # get_running_loop would raise where there is none.
        loop = asyncio._get_running_loop()  # noqa: SLF001
        try:
            self._deliver(self._work_off, loop)
        finally:
            # Also where the program was interrupted.
            if loop is not None and self._queue:
                self.is_put_off = True
                self._valve.close(self)
                loop.call_soon(self._go_on)

    def send(self, deliver: Callable[[T], None], value: T) -> None:
        """Posts and flushes; without a detour through the queue where nothing is ahead."""
        if self.is_delivering or self._queue:
            self._queue.append((deliver, value))
            self.flush()
            return
        # As _deliver does, without a call more: this is the hot path.
        before, _notifying.report = _notifying.report, self._report
        self.is_delivering = True
        try:
            deliver(value)
        finally:
            self.is_delivering = False
            _notifying.report = before
        if self._queue:
            self.flush()

    def within(self, act: Callable[[], None]) -> None:
        """Does what is no notification of its own, such as showing a new subscriber the last one."""
        before, _notifying.report = _notifying.report, self._report
        try:
            act()
        finally:
            _notifying.report = before

    def _deliver(self, deliver: Callable[[T], None], value: T) -> None:
        before, _notifying.report = _notifying.report, self._report
        self.is_delivering = True
        try:
            deliver(value)
        finally:
            self.is_delivering = False
            _notifying.report = before

    def _work_off(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Delivers one after the other, until nothing is left or the turn has lasted long enough."""
        ends = math.inf if loop is None else loop.time() + TURN
        left: Iterator[tuple[Callable[[Any], None], Any]] = iter(())
        done = 0
        try:
            while self._queue:
                # What is posted meanwhile goes behind these: taken from its head, a long list is moved each time.
                left, self._queue = iter(self._queue), []
                for deliver, value in left:
                    deliver(value)
                    # A list is that of the messages of one read.
                    done += len(value) if type(value) is list else 1  # pyright: ignore[reportUnknownArgumentType]
                    if done >= AT_ONCE and loop is not None and loop.time() >= ends:
                        return
        finally:
            self._queue[:0] = left

    def _go_on(self) -> None:
        self.is_put_off = False
        try:
            self.flush()
        finally:
            if not self.is_put_off:
                self._valve.open(self)
