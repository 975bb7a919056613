"""A fleet seen from outside: what is told of it, and what becomes of commands, on a store in memory."""

from __future__ import annotations

import asyncio

import pytest
from fleet.memory_store import Chance, MemoryEngine, lost_answer, lost_request, refused_for_nothing
from fleet.remote.scribe import Scribe, from_outside, in_memory, settled
from reactivex import operators as ops

from rxnodes import ConnectionState, RxNodesError, pulse
from rxnodes.fleet.letters import record_of
from rxnodes.fleet.remote.fleet import PATIENCE, Fleet
from rxnodes.fleet.rules.values import ABORT
from rxnodes.lifecycle.events import ErrorEvent, Opened, Stopped
from rxnodes.testing import events, in_virtual_time
from rxnodes.websocket import (
    all_stopped,
    client_start,
    client_stop,
    on_error,
    on_gap,
    on_start,
    on_stop,
    until_stopped,
)


def heard(connection):
    """What the connection tells: the names of its events, with their sessions."""
    told = []
    for stream in (connection.lifecycle, on_gap(connection)):
        stream.subscribe(lambda event: told.append((type(event).__name__, event.session)))
    return told


def sessions(*numbers):
    return [(kind, number) for number in numbers for kind in ("Connecting", "Opened", "Stopped")]


@in_virtual_time
async def test_nodes_fire_for_what_the_log_says_from_when_they_ask():
    engine, scribe = await in_memory()
    await scribe.open(session=1)
    await scribe.stop(session=1)
    async with Fleet(engine.store()) as fleet:
        chat = fleet.websocket("chat")
        assert fleet.websocket("chat") is chat
        told, states, nodes = heard(chat), [], []
        chat.states.subscribe(states.append)
        for node in (on_start, on_stop, on_error):
            node(chat).subscribe(nodes.append)
        assert (chat.state, chat.session, chat.is_live, told) == (ConnectionState.CLOSED, 1, False, [])
        assert (await chat.wait_stopped()).session == 1
        opened = await scribe.open(session=2)
        error = await scribe.write(events.error_event(session=2))
        stopped = await scribe.stop(session=2)
        await settled()
        assert told == [("Connecting", 2), ("Opened", 2), ("ErrorEvent", 2), ("Stopped", 2)]
        assert [type(it) for it in nodes] == [Opened, ErrorEvent, Stopped]
        assert (nodes[0], nodes[2]) == (opened, stopped)
        assert nodes[1].message == error.message
        assert states == ["closed", "connecting", "open", "closed"]
        assert chat.last_opened.session == chat.last_stopped.session == 2


@in_virtual_time
async def test_history_is_told_from_the_oldest_entry_that_is_kept():
    engine, scribe = await in_memory()
    for number in (1, 2):
        await scribe.open(session=number)
        await scribe.stop(session=number)
    fleet = Fleet(engine.store(), history=True)
    early = heard(fleet.websocket("chat"))
    async with fleet:
        await settled()
        assert early == sessions(1, 2)
        await scribe.open(session=3)
        await settled()
        assert early == [*sessions(1, 2), ("Connecting", 3), ("Opened", 3)]


@pytest.mark.parametrize(
    ("kept", "state", "waits_for"),
    [
        ([events.connecting(), events.opened(headers={}), None], ConnectionState.OPEN, "opened"),
        ([events.connecting(), events.opened(headers={}), events.error_event()], ConnectionState.OPEN, "opened"),
        ([events.connecting(), events.opened(headers={}), events.closing()], ConnectionState.CLOSING, "opened"),
        ([events.connecting(), events.opened(headers={}), events.dropped()], ConnectionState.RECONNECTING, "opened"),
        ([events.connecting(), events.error_event("connect")], ConnectionState.CONNECTING, None),
        ([events.connecting(), events.opened(headers={}), events.stopped(), None], ConnectionState.CLOSED, "stopped"),
        ([None], ConnectionState.IDLE, None),
        ([], ConnectionState.IDLE, None),
    ],
)
@in_virtual_time
async def test_how_a_connection_stands_is_known_whatever_the_last_entry_is(kept, state, waits_for):
    engine, scribe = await in_memory()
    for event in kept:
        await scribe.write(event)
    async with Fleet(engine.store()) as fleet:
        chat = fleet.websocket("chat")
        told = heard(chat)
        async with asyncio.timeout(1):
            if waits_for == "opened":
                assert (await chat.wait_started()).session == 1
            elif waits_for == "stopped":
                assert (await chat.wait_stopped()).session == 1
        await settled()
        assert (chat.state, chat.is_live) == (state, state not in {ConnectionState.IDLE, ConnectionState.CLOSED})
        assert told == []


