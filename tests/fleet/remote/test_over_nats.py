"""A fleet seen from outside over real NATS servers, which are killed under it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from fleet.nats_servers import is_there, one
from fleet.remote.scribe import Scribe

from rxnodes import Project
from rxnodes.fleet.nats import nats_store
from rxnodes.fleet.remote.fleet import Fleet
from rxnodes.fleet.store import Refused, Unknown
from rxnodes.fleet.worker.worker import Worker
from rxnodes.testing import ScriptedPeer, ScriptedTransport, events
from rxnodes.websocket import on_receive

pytestmark = is_there

PATIENCE = 20


@contextlib.asynccontextmanager
async def holder(url):
    store = nats_store(url, lease=2)
    await store.open()
    scribe = Scribe(store)
    await scribe.claim()
    try:
        yield scribe
    finally:
        await store.close()


async def write(scribe, event, published=None):
    """Appends an entry, however often the server is killed meanwhile."""
    while True:
        before = scribe.tail
        try:
            return await scribe.write(event, published)
        except (Refused, Unknown):
            await asyncio.sleep(0.05)
            with contextlib.suppress(Unknown):
                last = await scribe.store.last(scribe.name)
                scribe.tail = before
                if last is not None and last.revision > before.sequence:
                    # It was written, and nobody said so.
                    scribe.tail = await scribe.read_tail()
                    return event


async def test_entries_commands_messages_and_sends_go_over_nats(tmp_path):
    async with one(tmp_path) as server, holder(server.url) as scribe, Fleet.connect(server.url) as fleet:
        chat = fleet.websocket("chat")
        told = []
        chat.lifecycle.subscribe(lambda event: told.append(type(event).__name__))
        on_receive(chat).subscribe(told.append)
        chat.start()
        async with asyncio.timeout(PATIENCE):
            while not (await scribe.record())[0].wish.run:
                await asyncio.sleep(0.01)
            await scribe.open()
            await chat.wait_started()
            assert (await chat.send("ß")).size == len("ß".encode())
            assert scribe.sent == ["ß"]
            scribe.publish("a", "b")
            await scribe.stop()
            assert (await chat.wait_stopped()).session == 1
        assert told == ["Connecting", "Opened", "a", "b", "Stopped"]


@pytest.mark.slow
async def test_every_entry_is_told_once_though_the_server_is_killed_again_and_again(tmp_path):
    async with one(tmp_path) as server, holder(server.url) as scribe, Fleet.connect(server.url) as fleet:
        chat = fleet.websocket("chat")
        told = []
        chat.lifecycle.subscribe(lambda event: told.append((type(event).__name__, event.session)))
        is_over = asyncio.Event()

        async def kill():
            while not is_over.is_set():
                await asyncio.sleep(0.7)
                server.kill()
                await server.start()

        killing = asyncio.ensure_future(kill())
        sessions = range(1, 200)
        for number in sessions:
            await write(scribe, events.connecting(session=number))
            await write(scribe, events.stopped(session=number, opened=False), 0)
        is_over.set()
        await killing
        async with asyncio.timeout(PATIENCE):
            while len(told) < 2 * len(sessions):
                await asyncio.sleep(0.05)
        assert told == [(kind, number) for number in sessions for kind in ("Connecting", "Stopped")]


def test_a_plain_with_goes_over_nats(tmp_path):
    async def main():
        async with one(tmp_path) as server, holder(server.url) as scribe:
            await scribe.write(events.connecting())
            await scribe.stop()
            return await asyncio.to_thread(last_stopped, server.url)

    def last_stopped(url):
        with Fleet.connect(url) as fleet:
            return fleet.call(fleet.websocket("chat").wait_stopped)

    assert asyncio.run(main()).session == 1


async def test_an_observer_that_comes_first_leaves_the_settings_to_the_workers(tmp_path):
    async with one(tmp_path) as server, Fleet.connect(server.url, history=True) as fleet:
        store = nats_store(server.url, history=3)
        await store.open()
        scribe = Scribe(store)
        for number in range(1, 6):
            await scribe.stop(session=number)
        told = []
        fleet.websocket("chat").lifecycle.subscribe(lambda event: told.append(event.session))
        async with asyncio.timeout(PATIENCE):
            while len(told) < 3:
                await asyncio.sleep(0.02)
        assert told == [3, 4, 5]
        await store.close()


async def test_messages_that_are_kept_come_in_order_though_the_server_is_killed(tmp_path):
    transport = ScriptedTransport(ScriptedPeer.accept)
    async with one(tmp_path) as server, Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
        worker = Worker(project, nats_store(server.url, lease=10), lease=10, settle=0.1, kept=("chat",))
        async with worker, Fleet.connect(server.url) as fleet, asyncio.timeout(2 * PATIENCE):
            chat = fleet.websocket("chat")
            told = []
            on_receive(chat).subscribe(told.append)
            chat.start()
            await chat.wait_started()
            names = [f"m{number}" for number in range(100)]
            for place, name in enumerate(names):
                transport.peer.send(name)
                await asyncio.sleep(0.005)
                if place == len(names) // 2:
                    server.kill()
                    await server.start()
            while len(told) < len(names):
                await asyncio.sleep(0.02)
            assert told == names
