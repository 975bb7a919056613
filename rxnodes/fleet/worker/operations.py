"""What a worker asks the store: its lease, and the records and logs of its connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from rxnodes.errors import RxNodesError
from rxnodes.fleet.errands import Errands
from rxnodes.fleet.letters import Unreadable, entry_letter, lease_letter, lease_of, record_letter
from rxnodes.fleet.reading import record_at, tail_at
from rxnodes.fleet.rules.inputs import (
    Append,
    Appended,
    LastRead,
    ReadLast,
    ReadRecord,
    RecordRead,
    Unsure,
    WriteRecord,
    Written,
)
from rxnodes.fleet.rules.lease import RENEWALS
from rxnodes.fleet.rules.member import DeleteLease, PutLease, ReadLease
from rxnodes.fleet.store import Refused, StoreError, Unknown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rxnodes.fleet.rules.inputs import Input
    from rxnodes.fleet.rules.member import Member, Now
    from rxnodes.fleet.rules.values import Lease, Record, Tail
    from rxnodes.fleet.store import Store

__all__ = ["Operations"]

T = TypeVar("T")

logger = logging.getLogger("rxnodes")

#: How many connections are read and written at once.
AT_ONCE: Final = 128
#: Seconds to wait where the store does not answer, at first and at most.
SHORTEST_WAIT: Final = 0.02
LONGEST_WAIT: Final = 0.5
#: Seconds to wait where what it has cannot be read.
PATIENCE: Final = 5.0


class Operations:
    """Asks the store what the rules order, and tells them what it answers. On the loop's thread.

    Args:
        store: The fleet's store.
        rules: The worker's part in the fleet.
        lease: The seconds of its lease.
        now: What time it is.
        answered: Called behind each answer that the rules were given.
        tell_full: Called with a connection for which the store takes nothing more, once until it takes something.

    Attributes:
        is_lease_gone: Whether the store has no lease of this worker that it could take away.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what it stands between
        self,
        store: Store,
        rules: Member,
        lease: float,
        now: Callable[[], Now],
        answered: Callable[[], None],
        tell_full: Callable[[str, RxNodesError], None],
    ) -> None:
        self._store = store
        self._rules = rules
        self._lease = lease
        self._now = now
        self._answered = answered
        self._on_full = tell_full
        self._errands = Errands(AT_ONCE)
        # With a short lease there is no time for long waits.
        self._longest_wait = min(LONGEST_WAIT, lease / (2 * RENEWALS))
        self._without_room: set[str] = set()
        self._is_lease_without_room = False
        self.is_lease_gone = True

    def on_lease(self, order: PutLease | ReadLease | DeleteLease) -> None:
        """Carries out an order about the worker's lease. It waits for no other."""
        match order:
            case PutLease():
                self._errands.run_now(partial(self._put_lease, order))
            case ReadLease(worker):
                self._errands.run_now(partial(self._read_lease, worker))
            case DeleteLease():
                self.is_lease_gone = False
                self._errands.run_now(partial(self._delete_lease, order))

    def on_connection(self, name: str, effect: Append | WriteRecord | ReadLast | ReadRecord) -> None:
        """Carries out an order about a connection, as soon as there is room."""
        match effect:
            case Append():
                errand = partial(self._append, name, effect)
            case WriteRecord():
                errand = partial(self._write_record, name, effect)
            case ReadLast(operation):
                errand = partial(self._read_last, name, operation)
            case ReadRecord(operation):
                errand = partial(self._read_record, name, operation)
        self._errands.run(errand)

    async def end(self) -> None:
        """Gives up what is under way."""
        await self._errands.end()

    # The lease, at the store

    async def _put_lease(self, order: PutLease) -> None:
        lease, expected = order
        try:
            # The next one is due then.
            async with asyncio.timeout(self._lease / RENEWALS):
                revision = await self._store.put_lease(lease.worker, lease_letter(lease), expected)
        except (StoreError, TimeoutError) as error:
            if not (isinstance(error, Refused | Unknown | TimeoutError) or self._is_lease_without_room):
                self._is_lease_without_room = True
                logger.warning("the lease of worker %s cannot be written: %r", lease.worker, error)
            self._rules.lease_unsure(lease)
        else:
            self._is_lease_without_room = False
            self._rules.lease_written(lease, revision, self._now())
        self._answered()

    async def _read_lease(self, worker: str) -> None:
        async def read() -> tuple[Lease | None, int]:
            stands = await self._store.read_lease(worker)
            return (None, 0) if stands is None else (lease_of(stands.value), stands.revision)

        for lease, revision in await self._read(read, lambda: self._rules.id == worker):
            self._rules.lease_read(worker, lease, revision, self._now())
            self._answered()

    async def _delete_lease(self, order: DeleteLease) -> None:
        # The store sweeps it anyway.
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(self._lease / RENEWALS):
                await self._store.delete_lease(order.worker, order.revision)
        self.is_lease_gone = True
        self._answered()

    # Records and the log, at the store

    async def _write_record(self, name: str, effect: WriteRecord) -> None:
        operation = effect.operation
        await self._write(
            name,
            operation,
            lambda: self._store.write_record(name, record_letter(effect.record), effect.expected),
            lambda revision: Written(operation, revision),
        )

    async def _append(self, name: str, effect: Append) -> None:
        operation, entry = effect.operation, effect.entry
        if effect.tries > 1:
            await asyncio.sleep(min(SHORTEST_WAIT * 2 ** min(effect.tries, 8), self._longest_wait))
        await self._write(
            name,
            operation,
            lambda: self._store.append(name, entry_letter(entry), effect.expected),
            lambda sequence: Appended(operation, sequence),
        )

    async def _write(
        self, name: str, operation: int, write: Callable[[], Awaitable[int]], done: Callable[[int], Input]
    ) -> None:
        try:
            result = done(await write())
        except (Refused, Unknown):
            result = Unsure(operation)
        except StoreError as error:
            self._tell_full(name, error)
            await asyncio.sleep(LONGEST_WAIT)
            result = Unsure(operation)
        else:
            self._without_room.discard(name)
        self._feed(name, result)

    def _tell_full(self, name: str, error: StoreError) -> None:
        """Reports once that the store has no room. Nothing goes on until it has some."""
        if name in self._without_room:
            return
        self._without_room.add(name)
        self._on_full(name, RxNodesError(f"{name!r}: the fleet's store takes nothing: {str(error) or 'it is full'}"))

    async def _read_last(self, name: str, operation: int) -> None:
        async def read() -> Tail:
            return tail_at(await self._store.last(name))

        for tail in await self._read(read, partial(self._is_current, name, operation)):
            self._feed(name, LastRead(operation, tail))

    async def _read_record(self, name: str, operation: int) -> None:
        async def read() -> tuple[Record, int]:
            return record_at(await self._store.read_record(name))

        for record, revision in await self._read(read, partial(self._is_current, name, operation)):
            self._feed(name, RecordRead(operation, record, revision))

    def _is_current(self, name: str, operation: int) -> bool:
        return self._rules.state(name).operation == operation

    async def _read(self, read: Callable[[], Awaitable[T]], is_wanted: Callable[[], bool]) -> tuple[T, ...]:
        """Reads again and again until an answer comes, and gives that; nothing, if nobody wants it any more."""
        wait = SHORTEST_WAIT
        while is_wanted():
            try:
                return (await read(),)
            except Unknown:
                await asyncio.sleep(wait)
                wait = min(2 * wait, self._longest_wait)
            except Unreadable as error:
                # Of a version that is newer: a worker of that version may take its place.
                logger.warning("what the fleet's store has cannot be read: %s", error)
                await asyncio.sleep(PATIENCE)
        return ()

    def _feed(self, name: str, answer: Input) -> None:
        self._rules.feed(name, answer, self._now())
        self._answered()
