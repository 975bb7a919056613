"""Requests and channels, on a scripted transport in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import logging
import threading
from datetime import timedelta

import pydantic
import pytest
import reactivex
from reactivex import operators as ops
from reactivex.testing import TestScheduler
from virtual import Chat, virtual

from rxnodes import (
    ConnectionLost,
    ConnectionState,
    DecodeError,
    ErrorEvent,
    Project,
    RequestTimeout,
    SendError,
    pulse,
)
from rxnodes.codecs import as_codec
from rxnodes.testing import ScriptedTransport
from rxnodes.transport.receipts import SendQueue
from rxnodes.websocket import channel, client_send, on_start, request


class Answer(pydantic.BaseModel):
    id: int
    result: str


class Question(pydantic.BaseModel):
    id: int


def errors_of(chat):
    return [event for event in chat.journal.events if isinstance(event, ErrorEvent)]


def idle(connection):
    """Whether nobody but the journal listens."""
    return (
        len(connection.lifecycle._subscriptions),
        len(connection.messages._subscriptions),
        len(connection.for_nodes.texts._subscriptions),
    ) == (2, 1, 0)


class Told:
    """What an observer was told."""

    def __init__(self, observable=None, **options):
        self.all = []
        if observable is not None:
            self.subscription = observable.subscribe(
                self.all.append, self.all.append, lambda: self.all.append("completed"), **options
            )


# --- Request ----------------------------------------------------------------------------------------------------------


@virtual
async def test_a_request_emits_the_one_answer_and_completes():
    chat = await Chat().opened()
    told = Told(request(chat.connection, "b?", match=lambda text: text.startswith("b")))
    assert chat.peer.received == ["b?"]
    for message in ("a1", "b1", "b2"):
        chat.peer.send(message)
    assert told.all == ["b1", "completed"]
    assert idle(chat.connection)


@virtual
async def test_when_the_answer_is_shown_nothing_is_left_of_the_request():
    chat = await Chat().opened()
    shown = []
    request(chat.connection, "ask", match=lambda _: True).subscribe(lambda _: shown.append(idle(chat.connection)))
    chat.peer.send("answer")
    assert shown == [True]


@virtual
async def test_it_sends_for_each_subscription():
    chat = await Chat().opened()
    numbers = itertools.count(1)
    asking = request(chat.connection, lambda: f"ask {next(numbers)}", match=lambda text: text == "answer")
    assert chat.peer.received == []
    first, second = Told(asking), Told(asking)
    chat.peer.send("answer")
    assert chat.peer.received == ["ask 1", "ask 2"]
    assert first.all == second.all == ["answer", "completed"]


@virtual
async def test_it_can_be_awaited_and_the_answer_is_typed():
    chat = await Chat().opened()
    asking = request(chat.connection, Question(id=7), match=lambda answer: answer.id == 7, codec=Answer)
    answer = asyncio.ensure_future(asking)
    await asyncio.sleep(0)
    assert chat.peer.received == ['{"id":7}']
    chat.peer.send('{"id":6,"result":"no"}')
    chat.peer.send('{"id":7,"result":"yes"}')
    assert await answer == Answer(id=7, result="yes")
    assert idle(chat.connection)


@virtual
async def test_the_answer_may_come_while_the_message_is_being_sent():
    chat = await Chat().opened()
    take = chat.peer.take

    def answer_at_once(receipt):
        take(receipt)
        chat.peer.send("answer")

    chat.peer.take = answer_at_once
    told = Told(request(chat.connection, "ask", match=lambda _: True))
    assert told.all == ["answer", "completed"]
    assert idle(chat.connection)
    await asyncio.sleep(20)
    assert told.all == ["answer", "completed"]


@pytest.mark.parametrize(("is_binary", "sent", "answer"), [(True, b"ask", b"answer"), (None, "ask", "answer")])
@virtual
async def test_raw_forms_of_it(is_binary, sent, answer):
    chat = await Chat().opened()
    told = Told(request(chat.connection, "ask", match=lambda _: True, is_binary=is_binary))
    chat.peer.send("answer")
    assert chat.peer.received == [sent]
    assert told.all == [answer, "completed"]


@virtual
async def test_it_takes_the_connections_codec():
    chat = await Chat(codec=as_codec("json")).opened()
    told = Told(request(chat.connection, {"id": 7}, match=lambda answer: answer["id"] == 7))
    chat.peer.send('{"id":7}')
    assert told.all == [{"id": 7}, "completed"]
    assert chat.peer.received == ['{"id":7}']


@virtual
async def test_a_message_that_does_not_fit_is_an_error_event_and_no_answer():
    chat = await Chat().opened()
    told = Told(request(chat.connection, {"id": 7}, match=lambda _: True, codec=Answer))
    chat.peer.send("nonsense")
    chat.peer.send('{"id":7,"result":"yes"}')
    assert told.all == [Answer(id=7, result="yes"), "completed"]
    assert [type(event.error) for event in errors_of(chat)] == [DecodeError]


@virtual
async def test_not_open_is_an_error_at_once():
    chat = Chat()
    told = Told(request(chat.connection, "ask", match=lambda _: True))
    (error,) = told.all
    assert isinstance(error, SendError)
    assert str(error) == "'chat' is idle, not open: request not sent"
    assert chat.journal.events == []
    await asyncio.sleep(20)
    assert told.all == [error]
    assert idle(chat.connection)


@virtual
async def test_a_full_send_queue_is_an_error_at_once():
    chat = await Chat(send_queue=SendQueue(max_messages=1)).opened()
    chat.peer.stop_reading()
    chat.connection.send("waits")
    told = Told(request(chat.connection, "ask", match=lambda _: True))
    (error,) = told.all
    assert isinstance(error, SendError)
    assert str(error) == "'chat': the send queue is full, request not sent"
    assert idle(chat.connection)


@pytest.mark.parametrize("seconds", [10, None])
@virtual
async def test_one_that_is_dropped_from_the_send_queue_later_is_an_error_then(seconds):
    chat = await Chat(send_queue=SendQueue(max_messages=1, overflow="drop_oldest")).opened()
    chat.peer.stop_reading()
    told = Told(request(chat.connection, "ask", match=lambda _: True, timeout=seconds))
    await asyncio.sleep(1)
    assert told.all == []
    chat.connection.send("makes it give way")
    (error,) = told.all
    assert isinstance(error, SendError)
    assert str(error) == "'chat': the send queue is full, request not sent"
    assert idle(chat.connection)


@virtual
async def test_one_that_was_given_up_hears_nothing_of_its_message():
    chat = await Chat(send_queue=SendQueue(max_messages=1, overflow="drop_oldest")).opened()
    chat.peer.stop_reading()
    told = Told(request(chat.connection, "ask", match=lambda _: True))
    told.subscription.dispose()
    chat.connection.send("makes it give way")
    assert told.all == []


@virtual
async def test_no_answer_in_time_is_an_error():
    chat = await Chat().opened()
    loop = asyncio.get_running_loop()
    began = loop.time()
    told = Told(request(chat.connection, "ask", match=lambda _: False, timeout=2.5))
    await asyncio.sleep(2.4)
    assert told.all == []
    await asyncio.sleep(0.2)
    (error,) = told.all
    assert isinstance(error, RequestTimeout)
    assert isinstance(error, TimeoutError)
    assert str(error) == "'chat': no answer within 2.5 s"
    with pytest.raises(RequestTimeout):
        await request(chat.connection, "ask", match=lambda _: False)
    assert loop.time() - began == pytest.approx(12.6)
    chat.peer.send("late")
    assert told.all == [error]
    assert idle(chat.connection)


@virtual
async def test_without_a_limit_it_waits_for_as_long_as_it_takes():
    chat = await Chat().opened()
    told = Told(request(chat.connection, "ask", match=lambda _: True, timeout=None))
    await asyncio.sleep(100_000)
    chat.peer.send("answer")
    assert told.all == ["answer", "completed"]


@virtual
async def test_the_subscriptions_scheduler_measures_the_time():
    chat = await Chat().opened()
    scheduler = TestScheduler()
    told = Told(request(chat.connection, "ask", match=lambda _: True, timeout=10), scheduler=scheduler)
    await asyncio.sleep(3600)
    scheduler.advance_to(9.9)
    assert told.all == []
    scheduler.advance_to(10.1)
    assert [type(error) for error in told.all] == [RequestTimeout]
    endless = Told(request(chat.connection, "ask", match=lambda _: True, timeout=None), scheduler=scheduler)
    scheduler.advance_to(100_000)
    assert endless.all == []


def reset(chat):
    chat.peer.reset()


def stop(chat):
    chat.connection.stop()


def close(chat):
    chat.peer.close(1012)


@pytest.mark.parametrize("end", [reset, stop, close])
@pytest.mark.parametrize("reconnect", [None, {}])
@virtual
async def test_the_end_before_the_answer_is_an_error(end, reconnect):
    chat = await Chat(reconnect=reconnect).opened()
    told = Told(request(chat.connection, "ask", match=lambda _: False))
    end(chat)
    await asyncio.sleep(1)
    (error,) = told.all
    assert isinstance(error, ConnectionLost)
    assert str(error) == "'chat': the connection ended before the answer came"
    assert idle(chat.connection)


@virtual
async def test_an_answer_that_comes_while_it_is_closing_is_one():
    chat = await Chat().opened()
    chat.peer.answers_close = False
    told = Told(request(chat.connection, "ask", match=lambda _: True))
    chat.connection.stop()
    chat.peer.send("answer")
    assert told.all == ["answer", "completed"]


@virtual
async def test_disposing_gives_up_the_answer_and_leaves_nothing_behind():
    chat = await Chat().opened()
    loop = asyncio.get_running_loop()
    before = [timer for timer in loop._scheduled if not timer.cancelled()]
    told = Told(request(chat.connection, "ask", match=lambda _: True))
    assert [timer for timer in loop._scheduled if not timer.cancelled()] != before
    told.subscription.dispose()
    chat.peer.send("answer")
    assert told.all == []
    assert idle(chat.connection)
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == before


@virtual
async def test_cancelling_who_awaits_it_leaves_nothing_behind():
    chat = await Chat().opened()
    waiting = asyncio.ensure_future(request(chat.connection, "ask", match=lambda _: True))
    await asyncio.sleep(0)
    assert not idle(chat.connection)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert idle(chat.connection)


def no_match(message):
    raise KeyError("id")


def no_message():
    raise KeyError("token")


@virtual
async def test_what_match_or_the_messages_function_raises_is_its_error():
    chat = await Chat().opened()
    unmatched = Told(request(chat.connection, "ask", match=no_match))
    unsent = Told(request(chat.connection, no_message, match=lambda _: True))
    unsendable = Told(request(chat.connection, lambda: 7, match=lambda _: True))
    chat.peer.send("anything")
    assert [[type(error) for error in told.all] for told in (unmatched, unsent, unsendable)] == [
        [KeyError],
        [KeyError],
        [SendError],
    ]
    assert str(unsendable.all[0]) == "'chat': a message must be str or bytes, not int; codec=\"json\" sends values"
    assert chat.peer.received == ["ask"]
    assert idle(chat.connection)


@pytest.mark.parametrize("seconds", [0, -1, 0.0001, 86401, float("nan"), float("inf")])
@virtual
async def test_a_timeout_out_of_range_raises_at_once(seconds):
    with pytest.raises(ValueError, match=r"timeout must be from 0.001 to 86400 seconds, or None"):
        request(Chat().connection, "ask", match=lambda _: True, timeout=seconds)


@virtual
async def test_a_timeout_may_be_a_timedelta_and_nothing_else_than_a_time():
    chat = await Chat().opened()
    told = Told(request(chat.connection, "ask", match=lambda _: False, timeout=timedelta(seconds=2)))
    await asyncio.sleep(1.9)
    assert told.all == []
    await asyncio.sleep(0.2)
    assert str(told.all[0]) == "'chat': no answer within 2 s"
    for timeout in ("5", True):
        with pytest.raises(TypeError, match=r"timeout must be seconds, a timedelta or None, not \w+"):
            request(chat.connection, "ask", match=lambda _: True, timeout=timeout)


async def is_answer(_message):
    return True


@virtual
async def test_a_match_that_is_no_plain_function_raises_at_once():
    connection = Chat().connection
    for match, says in [("id", "must be a function that gives whether"), (is_answer, "must be a plain function")]:
        with pytest.raises(TypeError, match=says):
            request(connection, "ask", match=match)
        with pytest.raises(TypeError, match=says):
            channel(connection, subscribe="s", match=match)


@virtual
async def test_a_constant_that_cannot_be_sent_raises_at_once():
    connection = Chat().connection
    with pytest.raises(TypeError, match="must be str or bytes, not int"):
        request(connection, 7, match=lambda _: True)
    with pytest.raises(ValueError, match="cannot be encoded"):
        request(connection, object(), match=lambda _: True, codec=Answer)
    for constants in ({"subscribe": 7}, {"subscribe": "s", "unsubscribe": 7}):
        with pytest.raises(TypeError, match="must be str or bytes, not int"):
            channel(connection, match=lambda _: True, **constants)


@virtual
async def test_requests_can_be_made_within_notifications():
    chat = Chat()
    answers = []
    on_start(chat.connection).pipe(
        ops.flat_map(lambda _: request(chat.connection, "who", match=lambda text: text == "me"))
    ).subscribe(answers.append)
    await chat.opened()
    chat.peer.send("me")
    assert answers == ["me"]


def test_a_request_from_another_thread():
    transport = ScriptedTransport(lambda peer: peer.accept())
    with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
        chat = project.websocket("chat")
        chat.start()
        project.call(chat.wait_started)
        threads, answers, has_completed = [], [], threading.Event()

        def answered(answer):
            threads.append(threading.current_thread().name)
            answers.append(answer)

        async def answer(text):
            transport.peer.send(text)

        request(chat, "ask", match=lambda _: True).subscribe(answered, on_completed=has_completed.set)
        project.call(answer, "yes")
        assert has_completed.wait(5)
        request(chat, "again", match=lambda _: True).subscribe(answered).dispose()
        project.call(answer, "no")
        assert transport.peer.received[0] == "ask"
        assert (answers, threads) == (["yes"], ["rxnodes"])


def test_one_that_is_given_up_before_the_loop_hears_of_it_is_never_sent():
    transport = ScriptedTransport(lambda peer: peer.accept())
    with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
        chat = project.websocket("chat")
        chat.start()
        project.call(chat.wait_started)
        stream = channel(chat, subscribe="subscribe", unsubscribe="unsubscribe", match=lambda _: True)
        with busy(project):
            request(chat, "ask", match=lambda _: True).subscribe().dispose()
            stream.subscribe().dispose()
        project.call(asyncio.sleep, 0)
        assert transport.peer.received == []


@contextlib.contextmanager
def busy(project):
    """Keeps the loop's thread from doing anything meanwhile."""
    is_busy, is_free = threading.Event(), threading.Event()

    async def hold():
        is_busy.set()
        is_free.wait(5)

    holding = threading.Thread(target=project.call, args=(hold,))
    holding.start()
    is_busy.wait(5)
    yield
    is_free.set()
    holding.join()


