"""A look at a whole fleet: its workers, and who holds which connection."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from rxnodes.fleet.reading import lease_shown, readable, record_shown
from rxnodes.fleet.remote.standing import Standing
from rxnodes.fleet.rules.commands import is_live
from rxnodes.fleet.rules.lease import RENEWALS
from rxnodes.fleet.rules.member import process_of
from rxnodes.fleet.rules.sharing import Candidates
from rxnodes.fleet.rules.values import Record, Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Self

    from rxnodes.fleet.rules.values import Entry, Lease
    from rxnodes.fleet.store import Logged, Seen, Store
    from rxnodes.lifecycle.states import ConnectionState

__all__ = ["ConnectionSeen", "Leases", "Lookout", "Records", "Takeover", "WorkerSeen", "moves"]

logger = logging.getLogger("rxnodes")

#: How many times as long as between two renewals one may take, before it counts as missing.
_LATE: Final = 2.5

#: For how many seconds a worker is listed whose lease has run out. Then the store sweeps it, and tells nobody.
_LISTED: Final = 3600

#: How many takeovers are remembered.
_TAKEOVERS: Final = 100


@dataclass(slots=True)
class WorkerSeen:
    """A worker, as it is seen.

    Attributes:
        lease: What it says of itself.
        is_alive: Whether its lease was renewed while somebody looked, and has not run out since.
        renewed_at: When its last renewal was seen here, in seconds since 1970: of one that was there before, when it
            was first looked at.
    """

    lease: Lease
    is_alive: bool = False
    renewed_at: float = 0.0

    @property
    def plain(self) -> dict[str, Any]:
        """It as plain values, for programs. Times are by the clock of this machine."""
        lease = self.lease
        return {
            "id": lease.worker,
            "host": lease.host,
            "held": lease.held,
            "capacity": lease.capacity,
            "draining": lease.is_draining,
            "alive": self.is_alive,
            "lease": lease.seconds,
            "renewed_at": self.renewed_at,
        }


class Takeover(NamedTuple):
    """A connection has gone to another worker, though its holder did not let it go.

    Attributes:
        at: When it was seen, in seconds since 1970.
        connection: The connection's name.
        before: The worker whose lease had run out.
        after: The worker that holds the connection from then on.
    """

    at: float
    connection: str
    before: str
    after: str


@dataclass(slots=True)
class ConnectionSeen:
    """A connection, as it is seen.

    Attributes:
        name: Its name.
        record: Who holds it, and what is wished.
        tail: How it stands behind the last entry of its log.
        state: Its state.
    """

    name: str
    record: Record
    tail: Tail
    state: ConnectionState

    @property
    def is_wanted(self) -> bool:
        """Whether a session is live, or is to begin."""
        return is_live(self.record.wish, self.tail)


class Lookout:
    """Looks at a fleet, for as long as it is entered. The store is opened and closed with it.

    Args:
        store: The fleet's store.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._leases = Leases()
        self._records = Records()
        self._log = _Log()

    async def __aenter__(self) -> Self:
        await self.store.open()
        # Closing the store ends them.
        self.store.watch_leases(self._leases)
        self.store.watch_records(self._records)
        self.store.watch_log(self._log)
        try:
            for watcher in (self._leases, self._records, self._log):
                await watcher.is_read.wait()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leases.close()
        await self.store.close()

    async def see_who_is_alive(self) -> None:
        """Waits until each worker has renewed its lease, or has not done so in time."""
        seconds = max((seen.lease.seconds for seen in self.workers.values()), default=0.0)
        try:
            async with asyncio.timeout(_LATE * seconds / RENEWALS):
                while not all(seen.is_alive for seen in self.workers.values()):
                    await self.change()
        except TimeoutError:
            pass

    async def change(self) -> None:
        """Waits until a lease or a record changes, or a lease runs out."""
        change = asyncio.Event()
        self._leases.on_change = self._records.on_change = change.set
        await change.wait()

    @property
    def workers(self) -> Mapping[str, WorkerSeen]:
        """The workers that have a lease, by their ids."""
        return self._leases.workers

    @property
    def listed(self) -> list[WorkerSeen]:
        """The workers to be shown, by their ids."""
        return self._leases.listed

    def connection(self, name: str) -> ConnectionSeen:
        """A connection."""
        standing = Standing()
        entry = self._log.lasts.get(name)
        if entry is not None:
            standing.recall([entry])
        return ConnectionSeen(name, self._records.records.get(name, Record()), standing.tail, standing.state)

    @property
    def names(self) -> list[str]:
        """The connections that anything is known of."""
        return sorted({*self._records.records, *self._log.lasts})

    def is_held(self, connection: ConnectionSeen) -> bool:
        """Whether a worker holds it that is alive."""
        holder = connection.record.holder
        return holder is not None and holder in self.workers and self.workers[holder].is_alive

    def moves(self) -> dict[str, str]:
        """The connections that their holders should let go, so that each worker has its share; each with its holder."""
        holders = {name: record.holder for name, record in self._records.records.items() if record.holder is not None}
        leases = [seen.lease for seen in self.workers.values() if seen.is_alive and not seen.lease.is_draining]
        found: dict[str, str] = {}
        for names in {lease.names for lease in leases}:
            found |= moves(holders, [lease for lease in leases if lease.names == names])
        return found


