"""What things cost in a fleet, for the model of `benchmarks.fleet_scale`: `python -m benchmarks.fleet_costs`.

A holder, one that only watches, and a successor, each a process with a worker, on a NATS server and a WebSocket server.
All figures are of the CPU time of the process that they are about, for they share the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import say
from benchmarks.clock import resident_bytes
from benchmarks.fleet import nats_server
from benchmarks.fleet_parts import CONNECT_TIMEOUT, name_of
from benchmarks.limits import allow_many_files
from benchmarks.processes import ROOT, server
from rxnodes import Project
from rxnodes.fleet.nats import nats_store
from rxnodes.fleet.rules.member import Member
from rxnodes.fleet.rules.sharing import Candidates
from rxnodes.fleet.worker.lease_guard import LeaseGuard
from rxnodes.fleet.worker.worker import Worker
from rxnodes.transport.aiohttp import AiohttpTransport
from rxnodes.websocket import all_stopped

if TYPE_CHECKING:
    from rxnodes.fleet.rules.values import Record
    from rxnodes.fleet.store import Seen

#: Connections.
COUNT = 1_000
#: Watches of the records, for what one more costs the server.
WATCHES = 24
#: Seconds of a lease.
LEASE = 4.0
#: Never, for who claims nothing.
NEVER = 1e9


class Counting(Worker):
    """A worker that counts the records it is shown."""

    shown = 0

    def know(self, name: str, record: Record, revision: int) -> None:
        """See `Worker.know`."""
        self.shown += 1
        super().know(name, record, revision)


class Deaf:
    """A watcher that does nothing."""

    def seen(self, seen: Seen) -> None:
        """A record."""

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as the store has it
        """What is missing comes."""


async def worker(part: str, url: str, port: str) -> None:
    """One of the workers. It says what it found, and does what its standard input says next."""
    allow_many_files()
    names = [name_of(number) for number in range(COUNT)]
    fields = {"url": f"ws://127.0.0.1:{port}/", "connect_timeout": CONNECT_TIMEOUT}
    guard = LeaseGuard()
    async with Project(websocket=dict.fromkeys(names, fields), transport=AiohttpTransport(guard.is_allowed)) as project:
        settle = NEVER if part == "watcher" else 0.1
        store = nats_store(url, fleet="costs", history=8, lease=LEASE)
        it = Counting(project, store, guard, lease=LEASE, settle=settle)
        async with it:
            while not it.is_joined:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
            say("0")
            begun, shown = time.process_time(), it.shown
            if part == "watcher":
                await _told()
                say(str((time.process_time() - begun) / (it.shown - shown)))
                return
            while len(it.held) < COUNT:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
            connections = [project.websocket(name) for name in names]
            if part == "holder":
                begun = _say_since(begun)
                await _told()
                begun = time.process_time()
                for connection in connections:
                    connection.start()
            while not all(connection.state == "open" for connection in connections):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
            begun = _say_since(begun)
            await _told()
            begun = time.process_time()
            for connection in connections:
                connection.stop()
            await all_stopped(*connections)
            _say_since(begun)
            await _told()


def _say_since(begun: float) -> float:
    say(str((time.process_time() - begun) / COUNT))
    return time.process_time()


async def _told() -> None:
    await asyncio.to_thread(sys.stdin.readline)


class Part:
    """A process with a worker."""

    def __init__(self, part: str, url: str, port: int) -> None:
        command = [sys.executable, "-m", "benchmarks.fleet_costs", part, url, str(port)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said()

    def said(self) -> float:
        """What it says next, in microseconds."""
        assert self._process.stdout is not None
        return float(self._process.stdout.readline()) * 1e6

    def go_on(self) -> None:
        """Tells it to go on."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """Kills it."""
        self._process.kill()
        self._process.wait()


def measure() -> dict[str, float]:
    """All of it. In microseconds of CPU time, but for `share_bytes`."""
    found: dict[str, float] = {}
    with nats_server() as url, server() as port:
        watcher = Part("watcher", url, port)
        holder = Part("holder", url, port)
        found["claim"] = holder.said()
        holder.go_on()
        found["begin"] = holder.said()
        watcher.go_on()
        found["watch"] = watcher.said()
        watcher.kill()
        holder.kill()
        successor = Part("successor", url, port)
        found["takeover"] = successor.said()
        successor.go_on()
        found["stop"] = successor.said()
        successor.kill()
        found["deliver"] = asyncio.run(_deliveries(url))
    begun = time.process_time()
    workers = Candidates([f"machine-{number}-12345-abcdef01-1" for number in range(1000)])
    for number in range(1000):
        workers.first(name_of(number))
    found["weigh"] = (time.process_time() - begun) * 1e6 / 1000 / len(workers.ids)
    before = resident_bytes()
    member = Member("m", [name_of(number) for number in range(100_000)])
    found["share_bytes"] = (resident_bytes() - before) / sum(1 for _ in member.names)
    return found


async def _deliveries(url: str) -> float:
    """What a watch costs the server for each change that it shows."""
    store = nats_store(url, fleet="watched", history=8)
    await store.open()
    alone = await _written(store, "a")
    watches = [store.watch_records(Deaf()) for _ in range(WATCHES)]
    await asyncio.sleep(1)
    watched = await _written(store, "b")
    for watch in watches:
        watch.close()
    await store.close()
    return (watched - alone) * 1e6 / (COUNT * WATCHES)


async def _written(store: Any, prefix: str) -> float:
    """The server's CPU time for as many writes of records."""
    pid, before = _server_pid(), 0.0
    before = _cpu_of(pid)
    for begin in range(0, COUNT, 50):
        await asyncio.gather(*(store.write_record(f"{prefix}{begin + i}", b"x" * 200, 0) for i in range(50)))
    await asyncio.sleep(1)
    return _cpu_of(pid) - before


def _server_pid() -> int:
    """The child of this process that is the NATS server."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return next(int(pid) for pid in children if "nats" in Path(f"/proc/{pid}/comm").read_text())


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(worker(*sys.argv[1:]))
    else:
        say(json.dumps(measure(), indent=1))
