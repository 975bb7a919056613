"""What a store promises, held by the one over NATS and by the one in memory that stands in for it."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

import pytest
from fleet.memory_store import MemoryEngine, MemoryStore
from fleet.nats_servers import BINARIES, NatsServer, is_there, version
from fleet.watching import Watching

from rxnodes.fleet.nats import following, nats_store
from rxnodes.fleet.store import (
    Logged,
    Message,
    NobodyThere,
    Refused,
    Stored,
    StoreFull,
    TooLarge,
    Unknown,
)


class InMemory:
    """The engine in memory."""

    def __init__(self, _folder):
        self.engine = MemoryEngine(timeout=0.25)
        self.stores = []

    async def store(self):
        self.stores.append(self.engine.store())
        await self.stores[-1].open()
        return self.stores[-1]

    async def away(self):
        self.engine.stop()

    async def back(self):
        self.engine.start()

    async def lose_all(self):
        self.engine.stop()
        self.engine.lose(len(self.engine.log))
        for bucket in (self.engine.leases, self.engine.records):
            for name in list(bucket.values):
                bucket.write(name, None, bucket.values[name].revision)
        self.engine.start()

    async def fill(self):
        self.engine.is_full = True

    def end(self): ...


class OnNats:
    """A server of its own for each test."""

    def __init__(self, folder, binary):
        self.server = NatsServer(folder, binary, more="max_payload: 65536")
        self.stores = []

    async def store(self):
        if not self.server.is_running:
            await self.server.start()
        self.stores.append(nats_store(self.server.url, fleet="a fleet", lease=1.0))
        await self.stores[-1].open()
        return self.stores[-1]

    async def away(self):
        self.server.kill()

    async def back(self):
        await self.server.start()

    async def lose_all(self):
        self.server.kill()
        self.server.forget()
        await self.server.start()

    async def fill(self):
        self.server.kill()
        self.server.limit("16KB")
        await self.server.start()

    def end(self):
        self.server.kill()


STAGES = [
    pytest.param(InMemory, id="memory"),
    *(pytest.param(partial(OnNats, binary=binary), id=version(binary)) for binary in BINARIES),
    *([] if BINARIES else [pytest.param(OnNats, id="nats", marks=is_there)]),
]


@pytest.fixture(params=STAGES)
async def stage(request, tmp_path):
    stage = request.param(tmp_path)
    yield stage
    for store in stage.stores:
        await store.close()
    stage.end()


@pytest.fixture
async def store(stage):
    return await stage.store()


async def again(write):
    """Writes until it is taken, as whoever knows that nothing stands in the way."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(Unknown):
                return await write()
            await asyncio.sleep(0.02)


# --- The log ----------------------------------------------------------------------------------------------------------


async def test_an_entry_is_taken_behind_the_last_one_alone(store):
    first = await store.append("chat.eu", b"1", 0)
    other = await store.append("chat", b"x", 0)
    second = await store.append("chat.eu", b"2", first)
    for expected in (0, first, other, second + 7):
        with pytest.raises(Refused):
            await store.append("chat.eu", b"3", expected)
    assert await store.last("chat.eu") == Stored(b"2", second)
    assert await store.last("chat") == Stored(b"x", other)
    assert await store.last("nowhere") is None


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, [("b", b"2"), ("größe", b"3")]),
        ({"since": "oldest"}, [("größe", b"1"), ("b", b"2"), ("größe", b"3")]),
        ({"since": "oldest", "name": "größe"}, [("größe", b"1"), ("größe", b"3")]),
        ({"name": "b"}, [("b", b"2")]),
    ],
)
async def test_the_log_is_told_from_where_it_was_asked_and_then_as_it_grows(stage, store, asked, told):
    at = {"größe": 0, "b": 0}
    for name, value in (("größe", b"1"), ("b", b"2"), ("größe", b"3")):
        at[name] = await store.append(name, value, at[name])
    watching = Watching()
    (await stage.store()).watch_log(watching, **asked)
    await watching.until_current()
    assert watching.values == told
    for name, sequence in at.items():
        await store.append(name, b"new", sequence)
    new = [(name, b"new") for name in at if asked.get("name", name) == name]
    await watching.until(lambda it: len(it.told) == len(told) + len(new))
    assert watching.values == told + new
    assert watching.told[-1] == Logged(*new[-1], (await store.last(new[-1][0])).revision)


