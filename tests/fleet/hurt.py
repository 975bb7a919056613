"""Workers as processes on real servers, hurt in any order, and an account of what they did.

Rounds follow each other. In each, workers are killed, stopped and continued, and cut off from the servers; servers are
killed and started again, or stand still; and commands are given. Then all is mended, and what is wished must be so
within a lease and two seconds. At the end `Account` reads the log, what each worker noted, and what the WebSocket
server saw. Everything is drawn from one seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import random
import signal
from collections import Counter
from pathlib import Path

from fleet.hurt_account import Account
from fleet.hurt_app import Journal
from fleet.hurt_parts import HurtWorker, LeaseReader, LogReader, Site
from fleet.nats_servers import BINARIES, NatsCluster, NatsServer, leader

from rxnodes.fleet import Fleet
from rxnodes.fleet.letters import record_of
from rxnodes.fleet.nats import nats_store
from rxnodes.fleet.store import Unknown
from rxnodes.fleet.worker.lease_guard import own_clock

#: Seconds that a wish may take beyond the lease, once all is mended.
ROOM = 2.0
#: Seconds after joining in which a worker claims nothing.
SETTLE = 2.0
#: Seconds after which a wish counts as not reached at all, on any machine.
PATIENCE = 60.0
#: The statuses of a worker that has left in order.
LEFT = {0, 128 + signal.SIGTERM}


# --- The hurting ------------------------------------------------------------------------------------------------------


class Hurt:
    """A fleet that is hurt.

    Args:
        folder: For all that it writes.
        seed: What everything is drawn from.
        servers: How many NATS servers, 1 or 3.
        workers: How many workers.
        connections: How many connections.
        lease: The seconds of a lease.
        binary: Which NATS server.
        say: Is told what happens.
    """

    def __init__(  # noqa: PLR0913 - one for each thing that may be otherwise
        self, folder, seed, *, servers=1, workers=3, connections=8, lease=2.0, binary=None, say=print
    ):
        self.seed = seed
        self.dice = random.Random(seed)
        self.lease = lease
        self.names = [f"c{number}" for number in range(connections)]
        self.say = say
        self.faults = Counter()
        self.rounds = 0
        self.slowest = 0.0
        self.problems = []
        self.ending = []
        self.seen = {name: [] for name in self.names}
        self._folder = folder
        self._binary = binary or BINARIES[0]
        self._count = workers
        self._is_cluster = servers > 1
        self.wished = dict.fromkeys(self.names, False)
        self.notes = Journal(folder / "all.jsonl")
        self.log = LogReader(self.notes)

    async def __aenter__(self):
        self._stack = contextlib.AsyncExitStack()
        try:
            await self._begin()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _begin(self):
        if self._is_cluster:
            self.nats = NatsCluster(self._folder, self._binary)
            self.servers = self.nats.servers
        else:
            self.nats = NatsServer(self._folder, self._binary)
            self.servers = [self.nats]
        self._stack.callback(self.nats.kill)
        await self.nats.start()
        self.site = await self._stack.enter_async_context(Site())
        replicas = len(self.servers)
        url = self.nats.url
        self.store = nats_store(url, fleet="hurt", lease=self.lease, replicas=replicas, history=10_000)
        await self.store.open()
        self._stack.push_async_callback(self.store.close)
        self.store.watch_log(self.log, since="oldest")
        self.leases = LeaseReader()
        self.store.watch_leases(self.leases)
        self.fleet = Fleet.connect(url, name="hurt")
        for name in self.names:
            self.fleet.websocket(name).lifecycle.subscribe(self.seen[name].append)
        await self._stack.enter_async_context(self.fleet)
        settings = {"names": self.names, "lease": self.lease, "replicas": replicas, "site": self.site}
        self.workers = [HurtWorker(number, self._folder, self.servers, settings) for number in range(self._count)]
        for worker in self.workers:
            self._stack.push_async_callback(worker.end)
        await asyncio.gather(*(worker.begin() for worker in self.workers))

    async def __aexit__(self, *error):
        await self._stack.aclose()

    async def run(self, seconds):
        """Hurts for so long, and gives the account."""
        await self.round(())
        end = own_clock() + seconds
        while own_clock() < end and not self.problems:
            await self.round(self._plan())
        await self.stop_all()
        return Account(self)

    def _plan(self):
        return [self.dice.choice(HARMS) for _ in range(self.dice.randint(1, 3))]

    async def round(self, harms):
        """Hurts once, and waits until what is wished is so."""
        self.rounds += 1
        self.say(f"round {self.rounds}: {', '.join(harm.__name__ for harm in harms) or 'nothing'}")
        self.faults.update(harm.__name__ for harm in harms)
        # A start that comes while the peer closes may find the session live, and change nothing.
        self.ending = self.dice.sample(self.names, len(self.names) // 3) if end_sessions in harms else []
        targets = self.dice.sample(self.workers, len(self.workers))
        commanding = asyncio.create_task(self._command(targets[len(harms) :]))
        await asyncio.gather(
            *(harm(self, worker) for harm, worker in zip(harms, itertools.cycle(targets), strict=False))
        )
        await commanding
        if set(HARMS_OF_SERVERS) & set(harms):
            await self.led()
        self.notes.write(kind="mended")
        await self.reached()

    async def led(self):
        """Waits until the servers serve again. The workers may have lost their leases meanwhile, and join again."""
        for place in ("leases", "records", "log"):
            await leader(self.servers, self.store, getattr(self.store._layout, place))
        for worker in self.workers:
            worker.well(is_new=True)

    async def _command(self, unharmed):
        """Commands some connections, from outside or by workers, of which any may hold them or not."""
        names = [name for name in self.names if name not in self.ending]
        for name in self.dice.sample(names, self.dice.randint(2, len(names))):
            joined = [worker for worker in unharmed if self.leases.has_joined(worker)]
            by, run = self.dice.choice([None, *joined]), self.dice.random() < 0.7
            if self.dice.random() < 0.3:
                self.wish(name, not run, by)
            self.wish(name, run, by)
            await asyncio.sleep(self.dice.uniform(0, 0.3))

    def wish(self, name, run, by=None):
        """Commands a connection from outside, or by a worker."""
        self.wished[name] = run
        self.notes.write(name=name, kind="wish", run=run, by=by and by.name)
        if by is not None:
            by.command(name, run)
        elif run:
            self.fleet.websocket(name).start()
        else:
            self.fleet.websocket(name).stop()

    async def reached(self):
        """Waits until all that is wished is so, and notes where that took too long."""
        mended_at, starved_before = own_clock(), starved()
        # Somebody must have been there for long enough to claim.
        ready = min(worker.well_since + (SETTLE if worker.is_new else 0) for worker in self.workers)
        due = max(mended_at, ready) + self.lease + ROOM
        is_first = True
        while wrong := self.wrong():
            if is_first and own_clock() > due and (overridden := await self.overridden(wrong)):
                # What a pipeline commanded on a worker that was cut off is written when that is back, and counts then.
                is_first, due = False, own_clock() + self.lease + ROOM
                for name in overridden:
                    self.wish(name, self.wished[name])
            if own_clock() > due + PATIENCE:
                self.problems.append(f"round {self.rounds}: not reached at all: {wrong}")
                return
            await asyncio.sleep(0.02)
        took = own_clock() - mended_at
        self.slowest = max(self.slowest, took)
        # On a machine that has too much else to do, what is due tells nothing of the fleet.
        if (late := own_clock() - due - (starved() - starved_before)) > 0:
            self.problems.append(f"round {self.rounds}: reached {late:.2f} s too late")
        for worker in self.workers:
            worker.is_new = worker.is_new and own_clock() < worker.well_since + SETTLE

    async def overridden(self, names):
        """Those of which the record asks for something else by now."""
        try:
            stand = {name: await self.store.read_record(name) for name in names if self.wished[name] is not None}
        except Unknown:
            # The servers do not answer yet: it is asked again.
            return []
        return [name for name, it in stand.items() if it and record_of(it.value).wish.run is not self.wished[name]]

    def wrong(self):
        """What is not as it is wished, by the log, and by the server."""
        wrong = {}
        for name, run in self.wished.items():
            session = self.log.live(name)
            is_open = bool(session) and self.log.kinds_of(name, session)[-1:] == ["Opened"]
            wanted = is_open if run is None else run
            if (is_open, self.site.open[name], bool(session)) != (wanted, int(wanted), wanted):
                kinds = self.log.kinds_of(name, session) if session else "over"
                wrong[name] = f"wished {run}, session {session}: {kinds}, {self.site.open[name]} sockets"
        return wrong

    async def stop_all(self):
        """The end: all is stopped, and the workers leave."""
        for name in self.names:
            self.wish(name, run=False)
        await self.reached()
        statuses = await asyncio.gather(*(worker.leave() for worker in self.workers))
        # What an observer holds back comes within a second.
        await asyncio.sleep(1.5)
        if not set(statuses) <= LEFT:
            self.problems.append(f"workers ended with {statuses}")


def starved():
    """For how many seconds the processes of this run have had to wait for a CPU, as far as the system counts that.

    It counts by control group. Where the run has none to itself, it is what anything on this machine has waited.
    """
    pressure = next((path for path in pressures() if path.exists()), None)
    return int(pressure.read_text().split()[4].removeprefix("total=")) / 1e6 if pressure else 0.0


def pressures():
    """Where Linux tells it, what is closer to this process first."""
    groups = Path("/proc/self/cgroup")
    own = (
        [line.removeprefix("0::/") for line in groups.read_text().splitlines() if line.startswith("0::/")]
        if groups.exists()
        else []
    )
    yield from (Path(root, *own, "cpu.pressure") for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"))
    yield Path("/proc/pressure/cpu")


# --- Harms ------------------------------------------------------------------------------------------------------------


def on_a_worker_that_is_well(harm):
    """Does nothing to a worker that is being harmed already."""

    @functools.wraps(harm)
    async def only(hurt, worker):
        if worker.well_since is not None:
            worker.well_since = None
            await harm(hurt, worker)

    return only


@on_a_worker_that_is_well
async def kill_worker(hurt, worker):
    worker.kill()
    await asyncio.sleep(hurt.dice.uniform(0, 2 * hurt.lease))
    await worker.start()


@on_a_worker_that_is_well
async def stop_worker(hurt, worker):
    worker.signal(signal.SIGSTOP)
    await asyncio.sleep(hurt.dice.uniform(0, 3 * hurt.lease))
    worker.signal(signal.SIGCONT)
    worker.well(is_new=True)


@on_a_worker_that_is_well
async def cut_worker_off(hurt, worker):
    worker.black_hole(on=True)
    await asyncio.sleep(hurt.dice.uniform(0, 3 * hurt.lease))
    worker.black_hole(on=False)
    worker.well(is_new=True)


@on_a_worker_that_is_well
async def cut_worker_half_off(hurt, worker):
    """What it writes arrives, and it hears nothing; or the other way."""
    way = hurt.dice.choice(["to_server", "to_client"])
    for proxy in worker.proxies:
        getattr(proxy, way).black_hole = True
    await asyncio.sleep(hurt.dice.uniform(0, 3 * hurt.lease))
    for proxy in worker.proxies:
        getattr(proxy, way).black_hole = False
    worker.well(is_new=True)


@on_a_worker_that_is_well
async def drain_worker(hurt, worker):
    """Ends it in order, as an update does, and starts it again."""
    status = await worker.leave()
    if status not in LEFT:
        hurt.problems.append(f"{worker.name} ended with {status}")
    await worker.start()


@on_a_worker_that_is_well
async def stop_worker_then_kill_it(hurt, worker):
    worker.signal(signal.SIGSTOP)
    await asyncio.sleep(hurt.dice.uniform(0, 2 * hurt.lease))
    worker.kill()
    await worker.start()


async def reset_worker(hurt, worker):
    for proxy in worker.proxies:
        proxy.reset_all()


async def slow_worker(hurt, worker):
    for proxy in worker.proxies:
        proxy.to_server.latency = proxy.to_client.latency = hurt.dice.uniform(0, hurt.lease / 10)
    await asyncio.sleep(hurt.dice.uniform(0, 2 * hurt.lease))
    for proxy in worker.proxies:
        proxy.to_server.clear()
        proxy.to_client.clear()


async def kill_server(hurt, _worker):
    server = hurt.dice.choice(hurt.servers)
    if not server.is_running:
        return
    server.kill()
    await asyncio.sleep(hurt.dice.uniform(0, 2 * hurt.lease))
    await server.start()


async def stop_server(hurt, _worker):
    server = hurt.dice.choice(hurt.servers)
    if not server.is_running:
        return
    server.stop()
    await asyncio.sleep(hurt.dice.uniform(0, 2 * hurt.lease))
    if server.is_running:
        server.go_on()


async def kill_all_servers(hurt, _worker):
    """All of them, and for long enough, now and then, that every lease is over."""
    running = [server for server in hurt.servers if server.is_running]
    for server in running:
        server.kill()
    await asyncio.sleep(hurt.dice.uniform(0, 2 * hurt.lease))
    await asyncio.gather(*(server.start() for server in running))


async def end_sessions(hurt, _worker):
    """Some end by themselves, by the peer or by a pipeline: they stay ended, unless their holder dies before."""
    for name in hurt.ending:
        hurt.wished[name] = None
        await hurt.site.end(name, by_peer=hurt.dice.random() < 0.5)
        await asyncio.sleep(hurt.dice.uniform(0, hurt.lease / 2))


HARMS_OF_SERVERS = (kill_server, stop_server, kill_all_servers)
HARMS = (
    kill_worker,
    stop_worker,
    stop_worker_then_kill_it,
    cut_worker_off,
    cut_worker_half_off,
    reset_worker,
    slow_worker,
    drain_worker,
    end_sessions,
    *HARMS_OF_SERVERS,
)
