"""Messages and sends of a fleet's connection, seen from outside, on a store in memory."""

from __future__ import annotations

import asyncio

import pytest
from fleet.memory_store import MemoryEngine
from fleet.remote.scribe import Scribe, from_outside, in_memory, settled
from reactivex import operators as ops

from rxnodes import ConnectionLost, SendDropped, SendError, SendUnknown, Sent, pulse
from rxnodes.fleet.remote import driver, interest
from rxnodes.fleet.remote.arranging import PATIENCE
from rxnodes.fleet.remote.fleet import Fleet
from rxnodes.fleet.remote.sends import ANSWER_WITHIN
from rxnodes.testing import events, in_virtual_time
from rxnodes.websocket import channel, client_send, expect, messages, on_error, on_gap, on_receive, on_stop, request


@in_virtual_time
async def test_nothing_is_published_that_nobody_asked_for():
    async with from_outside(is_held=True) as (chat, scribe, engine):
        await scribe.open()
        assert not scribe.is_publishing
        told = []
        subscription = on_receive(chat).subscribe(told.append)
        await settled()
        scribe.publish("a", "b")
        await settled()
        assert (scribe.is_publishing, told) == (True, ["a", "b"])
        subscription.dispose()
        await settled(interest.LINGER + 1)
        await scribe.ask_for_interest()
        assert not scribe.is_publishing
        assert not [it for store in engine.stores for it in store.heard.values() if it]


@in_virtual_time
async def test_interest_in_one_connection_outlives_that_in_another():
    engine, scribe = await in_memory()
    await scribe.claim()
    async with Fleet(engine.store()) as fleet:
        subscriptions = [on_receive(fleet.websocket(name)).subscribe() for name in ("chat", "other")]
        await settled()
        subscriptions[1].dispose()
        await settled(interest.LINGER + 1)
        await scribe.ask_for_interest()
        assert scribe.is_publishing


@in_virtual_time
async def test_interest_is_known_before_the_dial_and_messages_come_between_opened_and_stopped():
    engine, scribe = await in_memory()
    fleet = Fleet(engine.store())
    chat = fleet.websocket("chat")
    told = []
    chat.lifecycle.subscribe(lambda event: told.append(type(event).__name__))
    on_receive(chat, codec=None).subscribe(told.append)
    async with fleet:
        await settled()
        await scribe.open()
        scribe.publish("a", "b")
        scribe.publish(b"c")
        await scribe.stop()
        await settled()
        assert told == ["Connecting", "Opened", "a", "b", b"c", "Stopped"]


@in_virtual_time
async def test_what_does_not_come_in_a_second_is_a_gap_and_the_end_is_told():
    async with from_outside(is_held=True) as (chat, scribe, _):
        gaps, ends = [], []
        on_receive(chat).subscribe()
        on_gap(chat).subscribe(gaps.append)
        on_stop(chat).subscribe(ends.append)
        await settled()
        await scribe.open()
        scribe.publish("a")
        scribe.publish("d", first=4)
        await scribe.stop(published=6)
        await settled(PATIENCE / 2)
        assert ([gap.missed for gap in gaps], ends) == ([range(2, 4)], [])
        await settled(PATIENCE)
        assert ([gap.missed for gap in gaps], len(ends)) == ([range(2, 4), range(5, 7)], 1)
        assert (gaps[1].session, gaps[1].attempt) == (1, 1)


@in_virtual_time
async def test_a_holder_that_does_not_answer_at_first_is_asked_again():
    async with from_outside(is_held=True) as (chat, scribe, _):
        await scribe.open()
        scribe.answers = "not held"
        told = []
        on_receive(chat).subscribe(told.append)
        await settled(0.3)
        scribe.answers = "outcomes"
        await settled(0.7)
        scribe.publish("a")
        await settled()
        assert told == ["a"]


@in_virtual_time
async def test_a_holder_is_asked_by_who_comes_when_the_last_one_has_just_gone():
    async with from_outside(is_held=True) as (chat, scribe, _):
        await scribe.open()
        scribe.answers = "not held"
        on_receive(chat).subscribe().dispose()
        await settled()
        told = []
        # As the timer does, in the same turn of the loop.
        chat._driver._interest.leave()
        on_receive(chat).subscribe(told.append)
        scribe.answers = "outcomes"
        await settled(interest.ASK_AGAIN[1] + 1)
        scribe.publish("a")
        await settled()
        assert told == ["a"]