def moves(holders: Mapping[str, str], leases: Sequence[Lease]) -> dict[str, str]:
    """The connections that workers should let go who hold more than their share, each with its holder.

    A connection that is let go is claimed by the worker that it falls to among all who have room. So only those are let
    go that fall to a worker with less than its share.

    Args:
        holders: For each connection its holder.
        leases: The workers that can hold the same connections.

    Example:
        >>> from rxnodes.fleet.rules.values import Lease
        >>> holders = dict.fromkeys(("red", "green", "blue", "white"), "old")
        >>> moves(holders, [Lease(worker="old"), Lease(worker="new")])
        {'blue': 'old', 'green': 'old'}
    """
    counts = dict.fromkeys((lease.worker for lease in leases), 0)
    for holder in holders.values():
        if holder in counts:
            counts[holder] += 1
    share = math.ceil(sum(counts.values()) / len(counts))
    most = {lease.worker: math.inf if lease.capacity is None else lease.capacity for lease in leases}
    found: dict[str, str] = {}
    for name, holder in sorted(holders.items()):
        if counts.get(holder, 0) <= share:
            continue
        takers = Candidates([holder, *(worker for worker, count in counts.items() if count < most[worker])])
        target = takers.first(name)
        if target is not None and target != holder and counts[target] < share:
            counts[holder] -= 1
            counts[target] += 1
            found[name] = holder
    return found


class _Watcher:
    """What the watchers have in common."""

    def __init__(self) -> None:
        self.is_read = asyncio.Event()
        self.sees_all = False
        self.on_change: Callable[[], None] | None = None

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as the store has it
        """Whether all have been shown."""
        self.sees_all = current
        if current:
            self.is_read.set()

    def note_change(self) -> None:
        """Something has changed."""
        on_change, self.on_change = self.on_change, None
        if on_change is not None:
            on_change()


class Leases(_Watcher):
    """Follows the leases, on the event loop.

    Attributes:
        workers: The workers that have one, by their ids.
    """

    def __init__(self) -> None:
        super().__init__()
        self.workers: dict[str, WorkerSeen] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def listed(self) -> list[WorkerSeen]:
        """The workers to be shown, by their ids: none that is back under a new id."""
        latest: dict[str, int] = {}
        for process, term in map(process_of, self.workers):
            latest[process] = max(latest.get(process, term), term)
        return [
            self.workers[worker]
            for worker in sorted(self.workers)
            if self.workers[worker].is_alive or process_of(worker) in latest.items()
        ]

    def close(self) -> None:
        """Counts no lease any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as the store has it
        """Whether all have been shown. While that is in doubt, no lease runs out."""
        super().is_current(current)
        self.close()
        if current:
            for worker in self.workers:
                self._count(worker)

    def seen(self, seen: Seen) -> None:
        """A lease."""
        if seen.value is None:
            self._forget(seen.name)
            return
        lease = lease_shown(seen.name, seen.value)
        if lease is None:
            return
        known = self.workers.get(seen.name)
        # What comes behind the first look is news. A lease may be shown twice.
        is_news = self.is_read.is_set() if known is None else lease.number > known.lease.number
        if known is None or is_news:
            self.workers[seen.name] = WorkerSeen(lease, is_news, time.time())
            self._count(seen.name)
        self.note_change()

    def _count(self, worker: str) -> None:
        """Its lease lasts from here on."""
        self._wait(worker, self.workers[worker].lease.seconds, self._run_out)

    def _run_out(self, worker: str) -> None:
        self.workers[worker].is_alive = False
        self._wait(worker, _LISTED, self._forget)
        self.note_change()

    def _forget(self, worker: str) -> None:
        self.workers.pop(worker, None)
        timer = self._timers.pop(worker, None)
        if timer is not None:
            timer.cancel()
        self.note_change()

    def _wait(self, worker: str, seconds: float, then: Callable[[str], None]) -> None:
        timer = self._timers.get(worker)
        if timer is not None:
            timer.cancel()
        self._timers[worker] = asyncio.get_running_loop().call_later(seconds, then, worker)


class Records(_Watcher):
    """Follows the records.

    Attributes:
        records: Those that are there, by the connections' names.
        takeovers: The latest that were seen, the last one last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, Record] = {}
        self.takeovers: deque[Takeover] = deque(maxlen=_TAKEOVERS)

    def seen(self, seen: Seen) -> None:
        """A record."""
        if seen.value is None:
            self.records.pop(seen.name, None)
        elif (record := record_shown(seen)) is not None:
            self._put(seen.name, record)
        self.note_change()

    def _put(self, name: str, record: Record) -> None:
        before, after = self.records.get(name, Record()).holder, record.holder
        # A holder that lets go leaves the record without one, so this one did not.
        if before is not None and after is not None and before != after:
            self.takeovers.append(Takeover(time.time(), name, before, after))
        self.records[name] = record


class _Log(_Watcher):
    def __init__(self) -> None:
        super().__init__()
        self.lasts: dict[str, tuple[Entry, Tail]] = {}

    def logged(self, entry: Logged) -> None:
        """An entry."""
        for last in readable((entry,)):
            self.lasts[entry.name] = last

    def gap(self, reason: str) -> None:
        """All entries come again."""
        logger.warning("the fleet's log is read again: %s", reason)
        self.lasts.clear()
