"""A model of a fleet, for sizes that no machine here can run: what `benchmarks.fleet_scale` simulates.

A simulation by discrete events. Connections go through it in batches of as many as a worker claims at a time. What
takes time are three kinds of queues: each worker's CPU, the two streams of the servers (records and log, each of which
takes so much a second), and the servers' CPU, which delivers each change of a record to all who watch it.

`tests/fleet/test_scale.py` holds it against `Member` and its machines in a simulated world. That checks the order of
what happens and the waits, not the CPU: those figures are of 1,000 connections, and each worker has a CPU of its own
here. The model leaves out faults, other load, that a worker claims what its first has left for some seconds, and what
shards would cost in code that is not written. It takes it that such a worker remembers what it has weighed.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

import numpy as np

from rxnodes.fleet.rules.lease import RENEWALS, SAFE
from rxnodes.fleet.rules.member import AT_ONCE, MOST_WEIGHED

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    #: What is done with a batch: it is taken up again at each time that it gives.
    Steps = Generator[float, None, None]
    #: How a batch ends: what follows once it is claimed.
    Follow = Callable[[int, int, int], Steps]

__all__ = ["EVERYTHING", "Costs", "Fleet", "Load"]

#: In place of a shard: all workers watch it.
EVERYTHING: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What things take, in seconds. Where each figure is from stands behind it."""

    #: The default of `fleet.toml`.
    lease: float = 15.0
    #: The default of `Worker`.
    settle: float = 2.0
    #: How often a worker looks: `TICKS` in `rxnodes/fleet/worker/worker.py`.
    tick: float = 15.0 / 64
    #: One way between a worker and the servers, in one data centre. Assumed.
    hop: float = 0.00025
    #: From a dial to the open connection. Assumed.
    dial: float = 0.05
    #: From a Close to the end. Assumed.
    close: float = 0.05
    #: For the server to write a record: 10,000 claims in 0.7 s, fifty at once, nats-server 2.10 to 2.15.
    record: float = 0.7 / 10_000
    #: For the server to append to the log, or to read from it: 25,000 appends a second over 100,000 subjects.
    append: float = 1 / 25_000
    #: CPU of a worker to claim a connection: `python -m benchmarks.fleet_costs`, as all that follow:
    #: medians of four runs on a busy machine of two CPUs, Python 3.11, from which single runs differed by up to 45 %.
    claim: float = 780e-6
    #: … to begin a session on what it holds, until that is open.
    begin: float = 2100e-6
    #: … to take over a connection whose holder has died, until it is open: with the claim.
    takeover: float = 3000e-6
    #: … to stop a session.
    stop: float = 850e-6
    #: … to be shown a change of a record, or of a lease.
    watch: float = 134e-6
    #: … to weigh one connection, or shard, for one worker.
    weigh: float = 0.3e-6
    #: CPU of the servers to deliver one change to one who watches.
    deliver: float = 3.8e-6
    #: CPUs of the servers: three of eight. Assumed.
    cores: int = 24


class Load:
    """What was asked for in each second.

    Attributes:
        messages: Changes of records that were delivered, to all workers together.
        cpu: Seconds of CPU, of all workers together.
    """

    def __init__(self) -> None:
        self.messages: dict[int, float] = {}
        self.cpu: dict[int, float] = {}

    def add(self, series: dict[int, float], at: float, amount: float) -> None:
        """So much more, at this time."""
        series[int(at)] = series.get(int(at), 0.0) + amount