@pytest.mark.parametrize("since", ["last", "oldest"])
async def test_each_entry_is_told_once_through_restarts(stage, store, since):
    watching = Watching()
    store.watch_log(watching, since=since)
    await watching.until_current()
    at, told = 0, []
    for number in range(3):
        await stage.away()
        await watching.until_away()
        with pytest.raises(Unknown):
            await store.append("chat", b"lost", at)
        await stage.back()
        for letter in ("a", "b"):
            told.append(("chat", f"{number}{letter}".encode()))
            at = await again(partial(store.append, *told[-1], at))
        await watching.until_current()
        await watching.until(lambda it: len(it.told) == len(told))
    assert watching.values == told
    assert not watching.gaps


async def test_what_the_servers_have_lost_is_a_gap(stage, store, monkeypatch):
    # It is five seconds for a new leader among several servers.
    monkeypatch.setattr(following, "_CATCHING_UP", 0.5)
    log, records = Watching(), Watching()
    store.watch_log(log)
    store.watch_records(records)
    for name in ("a", "b"):
        await store.append(name, b"1", 0)
        await store.write_record(name, b"1", 0)
    await records.until(lambda it: len(it.told) == 2)
    await log.until(lambda it: len(it.told) == 2)
    await stage.lose_all()
    await again(partial(store.append, "a", b"2", 0))
    await again(partial(store.write_record, "a", b"2", 0))
    await log.until(lambda it: it.current and it.values == [("a", b"2")])
    await records.until(lambda it: it.current and sorted(it.values[-2:], key=str) == [("a", b"2"), ("b", None)])
    assert len(log.gaps) == 1


async def test_a_watch_that_is_closed_tells_nothing_more(stage, store):
    closed, other = Watching(), Watching()
    watch = store.watch_log(closed)
    store.watch_log(other)
    await closed.until_current()
    watch.close()
    watch.close()
    await store.append("a", b"1", 0)
    await stage.away()
    await other.until_away()
    assert (closed.told, closed.current) == ([], True)


# --- Leases and records -----------------------------------------------------------------------------------------------


async def test_a_value_is_written_behind_what_stands_there_alone(store):
    revision = await store.write_record("chat", b"1", 0)
    with pytest.raises(Refused):
        await store.write_record("chat", b"2", 0)
    second = await store.write_record("chat", b"2", revision)
    with pytest.raises(Refused):
        await store.write_record("chat", b"3", revision)
    assert await store.read_record("chat") == Stored(b"2", second)
    assert await store.read_record("chat.eu") is None
    assert await store.read_lease("chat") is None


async def test_a_lease_that_was_taken_away_can_be_written_anew(stage, store):
    watching = Watching()
    (await stage.store()).watch_leases(watching)
    await watching.until_current()
    revision = await store.put_lease("w", b"1", 0)
    with pytest.raises(Refused):
        await store.delete_lease("w", revision + 1)
    await store.delete_lease("w", revision)
    assert await store.read_lease("w") is None
    again = await store.put_lease("w", b"2", 0)
    with pytest.raises(Refused):
        await store.put_lease("w", b"3", 0)
    assert await store.read_lease("w") == Stored(b"2", again)
    await watching.until(lambda it: it.values[-1:] == [("w", b"2")])
    assert watching.values == [("w", b"1"), ("w", None), ("w", b"2")]
    late = Watching()
    store.watch_leases(late)
    await late.until_current()
    assert late.values == [("w", b"2")]


async def test_a_watch_shows_all_and_what_changed_meanwhile(stage, store):
    at = {name: await store.write_record(name, b"1", 0) for name in ("a", "b.c", "d")}
    watching = Watching()
    store.watch_records(watching)
    await watching.until_current()
    assert sorted(watching.values) == [("a", b"1"), ("b.c", b"1"), ("d", b"1")]
    await stage.away()
    await watching.until_away()
    await stage.back()
    await again(partial(store.write_record, "b.c", b"2", at["b.c"]))
    await watching.until(lambda it: it.current and it.values[-1] == ("b.c", b"2"))
    assert not watching.gaps