@in_virtual_time
async def test_commands_are_wishes_and_count_as_live_until_the_log_says_what_came_of_them():
    async with from_outside() as (chat, scribe, _):
        ends, held = [], []
        chat.start()
        assert (chat.is_live, chat.session) == (True, 1)
        all_stopped(chat).subscribe(ends.append)
        pulse().pipe(until_stopped(chat)).subscribe(held.append)
        waiting = asyncio.ensure_future(chat.wait_stopped())
        opening = asyncio.ensure_future(chat.wait_started())
        await settled()
        wish = (await scribe.record())[0].wish
        assert (wish.run, wish.after, chat.is_live, chat.state) == (True, 0, True, ConnectionState.IDLE)
        await scribe.open()
        assert (await opening).session == 1
        chat.start()
        chat.stop(code=4001, reason="enough")
        await settled()
        wish = (await scribe.record())[0].wish
        assert (wish.run, wish.after, wish.code, wish.reason) == (False, 1, 4001, "enough")
        assert (ends, held, waiting.done()) == ([], [], False)
        stopped = await scribe.stop(code=4001)
        assert (await waiting).code == stopped.code
        assert (len(ends), len(held), chat.is_live) == (1, 1, False)


@in_virtual_time
async def test_a_start_while_closing_counts_as_live_to_the_end_of_the_next_session():
    async with from_outside() as (chat, scribe, _):
        chat.start()
        await settled()
        await scribe.open()
        chat.stop()
        chat.start()
        ended = asyncio.ensure_future(chat.wait_stopped())
        await settled()
        await scribe.write(events.closing())
        await scribe.write(events.stopped())
        await settled()
        assert (chat.is_live, chat.session, ended.done()) == (True, 2, False)
        await scribe.open(session=2)
        await scribe.stop(session=2)
        assert (await ended).session == 2


@in_virtual_time
async def test_a_start_that_is_taken_back_before_a_session_began_lets_everybody_go():
    engine = MemoryEngine()
    ends, held = [], []
    async with Fleet(engine.store()) as fleet, Fleet(engine.store()) as other:
        chat = fleet.websocket("chat")
        chat.start()
        await settled()
        pulse().pipe(until_stopped(chat)).subscribe(held.append)
        all_stopped(chat).subscribe(ends.append)
        assert (chat.is_live, held) == (True, [])
        other.websocket("chat").stop()
        await settled()
        assert (chat.is_live, len(held), ends, chat.session) == (False, 1, [(None,)], 0)


@pytest.mark.parametrize("fault", [lost_answer, lost_request, refused_for_nothing])
@in_virtual_time
async def test_a_command_is_written_once_whatever_becomes_of_answers(fault):
    engine = MemoryEngine()
    store = engine.store()
    async with Fleet(store) as fleet:
        store.faults = [fault, fault]
        fleet.websocket("chat").start()
        await settled(5)
        assert [record_of(seen.value).wish.after for seen in engine.records.changes] == [0]


@in_virtual_time
async def test_commands_of_one_connection_are_written_in_their_order():
    engine = MemoryEngine()
    store = engine.store()
    async with Fleet(store) as fleet:
        store.faults = Chance(7, 0.5)
        chat = fleet.websocket("chat")
        for code in range(4000, 4010):
            chat.start()
            chat.stop(code=code)
        await settled(100)
        wishes = [record_of(seen.value).wish for seen in engine.records.changes]
        codes = [wish.code for wish in wishes if not wish.run]
        assert codes == list(range(4000, 4010))
        assert not chat.is_live


@in_virtual_time
async def test_what_cannot_be_written_is_told_and_nobody_waits_for_it():
    engine = MemoryEngine(is_full=True)
    async with Fleet(engine.store()) as fleet:
        chat = fleet.websocket("chat")
        errors = []
        on_error(chat).subscribe(errors.append)
        chat.start()
        await settled()
        assert [(it.phase, it.session) for it in errors] == [("connect", 0)]
        assert not chat.is_live


