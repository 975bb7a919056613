"""The outbox: it delivers each notification to every subscriber before the next one."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rxnodes.rx.schedulers import running_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from rxnodes.rx.backpressure import PauseControl

__all__ = ["Outbox", "pipeline_reporter"]

T = TypeVar("T")

#: For how many seconds an outbox delivers before it lets the loop do other work.
TURN: Final = 0.01
#: How many notifications it delivers in any case, so that a few go out at once even on a slow machine.
AT_ONCE: Final = 4


class _Delivering(threading.local):
    """The report of the outbox that is delivering a notification in this thread."""

    report: Callable[[Exception], None] | None = None


_delivering = _Delivering()


def pipeline_reporter() -> Callable[[Exception], None] | None:
    """The function that reports the error of a pipeline; `None` if no notification is being delivered in this thread.

    If one connection's notification is delivered within another's, the function is the inner connection's.
    """
    return _delivering.report


class Outbox:
    """A queue of notifications. Each one is delivered to every subscriber before the next one.

    A notification that is posted during another one is delivered after it. Only the thread that owns the outbox may
    post.

    If delivery takes long, the outbox spreads it over several turns of the loop, so that the loop can do other work.
    Meanwhile it pauses the source, because otherwise the queue would grow.

    Args:
        report: Called with the error of a pipeline that ends while a notification is being delivered.
        pause_control: That of the source.

    Attributes:
        is_delivering: Whether a notification is being delivered.
        is_put_off: Whether notifications wait for another turn of the loop.
    """

    __slots__ = ("_pause_control", "_queue", "_report", "is_delivering", "is_put_off")

    def __init__(self, report: Callable[[Exception], None], pause_control: PauseControl) -> None:
        # A list, because even an empty deque takes 600 bytes.
        self._queue: list[tuple[Callable[[Any], None], Any]] = []
        self._report = report
        self._pause_control = pause_control
        self.is_put_off = False
        self.is_delivering = False

    def post(self, deliver: Callable[[T], None], value: T) -> None:
        """Queues a notification."""
        self._queue.append((deliver, value))

    def flush(self) -> None:
        """Delivers what is queued, unless that is already being done."""
        if not self._queue or self.is_delivering or self.is_put_off:
            return
        loop = running_loop()
        before, _delivering.report = _delivering.report, self._report
        self.is_delivering = True
        try:
            self._work_off(loop)
        finally:
            self.is_delivering = False
            _delivering.report = before
            # Also after a KeyboardInterrupt.
            if loop is not None and self._queue:
                self.is_put_off = True
                self._pause_control.pause(self)
                loop.call_soon(self._go_on)

    def send(self, deliver: Callable[[T], None], value: T) -> None:
        """Posts a notification and flushes. If the queue is empty, it delivers without the queue."""
        if self.is_delivering or self._queue:
            self._queue.append((deliver, value))
            self.flush()
            return
        # As in `within`, but without another call, because this is the hot path.
        before, _delivering.report = _delivering.report, self._report
        self.is_delivering = True
        try:
            deliver(value)
        finally:
            self.is_delivering = False
            _delivering.report = before
        if self._queue:
            self.flush()

    def within(self, act: Callable[..., None], *values: Any) -> None:
        """Calls a function that notifies without the queue, such as one that replays a value to a new subscriber."""
        before, _delivering.report = _delivering.report, self._report
        try:
            act(*values)
        finally:
            _delivering.report = before

    def _work_off(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Delivers one notification after the other, until none is left or the turn is over."""
        ends = math.inf if loop is None else loop.time() + TURN
        begun = done = 0
        try:
            # This includes what is posted meanwhile. To take each one out of a long list would move the rest each time.
            for deliver, value in self._queue:
                begun += 1
                deliver(value)
                # A list has the messages of one read.
                done += len(value) if type(value) is list else 1  # pyright: ignore[reportUnknownArgumentType]
                if done >= AT_ONCE and loop is not None and loop.time() >= ends:
                    return
        finally:
            del self._queue[:begun]

    def _go_on(self) -> None:
        self.is_put_off = False
        try:
            self.flush()
        finally:
            if not self.is_put_off:
                self._pause_control.resume(self)