# --- What is told of the engine ---------------------------------------------------------------------------------------


async def test_nothing_is_kept_back_for_later(stage, store):
    told, watching = [], Watching()
    store.on_connection(told.append)
    await stage.away()
    store.watch_log(watching)
    while store.is_connected:
        await asyncio.sleep(0.01)
    assert store.publish("a", b"1") is False
    for write in (partial(store.append, "chat", b"1", 0), partial(store.write_record, "chat", b"1", 0)):
        with pytest.raises(Unknown):
            await write()
    for read in (store.last, store.read_record, store.read_lease):
        with pytest.raises(Unknown):
            await read("chat")
    await stage.back()
    await watching.until_current()
    assert await again(partial(store.last, "chat")) is None
    assert await again(partial(store.read_record, "chat")) is None
    assert told == [True, False, True]


async def test_a_full_engine_is_told(stage, store):
    await stage.fill()
    with pytest.raises(StoreFull):
        await append_for_ever(store)


async def append_for_ever(store):
    at = 0
    while True:
        at = await again(partial(store.append, "chat", bytes(1000), at))


async def test_what_is_too_large_is_told_before_it_is_sent(store):
    large = bytes(store.max_payload)
    for write in (
        partial(store.append, "chat", large, 0),
        partial(store.write_record, "chat", large, 0),
        partial(store.request, "chat", large, timeout=1),
    ):
        with pytest.raises(TooLarge):
            await write()
    with pytest.raises(TooLarge):
        store.publish("chat", large)
    assert store.is_connected
    assert await store.append("chat", large[:-500], 0) == 1


# --- Plain messages ---------------------------------------------------------------------------------------------------


async def test_a_message_comes_to_all_who_listen(stage, store):
    heard, other = asyncio.Queue(), await stage.store()
    other.subscribe("messages.*", heard.put_nowait)
    closed = other.subscribe("messages.>", lambda _: pytest.fail("it was closed"))
    closed.close()
    closed.close()
    # What was asked before is done before what is asked now.
    await other.last("chat")
    assert store.publish("messages.a.b", b"not heard")
    assert store.publish("messages.chat_2Eeu", b"\x00\xff")
    assert store.publish("messages.b", b"")
    assert [await heard.get(), await heard.get()] == [
        Message("messages.chat_2Eeu", b"\x00\xff"),
        Message("messages.b", b""),
    ]


async def test_a_request_is_answered_once_or_not_known(stage, store):
    other = await stage.store()
    with pytest.raises(NobodyThere):
        await store.request("send.chat", b"", timeout=5)
    asked = []
    serving = other.serve("send.*", lambda it: (asked.append(it.message), it.answer(b"yes"), it.answer(b"no")))
    other.serve("mute", lambda _: None)
    await other.last("chat")
    assert await store.request("send.chat", b"text", timeout=5) == b"yes"
    assert asked == [Message("send.chat", b"text")]
    with pytest.raises(Unknown):
        await store.request("mute", b"", timeout=0.05)
    serving.close()
    await other.last("chat")
    with pytest.raises(NobodyThere):
        await store.request("send.chat", b"", timeout=5)


async def test_who_listens_hears_again_after_an_outage(stage, store):
    heard, other = asyncio.Queue(), await stage.store()
    other.subscribe("a", heard.put_nowait)
    other.serve("q", lambda it: it.answer(b"yes"))
    watching = Watching()
    other.watch_log(watching)
    await watching.until_current()
    await stage.away()
    await watching.until_away()
    await stage.back()
    await watching.until_current()
    await again(partial(store.last, "chat"))
    assert store.publish("a", b"1")
    assert (await heard.get()).payload == b"1"
    assert await again(partial(store.request, "q", b"", timeout=5)) == b"yes"


async def test_a_store_that_is_closed_ends_what_it_had(stage, store):
    watching = Watching()
    store.watch_log(watching)
    await watching.until_current()
    await store.close()
    await store.close()
    assert not store.is_connected
    with pytest.raises(Unknown):
        await store.append("chat", b"", 0)
    if not isinstance(store, MemoryStore):
        assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()