# --- Channel ----------------------------------------------------------------------------------------------------------


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


@virtual
async def test_what_cannot_be_sent_is_an_error_event_and_the_channel_goes_on():
    chat = await Chat().opened()
    unsent, unsendable = Told(ticks(chat, subscribe=no_message)), Told(ticks(chat, subscribe=lambda: 7))
    chat.peer.send("t1")
    assert unsent.all == unsendable.all == ["t1"]
    assert [(event.phase, type(event.error)) for event in errors_of(chat)] == [("send", SendError)] * 2
    assert [type(event.error.__cause__) for event in errors_of(chat)] == [KeyError, TypeError]
    assert errors_of(chat)[1].message == (
        "'chat': a message must be str or bytes, not int; codec=\"json\" sends values: a channel was not asked for; the next "
        "subscriber, or the next opening, asks again"
    )


@virtual
async def test_what_was_not_asked_for_is_asked_for_by_the_next_subscriber_and_is_not_left():
    chat = await Chat().opened()
    tokens = iter(["", "token"])

    def subscribe():
        return next(tokens) or no_message()

    stream = ticks(chat, subscribe=subscribe)
    first = stream.subscribe()
    assert chat.peer.received == []
    second = stream.subscribe()
    assert chat.peer.received == ["token"]
    for subscription in (first, second):
        subscription.dispose()
    assert chat.peer.received == ["token", "unsubscribe"]


