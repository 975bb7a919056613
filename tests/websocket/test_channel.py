"""Channels, on a scripted transport in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import threading

import pydantic
import pytest
from conversing import Told, errors_of, idle, no_match, no_message
from reactivex import operators as ops
from threads import opened_in_a_thread
from virtual import Chat, virtual

from rxnodes import ConnectionState, Project, SendError
from rxnodes.codecs import as_codec
from rxnodes.testing import ScriptedTransport
from rxnodes.transport.receipts import SendQueue
from rxnodes.websocket import channel, client_send, on_start


class Answer(pydantic.BaseModel):
    id: int
    result: str


def ticks(chat, **options):
    options = {"subscribe": "subscribe", "unsubscribe": "unsubscribe", "match": lambda text: text[0] == "t"} | options
    return channel(chat.connection, **options)


@virtual
async def test_a_channel_subscribes_once_for_all_and_unsubscribes_behind_the_last():
    chat = await Chat().opened()
    stream = ticks(chat)
    assert chat.peer.received == []
    first, second = Told(stream), Told(stream)
    assert chat.peer.received == ["subscribe"]
    for message in ("t1", "x", "t2"):
        chat.peer.send(message)
    first.subscription.dispose()
    assert chat.peer.received == ["subscribe"]
    chat.peer.send("t3")
    second.subscription.dispose()
    second.subscription.dispose()
    assert chat.peer.received == ["subscribe", "unsubscribe"]
    chat.peer.send("t4")
    assert first.all == ["t1", "t2"]
    assert second.all == ["t1", "t2", "t3"]
    assert idle(chat.connection)
    third = Told(stream)
    chat.peer.send("t5")
    assert chat.peer.received == ["subscribe", "unsubscribe", "subscribe"]
    assert third.all == ["t5"]


@virtual
async def test_it_subscribes_when_the_connection_opens_and_again_after_each_reconnect_and_in_a_new_session():
    chat = Chat(reconnect={"initial_delay": 1.0})
    told = Told(ticks(chat))
    await chat.opened()
    chat.peer.reset()
    await asyncio.sleep(5)
    chat.peer.send("t2")
    chat.connection.stop()
    await chat.connection.wait_stopped()
    chat.connection.start()
    await chat.connection.wait_started()
    chat.peer.send("t3")
    assert [peer.received for peer in chat.transport.peers] == [["subscribe"]] * 3
    assert told.all == ["t2", "t3"]
    assert errors_of(chat)[1:] == []


@virtual
async def test_one_that_left_in_a_gap_is_not_subscribed_for_after_it():
    chat = await Chat(reconnect={"initial_delay": 1.0}).opened()
    told = Told(ticks(chat))
    chat.peer.reset()
    told.subscription.dispose()
    await asyncio.sleep(5)
    assert [peer.received for peer in chat.transport.peers] == [["subscribe"], []]
    assert idle(chat.connection)


@virtual
async def test_nothing_is_sent_twice_for_one_opening():
    chat = Chat()
    stream = ticks(chat)
    # The state is ahead of what is told: when this is told OPEN, Opened is still to come.
    chat.connection.states.pipe(ops.filter(lambda state: state is ConnectionState.OPEN)).subscribe(
        lambda _: stream.subscribe()
    )
    on_start(chat.connection).subscribe(lambda _: stream.subscribe())
    await chat.opened()
    assert chat.peer.received == ["subscribe"]


@virtual
async def test_without_an_unsubscribe_it_subscribes_once_for_each_opening():
    chat = await Chat().opened()
    stream = ticks(chat, unsubscribe=None)
    for _ in range(2):
        stream.subscribe().dispose()
    assert chat.peer.received == ["subscribe"]
    chat.connection.stop()
    await chat.connection.wait_stopped()
    await chat.opened()
    stream.subscribe()
    assert chat.peer.received == ["subscribe"]


@virtual
async def test_a_login_that_was_wired_before_goes_before():
    chat = Chat()
    on_start(chat.connection).pipe(client_send(chat.connection, "login")).subscribe()
    ticks(chat).subscribe()
    await chat.opened()
    assert chat.peer.received == ["login", "subscribe"]


@virtual
async def test_messages_may_be_functions_which_are_asked_at_each_sending():
    numbers = itertools.count(1)
    chat = await Chat(codec=as_codec("json")).opened()
    stream = ticks(
        chat,
        subscribe=lambda: {"id": next(numbers), "op": "subscribe"},
        unsubscribe=lambda: {"id": next(numbers), "op": "unsubscribe"},
        match=lambda message: message["op"] == "tick",
    )
    assert next(numbers) == 1
    told = Told(stream)
    chat.peer.send('{"op":"tick"}')
    told.subscription.dispose()
    assert [json.loads(message) for message in chat.peer.received] == [
        {"id": 2, "op": "subscribe"},
        {"id": 3, "op": "unsubscribe"},
    ]
    assert told.all == [{"op": "tick"}]


@virtual
async def test_typed_channels_may_be_asked_for_in_another_type():
    chat = await Chat().opened()
    told = Told(
        channel(chat.connection, subscribe={"op": "subscribe"}, match=lambda answer: answer.id == 7, codec=Answer)
    )
    chat.peer.send('{"id":6,"result":"a"}')
    chat.peer.send('{"id":7,"result":"b"}')
    assert chat.peer.received == ['{"op":"subscribe"}']
    assert told.all == [Answer(id=7, result="b")]


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def unspeakable():
    raise UnspeakableError


@pytest.mark.parametrize(
    ("subscribe", "cause", "says"),
    [
        (no_message, KeyError, "'token'"),
        (lambda: 7, TypeError, 'a message must be str or bytes, not int; codec="json" sends values'),
        (unspeakable, UnspeakableError, "UnspeakableError"),
    ],
)
@virtual
async def test_what_cannot_be_sent_is_an_error_event_and_the_channel_goes_on(subscribe, cause, says):
    chat = await Chat().opened()
    told = Told(ticks(chat, subscribe=subscribe))
    chat.peer.send("t1")
    assert told.all == ["t1"]
    (event,) = errors_of(chat)
    assert (event.phase, type(event.error), type(event.error.__cause__)) == ("send", SendError, cause)
    assert event.message == (
        f"'chat': {says}: a channel was not asked for; the next subscriber, or the next opening, asks again"
    )


@virtual
async def test_what_was_not_asked_for_is_not_left_and_is_asked_for_by_the_next_subscriber():
    chat = await Chat().opened()
    tokens = iter(["", "", "token"])
    stream = ticks(chat, subscribe=lambda: next(tokens) or no_message())
    stream.subscribe().dispose()
    first = stream.subscribe()
    assert chat.peer.received == []
    second = stream.subscribe()
    assert chat.peer.received == ["token"]
    for subscription in (first, second):
        subscription.dispose()
    assert chat.peer.received == ["token", "unsubscribe"]


@pytest.mark.parametrize("overflow", ["error", "drop_newest", "drop_oldest"])
@virtual
async def test_what_is_dropped_from_the_send_queue_is_asked_for_by_the_next_subscriber(overflow):
    chat = await Chat(send_queue=SendQueue(max_messages=1, overflow=overflow)).opened()
    stream = ticks(chat)
    chat.peer.stop_reading()
    if overflow == "drop_oldest":
        first = stream.subscribe()
        chat.connection.send("other")
    else:
        chat.connection.send("other")
        first = stream.subscribe()
    chat.peer.resume_reading()
    assert chat.peer.received == ["other"]
    says = [event.message for event in errors_of(chat) if "a channel" in event.message]
    assert says == [
        "'chat': the send queue is full: a channel was not asked for; the next subscriber, or the next opening, asks again"
    ]
    second = stream.subscribe()
    first.dispose()
    second.dispose()
    assert chat.peer.received == ["other", "subscribe", "unsubscribe"]


@virtual
async def test_what_is_dropped_when_it_has_been_left_since_changes_nothing():
    chat = await Chat(send_queue=SendQueue(max_messages=2, overflow="drop_oldest")).opened()
    stream = ticks(chat)
    chat.peer.stop_reading()
    stream.subscribe().dispose()
    chat.connection.send("makes the oldest give way")
    chat.peer.resume_reading()
    stream.subscribe()
    assert chat.peer.received == ["unsubscribe", "makes the oldest give way", "subscribe"]


@virtual
async def test_what_is_dropped_does_not_hide_what_was_said_after_it():
    chat = await Chat(send_queue=SendQueue(max_messages=3, overflow="drop_oldest")).opened()
    stream = ticks(chat)
    first = stream.subscribe()
    chat.peer.stop_reading()
    first.dispose()
    stream.subscribe().dispose()
    chat.connection.send("makes the first unsubscribe give way")
    chat.peer.resume_reading()
    assert chat.peer.received[1:3] == ["subscribe", "unsubscribe"]
    stream.subscribe()
    assert chat.peer.received[-1] == "subscribe"


@virtual
async def test_one_that_could_not_be_left_is_not_asked_for_again():
    chat = await Chat(send_queue=SendQueue(max_messages=1)).opened()
    stream = ticks(chat)
    subscription = stream.subscribe()
    chat.peer.stop_reading()
    chat.connection.send("other")
    subscription.dispose()
    chat.peer.resume_reading()
    assert "'chat': the send queue is full: a channel was not left" in [event.message for event in errors_of(chat)]
    stream.subscribe().dispose()
    assert chat.peer.received == ["subscribe", "other", "unsubscribe"]


@virtual
async def test_what_match_raises_is_an_error_event_and_the_channel_goes_on(caplog):
    chat = await Chat().opened()
    told = Told(ticks(chat, match=lambda text: text != "bad" or no_match(text)))
    with caplog.at_level(logging.CRITICAL):
        for message in ("a", "bad", "b"):
            chat.peer.send(message)
    assert told.all == ["a", "b"]
    assert [event.phase for event in errors_of(chat)] == ["handler"]


@virtual
async def test_promise_7_subscribers_of_a_channel_are_isolated(caplog):
    chat = await Chat().opened()
    stream = ticks(chat)
    seen = []
    stream.subscribe(lambda text: seen.append(text) or no_match(text))
    other = Told(stream)
    with caplog.at_level(logging.CRITICAL):
        chat.peer.send("t1")
        chat.peer.send("t2")
    assert seen == other.all == ["t1", "t2"]
    assert [event.phase for event in errors_of(chat)] == ["handler"] * 2


@virtual
async def test_it_completes_when_the_project_closes():
    chat = await Chat().opened()
    stream = ticks(chat)
    told = Told(stream)
    chat.connection.for_project.shutdown()
    await chat.connection.wait_stopped()
    chat.connection.for_project.detach()
    assert told.all == ["completed"]
    told.subscription.dispose()
    assert Told(stream).all == ["completed"]
    assert chat.peer.received == ["subscribe"]


@virtual
async def test_a_scene_that_is_left_unsubscribes_before_the_close_frame():
    transport = ScriptedTransport(lambda peer: peer.accept())
    async with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
        chat = project.websocket("chat")
        async with project.scene("menu", connections=[chat]) as menu:
            menu.subscribe(channel(chat, subscribe="subscribe", unsubscribe="unsubscribe", match=lambda _: True))
            chat.start()
            await chat.wait_started()
        assert transport.peer.received == ["subscribe", "unsubscribe"]


@virtual
async def test_subscribing_and_disposing_within_notifications():
    chat = await Chat().opened()
    stream = ticks(chat)
    seen = []

    def once(text):
        seen.append(("once", text))
        subscription.dispose()
        stream.subscribe(lambda later: seen.append(("later", later)))

    subscription = stream.subscribe(once)
    chat.peer.send("t1")
    chat.peer.send("t2")
    assert seen == [("once", "t1"), ("later", "t2")]
    assert chat.peer.received == ["subscribe", "unsubscribe", "subscribe"]


def test_subscribers_of_a_channel_come_and_go_from_other_threads():
    with opened_in_a_thread() as (project, chat, transport):
        stream = channel(chat, subscribe="subscribe", unsubscribe="unsubscribe", match=lambda _: True)
        seen = []

        def come_and_go():
            for _ in range(50):
                stream.subscribe(seen.append).dispose()

        threads = [threading.Thread(target=come_and_go) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        last = stream.subscribe(seen.append)
        project.call(asyncio.sleep, 0)
        sent = list(transport.peer.received)
        # Never two of a kind in a row, and the last is true.
        assert sent == ["subscribe", "unsubscribe"] * (len(sent) // 2) + ["subscribe"]
        last.dispose()
        project.call(asyncio.sleep, 0)
        assert transport.peer.received == [*sent, "unsubscribe"]
        assert not chat.messages.is_observed
