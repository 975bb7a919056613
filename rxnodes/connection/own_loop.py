"""The event loop that a connection lives on, and how other threads reach it."""

from __future__ import annotations

from threading import RLock, get_ident
from typing import TYPE_CHECKING

from rxnodes.errors import RxNodesError
from rxnodes.rx.forking import guard, inherited
from rxnodes.rx.schedulers import clock_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from datetime import datetime

    from rxnodes.transport.receipts import HandOver

__all__ = ["OwnLoop", "hand_over_lock"]

#: Guards what is handed to a loop, and the list of waiters. It is held for moments only, so all connections share it.
#: Their streams have another lock, because operators hold that one while they notify.
hand_over_lock = RLock()
guard(hand_over_lock)


class OwnLoop:
    """The event loop of one connection, from the moment its project opens.

    Args:
        name: The connection's name.
        owner: The word for what the connection belongs to, in error messages.

    Attributes:
        name: The connection's name.
        loop: The event loop; `None` before the project opens.
        thread: The identifier of the loop's thread.
        is_left: Whether the project has been left, or the connection removed: nothing happens any more.
        is_inherited: Whether this process was forked from the one that had opened the project.
        messages: The messages that other threads have handed over; `None`: none ever did.
    """

    __slots__ = ("_clock", "is_inherited", "is_left", "loop", "messages", "name", "owner", "thread")

    def __init__(self, name: str, owner: str = "project") -> None:
        self.name = name
        self.owner = owner
        self.loop: asyncio.AbstractEventLoop | None = None
        self._clock = clock_of(None)
        self.thread = 0
        self.is_left = False
        self.is_inherited = False
        self.messages: HandOver | None = None

    def attach(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        """Lets the connection live on `loop`, which runs in the thread of that identifier."""
        self.loop = loop
        self._clock = clock_of(loop)
        self.thread = thread

    def leave(self) -> None:
        """The project has been left, or the connection removed."""
        with hand_over_lock:
            self.is_left = True

    def disown(self) -> None:
        """In a forked process: the loop is the parent's."""
        self.is_inherited = self.is_left = True
        self.thread = 0

    def run(self, action: Callable[[], None]) -> None:
        """Runs `action` on the loop's thread: at once if this is that thread, or if there is no loop (any more)."""
        if get_ident() == self.thread or not self.hand_over(action):
            action()

    def hand_over(self, action: Callable[[], None]) -> bool:
        """Hands `action` to the loop. Returns whether there is one that will run it."""
        # While the lock is held, the project cannot be left, so what is handed over now will run.
        with hand_over_lock:
            if self.loop is None or self.is_left:
                return False
            if self.messages is not None:
                # Messages that are sent later must not overtake the action.
                self.messages.is_sealed = True
            try:
                self.loop.call_soon_threadsafe(action)
            except RuntimeError:
                # The loop was closed, and the project not left.
                return False
        return True

    def raise_soon(self, error: BaseException) -> None:
        """Raises an error that is meant for the program, such as `KeyboardInterrupt`, in a turn of the loop."""

        def reraise() -> None:
            raise error

        assert self.loop is not None
        self.loop.call_soon(reraise)

    def check(self) -> None:
        """Refuses a command that nobody can carry out. Once it has been left, commands do nothing.

        Raises:
            RxNodesError: If the project is not open yet, or belongs to a parent process, or its loop was closed.
        """
        self.check_process()
        if self.is_left:
            return
        if self.loop is None:
            raise RxNodesError(
                f"{self.name!r}: its {self.owner} is not open; enter it with 'async with' or 'with' first"
            )
        if (problem := self.why_closed()) is not None:
            raise problem

    def check_process(self) -> None:
        """Refuses a command that a forked process gives to a connection of its parent.

        Raises:
            RxNodesError: If this is such a process.
        """
        if self.is_inherited:
            raise inherited(repr(self.name))

    def why_closed(self) -> RxNodesError | None:
        """The error for a program that has closed the loop, and not left the project; `None`: it has not."""
        if self.loop is not None and self.loop.is_closed():
            return RxNodesError(f"{self.name!r}: the event loop was closed, and its {self.owner} not left")
        return None

    def now(self) -> datetime:
        """The time of day in UTC, as events have it."""
        return self._clock()
