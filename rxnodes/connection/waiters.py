"""Programs that wait for a session to open or to end."""

from __future__ import annotations

import asyncio
import contextlib
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from rxnodes.connection.own_loop import hand_over_lock
from rxnodes.errors import ConnectError, RxNodesError
from rxnodes.rx.event_loops import call_on
from rxnodes.rx.forking import inherited

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.connection.parts import AnyParts
    from rxnodes.lifecycle.events import Opened, Stopped

__all__ = ["Waiters"]

T = TypeVar("T")


class Waiters:
    """Answers programs that wait for a session to open or to end.

    Attributes:
        last_opened: The last `Opened` of any session.
        last_stopped: The `Stopped` of the last session that is over: every subscriber has seen it.
    """

    __slots__ = ("_driver", "_loop", "_waiting", "last_opened", "last_stopped")

    def __init__(self, driver: AnyParts) -> None:
        self._loop = driver.loop
        self._driver = driver
        self.last_opened: Opened | None = None
        self.last_stopped: Stopped | None = None
        # Each future, and what answers it. It is replaced, never changed.
        self._waiting: tuple[tuple[Callable[[], Any], asyncio.Future[Any]], ...] = ()

    @property
    def ended_session(self) -> int:
        """The number of the last session that is over; 0: there was none."""
        return 0 if self.last_stopped is None else self.last_stopped.session

    def find_out(self) -> None:
        """Finds out how a connection stands that is shared with other processes."""
        if self._driver.helm is not None:
            self._driver.helm.find_out()

    # Waiting

    async def opened(self) -> Opened:
        """What `Connection.wait_started` waits for."""
        return await self._wait(self._opened_answer)

    async def stopped(self) -> Stopped:
        """What `Connection.wait_stopped` waits for."""
        return await self._wait(self._stopped_answer)

    def tell_stopped(self, future: asyncio.Future[Stopped]) -> None:
        """Sets the result of a future, which may belong to another loop, to what `stopped` waits for."""
        self._ask(self._stopped_answer, future)

    async def _wait(self, answer: Callable[[], T | RxNodesError | None]) -> T:
        """Waits for an answer on the caller's loop; not at all if the answer is known."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._ask(answer, future)
        try:
            return await future
        finally:
            # An exception of the future refers to this frame. If this referred to the future, they would be a cycle.
            del future

    def _ask(self, answer: Callable[[], T | RxNodesError | None], future: asyncio.Future[T]) -> None:
        self._loop.check_process()
        # On the loop, so that it comes behind earlier commands of this thread, such as a start.
        self._loop.run(partial(self._add, answer, future))

    def _add(self, answer: Callable[[], T | RxNodesError | None], future: asyncio.Future[T]) -> None:
        self.find_out()
        # Before the connection has a loop, this may run on any thread, also while it is being given one.
        with hand_over_lock:
            # Futures that are done are dropped, so that a program may wait again and again.
            self._waiting = (*(pair for pair in self._waiting if not pair[1].done()), (answer, future))
        self.wake()

    # Answering

    def wake(self) -> None:
        """Answers all for whom there is an answer."""
        if not self._waiting:
            return
        with hand_over_lock:
            asked = [(pair, pair[0]()) for pair in self._waiting]
            self._waiting = tuple([pair for pair, known in asked if known is None])
        for (_, future), known in asked:
            if known is not None:
                call_on(future.get_loop(), _resolve, future, known)

    def disown(self) -> None:
        """Called in a forked process: cancels all who wait, because their loop is the parent's."""
        waiting, self._waiting = self._waiting, ()
        for _, future in waiting:
            # Its loop may have run in a thread that this process does not have.
            with contextlib.suppress(RuntimeError):
                # A scope that is being left waits with futures that cannot be cancelled.
                if not future.cancel():
                    _resolve(future, inherited(repr(self._loop.name)))

    def _opened_answer(self) -> Opened | RxNodesError | None:
        """The answer for programs that wait for a session to open; `None`: there is none yet."""
        opened, is_live = self.last_opened, self._driver.is_live
        # Of the live session; if none is live, of the last one.
        if opened is not None and opened.session >= self.ended_session + is_live:
            return opened
        if not is_live and self.last_stopped is not None:
            return _never_opened(self.last_stopped)
        return self._why_never()

    def _stopped_answer(self) -> Stopped | RxNodesError | None:
        """The answer for programs that wait for a session to end; `None`: there is none yet."""
        if not self._driver.is_live and self.last_stopped is not None:
            return self.last_stopped
        return self._why_never()

    def _why_never(self) -> RxNodesError | None:
        """Why there will never be an answer; `None`: there may be one."""
        if self._loop.is_left:
            return RxNodesError(
                f"{self._loop.name!r} was removed, or the {self._loop.owner} closed before the connection was started"
            )
        return self._loop.why_closed()


def _never_opened(stopped: Stopped) -> ConnectError:
    """The error for programs that wait for a session to open which has ended without that."""
    error = stopped.error
    if isinstance(error, ConnectError):
        # Raising it adds a traceback, which must not get into the event's.
        return copy(error)
    return ConnectError(f"{stopped.connection!r} stopped before it was open")


def _resolve(future: asyncio.Future[T], answer: T | RxNodesError) -> None:
    if future.done():
        return
    if isinstance(answer, RxNodesError):
        future.set_exception(answer)
    else:
        future.set_result(answer)