@in_virtual_time
async def test_leaving_waits_for_commands_and_completes_the_streams():
    engine = MemoryEngine()
    completed = []
    async with Fleet(engine.store()) as fleet:
        chat = fleet.websocket("chat")
        for stream in (chat.lifecycle, chat.states, chat.messages, chat.latency, chat.sends):
            stream.subscribe(on_completed=lambda: completed.append(1))
        never = asyncio.ensure_future(chat.wait_started())
        chat.start()
    assert len(engine.records.changes) == 1
    assert len(completed) == 5
    with pytest.raises(RxNodesError, match="fleet closed"):
        await never
    chat.start()
    assert len(engine.records.changes) == 1


@in_virtual_time
async def test_leaving_waits_no_longer_than_some_seconds_for_a_store_that_is_away(caplog):
    engine = MemoryEngine()
    store = engine.store()
    async with Fleet(store) as fleet:
        store.cut()
        fleet.websocket("chat").start()
        began = asyncio.get_running_loop().time()
    assert PATIENCE <= asyncio.get_running_loop().time() - began < PATIENCE + 1
    assert caplog.messages == ["commands were not written, since the fleet was left: chat"]


async def test_what_is_not_entered_refuses_commands():
    chat = Fleet(MemoryEngine().store()).websocket("chat")
    with pytest.raises(RxNodesError, match="its fleet is not open"):
        chat.start()


@in_virtual_time
async def test_abort_asks_for_an_end_without_a_handshake():
    async with from_outside() as (chat, scribe, _):
        chat.start()
        chat.abort()
        await settled()
        assert (await scribe.record())[0].wish.code == ABORT


# What is missing


@in_virtual_time
async def test_entries_that_have_fallen_out_of_the_history_are_a_gap():
    engine, scribe = await in_memory()
    away = engine.store()
    async with Fleet(away) as fleet:
        chat = fleet.websocket("chat")
        told, gaps = heard(chat), []
        on_gap(chat).subscribe(gaps.append)
        await scribe.open()
        await settled()
        away.cut()
        await scribe.write(events.closing())
        # The history is short.
        engine.log.pop()
        await scribe.write(events.stopped())
        away.restore()
        await settled()
        assert told == [("Connecting", 1), ("Opened", 1), ("Gap", 1), ("Stopped", 1)]
        assert [gap.missed for gap in gaps] == [None]


@in_virtual_time
async def test_an_end_that_has_fallen_out_of_the_history_is_not_waited_for():
    engine, scribe = await in_memory()
    away = engine.store()
    async with Fleet(away) as fleet:
        chat = fleet.websocket("chat")
        await scribe.open()
        await settled()
        told, held = heard(chat), []
        pulse().pipe(until_stopped(chat)).subscribe(held.append)
        away.cut()
        await scribe.write(events.stopped())
        await scribe.write(None)
        # The history is short.
        engine.log.pop(-2)
        away.restore()
        await settled()
        assert (told, chat.is_live, len(held)) == ([("Gap", 1)], False, 1)
        await scribe.open(session=2)
        await settled()
        assert (told[1:], chat.is_live) == ([("Connecting", 2), ("Opened", 2)], True)


@pytest.mark.parametrize(
    ("history", "last"),
    [(False, None), (True, None), (True, events.error_event(session=0, attempt=0)), ("missed", None)],
)
@in_virtual_time
async def test_who_waits_for_an_end_that_is_no_longer_in_the_log_learns_that_it_is_over(history, last):
    engine, scribe = await in_memory()
    away = engine.store()
    async with Fleet(away, history=history is True) as fleet:
        if history == "missed":
            fleet.websocket("chat")
        await scribe.open()
        await settled()
        away.cut()
        await scribe.write(events.stopped())
        await scribe.write(last)
        # The history is short.
        del engine.log[:-1]
        away.restore()
        await settled()
        chat = fleet.websocket("chat")
        async with asyncio.timeout(1):
            stopped = await chat.wait_stopped()
        assert (stopped.session, stopped.code, stopped.opened, chat.is_live) == (1, 1006, True, False)
        assert "does not have the end of session 1 any more" in str(stopped.error)
        await scribe.open(session=2)
        assert (await chat.wait_started()).session == 2
        await scribe.stop(session=2)
        assert (await chat.wait_stopped()).error is None


