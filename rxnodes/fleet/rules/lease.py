"""Who is alive: a worker's own lease, and those of the others, each by a clock of one's own.

Nobody compares the clocks of two machines. A worker counts its own lease from when it *sent* the renewal, and acts no
more once seven eighths of it have passed. Others count from when they first *saw* that renewal, which is later, and
claim once all of it has passed. So no two act at one time as long as their clocks' rates differ by less than 14 %
(8/7), whatever they show. The eighth between is there for clocks, and for aborting what is under way.

A claimant that was stopped or cut off, or whose watch was, may not have seen a renewal that is there. So it counts only
up to when it *sent* the last renewal of its own that it has seen come back: the store has one order for all leases, and
every renewal made before that one was seen before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from rxnodes.fleet.rules.values import Lease

__all__ = ["NEVER", "REMEMBERED", "RENEWALS", "SAFE", "Others", "OwnLease"]

#: How often a lease is renewed while it lasts.
RENEWALS = 8
#: For how much of its lease a worker acts.
SAFE = 7 / 8

NEVER = float("-inf")
#: For how many seconds a silent worker is remembered: longer than any lease, and than a store shows one.
REMEMBERED = 2 * 3600


class OwnLease:
    """Until when a worker may act. All times are of its own clock, which also runs while the machine is suspended.

    Attributes:
        until: Until when. Once it has passed it has for good: a renewal that is answered later is void.
    """

    __slots__ = ("seconds", "until")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.until = NEVER

    def renewed(self, sent_at: float, now: float) -> bool:
        """Notes that a renewal which was sent then was answered now.

        Returns:
            Whether the worker may act.
        """
        if self.until == NEVER or not self.is_over(now):
            self.until = max(self.until, sent_at + SAFE * self.seconds)
        return not self.is_over(now)

    def is_over(self, now: float) -> bool:
        """Whether the worker may not act any more."""
        return now >= self.until


class Others:
    """What a worker sees of all leases, its own among them.

    Attributes:
        leases: The last that was seen of each worker whose lease is there.
    """

    def __init__(self) -> None:
        self.leases: dict[str, Lease] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self._since: dict[str, float] = {}
        self._proven = NEVER

    def saw(self, lease: Lease, revision: int, now: float) -> None:
        """A lease stands like this."""
        self.leases[lease.worker] = lease
        # A store that lost its last writes may give a revision twice.
        self.changed(lease.worker, (revision, lease.number), now)

    def changed(self, worker: str, seen: tuple[int, int], now: float) -> None:
        """Notes what was seen of a worker: anything else than before is a new renewal."""
        if self._seen.get(worker) != seen:
            self._seen[worker] = seen
            self._since[worker] = now

    def gone(self, worker: str, now: float) -> None:
        """Notes that a lease is gone. That alone says nothing: the store may have swept it."""
        self.leases.pop(worker, None)
        if self._seen.pop(worker, None) is not None:
            self._since[worker] = now

    def forget(self, now: float, needed: Container[str]) -> None:
        """Forgets workers that have been silent for long, unless they are needed: no store says what it swept."""
        for worker in [it for it, since in self._since.items() if now - since >= REMEMBERED and it not in needed]:
            del self._since[worker]
            self._seen.pop(worker, None)
            self.leases.pop(worker, None)

    def came_back(self, sent_at: float) -> None:
        """Notes that a renewal of our own, sent then, has been seen. So all that was made before it has been, too."""
        self._proven = max(self._proven, sent_at)

    def since(self, worker: str, now: float) -> float:
        """Since when nothing of this worker has changed."""
        return self._since.setdefault(worker, now)

    def seems_expired(self, worker: str, seconds: float, now: float) -> bool:
        """Whether a worker was silent for as long as its lease, provided that everything was seen."""
        return now - self.since(worker, now) >= self._seconds(worker, seconds)

    def is_expired(self, worker: str, seconds: float, now: float) -> bool:
        """Whether that is proven. `seconds` is what the record says of the lease."""
        return self._proven - self.since(worker, now) >= self._seconds(worker, seconds)

    def _seconds(self, worker: str, seconds: float) -> float:
        lease = self.leases.get(worker)
        return seconds if lease is None else max(seconds, lease.seconds)