@virtual
async def test_one_that_was_never_asked_for_is_not_left():
    chat = await Chat().opened()
    ticks(chat, subscribe=no_message).subscribe().dispose()
    assert chat.peer.received == []


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
async def test_whatever_a_messages_function_raises_the_channel_goes_on():
    class UnspeakableError(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    def raises():
        raise UnspeakableError

    chat = await Chat().opened()
    told = Told(ticks(chat, subscribe=raises))
    chat.peer.send("t1")
    assert told.all == ["t1"]
    assert errors_of(chat)[0].message.startswith("'chat': UnspeakableError: a channel was not asked for")


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


@virtual
async def test_take_leaves_the_channel():
    chat = await Chat().opened()
    told = Told(ticks(chat).pipe(ops.take(1)))
    chat.peer.send("t1")
    assert told.all == ["t1", "completed"]
    assert chat.peer.received == ["subscribe", "unsubscribe"]


@virtual
async def test_a_channel_that_nobody_uses_is_forgotten():
    chat = await Chat().opened()
    ticks(chat, codec="json").subscribe().dispose()
    gc.collect()
    assert len(chat.connection._driver.inbound._values) == 0
    assert idle(chat.connection)


def test_subscribers_of_a_channel_come_and_go_from_other_threads():
    transport = ScriptedTransport(lambda peer: peer.accept())
    with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
        chat = project.websocket("chat")
        stream = channel(chat, subscribe="subscribe", unsubscribe="unsubscribe", match=lambda _: True)
        chat.start()
        project.call(chat.wait_started)
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


@virtual
async def test_a_pulse_that_asks_and_answers():
    chat = await Chat().opened()
    told = Told(
        pulse(7).pipe(
            ops.flat_map(
                lambda number: request(
                    chat.connection, {"id": number}, match=lambda answer: answer.get("id") == number, codec="json"
                )
            ),
            ops.timeout(60, reactivex.empty()),
        )
    )
    chat.peer.send('{"id":7}')
    assert told.all == [{"id": 7}, "completed"]
