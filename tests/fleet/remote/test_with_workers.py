"""A fleet seen from outside, with its workers, in virtual time: on a store in memory and on scripted transports."""

from __future__ import annotations

import asyncio

from fleet.worker.workers import LEASE, Workers, chat_from_outside

from rxnodes import HolderLost, Sent
from rxnodes.fleet.remote.fleet import Fleet
from rxnodes.testing import in_virtual_time
from rxnodes.websocket import on_gap, on_receive, on_stop, request

LONG = 4 * LEASE


def told_of(connection):
    """What is told of a connection: names of events and messages."""
    told = []
    connection.lifecycle.subscribe(lambda event: told.append(type(event).__name__))
    on_receive(connection).subscribe(told.append)
    return told


@in_virtual_time
async def test_a_connection_is_started_heard_sent_to_and_stopped_from_outside():
    async with chat_from_outside() as (workers, chat):
        told = told_of(chat)
        chat.start()
        assert (await chat.wait_started()).session == 1
        peer = workers.holder("chat").transport.peer
        peer.send("a")
        assert isinstance(await chat.send("hello"), Sent)
        assert peer.received == ["hello"]
        asking = asyncio.ensure_future(request(chat, "?", match=lambda text: text == "!"))
        peer.expect(lambda _: peer.send("!"))
        assert await asking == "!"
        peer.send("z")
        chat.stop(code=4001)
        stopped = await chat.wait_stopped()
        assert (stopped.session, stopped.code) == (1, 4001)
        assert told == ["Connecting", "Opened", "a", "!", "z", "Closing", "Stopped"]


@in_virtual_time
async def test_a_holder_that_dies_is_told_and_the_next_one_goes_on():
    async with chat_from_outside() as (workers, chat):
        told, gaps, ends = told_of(chat), [], []
        on_gap(chat).subscribe(gaps.append)
        on_stop(chat).subscribe(ends.append)
        chat.start()
        await chat.wait_started()
        first = workers.holder("chat")
        first.transport.peer.send("a")
        await asyncio.sleep(0.1)
        first.freeze()
        first.transport.peer.send("never published")
        while not ends:
            await asyncio.sleep(0.05)
        assert isinstance(ends[0].error, HolderLost)
        chat.send("too early")
        while chat.last_opened.session == 1:
            await asyncio.sleep(0.05)
        workers.holder("chat").transport.peer.send("b")
        await asyncio.sleep(0.1)
        events = [it for it in told if it != "ErrorEvent"]
        assert events == ["Connecting", "Opened", "a", "Stopped", "Connecting", "Opened", "b"]
        assert gaps == []


@in_virtual_time
async def test_what_is_stopped_before_anybody_holds_it_lets_those_go_who_wait():
    async with Workers() as workers, Fleet(workers.engine.store()) as fleet, asyncio.timeout(LONG):
        chat = fleet.websocket("chat")
        chat.start()
        chat.stop()
        while chat.is_live:
            await asyncio.sleep(0.05)
        workers.join()
        await asyncio.sleep(LEASE)
        assert workers.kinds("chat").count("Connecting") == 0


@in_virtual_time
async def test_a_drain_moves_a_session_and_its_messages_to_another_worker():
    async with chat_from_outside() as (workers, chat):
        told = told_of(chat)
        chat.start()
        await chat.wait_started()
        leaving = workers.holder("chat")
        leaving.transport.peer.send("a")
        await leaving.leave()
        while chat.last_opened.session == 1:
            await asyncio.sleep(0.05)
        workers.holder("chat").transport.peer.send("b")
        await asyncio.sleep(0.1)
        assert told == ["Connecting", "Opened", "a", "Closing", "Stopped", "Connecting", "Opened", "b"]
