"""Workers of one fleet in one process, in virtual time: on a store in memory and on scripted transports."""

from __future__ import annotations

import asyncio
import contextlib

from fleet.memory_store import MemoryEngine

from rxnodes import Project
from rxnodes.fleet.letters import entry_of, record_of
from rxnodes.fleet.remote.fleet import Fleet
from rxnodes.fleet.rules.values import Tail
from rxnodes.fleet.worker.lease_guard import LeaseGuard
from rxnodes.fleet.worker.worker import Worker
from rxnodes.transport.scripted import ScriptedTransport

LEASE = 4.0
SETTLE = 0.5


class Hand:
    """One worker, with its project, its way to the store, and what its pipelines told."""

    def __init__(self, fleet, names, build, *, script, **settings):
        self.store = fleet.engine.store()
        self.transport = ScriptedTransport(script)
        self.names = names
        self.events = []
        self.worker = None
        self._build = build
        self._settings = {"lease": LEASE, "settle": SETTLE} | settings
        self._over = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self):
        clock = asyncio.get_running_loop().time
        urls = {name: f"ws://test/{name}" for name in self.names}
        async with Project(websocket=urls, transport=self.transport) as self.project:
            self.worker = Worker(self.project, self.store, LeaseGuard(clock), **self._settings)
            for name in self.names:
                self.project.websocket(name).lifecycle.subscribe(self.events.append)
            self._build(self.project)
            async with self.worker:
                await self._over.wait()

    def __getitem__(self, name):
        return self.project.websocket(name)

    def kinds(self, name):
        return [type(event).__name__ for event in self.events if event.connection == name]

    async def leave(self):
        self._over.set()
        await self.task

    def freeze(self):
        """As a process that is killed is seen by the others: nothing of it reaches them any more."""
        self.store.cut()


@contextlib.asynccontextmanager
async def chat_from_outside(count=2, **settings):
    """Workers, and a connection of theirs from outside."""
    async with Workers() as workers, asyncio.timeout(8 * LEASE):
        for _ in range(count):
            workers.join(**settings)
        async with Fleet(workers.engine.store()) as fleet:
            yield workers, fleet.websocket("chat")


class Workers:
    """A fleet."""

    def __init__(self, names=("chat",)):
        self.engine = MemoryEngine()
        self.names = names
        self.hands = []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        for hand in self.hands:
            if not hand.task.done():
                hand.store.restore()
                await hand.leave()

    def join(self, build=lambda project: None, *, script=lambda peer: peer.accept(), names=None, **settings):
        hand = Hand(self, self.names if names is None else names, build, script=script, **settings)
        self.hands.append(hand)
        return hand

    async def joined(self, *args, **settings):
        """One that has joined, and claimed."""
        hand = self.join(*args, **settings)
        await asyncio.sleep(SETTLE + 1)
        return hand

    async def pair(self, build=lambda project: None, **settings):
        """Two that have joined: the one that holds the first connection, and the other."""
        one, other = self.join(build, **settings), await self.joined(build, **settings)
        return (one, other) if self.holder(self.names[0]) is one else (other, one)

    # What stands in the store

    def entries(self, name):
        return [entry_of(logged.value) for logged in self.engine.line(name)]

    def kinds(self, name):
        return [entry.kind for entry in self.entries(name)]

    def tail(self, name):
        entries = self.entries(name)
        return entries[-1].after if entries else Tail()

    def record(self, name):
        return record_of(self.engine.records.values[name].value)

    def holder(self, name):
        """The one that holds it."""
        holding = [hand for hand in self.hands if hand.worker is not None and name in hand.worker.held]
        assert len(holding) == 1
        return holding[0]