@in_virtual_time
async def test_nothing_is_sent_before_the_holder_knows_that_its_answer_is_listened_to():
    async with from_outside(is_held=True) as (chat, scribe, _):
        await scribe.open()
        scribe.answers = "not held"
        asking = asyncio.ensure_future(request(chat, "?", match=lambda text: text == "!", timeout=5))
        await settled(0.05)
        scribe.answers = "outcomes"
        while not scribe.sent:
            await settled()
        scribe.publish("!")
        assert await asking == "!"


@in_virtual_time
async def test_what_is_sent_waits_a_second_at_most_for_that():
    async with from_outside(is_held=True) as (chat, scribe, _):
        await scribe.open()
        scribe.answers = "not held"
        on_receive(chat).subscribe()
        began = asyncio.get_running_loop().time()
        assert isinstance(await chat.send("?"), SendDropped)
        assert 0.5 < asyncio.get_running_loop().time() - began < interest.HEARD_WITHIN + 0.1


@in_virtual_time
async def test_who_was_away_is_published_to_again():
    async with from_outside(is_held=True) as (chat, scribe, engine):
        watcher = engine.stores[-1]
        await scribe.open()
        told = []
        on_receive(chat).subscribe(told.append)
        await settled()
        watcher.cut()
        await scribe.ask_for_interest()
        assert not scribe.is_publishing
        watcher.restore()
        await settled()
        scribe.publish("a")
        await settled()
        assert told == ["a"]


@in_virtual_time
async def test_a_slow_consumer_holds_up_what_is_shown_and_its_end():
    async with from_outside(is_held=True) as (chat, scribe, _):
        slow = messages(chat, buffer=1)
        ends = []
        on_stop(chat).subscribe(ends.append)
        await settled()
        await scribe.open()
        for name in "abcdef":
            scribe.publish(name)
        await scribe.stop()
        await settled(3 * PATIENCE)
        assert ends == []
        assert [message async for message in slow] == list("abcdef")
        await settled()
        assert len(ends) == 1


@in_virtual_time
async def test_what_a_slow_consumer_leaves_waiting_is_bounded(monkeypatch):
    monkeypatch.setattr(driver, "MOST_PAUSED", 3)
    async with from_outside(is_held=True) as (chat, scribe, _):
        slow, gaps = messages(chat, buffer=1), []
        on_gap(chat).subscribe(gaps.append)
        await settled()
        await scribe.open()
        for name in "abcdefgh":
            scribe.publish(name)
            await settled()
        await scribe.stop()
        await settled()
        seen = [message async for message in slow]
        assert seen == list("abcde")[: len(seen)]
        assert len(seen) + sum(len(gap.missed) for gap in gaps) == len("abcdefgh")


@in_virtual_time
async def test_a_session_that_is_not_told_yet_is_ended_by_a_stop_though_a_start_follows():
    async with from_outside(is_held=True) as (chat, scribe, _):
        on_receive(chat).subscribe()
        await settled()
        chat.start()
        await settled()
        await scribe.open()
        # It is handed over, and its last messages are missing: its end is not told for a while.
        await scribe.write(events.stopped(session=1), 5)
        await scribe.open(session=2)
        await settled()
        assert chat.session == 1
        chat.stop()
        chat.start()
        await settled()
        assert not (await scribe.record())[0].wish.allows(2)


# Sends


@in_virtual_time
async def test_sends_go_to_the_holder_in_their_order_and_their_receipts_tell():
    async with from_outside(is_held=True) as (chat, scribe, _):
        await scribe.open()
        tagged = []
        chat.sends.subscribe(tagged.append)
        receipts = [chat.send(f"m{number}", tag=number) for number in range(20)]
        receipts.append(chat.send(b"\0"))
        outcomes = [await it for it in receipts]
        assert scribe.sent == [*(f"m{number}" for number in range(20)), b"\0"]
        assert {(type(it), it.session, it.attempt) for it in outcomes} == {(Sent, 1, 1)}
        assert [it.tag for it in tagged] == list(range(20))


