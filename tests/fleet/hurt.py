"""Workers as processes on real servers, hurt in any order, and an account of what they did.

Rounds follow each other. In each, workers are killed, stopped and continued, and cut off from the servers; servers are
killed and started again, or stand still; and commands are given. Then all is mended, and what is wished must be so
within a lease and two seconds. At the end `Account` reads the log, what each worker noted, and what the WebSocket
server saw. Everything is drawn from one seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

from fleet.hurt_app import PULSE, Journal
from fleet.nats_servers import BINARIES, NatsCluster, NatsServer, leader

from rxnodes.fleet.letters import entry_of
from rxnodes.fleet.nats import nats_store
from rxnodes.fleet.remote.fleet import Fleet
from rxnodes.fleet.worker.lease_guard import own_clock
from rxnodes.testing import ChaosProxy, WebSocketServer
from rxnodes.testing.server.peer import CloseReceived

#: Seconds that a wish may take beyond the lease, once all is mended.
ROOM = 2.0
#: Seconds after joining in which a worker claims nothing.
SETTLE = 2.0
#: The statuses of a worker that has left in order.
LEFT = {0, 128 + signal.SIGTERM}
HERE = Path(__file__).parent


# --- What takes part --------------------------------------------------------------------------------------------------


class Site:
    """The WebSocket server: notes who came, and each message with who sent it when."""

    def __init__(self):
        self.said = defaultdict(list)
        self.open = Counter()
        self._peers = defaultdict(set)
        self._server = WebSocketServer(self._serve)

    async def __aenter__(self):
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self._server.__aexit__(*error)

    def url(self, name, worker):
        return f"{self._server.url}{name}?worker={worker}"

    async def _serve(self, peer):
        request = await peer.read_request()
        name = request.target.partition("?")[0].strip("/")
        await peer.accept()
        self.open[name] += 1
        self._peers[name].add(peer)
        talking = asyncio.create_task(self._talk(peer))
        try:
            while True:
                said = json.loads(await peer.receive_message())
                self.said[name].append(said | {"heard": own_clock()})
        except CloseReceived as end:
            if peer in self._peers[name]:
                await peer.send_close(end.code)
        finally:
            self.open[name] -= 1
            self._peers[name].discard(peer)
            talking.cancel()

    async def close(self, name):
        """Closes what is open of that name."""
        for peer in list(self._peers[name]):
            self._peers[name].discard(peer)
            with contextlib.suppress(ConnectionError):
                await peer.send_close(1000)

    async def _talk(self, peer):
        with contextlib.suppress(ConnectionError):
            for number in itertools.count():
                await peer.send_text(str(number))
                await asyncio.sleep(PULSE)


class HurtWorker:
    """A worker: a process, and its way to each of the servers."""

    def __init__(self, number, folder, servers, settings):
        self.name = f"w{number}"
        self.folder = folder / self.name
        self.journal = folder / f"{self.name}.jsonl"
        self.proxies = [ChaosProxy(f"ws://127.0.0.1:{server.port}/") for server in servers]
        #: Since when it is well: it runs, is not stopped, and reaches the servers. `None`: it is not.
        self.well_since = None
        self.is_new = True
        self._settings = settings
        self._process = None

    async def begin(self):
        for proxy in self.proxies:
            await proxy.__aenter__()
        self.folder.mkdir()
        lines = [
            f'[connections.{name}]\nurl = "{self._settings["site"].url(name, self.name)}"\n'
            for name in self._settings["names"]
        ]
        (self.folder / "websocket.toml").write_text("\n".join(lines))
        urls = ",".join(f"nats://127.0.0.1:{proxy.port}" for proxy in self.proxies)
        (self.folder / "fleet.toml").write_text(
            f'url = "{urls}"\nname = "hurt"\nlease = {self._settings["lease"]}\n'
            f"replicas = {self._settings['replicas']}\nhistory = 10000\n"
        )
        await self.start()

    async def start(self):
        """Starts it, and waits until it runs."""
        command = [sys.executable, "-m", "rxnodes", "run", "hurt_app:build", str(self.folder), "--fleet"]
        with (self.folder / "err").open("ab") as err:
            self._process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own command; it does not wait
                command,
                cwd=HERE,
                env=os.environ | {"HURT_JOURNAL": str(self.journal), "HURT_WORKER": self.name},
                stdin=subprocess.DEVNULL,
                stdout=err,
                stderr=err,
            )
        while not any(it["pid"] == self._process.pid for it in self.notes()):
            assert self._process.poll() is None, (self.folder / "err").read_text()
            await asyncio.sleep(0.05)
        self.well(is_new=True)

    def well(self, *, is_new=False):
        self.well_since, self.is_new = own_clock(), is_new

    def kill(self):
        self.well_since = None
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def signal(self, number):
        self._process.send_signal(number)

    async def leave(self):
        """Ends it in order; gives its status."""
        self.signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, 30)

    async def end(self):
        if self._process is not None:
            self.kill()
        for proxy in self.proxies:
            await proxy.__aexit__(None, None, None)

    def black_hole(self, *, on):
        for proxy in self.proxies:
            proxy.to_server.black_hole = proxy.to_client.black_hole = on

    def notes(self):
        """What it has noted; a last line that was torn by a kill is left out."""
        lines = self.journal.read_bytes().split(b"\n")[:-1] if self.journal.exists() else []
        return [json.loads(line) for line in lines]


class LogReader:
    """Reads the whole log from the beginning, as it grows, and notes when it saw what."""

    def __init__(self, journal):
        self.entries = defaultdict(list)
        self.gaps = []
        self._journal = journal

    def logged(self, logged):
        entry = entry_of(logged.value)
        self.entries[logged.name].append(entry)
        self._journal.write(
            name=logged.name, kind=entry.kind, worker=entry.worker, epoch=entry.epoch, session=entry.after.session
        )

    def is_current(self, current): ...

    def gap(self, reason):
        self.gaps.append(reason)

    def live(self, name):
        """The live session; 0: none is."""
        entries = self.entries[name]
        return entries[-1].after.session if entries and entries[-1].after.is_live else 0

    def kinds_of(self, name, session):
        return [it.kind for it in self.entries[name] if it.event is not None and it.event.session == session]


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
        self.fleet = await self._stack.enter_async_context(Fleet.connect(url, name="hurt"))
        settings = {"names": self.names, "lease": self.lease, "replicas": replicas, "site": self.site}
        self.workers = [HurtWorker(number, self._folder, self.servers, settings) for number in range(self._count)]
        for worker in self.workers:
            self._stack.push_async_callback(worker.end)
        await asyncio.gather(*(worker.begin() for worker in self.workers))

    async def __aexit__(self, *error):
        await self._stack.aclose()

    async def run(self, seconds):
        """Hurts for so long, and gives the account."""
        end = own_clock() + seconds
        await self.round(())
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
        commanding = asyncio.create_task(self._command())
        targets = self.dice.sample(self.workers, len(self.workers))
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

    async def _command(self):
        """Some commands, one after the other, of which the last counts."""
        names = [name for name in self.names if name not in self.ending]
        for _ in range(self.dice.randint(2, len(names))):
            name = self.dice.choice(names)
            await self.wish(name, self.dice.random() < 0.7)
            await asyncio.sleep(self.dice.uniform(0, 0.3))

    async def wish(self, name, run):
        connection = self.fleet.websocket(name)
        self.wished[name] = run
        self.notes.write(name=name, kind="wish", run=run)
        if run:
            connection.start()
        else:
            connection.stop()

    async def reached(self):
        """Waits until all that is wished is so, and notes where that took too long."""
        mended_at = own_clock()
        # Somebody must have been there for long enough to claim.
        ready = min(worker.well_since + (SETTLE if worker.is_new else self.lease) for worker in self.workers)
        due = max(mended_at, ready) + self.lease + ROOM
        while wrong := self.wrong():
            if own_clock() > due + 10:
                self.problems.append(f"round {self.rounds}: not reached at all: {wrong}")
                return
            await asyncio.sleep(0.02)
        took = own_clock() - mended_at
        self.slowest = max(self.slowest, took)
        if own_clock() > due:
            self.problems.append(f"round {self.rounds}: reached {own_clock() - due:.2f} s too late")
        for worker in self.workers:
            worker.is_new = worker.is_new and own_clock() < worker.well_since + SETTLE

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
            await self.wish(name, run=False)
        await self.reached()
        statuses = await asyncio.gather(*(worker.leave() for worker in self.workers))
        if not set(statuses) <= LEFT:
            self.problems.append(f"workers ended with {statuses}")


# --- Harms ------------------------------------------------------------------------------------------------------------


async def kill_worker(hurt, worker):
    if worker.well_since is None:
        return
    worker.kill()
    await asyncio.sleep(hurt.dice.uniform(0, 2 * hurt.lease))
    await worker.start()


async def stop_worker(hurt, worker):
    if worker.well_since is None:
        return
    worker.well_since = None
    worker.signal(signal.SIGSTOP)
    await asyncio.sleep(hurt.dice.uniform(0, 3 * hurt.lease))
    worker.signal(signal.SIGCONT)
    worker.well(is_new=True)


async def cut_worker_off(hurt, worker):
    if worker.well_since is None:
        return
    worker.well_since = None
    worker.black_hole(on=True)
    await asyncio.sleep(hurt.dice.uniform(0, 3 * hurt.lease))
    worker.black_hole(on=False)
    worker.well(is_new=True)


async def cut_worker_half_off(hurt, worker):
    """What it writes arrives, and it hears nothing; or the other way."""
    if worker.well_since is None:
        return
    worker.well_since = None
    way = hurt.dice.choice(["to_server", "to_client"])
    for proxy in worker.proxies:
        getattr(proxy, way).black_hole = True
    await asyncio.sleep(hurt.dice.uniform(0, 3 * hurt.lease))
    for proxy in worker.proxies:
        getattr(proxy, way).black_hole = False
    worker.well(is_new=True)


async def drain_worker(hurt, worker):
    """Ends it in order, as an update does, and starts it again."""
    if worker.well_since is None:
        return
    worker.well_since = None
    status = await worker.leave()
    if status not in LEFT:
        hurt.problems.append(f"{worker.name} ended with {status}")
    await worker.start()


async def stop_worker_then_kill_it(hurt, worker):
    if worker.well_since is None:
        return
    worker.well_since = None
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
    """The peer closes some connections: what ends by itself stays ended, unless its holder dies first."""
    for name in hurt.ending:
        hurt.wished[name] = None
        await hurt.site.close(name)
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


# --- The account ------------------------------------------------------------------------------------------------------


class Account:
    """Reads what was logged, noted and seen, and finds what must not be."""

    def __init__(self, hurt):
        self.problems = list(hurt.problems)
        self.sessions = self.entries = self.said = self.delivered = 0
        self._hurt = hurt
        if hurt.log.gaps:
            self._wrong("log", f"gaps: {hurt.log.gaps}")
        for name, entries in hurt.log.entries.items():
            self.entries += len(entries)
            self._epochs(name, entries)
            self._sessions(name, entries)
        notes = {worker.name: worker.notes() for worker in hurt.workers}
        for name in hurt.names:
            self._one_at_a_time(name, "said", hurt.site.said[name], at="heard")
            self.said += len(hurt.site.said[name])
            delivered = [it for all_ in notes.values() for it in all_ if it["kind"] == "message" and it["name"] == name]
            self.delivered += len(delivered)
            self._one_at_a_time(name, "delivered", delivered, at="at")
        for worker in hurt.workers:
            self._told(worker, notes[worker.name])

    def _wrong(self, name, what):
        self.problems.append(f"{name}: {what}")

    def _epochs(self, name, entries):
        """In each epoch one worker wrote, and epochs rise."""
        by_epoch = defaultdict(set)
        for entry in entries:
            by_epoch[entry.epoch].add(entry.worker)
        for epoch, workers in by_epoch.items():
            if len(workers) > 1:
                self._wrong(name, f"{workers} wrote in epoch {epoch}")
        epochs = [entry.epoch for entry in entries]
        if epochs != sorted(epochs):
            self._wrong(name, f"epochs go back: {epochs}")
        ids = Counter(entry.id for entry in entries)
        if doubled := [it for it, count in ids.items() if count > 1]:
            self._wrong(name, f"entries stand twice: {doubled}")

    def _sessions(self, name, entries):
        """Each session begins once and ends once, one behind the other."""
        live = last = 0
        for entry in entries:
            event = entry.event
            if event is None or (entry.kind == "ErrorEvent" and event.session in (0, last)):
                continue
            if entry.kind == "Connecting" and not live:
                if event.session != last + 1:
                    self._wrong(name, f"session {event.session} begins behind {last}")
                live = last = event.session
                self.sessions += 1
            elif event.session != live:
                self._wrong(name, f"{entry.kind} of session {event.session} while {live} is live, by {entry.worker}")
            elif entry.kind == "Stopped":
                live = 0
        if live:
            self._wrong(name, f"session {live} has not ended")

    def _one_at_a_time(self, name, what, seen, *, at):
        """In each session one process acts, and not any more once the next one has begun."""
        runs = []
        for it in sorted(seen, key=lambda it: it[at]):
            who = (it["session"], it["worker"], it["pid"])
            if not runs or runs[-1] != who:
                if who in runs:
                    self._wrong(name, f"{what}: {who} again behind {runs[-1]}, {it}")
                elif runs and who[0] <= runs[-1][0]:
                    self._wrong(name, f"{what}: {who} behind {runs[-1]}, {it}")
                runs.append(who)

    def _told(self, worker, notes):
        """What a worker's own pipelines were told: of a session of its own at most one Stopped."""
        ends = Counter((it["pid"], it["name"], it["session"]) for it in notes if it["kind"] == "Stopped")
        for (_, name, session), count in ends.items():
            if count > 1:
                self._wrong(worker.name, f"told {count} ends of session {session} of {name}")

    def __str__(self):
        hurt = self._hurt
        return (
            f"seed {hurt.seed}: {hurt.rounds} rounds, {dict(hurt.faults)}; {self.sessions} sessions, {self.entries} "
            f"entries, {self.said} messages heard and {self.delivered} delivered; the slowest wish {hurt.slowest:.2f} s\n"
            + "\n".join(self.problems or ["nothing is wrong"])
        )
