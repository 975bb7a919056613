"""A worker's part in its fleet: joining, renewing, claiming, draining, and one machine for each connection.

It is pure, as the machines are. Its methods say what happens and when, and `taken` gives what is to be done. The
worker, or a simulation, does that, and calls `tick` again and again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from rxnodes.fleet.rules.inputs import Claim, Cut, Drain, Joined
from rxnodes.fleet.rules.lease import NEVER, RENEWALS, Others, OwnLease
from rxnodes.fleet.rules.shares import AT_WORK, FREE, OURS, REMOVED, Shares
from rxnodes.fleet.rules.sharing import Candidates, may_take
from rxnodes.fleet.rules.values import Lease

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from rxnodes.fleet.rules.inputs import Effect, Input
    from rxnodes.fleet.rules.machine import State
    from rxnodes.fleet.rules.values import Wish

__all__ = ["DeleteLease", "Duty", "Joining", "Member", "Now", "Order", "PutLease", "ReadLease", "process_of"]

#: How many connections are claimed at a time.
AT_ONCE = 50
#: How often a worker is weighed for a connection in one look, at most: that takes a tenth of a second.
MOST_WEIGHED = 500_000
#: Seconds, beyond `settle`, for which a connection is left to the worker whose share it is.
PATIENCE = 1.0


class Now(NamedTuple):
    """What time it is.

    Attributes:
        at: In UTC.
        clock: By the worker's own clock, in seconds. It never jumps, and runs while the machine is suspended.
    """

    at: datetime
    clock: float


class PutLease(NamedTuple):
    """Write the lease behind this revision (0: only where there is none)."""

    lease: Lease
    expected: int


class ReadLease(NamedTuple):
    """Read the lease, until an answer comes."""

    worker: str


class DeleteLease(NamedTuple):
    """Take the lease away: everything is let go."""

    worker: str
    revision: int


class Joining(NamedTuple):
    """The worker has got a lease, or has lost it."""

    worker: str
    has_joined: bool


class Order(NamedTuple):
    """What is to be done for a connection."""

    name: str
    effect: Effect


#: What a member asks the worker to do.
Duty: TypeAlias = Order | PutLease | ReadLease | DeleteLease | Joining


def process_of(worker: str) -> tuple[str, int]:
    """The process that a worker's id is of, and the number of that id among those it has had.

    Example:
        >>> process_of("host-4711-1a2b3c4d-2")
        ('host-4711-1a2b3c4d', 2)
    """
    process, _, term = worker.rpartition("-")
    return (process, int(term)) if term.isdecimal() else (worker, 0)


class Member:
    """A worker, as the rules see it.

    Args:
        identity: A name that no other worker has. Each time it joins, the worker's id is this and a number.
        names: The connections that it has settings for.
        seconds: For how long its lease holds.
        capacity: How many connections it may hold; `None`: any number.
        settle: For how many seconds after joining it claims nothing, so that workers that join together share.
        host: Where it runs, for people.
        wishes: What the application commanded before it had joined, by connection. It may change.

    Attributes:
        others: The leases of all workers, as they are seen.
        sees_leases: Whether all leases have been shown, and changes come as they are made; or that is in doubt.
        sees_records: Likewise of the records.
    """

    def __init__(  # noqa: PLR0913 - what it knows of itself
        self,
        identity: str,
        names: Iterable[str],
        *,
        seconds: float = 15.0,
        capacity: int | None = None,
        settle: float = 2.0,
        host: str = "",
        wishes: Mapping[str, Wish] | None = None,
    ) -> None:
        self._identity = identity
        self._term = 0
        self._shares = Shares(names)
        self._seconds = seconds
        self._capacity = capacity
        self._settle = settle
        self._host = host
        self._wishes: Mapping[str, Wish] = {} if wishes is None else wishes
        self._out: deque[Duty] = deque()
        self._has_more = False

        self.id = ""
        self._needs_id = True
        self.has_joined = False
        self.is_draining = False
        self.has_left = False
        self.own = OwnLease(seconds)
        self.others = Others()
        self._number = 0
        self._sent: dict[int, float] = {}
        self._last_sent = NEVER
        self._in_flight: int | None = None
        self._revision = 0
        self._joined_at = 0.0
        self.sees_leases = False
        self.sees_records = False
        self._alive = Candidates(())
        self._firsts: dict[str, str | None] = {}
        self._may_weigh = MOST_WEIGHED

    # What is asked of it

    def state(self, name: str) -> State:
        """Where it stands towards a connection."""
        return self._shares.all[name].state

    @property
    def names(self) -> Iterable[str]:
        """The connections that it has settings for."""
        return self._shares.all.keys()

    def may_hold(self, name: str) -> bool:
        """Whether it has settings for a connection, which was not removed."""
        share = self._shares.all.get(name)
        return share is not None and not share.is_removed

    @property
    def held(self) -> int:
        """How many connections it holds."""
        return self._shares.held

    def taken(self) -> Duty | None:
        """What is to be done next; `None`: nothing any more."""
        return self._out.popleft() if self._out else None

    # The clock

    def tick(self, now: Now) -> None:
        """Time has passed. It is to be called several times within an eighth of the lease."""
        if self.has_joined and self.own.is_over(now.clock):
            self._cut(now)
        if self.has_left:
            return
        has_let_go = AT_WORK not in self._shares.filed and (self._in_flight is None or not self.has_joined)
        if self.is_draining and has_let_go:
            self._leave()
            return
        if self._in_flight is None and now.clock - self._last_sent >= self._seconds / RENEWALS:
            self.renew(now)
        if self.has_joined and not self.is_draining:
            self._claim_shares(now)

    # Its own lease

    def renew(self, now: Now) -> None:
        """Asks for a renewal, unless one is under way. Without a lease, for a new one under another id."""
        if self._in_flight is not None or self.has_left:
            return
        if self._needs_id:
            self._begin_term()
        self._number += 1
        self._in_flight = self._number
        self._sent[self._number] = self._last_sent = now.clock
        lease = Lease(
            worker=self.id,
            number=self._number,
            seconds=self._seconds,
            names=self._shares.digest,
            capacity=self._capacity,
            held=self._shares.taken,
            is_draining=self.is_draining,
            host=self._host,
            at=now.at.timestamp(),
        )
        self._out.append(PutLease(lease, self._revision))

    def _begin_term(self) -> None:
        self._needs_id = False
        self._term += 1
        self.id = f"{self._identity}-{self._term}"
        self._shares.own_ids.add(self.id)
        self.own = OwnLease(self._seconds)
        self._number = 0
        self._sent.clear()
        self._revision = 0

    def lease_written(self, lease: Lease, revision: int, now: Now) -> None:
        """The renewal was written, and has this revision."""
        if lease.worker == self.id and lease.number == self._in_flight:
            self._in_flight = None
            self._renewed(lease.number, revision, now)

    def lease_unsure(self, lease: Lease) -> None:
        """A refusal, or no answer in time. It decides nothing."""
        if lease.worker == self.id and lease.number == self._in_flight:
            self._out.append(ReadLease(self.id))

    def lease_read(self, worker: str, lease: Lease | None, revision: int, now: Now) -> None:
        """The lease stands like this; `None`: there is none."""
        if worker != self.id or self._in_flight is None:
            return
        number, self._in_flight = self._in_flight, None
        if lease is None:
            self._revision = 0
        elif lease.number == number:
            self._renewed(number, revision, now)
        else:
            self._revision = revision

    def _renewed(self, number: int, revision: int, now: Now) -> None:
        self._revision = revision
        may_act = self.own.renewed(self._sent[number], now.clock)
        for old in [old for old in self._sent if old < number]:
            del self._sent[old]
        if may_act and not self.has_joined:
            self._join(now)
        elif not may_act:
            self._needs_id = not self.has_joined

    def _join(self, now: Now) -> None:
        self.has_joined = True
        self._joined_at = now.clock
        self._out.append(Joining(self.id, has_joined=True))
        for name in self._shares.all:
            self.feed(name, Joined(self.id, self._seconds), now)

    def _cut(self, now: Now) -> None:
        """Holds nothing any more, and will come back under another id."""
        self.has_joined = self._has_more = False
        self._needs_id = True
        self._last_sent = NEVER
        self._in_flight = None
        for name in self._shares.all:
            self.feed(name, Cut(), now)
        self._out.append(Joining(self.id, has_joined=False))

    # Leaving

    def drain(self, now: Now) -> None:
        """Claims nothing any more, ends its sessions in order, and lets all go. Then it leaves."""
        self.is_draining = True
        self._has_more = False
        self.renew(now)
        for name in self._shares.all:
            self.feed(name, Drain(), now)

    def remove(self, name: str, now: Now) -> None:
        """Lets a connection go, and claims it no more."""
        self._shares.all[name].is_removed = True
        self.feed(name, Drain(), now)

    def _leave(self) -> None:
        self.has_left = True
        if self.has_joined:
            self._out.append(DeleteLease(self.id, self._revision))
            self.has_joined = False
            self._out.append(Joining(self.id, has_joined=False))

    # What it sees

    def lease_seen(self, lease: Lease, revision: int, now: Now) -> None:
        """A lease stands like this."""
        self.others.saw(lease, revision, now.clock)
        if lease.worker == self.id and lease.number in self._sent:
            self.others.came_back(self._sent[lease.number])
            self.others.forget(now.clock, self._shares.filed)

    # The machines

    def feed(self, name: str, input_: Input, now: Now) -> None:
        """Steps a connection's machine. Once the lease is over, nothing is held to which the input could happen."""
        if self.has_joined and self.own.is_over(now.clock):
            self._cut(now)
        if name not in self._shares.all:
            return
        for effect in self._shares.step(name, input_, now.at):
            self._out.append(Order(name, effect))
        if self._has_more and self._shares.claiming <= AT_ONCE // 2:
            # Only once there is room for a number of them, since each look goes through all that are free.
            self._claim_shares(now)

    # Claiming

    def _claim_shares(self, now: Now) -> None:
        self._has_more = False
        if not (self.sees_leases and self.sees_records and self._has_room()):
            return
        alive = self._who_is_alive(now)
        if alive != self._alive.ids:
            self._alive = Candidates(alive)
            self._firsts.clear()
        self._may_weigh = MOST_WEIGHED
        for key in list(self._shares.filed):
            if self._is_claimable(key, now):
                self._claim_filed(key, now)

    def _who_is_alive(self, now: Now) -> tuple[str, ...]:
        """The workers that seem to be alive and can take one more connection."""
        others = self.others
        return tuple(
            sorted(
                worker
                for worker, lease in others.leases.items()
                if may_take(lease, self._shares.digest) and not others.seems_expired(worker, lease.seconds, now.clock)
            )
        )

    def _is_claimable(self, key: str, now: Now) -> bool:
        if key in (AT_WORK, REMOVED):
            return False
        if key == OURS:
            return True
        is_free = key == FREE or self._is_dead(key, now)
        return is_free and now.clock - self._joined_at >= self._settle

    def _is_dead(self, holder: str, now: Now) -> bool:
        seconds = next(iter(self._shares.filed[holder].values())).state.record.lease
        if not self.others.seems_expired(holder, seconds, now.clock):
            return False
        if self.others.is_expired(holder, seconds, now.clock):
            return True
        # A renewal of our own that is seen to come back proves it.
        self.renew(now)
        return False

    def _has_room(self) -> bool:
        is_full = self._capacity is not None and self._shares.taken >= self._capacity
        return self._shares.claiming < AT_ONCE and not is_full

    def _claim_filed(self, key: str, now: Now) -> None:
        for name, share in list(self._shares.filed[key].items()):
            if not self._has_room():
                self._has_more = self._shares.claiming >= AT_ONCE
                return
            if self._may_weigh < 0:
                return
            if share.free_since is None:
                share.free_since = now.clock
            if key == OURS or self._is_our_share(name) or now.clock - share.free_since >= self._settle + PATIENCE:
                self.feed(name, Claim(share.state.revision, self._wishes.get(name)), now)

    def _is_our_share(self, name: str) -> bool:
        if name not in self._firsts:
            self._firsts[name] = self._alive.first(name)
            self._may_weigh -= len(self._alive.ids)
        return self._firsts[name] == self.id