@in_virtual_time
async def test_an_answer_that_is_lost_is_unknown_and_nothing_is_sent_again():
    async with from_outside(is_held=True) as (chat, scribe, _):
        await scribe.open()
        scribe.answers = "silence"
        errors = []
        on_error(chat).subscribe(errors.append)
        receipt = chat.send("once")
        with pytest.raises(SendUnknown):
            await receipt
        await settled(100)
        assert scribe.sent == ["once"]
        assert [type(it.error) for it in errors] == [SendUnknown]
        scribe.answers = "outcomes"
        assert isinstance(await chat.send("next"), Sent)


@in_virtual_time
async def test_what_nobody_holds_is_dropped():
    engine = MemoryEngine()
    async with Fleet(engine.store()) as fleet:
        chat = fleet.websocket("chat")
        errors = []
        on_error(chat).subscribe(errors.append)
        outcome = await chat.send("hello")
        assert isinstance(outcome, SendDropped)
        assert (outcome.reason, [it.phase for it in errors]) == ("not open", ["send"])


@in_virtual_time
async def test_a_holder_that_is_gone_is_found_anew():
    async with from_outside(is_held=True) as (chat, scribe, engine):
        await chat.send("first")
        # The next holder's record is written, and not seen yet.
        scribe.answers = "not held"
        other = Scribe(scribe.store, worker="w2")
        await other.claim()
        assert isinstance(await chat.send("second"), Sent)
        assert (scribe.sent, other.sent) == (["first"], ["second"])
        assert engine.records.changes


@in_virtual_time
async def test_what_is_larger_than_the_server_takes_is_dropped_and_the_rest_goes_in_pieces():
    async with from_outside(is_held=True) as (chat, scribe, engine):
        engine.max_payload = 2048
        receipts = [chat.send("x" * size) for size in (1000, 1000, 4000, 1000)]
        outcomes = [await it for it in receipts]
        assert [type(it) for it in outcomes] == [Sent, Sent, SendDropped, Sent]
        assert [len(it) for it in scribe.sent] == [1000, 1000, 1000]


@in_virtual_time
async def test_a_send_that_cannot_go_out_ends_and_does_not_go_out_later():
    async with from_outside(is_held=True) as (chat, scribe, engine), asyncio.timeout(ANSWER_WITHIN):
        fleet_store = engine.stores[-1]
        fleet_store.cut()
        with pytest.raises(SendUnknown):
            await chat.send("lost")
        fleet_store.restore()
        assert isinstance(await chat.send("later"), Sent)
        assert scribe.sent == ["later"]


@in_virtual_time
async def test_leaving_tells_what_became_of_what_was_under_way():
    async with from_outside(is_held=True) as (chat, scribe, _):
        scribe.answers = "silence"
        under_way = chat.send("a")
        await settled()
        waiting = chat.send("b")
    with pytest.raises(SendUnknown):
        await under_way
    assert isinstance(await waiting, SendDropped)


# Conversations


@in_virtual_time
async def test_conversations_work_from_elsewhere():
    async with from_outside(is_held=True) as (chat, scribe, engine):
        await scribe.open()
        await settled()
        asked = asyncio.ensure_future(
            request(chat, {"id": 7}, match=("id", 7), codec="json", timeout=5).pipe(ops.map(dict))
        )
        await settled()
        assert scribe.sent == ['{"id":7}']
        scribe.publish('{"id":6}', '{"id":7,"answer":1}')
        assert await asked == {"id": 7, "answer": 1}

        told = []
        pulse().pipe(client_send(chat, "sent by a node")).subscribe()
        channel(chat, subscribe="join", match=lambda text: text.startswith("news")).subscribe(told.append)
        with expect(chat, "welcome".__eq__, timeout=5) as welcome:
            await settled()
            scribe.publish("welcome", "news: none")
            assert await welcome == "welcome"
        assert (told, scribe.sent[1:]) == (["news: none"], ["sent by a node", "join"])

        lost = asyncio.ensure_future(request(chat, "hm", match=lambda _: False))
        await settled()
        await scribe.write(events.dropped(), 3)
        with pytest.raises(ConnectionLost):
            await lost
        with pytest.raises(SendError, match="not open"):
            await request(chat, "hm", match=lambda _: True)
        assert engine.is_up
