"""Messages that are kept come in order and without loss, in virtual time: on a store in memory, with workers."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random

import pytest
from fleet.worker.workers import LEASE, chat_from_outside
from reactivex import operators as ops

from rxnodes.fleet.store import Unknown
from rxnodes.fleet.worker import kept
from rxnodes.lifecycle.events import Closing
from rxnodes.testing import in_virtual_time
from rxnodes.websocket import on_error, on_gap, on_receive

LONG = 4 * LEASE


def heard(connection):
    told, gaps = [], []
    # `Closing` waits for nothing.
    connection.lifecycle.pipe(ops.filter(lambda event: not isinstance(event, Closing))).subscribe(
        lambda event: told.append(type(event).__name__)
    )
    on_receive(connection, codec=None).subscribe(told.append)
    on_gap(connection).subscribe(gaps.append)
    return told, gaps


def hurt(store, seed):
    """Lets half of what is to be kept fail: it is done and nobody says so, or not done at all."""
    keep, chance = store.keep, Random(seed)

    async def failing(name, value):
        fault = chance.choice(["well", "well", "lost answer", "lost request"])
        if fault != "lost request":
            sequence = await keep(name, value)
            if fault == "well":
                return sequence
        await asyncio.sleep(0.1)
        raise Unknown

    store.keep = failing


async def until(holds):
    async with asyncio.timeout(LONG):
        while not holds():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def kept_chat(workers=1, *, hear=heard):
    """A connection whose messages are kept, from outside, once it is open; and what it tells from the beginning."""
    async with chat_from_outside(workers, kept=("chat",)) as (fleet, chat):
        told = hear(chat)
        chat.start()
        await chat.wait_started()
        yield fleet, chat, told


@pytest.mark.parametrize("seed", range(5))
@in_virtual_time
async def test_nothing_is_lost_whatever_becomes_of_writes_and_of_the_observers_way(seed):
    async with kept_chat() as (workers, chat, (told, gaps)):
        hand, watcher = workers.holder("chat"), workers.engine.stores[-1]
        hurt(hand.store, seed)
        names = [f"m{number}" for number in range(60)]
        for place, name in enumerate(names):
            hand.transport.peer.send(name)
            await asyncio.sleep(0.02)
            if place == 20:
                watcher.cut()
            elif place == 40:
                watcher.restore()
        hand.transport.peer.send(b"\0")
        chat.stop()
        await until(lambda: "Stopped" in told)
        assert told == ["Connecting", "Opened", *names, b"\0", "Stopped"]
        assert gaps == []


@in_virtual_time
async def test_who_comes_late_is_shown_what_comes_from_then_on():
    async with kept_chat(hear=lambda _: None) as (workers, chat, _):
        peer = workers.holder("chat").transport.peer
        peer.send("before")
        await asyncio.sleep(0.5)
        told, gaps = heard(chat)
        await asyncio.sleep(0.5)
        peer.send("after")
        chat.stop()
        await until(lambda: "Stopped" in told)
        assert (told, gaps) == (["after", "Stopped"], [])


@in_virtual_time
async def test_messages_of_the_next_holder_follow_those_of_the_one_before():
    async with kept_chat(workers=2) as (workers, chat, (told, gaps)):
        leaving = workers.holder("chat")
        leaving.transport.peer.send("a")
        await leaving.leave()
        await until(lambda: chat.last_opened.session > 1)
        workers.holder("chat").transport.peer.send("b")
        await until(lambda: "b" in told)
        assert told == ["Connecting", "Opened", "a", "Stopped", "Connecting", "Opened", "b"]
        assert gaps == []


@in_virtual_time
async def test_a_store_that_takes_nothing_holds_up_the_socket_and_is_told_once(monkeypatch):
    monkeypatch.setattr(kept, "MOST_WAITING", 10)
    async with kept_chat() as (workers, _, (told, _)):
        hand = workers.holder("chat")
        peer, errors = hand.transport.peer, []
        on_error(hand["chat"]).subscribe(errors.append)
        hand["chat"].messages.subscribe()
        workers.engine.is_full = True
        for number in range(5):
            peer.send(f"message {number}")
            await asyncio.sleep(0.05)
        assert peer.is_held
        assert ["has no room for messages" in it.message for it in errors if it.phase == "receive"] == [True]
        workers.engine.is_full = False
        await until(lambda: "message 4" in told)
        assert not peer.is_held
        assert [it for it in told if it.startswith("message")] == [f"message {number}" for number in range(5)]


@in_virtual_time
async def test_one_that_is_too_large_is_a_gap():
    async with kept_chat() as (workers, _, (told, gaps)):
        workers.engine.max_payload = 5_000
        peer = workers.holder("chat").transport.peer
        peer.send("x" * 10_000)
        peer.send("small")
        await until(lambda: "small" in told)
        assert [gap.missed for gap in gaps] == [range(1, 2)]
