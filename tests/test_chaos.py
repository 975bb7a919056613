"""Real sockets under random faults: whatever the network does, the promises hold.

Each run is decided by its seed. To replay one: RXNODES_CHAOS_SEED=<seed> python -m pytest tests/test_chaos.py
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest
from promises import Journal

from rxnodes import ConnectionState, Project, for_each_async
from rxnodes.testing import ChaosProxy, WebSocketServer, echo, never_answer_close, talk_after_close
from rxnodes.testing.server import in_turn
from rxnodes.websocket import on_receive

pytestmark = pytest.mark.slow

SEED = os.environ.get("RXNODES_CHAOS_SEED")
RUNS = 6 if SEED is None else 1
CLOSE_TIMEOUT = 0.3
ROOM = 3.0


async def log_in(greeting):
    await greeting.send("token")
    await greeting.receive("token".__eq__)


class Chaos:
    """A few connections through one proxy, and a dice."""

    def __init__(self, seed, project, proxy):
        self.dice = random.Random(seed)
        self.proxy = proxy
        self.connections = [project.websocket(name) for name in project.configurations]
        self.journals = [self.watch(connection) for connection in self.connections]
        self.late = []

    def watch(self, connection):
        journal = Journal()
        initial = []
        connection.states.subscribe(lambda state: journal.state(state) if initial else initial.append(state))
        connection.lifecycle.subscribe(journal.event)
        connection.messages.subscribe(journal.message)
        closing = {}

        def clock(event):
            now = asyncio.get_running_loop().time()
            if type(event).__name__ == "Closing":
                closing[event.session] = now
            elif type(event).__name__ == "Stopped" and event.session in closing:
                assert now - closing[event.session] < CLOSE_TIMEOUT + ROOM

        connection.lifecycle.subscribe(clock)
        return journal

    async def dawdle(self, _message):
        """A consumer that now and then cannot keep up, so that its connection is paused."""
        await asyncio.sleep(self.dice.choice([0, 0, 0.005, 0.05]))

    def disturb(self):
        faults = self.dice.choice([self.proxy.to_server, self.proxy.to_client])
        match self.dice.randrange(8):
            case 0:
                faults.latency = self.dice.choice([0.0, 0.005, 0.02])
            case 1:
                faults.slice_size = self.dice.choice([None, 1, 7])
            case 2:
                faults.bandwidth = self.dice.choice([None, 2_000, 1_000_000])
            case 3:
                faults.black_hole = self.dice.random() < 0.3
            case 4:
                self.proxy.reset_all()
            case 5:
                faults.half_close = self.dice.random() < 0.3
            case _:
                faults.clear()

    def command(self):
        connection = self.dice.choice(self.connections)
        match self.dice.choice(["start", "start", "start", "stop", "abort", "send", "send", "send"]):
            case "send":
                connection.send(self.dice.choice(["short", "x" * 5_000, b"\xff" * 300]))
            case command:
                getattr(connection, command)()

    async def rage(self, steps):
        for _ in range(steps):
            if self.dice.random() < 0.2:
                self.disturb()
            self.command()
            # How long nothing happens is part of the chaos; nothing is waited for here.
            await asyncio.sleep(self.dice.choice([0, 0, 0.001, 0.01]))


@pytest.mark.parametrize("run", range(RUNS))
async def test_random_faults_keep_the_promises(run, caplog):
    seed = random.randrange(2**32) if SEED is None else int(SEED)
    print(f"replay with RXNODES_CHAOS_SEED={seed}")
    dice = random.Random(seed)
    scripts = [dice.choice([echo, echo, never_answer_close, talk_after_close]) for _ in range(7)]
    fields = {
        "close_timeout": CLOSE_TIMEOUT,
        "connect_timeout": 0.5,
        "heartbeat": 0.4,
        "compression": dice.random() < 0.5,
        "after_connect": dice.choice([None, log_in]),
        "reconnect": {"enabled": dice.random() < 0.7, "initial_delay": 0.01, "max_delay": 0.05},
    }
    before = asyncio.all_tasks()
    async with WebSocketServer(in_turn(*scripts)) as server, ChaosProxy(server.url) as proxy:
        names = ("a", "b", "c")
        began = asyncio.get_running_loop().time()
        async with Project(websocket={name: {"url": proxy.url, **fields} for name in names}) as project:
            chaos = Chaos(seed, project, proxy)
            for connection in chaos.connections[:2]:
                project.subscribe(on_receive(connection, is_binary=None).pipe(for_each_async(chaos.dawdle, buffer=2)))
            await chaos.rage(250)
            raging = asyncio.get_running_loop().time() - began
        leaving = asyncio.get_running_loop().time() - began - raging
        assert leaving < CLOSE_TIMEOUT + ROOM
        for connection, journal in zip(chaos.connections, chaos.journals, strict=True):
            assert connection.state in (ConnectionState.IDLE, ConnectionState.CLOSED)
            assert all(session.stopped is not None for session in journal.sessions)
            assert journal.kinds.count("Stopped") == len(journal.sessions) == connection.session
            for session in journal.sessions:
                assert session.stopped.messages_received == session.messages
        # What was cancelled when the project was left has one more turn.
        await asyncio.sleep(0)
        ours = {task for task in asyncio.all_tasks() - before if "rxnodes" in task.get_name()}
        assert ours == set()
    # A journal that refused something raised within a notification, and was logged.
    assert [record.exc_info for record in caplog.records if record.exc_info] == []
