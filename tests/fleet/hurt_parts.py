"""What takes part where a fleet is hurt: the WebSocket server, the workers, and who reads the log."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

from fleet.hurt_app import PULSE

from rxnodes.fleet.letters import entry_of, lease_of
from rxnodes.fleet.worker.lease_guard import own_clock
from rxnodes.testing import ChaosProxy, WebSocketServer
from rxnodes.testing.server.peer import CloseReceived

HERE = Path(__file__).parent


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

    async def end(self, name, *, by_peer):
        """Closes what is open of that name, or says something on which the holder's own pipeline stops it."""
        for peer in list(self._peers[name]):
            with contextlib.suppress(ConnectionError):
                if by_peer:
                    self._peers[name].discard(peer)
                    await peer.send_close(1000)
                else:
                    await peer.send_text("stop")

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
        self.commands = folder / f"{self.name}.commands"
        self.commands.touch()
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
                env=os.environ
                | {"HURT_JOURNAL": str(self.journal), "HURT_WORKER": self.name, "HURT_COMMANDS": str(self.commands)},
                stdin=subprocess.DEVNULL,
                stdout=err,
                stderr=err,
            )
        while not any(it["pid"] == self._process.pid for it in self.notes()):
            assert self._process.poll() is None, (self.folder / "err").read_text()
            await asyncio.sleep(0.05)
        self.well(is_new=True)

    @property
    def pid(self):
        return self._process.pid

    def well(self, *, is_new=False):
        self.well_since, self.is_new = own_clock(), is_new

    def kill(self):
        self.well_since = None
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def command(self, name, run):
        """Has it command a connection, by its own pipeline."""
        with self.commands.open("a") as file:
            file.write(f"{'start' if run else 'stop'} {name}\n")

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


class LeaseReader:
    """Sees which processes have ever joined."""

    def __init__(self):
        self._joined = set()

    def seen(self, seen):
        # Behind the first renewal a worker knows that it has joined.
        if seen.value is not None and lease_of(seen.value).number > 1:
            self._joined.add(seen.name)

    def is_current(self, current): ...

    def has_joined(self, worker):
        """Whether it has, and so commands the fleet. What it commands before that overrides nothing."""
        return any(f"-{worker.pid}-" in name for name in self._joined)


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