@in_virtual_time
async def test_a_log_that_goes_back_is_a_gap_and_goes_on_behind_what_was_told():
    engine = MemoryEngine()
    store = engine.store()
    await store.open()
    chats, feeds = Scribe(store, "chat"), Scribe(store, "feed")
    async with Fleet(engine.store()) as fleet:
        chat, feed = heard(fleet.websocket("chat")), heard(fleet.websocket("feed"))
        await feeds.open()
        await chats.open()
        kept = chats.tail
        await chats.write(events.error_event())
        await chats.write(events.closing())
        await settled()
        engine.lose(2)
        chats.tail = kept
        await settled()
        await chats.write(events.stopped())
        await settled()
        # Of this connection nothing was lost.
        assert feed == [("Connecting", 1), ("Opened", 1)]
        assert chat == [
            *[("Connecting", 1), ("Opened", 1), ("ErrorEvent", 1), ("Closing", 1)],
            *[("Gap", 1), ("Stopped", 1)],
        ]


@in_virtual_time
async def test_a_log_that_loses_everything_is_a_gap():
    engine, scribe = await in_memory()
    async with Fleet(engine.store()) as fleet:
        told = heard(fleet.websocket("chat"))
        await scribe.open()
        await settled()
        engine.lose(2)
        await settled()
        assert told == [("Connecting", 1), ("Opened", 1), ("Gap", 1)]


@in_virtual_time
async def test_every_entry_is_told_once_through_any_interruption():
    engine = MemoryEngine()
    store, watcher = engine.store(), engine.store()
    await store.open()
    scribe = Scribe(store)
    async with Fleet(watcher) as fleet:
        told = heard(fleet.websocket("chat"))
        for number in range(1, 20):
            if number % 3 == 0:
                watcher.cut()
            await scribe.open(session=number)
            if number % 5 == 0:
                engine.stop()
                await settled()
                engine.start()
            await scribe.stop(session=number)
            watcher.restore()
        await settled()
        assert told == sessions(*range(1, 20))


# From elsewhere


def test_a_plain_with_works_from_any_thread():
    engine = MemoryEngine()
    with Fleet(engine.store()) as fleet:
        chat = fleet.websocket("chat")
        chat.start()

        async def begin():
            scribe = Scribe(engine.store())
            await scribe.store.open()
            await scribe.open()
            await scribe.stop()

        fleet.call(begin)
        assert fleet.call(chat.wait_stopped).session == 1


@in_virtual_time
async def test_nodes_command_it():
    async with from_outside() as (chat, scribe, _):
        done = []
        pulse("go").pipe(client_start(chat), client_stop(chat, code=4002), ops.do_action(done.append)).subscribe()
        await settled()
        assert done == ["go"]
        assert (await scribe.record())[0].wish.code == 4002


def test_a_forked_process_can_use_none_of_it():
    fleet = Fleet(MemoryEngine().store())
    chat = fleet.websocket("chat")
    fleet.disown()
    for use in (chat.start, chat.stop, lambda: chat.send("hello"), lambda: fleet.websocket("feed")):
        with pytest.raises(RxNodesError, match="forked"):
            use()


@in_virtual_time
async def test_it_is_a_scope():
    engine, scribe = await in_memory()
    fleet = Fleet(engine.store())
    opened, late = [], []
    fleet.subscribe(on_start(fleet.websocket("chat")).pipe(ops.delay(0.1), ops.do_action(opened.append)))
    async with fleet:
        await scribe.open()
        await settled(0.05)
        assert opened == []
        await settled()
        assert len(opened) == 1
        fleet.subscribe(on_start(fleet.websocket("chat")).pipe(ops.delay(60), ops.do_action(late.append)))
        await scribe.open(attempt=2)
        await settled()
    await settled(100)
    assert (len(opened), late, fleet.has_ended) == (2, [], True)
    with pytest.raises(RxNodesError, match="the fleet has been left"):
        fleet.subscribe(on_start(fleet.websocket("chat")))
