"""Requests whose answers come in many messages, on a scripted transport in virtual time."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from conversing import Told, errors_of, idle
from reactivex import operators as ops
from reactivex.testing import TestScheduler
from threads import opened_in_a_thread
from virtual import Chat, virtual

from rxnodes import ConnectionLost, RequestTimeout, SendError
from rxnodes.transport.receipts import SendQueue
from rxnodes.websocket import request_stream


def is_last(message):
    return message["type"] == "complete"


def ask(connection, number=1, **options):
    options = {
        "message": {"id": number},
        "match": ("id", number),
        "until": is_last,
        "cancel": {"cancel": number},
        "codec": "json",
    } | options
    return request_stream(connection, **options)


def answer(chat, kind="next", number=1):
    chat.peer.send(f'{{"id":{number},"type":"{kind}"}}')


NEXT, COMPLETE = {"id": 1, "type": "next"}, {"id": 1, "type": "complete"}
ASKED, CANCELLED = '{"id":1}', '{"cancel":1}'


@pytest.mark.parametrize("match", [("id", 1), lambda message: message["id"] == 1], ids=["key", "function"])
@virtual
async def test_it_emits_what_matches_and_completes_behind_the_last(match):
    chat = await Chat().opened()
    asked_of = []
    stream = ask(chat.connection, match=match, until=lambda it: asked_of.append(it) or is_last(it))
    assert chat.peer.received == []
    told = Told(stream)
    answer(chat)
    answer(chat, "complete", number=2)
    answer(chat)
    assert told.all == [NEXT, NEXT]
    answer(chat, "complete")
    answer(chat)
    assert told.all == [NEXT, NEXT, COMPLETE, "completed"]
    assert asked_of == [NEXT, NEXT, COMPLETE]
    assert chat.peer.received == [ASKED]
    assert idle(chat.connection)


@virtual
async def test_it_asks_for_each_subscription_and_gives_who_awaits_it_the_last_message():
    chat = await Chat().opened()
    numbers = itertools.count(1)
    stream = ask(chat.connection, message=lambda: {"id": 1, "try": next(numbers)})
    told, last = Told(stream), asyncio.ensure_future(stream)
    await asyncio.sleep(0)
    answer(chat)
    answer(chat, "complete")
    assert chat.peer.received == ['{"id":1,"try":1}', '{"id":1,"try":2}']
    assert told.all == [NEXT, COMPLETE, "completed"]
    assert await last == COMPLETE


def dispose(_chat, told):
    told.subscription.dispose()


def cancel_twice(_chat, told):
    told.subscription.dispose()
    told.subscription.dispose()


@pytest.mark.parametrize("cancel", [{"cancel": 1}, lambda: {"cancel": 1}])
@pytest.mark.parametrize("give_up", [dispose, cancel_twice])
@virtual
async def test_disposing_it_cancels_at_the_peer(give_up, cancel):
    chat = await Chat().opened()
    told = Told(ask(chat.connection, cancel=cancel, timeout=1))
    answer(chat)
    give_up(chat, told)
    answer(chat)
    await asyncio.sleep(5)
    assert told.all == [NEXT]
    assert chat.peer.received == [ASKED, CANCELLED]
    assert idle(chat.connection)


@virtual
async def test_an_operator_that_has_enough_cancels_at_the_peer():
    chat = await Chat().opened()
    told = Told(ask(chat.connection).pipe(ops.take(1)))
    answer(chat)
    assert told.all == [NEXT, "completed"]
    assert chat.peer.received == [ASKED, CANCELLED]


@virtual
async def test_without_a_cancel_nothing_is_sent():
    chat = await Chat().opened()
    Told(ask(chat.connection, cancel=None)).subscription.dispose()
    assert chat.peer.received == [ASKED]


@virtual
async def test_the_timeout_bounds_each_wait_and_cancels_at_the_peer():
    chat = await Chat().opened()
    told = Told(ask(chat.connection, timeout=2))
    for _ in range(3):
        await asyncio.sleep(1.9)
        answer(chat)
    await asyncio.sleep(1.9)
    assert told.all == [NEXT] * 3
    await asyncio.sleep(0.2)
    (error,) = told.all[3:]
    assert isinstance(error, RequestTimeout)
    assert str(error) == "'chat': no answer within 2 s"
    assert chat.peer.received == [ASKED, CANCELLED]
    told.subscription.dispose()
    assert chat.peer.received == [ASKED, CANCELLED]
    assert idle(chat.connection)


@virtual
async def test_the_subscriptions_scheduler_measures_the_time():
    chat = await Chat().opened()
    scheduler = TestScheduler()
    told = Told(ask(chat.connection, timeout=10), scheduler=scheduler)
    await asyncio.sleep(3600)
    scheduler.advance_to(9)
    answer(chat)
    scheduler.advance_to(18)
    assert told.all == [NEXT]
    scheduler.advance_to(20)
    assert [type(error) for error in told.all[1:]] == [RequestTimeout]
    assert chat.peer.received == [ASKED, CANCELLED]


@virtual
async def test_what_until_or_match_raises_is_its_error_and_cancels_at_the_peer():
    chat = await Chat().opened()

    def fail(message):
        raise ValueError(message["type"])

    for options in ({"until": fail}, {"match": fail}, {"match": (fail, 1)}):
        told = Told(ask(chat.connection, **options))
        answer(chat)
        assert [repr(error) for error in told.all] == ["ValueError('next')"]
    assert chat.peer.received == [ASKED, CANCELLED] * 3
    assert idle(chat.connection)


def stop(chat):
    chat.connection.stop()


def reset(chat):
    chat.peer.reset()


def complete(chat):
    answer(chat, "complete")


@pytest.mark.parametrize("end", [stop, reset, complete])
@virtual
async def test_nothing_is_cancelled_after_the_end(end):
    chat = await Chat(reconnect={"initial_delay": 0.1}).opened()
    told = Told(ask(chat.connection))
    answer(chat)
    end(chat)
    await asyncio.sleep(5)
    told.subscription.dispose()
    assert [peer.received for peer in chat.transport.peers[1:]] in ([], [[]])
    assert chat.transport.peers[0].received == [ASKED]
    if end is not complete:
        (error,) = told.all[1:]
        assert isinstance(error, ConnectionLost)
        assert str(error).startswith("'chat': the connection ended before the end of the answer came, with code 1")
    assert [event for event in errors_of(chat) if event.phase == "send"] == []


@virtual
async def test_while_it_is_closing_messages_come_and_nothing_is_cancelled():
    chat = await Chat().opened()
    chat.peer.answers_close = False
    told = Told(ask(chat.connection))
    chat.connection.stop()
    answer(chat)
    told.subscription.dispose()
    assert told.all == [NEXT]
    assert chat.peer.received == [ASKED]
    assert errors_of(chat) == []


@virtual
async def test_a_cancel_that_cannot_be_made_is_an_error_event():
    chat = await Chat().opened()

    def fail():
        raise KeyError("token")

    for cancel, says in ((fail, "'chat': 'token'"), (object, "'chat': the message cannot be encoded")):
        Told(ask(chat.connection, cancel=cancel)).subscription.dispose()
        event = errors_of(chat)[-1]
        assert event.phase == "send"
        assert event.message.startswith(says)
        assert event.message.endswith(": an answer was not cancelled")
        assert event.error.__cause__ is not None
    assert idle(chat.connection)


@virtual
async def test_a_question_that_is_not_sent_is_an_error_and_not_cancelled():
    chat = Chat(send_queue=SendQueue(max_messages=1, overflow="drop_newest"))
    connection = chat.connection
    closed = Told(ask(connection))
    await chat.opened()
    unwritten = Told(ask(connection, message=object))
    chat.peer.stop_reading()
    connection.send("waits")
    unsent = Told(ask(connection))
    assert [[type(error) for error in told.all] for told in (closed, unwritten, unsent)] == [[SendError]] * 3
    chat.peer.resume_reading()
    assert chat.peer.received == ["waits"]
    assert idle(connection)


def test_it_is_cancelled_from_another_thread():
    with opened_in_a_thread() as (project, chat, transport):
        ask(chat).subscribe().dispose()
        subscription = ask(chat).subscribe()
        project.call(asyncio.sleep, 0)
        subscription.dispose()
        project.call(asyncio.sleep, 0)
        # Whether the first one was sent at all depends on which thread was faster.
        assert transport.peer.received[-2:] == [ASKED, CANCELLED]
        assert len(transport.peer.received) in {2, 4}


@virtual
async def test_what_is_wrong_raises_at_once():
    connection = Chat().connection
    for wrong in ({"until": "complete"}, {"until": None}, {"timeout": "5"}, {"match": 7}):
        with pytest.raises(TypeError):
            ask(connection, **wrong)
    for wrong in ({"cancel": object()}, {"message": object()}, {"timeout": 0}):
        with pytest.raises(ValueError, match=r"cannot be encoded|from 0.001"):
            ask(connection, **wrong)