class Fleet:
    """Workers and servers, and the time.

    Args:
        costs: What things take.
        alive: Which of the workers are there.
        watchers: Who watches each shard, the first of them in front; empty: all watch everything.
    """

    def __init__(self, costs: Costs, alive: np.ndarray, watchers: np.ndarray | None = None) -> None:
        self.costs = costs
        self.now = 0.0
        self.load = Load()
        self.alive = alive
        #: Seconds of CPU that each worker was asked for.
        self.spent = np.zeros(len(alive))
        #: When the last batch was done; how late the watches were; how long a worker stood still at most.
        self.last = self.lag = self.still = 0.0
        self.done = 0
        self._watchers = watchers
        self._free = np.zeros(len(alive))
        self._queues = {"records": 0.0, "log": 0.0, "deliver": 0.0}
        self._waiting: list[list[tuple[int, int]]] = [[] for _ in alive]
        self._claiming = np.zeros(len(alive), dtype=int)
        self._events: list[tuple[float, int, Steps]] = []
        self._order = count()

    def run(self) -> None:
        """Runs until all is done."""
        while self._events:
            self.now, _, steps = heappop(self._events)
            if (until := next(steps, None)) is not None:
                heappush(self._events, (until, next(self._order), steps))

    def at(self, when: float, steps: Steps) -> None:
        """Takes something up at this time."""
        heappush(self._events, (when, next(self._order), steps))

    # What takes time

    def work(self, worker: int, seconds: float) -> float:
        """A worker works. Gives when it is done, as all of these do."""
        self.spent[worker] += seconds
        self.load.add(self.load.cpu, self.now, seconds)
        self._free[worker] = max(self._free[worker], self.now) + seconds
        return float(self._free[worker])

    def all_work(self, workers: np.ndarray, seconds: float) -> None:
        """Several workers work, each as long."""
        self.spent[workers] += seconds
        self.load.add(self.load.cpu, self.now, seconds * len(self.spent[workers]))
        self._free[workers] = np.maximum(self._free[workers], self.now) + seconds

    def weigh(self, number: int) -> None:
        """Each worker finds out whose shares these are, which it weighs for each worker: so many in each look."""
        pairs = number * int(self.alive.sum())
        look = min(pairs, MOST_WEIGHED) * self.costs.weigh
        self.all_work(self.alive, pairs * self.costs.weigh)
        self._free[self.alive] += pairs // MOST_WEIGHED * max(0.0, self.costs.tick - look)
        self.still = max(self.still, look)

    def write(self, number: int) -> float:
        """Records are written."""
        return self._serve("records", number * self.costs.record)

    def log(self, number: int) -> float:
        """Entries are appended to the log, or its ends are read."""
        return self._serve("log", number * self.costs.append)

    def _serve(self, queue: str, seconds: float) -> float:
        arrived = self.now + self.costs.hop
        self._queues[queue] = max(self._queues[queue], arrived) + seconds
        return self._queues[queue] + self.costs.hop

    def show(self, shard: int, number: int) -> float:
        """So many records of a shard have changed, and whoever watches them is shown that."""
        who = self.alive if self._watchers is None else self._watchers[shard]
        size = len(self.spent[who])
        self.load.add(self.load.messages, self.now, number * size)
        self.all_work(who, number * self.costs.watch)
        shown = self._serve("deliver", number * size * self.costs.deliver / self.costs.cores)
        self.lag = max(self.lag, shown - self.now)
        return shown

    # What a worker does

    def claims_at(self, rng: np.random.Generator, died: float = 0.0) -> tuple[float, np.ndarray]:
        """When the lease of a worker is over that died then, and when each worker claims for it.

        It looks at its next tick, renews its own lease for a proof, and claims at the tick behind that.
        """
        costs = self.costs
        over = died + costs.lease - rng.uniform(0, costs.lease / RENEWALS) + costs.hop
        looks = over + rng.uniform(0, costs.tick, len(self.alive))
        return over, looks + costs.tick * np.ceil(2 * costs.hop / costs.tick)

    def share(self, worker: int, shard: int, number: int, follow: Follow) -> Steps:
        """A worker has so many more connections to claim."""
        batch = AT_ONCE // 2
        for begun in range(0, number, batch):
            self._waiting[worker].append((shard, min(batch, number - begun)))
        self._fill(worker, follow)
        yield self.now

    def _fill(self, worker: int, follow: Follow) -> None:
        waiting = self._waiting[worker]
        while waiting and self._claiming[worker] + waiting[-1][1] <= AT_ONCE:
            shard, number = waiting.pop()
            self._claiming[worker] += number
            self.at(self.now, self._claim(worker, shard, number, follow))

    def _claim(self, worker: int, shard: int, number: int, follow: Follow) -> Steps:
        yield self.work(worker, number * self.costs.claim)
        yield self.write(number)
        self.show(shard, number)
        yield self.log(number)  # its end is read
        yield self.log(number)  # `Held`
        self._claiming[worker] -= number
        self._fill(worker, follow)
        yield from follow(worker, shard, number)
        self.ended(number)

    def ended(self, number: int) -> None:
        """So many are where they were meant to be."""
        self.done += number
        self.last = self.now

    def begin(self, worker: int, shard: int, number: int) -> Steps:
        """Sessions begin on what was just claimed."""
        del shard
        yield self.work(worker, number * self.costs.begin)
        yield from self._open(number)

    def succeed(self, worker: int, shard: int, number: int) -> Steps:
        """The sessions of a dead holder end in the log, and the next ones begin."""
        del shard
        yield self.log(number)  # `Stopped`
        yield self.work(worker, number * (self.costs.takeover - self.costs.claim))
        yield from self._open(number)

    def _open(self, number: int) -> Steps:
        yield self.log(number)  # `Connecting`
        yield self.now + self.costs.dial
        yield self.log(number)  # `Opened`

    def end(self, worker: int, number: int) -> Steps:
        """Sessions are closed."""
        yield self.work(worker, number * self.costs.stop)
        yield self.log(number)  # `Closing`
        yield self.now + self.costs.close
        yield self.log(number)  # `Stopped`

    @property
    def loses_leases(self) -> bool:
        """Whether a worker stood still for longer than its lease lets it. The model goes on as if it had not."""
        return self.still >= SAFE * self.costs.lease
