"""Keeps the messages of a connection that is held here, in order and without loss, for observers at any time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

from rxnodes.errors import RxNodesError
from rxnodes.fleet.asking import Position, interest_subject, position_letter
from rxnodes.fleet.letters import Batch, batch_letter
from rxnodes.fleet.store import StoreError, StoreFull, TooLarge, Unknown
from rxnodes.fleet.worker.inquiry import ASK_FOR
from rxnodes.rx.backpressure import current_pause_control

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import abc

    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.fleet.store import Store
    from rxnodes.rx.backpressure import PauseControl

__all__ = ["Kept"]

#: Beyond how many waiting bytes or characters the socket is read no further, and how many go together at most.
MOST_WAITING: Final = 4 * 1024 * 1024
AT_ONCE: Final = 256 * 1024
#: For how many seconds the end of a session waits for its messages to be kept.
END_WITHIN: Final = 5.0
#: Seconds to wait where the store does not take anything, at first and at most.
SHORTEST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 1.0

logger = logging.getLogger("rxnodes")


class Kept:
    """The messages of one connection, all of which are kept. On the loop's thread, while it is held here.

    They are written one batch behind the other. Messages that come meanwhile wait, and go together. Where too much
    waits, because the store is slow or away, the socket is read no further. It stands in the place of `Published`.

    Args:
        connection: The connection.
        store: The fleet's store.
        epoch: The epoch in which it is held.
    """

    def __init__(self, connection: ConnectionLike, store: Store, epoch: int) -> None:
        self._connection = connection
        self._store = store
        self._epoch = epoch
        self._attempt = (0, 0)
        self._count = 0
        # The sequence behind which the messages of the attempt are; `None`: nobody has asked yet.
        self._behind: int | None = None
        self._last: int | None = None
        self._waiting: list[tuple[tuple[int, int], int, Any]] = []
        self._waiting_size = 0
        self._paused: PauseControl | None = None
        self._writing: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[Any] | None = None
        self._is_written = asyncio.Event()
        self._is_written.set()
        self._is_full = False
        self._following: abc.DisposableBase = connection.for_nodes.batches(is_binary=None).subscribe(self._take)

    # An attempt

    def prepare(self, session: int, attempt: int, go: Callable[[], None]) -> None:
        """An attempt is about to be dialled: says where its messages will be, and then calls `go`."""
        if self._asking is not None:
            self._asking.cancel()
        self._asking = asyncio.get_running_loop().create_task(self._begin((session, attempt), go))

    async def _begin(self, attempt: tuple[int, int], go: Callable[[], None]) -> None:
        # By then all messages of the attempt before are kept.
        await self._is_written.wait()
        self._attempt, self._count = attempt, 0
        self._behind = await self._find_last()
        # An observer that comes later asks.
        with contextlib.suppress(StoreError):
            subject = interest_subject(self._connection.name)
            await self._store.request(subject, position_letter(self._position), timeout=ASK_FOR)
        self._asking = None
        go()

    def finish(self) -> int:
        """The attempt has ended: how many messages it had."""
        return self._count

    def when_written(self, act: Callable[[], None]) -> None:
        """Calls a function once all messages that have come are kept, or after some seconds."""
        if self._is_written.is_set():
            act()
            return
        self._ending = asyncio.get_running_loop().create_task(self._wait_written())
        self._ending.add_done_callback(lambda _: act())

    async def _wait_written(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_WITHIN):
                await self._is_written.wait()

    async def begin(self) -> Position:
        """Somebody is interested: says where the messages are."""
        if self._behind is None:
            self._behind = await self._find_last()
        return self._position

    @property
    def _position(self) -> Position:
        return Position(*self._attempt, self._count + 1, self._behind)

    def close(self) -> None:
        """Keeps nothing more: the connection is not held here any more."""
        self._following.dispose()
        for task in (self._asking, self._writing):
            if task is not None:
                task.cancel()
        self._resume()
        self._waiting.clear()
        self._is_written.set()

    async def _find_last(self) -> int:
        wait = SHORTEST_WAIT
        while self._last is None:
            try:
                self._last = await self._store.last_kept(self._connection.name)
            except Unknown:
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
        return self._last

    # Messages

    def _take(self, messages: list[str] | list[bytes]) -> None:
        """One read of the socket has brought these."""
        self._waiting.append((self._attempt, self._count + 1, messages))
        self._count += len(messages)
        self._waiting_size += sum(map(len, messages))
        if self._waiting_size > MOST_WAITING and self._paused is None:
            self._paused = current_pause_control()
            if self._paused is not None:
                self._paused.pause(self)
        if self._writing is None:
            self._is_written.clear()
            self._writing = asyncio.get_running_loop().create_task(self._write_all())

    def _resume(self) -> None:
        if self._paused is not None:
            self._paused.resume(self)
            self._paused = None

    async def _write_all(self) -> None:
        while self._waiting:
            attempt, first, messages = self._next()
            await self._write(attempt, first, messages)
            if self._waiting_size <= MOST_WAITING // 2:
                self._resume()
        self._writing = None
        self._is_written.set()

    def _next(self) -> tuple[tuple[int, int], int, Any]:
        """Takes the messages that are written next, as one: of one kind, and of one attempt."""
        attempt, first, messages = self._waiting.pop(0)
        together = list(messages)
        size = sum(map(len, together))
        while self._waiting and size < AT_ONCE:
            other, _, more = self._waiting[0]
            if other != attempt or type(more[0]) is not type(together[0]):
                break
            together += more
            size += sum(map(len, more))
            del self._waiting[0]
        self._waiting_size -= size
        return attempt, first, together

    async def _write(self, attempt: tuple[int, int], first: int, messages: list[Any]) -> None:
        """Writes messages as one, or else each half of them by itself. One that is too large for that is skipped."""
        letter = batch_letter(Batch(self._epoch, *attempt, first, messages))
        wait = SHORTEST_WAIT
        while True:
            try:
                self._last = await self._store.keep(self._connection.name, letter)
            except TooLarge:
                break
            except (Unknown, StoreFull) as error:
                self._tell_full(error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                self._is_full = False
                return
        if len(messages) == 1:
            logger.warning("%s: a message is larger than the fleet's server takes", self._connection.name)
            await self._write(attempt, first + 1, [])
        else:
            half = len(messages) // 2
            await self._write(attempt, first, messages[:half])
            await self._write(attempt, first + half, messages[half:])

    def _tell_full(self, error: StoreError) -> None:
        """Reports once that the store has no room, until it has some again."""
        if isinstance(error, StoreFull) and not self._is_full:
            self._is_full = True
            says = f"{self._connection.name!r}: the fleet's store has no room for messages, and none is read any more"
            self._connection.for_nodes.report("receive", RxNodesError(says))
