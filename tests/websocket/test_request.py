"""Requests, on a scripted transport in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import threading
from datetime import timedelta

import pydantic
import pytest
import reactivex
from conversing import Told, busy, errors_of, idle, no_match, no_message
from reactivex import operators as ops
from reactivex.testing import TestScheduler
from threads import opened_in_a_thread
from virtual import Chat, accept, virtual

from rxnodes import ConnectionLost, DecodeError, Project, ProtocolError, RequestTimeout, RxNodesError, SendError
from rxnodes.codecs import as_codec
from rxnodes.testing import ScriptedTransport
from rxnodes.transport.receipts import SendQueue
from rxnodes.websocket import channel, on_receive, on_start, request


class Answer(pydantic.BaseModel):
    id: int
    result: str


class Question(pydantic.BaseModel):
    id: int


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
async def test_it_sends_for_each_subscription_and_when_the_answer_comes_nothing_is_left():
    chat = await Chat().opened()
    numbers, left = itertools.count(1), []
    asking = request(chat.connection, lambda: f"ask {next(numbers)}", match=lambda text: text == "answer")
    assert chat.peer.received == []
    first, second = Told(asking), Told(asking.pipe(ops.do_action(lambda _: left.append(idle(chat.connection)))))
    chat.peer.send("answer")
    assert chat.peer.received == ["ask 1", "ask 2"]
    assert first.all == second.all == ["answer", "completed"]
    assert left == [True]


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
    link = chat.connection._driver.link
    send = link.send

    def answer_at_once(receipt):
        send(receipt)
        chat.peer.send("answer")

    link.send = answer_at_once
    told = Told(request(chat.connection, "ask", match=lambda _: True))
    assert told.all == ["answer", "completed"]
    assert idle(chat.connection)
    await asyncio.sleep(20)
    assert told.all == ["answer", "completed"]


@pytest.mark.parametrize(
    ("codec", "sent", "answer"), [(str, "ask", "answer"), (bytes, b"ask", b"answer"), (None, "ask", "answer")]
)
@virtual
async def test_its_messages_may_be_raw(codec, sent, answer):
    chat = await Chat().opened()
    told = Told(request(chat.connection, "ask", match=lambda _: True, codec=codec))
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


@pytest.mark.parametrize("seconds", [10, None])
@pytest.mark.parametrize("overflow", ["error", "drop_oldest"])
@virtual
async def test_one_that_a_full_send_queue_drops_is_an_error_at_once_or_later(overflow, seconds):
    chat = await Chat(send_queue=SendQueue(max_messages=1, overflow=overflow)).opened()
    chat.peer.stop_reading()
    if overflow == "error":
        chat.connection.send("waits")
    told = Told(request(chat.connection, "ask", match=lambda _: True, timeout=seconds))
    if overflow == "drop_oldest":
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
async def test_each_of_many_times_out_in_its_own_time_whatever_comes_of_the_others():
    chat = await Chat().opened()
    loop = asyncio.get_running_loop()
    began = loop.time()
    struck = []

    def wait(number, seconds):
        def fail(_error):
            struck.append((number, pytest.approx(loop.time() - began)))
            raise RuntimeError(number)

        return request(chat.connection, "{}", match=("id", number), timeout=seconds, codec="json").subscribe(
            on_error=fail
        )

    waiting = [wait(number, seconds) for number, seconds in enumerate((3, 1, 2, 3, 2, 5))]
    waiting[1].dispose()
    chat.peer.send('{"id":5}')
    await asyncio.sleep(0.5)
    wait(6, 1)
    wait(7, 3)
    await asyncio.sleep(10)
    assert struck == [(6, 1.5), (2, 2), (4, 2), (0, 3), (3, 3), (7, 3.5)]
    assert [str(error.__cause__) for error in chat.handler_errors] == ["6", "2", "4", "0", "3", "7"]
    assert idle(chat.connection)


@virtual
async def test_one_that_times_out_may_give_up_another_that_is_due_too():
    chat = await Chat().opened()
    told = []
    waiting = [
        request(chat.connection, "ask", match=no_match, timeout=1).subscribe(
            on_error=lambda _, number=number: (told.append(number), waiting[1].dispose())
        )
        for number in range(3)
    ]
    await asyncio.sleep(2)
    assert told == [0, 2]
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


@pytest.mark.parametrize(
    ("end", "code", "reason", "cause"),
    [
        (lambda chat: chat.peer.reset(), 1006, "", ConnectionLost),
        (lambda chat: chat.connection.stop(code=4000, reason="enough"), 4000, "", None),
        (lambda chat: chat.peer.close(1012, "restart"), 1012, "restart", None),
        (lambda chat: chat.peer.violate(), 1006, "", ProtocolError),
    ],
)
@pytest.mark.parametrize("reconnect", [None, {}])
@virtual
async def test_the_end_before_the_answer_is_an_error_that_says_how_it_ended(end, code, reason, cause, reconnect):
    chat = await Chat(reconnect=reconnect).opened()
    told = Told(request(chat.connection, "ask", match=lambda _: False))
    end(chat)
    await asyncio.sleep(1)
    (error,) = told.all
    assert isinstance(error, ConnectionLost)
    words = f"code {code}{reason and f' and reason {reason!r}'}"
    assert str(error) == f"'chat': the connection ended before the answer came, with {words}"
    assert (error.code, error.reason) == (code, reason)
    assert type(error.__cause__) is (cause or type(None))
    assert idle(chat.connection)


def test_an_end_that_nobody_told_is_an_error_too():
    """The loop is closed under the project, and who waits in another thread would wait for ever."""
    transport = ScriptedTransport(accept)
    project = Project(websocket={"chat": "ws://chat.test/"}, transport=transport)
    chat = project.websocket("chat")
    loop = asyncio.new_event_loop()

    async def ask():
        await project.__aenter__()
        chat.start()
        await chat.wait_started()
        return Told(request(chat, "ask", match=no_match))

    told = loop.run_until_complete(ask())
    loop.close()
    with pytest.raises(RxNodesError, match="the event loop was closed"):
        asyncio.run(project.__aexit__(None, None, None))
    assert [str(error) for error in told.all] == ["'chat' was removed, or the project closed, before the answer came"]


@virtual
async def test_what_broke_the_connection_is_no_other_error_of_the_attempt():
    chat = await Chat(reconnect={}).opened()
    on_receive(chat.connection, codec="json").subscribe()
    told = Told(request(chat.connection, "ask", match=lambda _: False))
    chat.peer.send("nonsense")
    chat.peer.close(1012)
    await asyncio.sleep(1)
    (error,) = told.all
    assert [type(event.error) for event in errors_of(chat)] == [DecodeError]
    assert (error.code, error.__cause__) == (1012, None)


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


def test_a_request_from_another_thread():
    with opened_in_a_thread() as (project, chat, transport):
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
    with opened_in_a_thread() as (project, chat, transport):
        stream = channel(chat, subscribe="subscribe", unsubscribe="unsubscribe", match=lambda _: True)
        with busy(project):
            request(chat, "ask", match=lambda _: True).subscribe().dispose()
            stream.subscribe().dispose()
        project.call(asyncio.sleep, 0)
        assert transport.peer.received == []


@virtual
async def test_a_notification_that_asks_within_a_pipeline():
    chat = Chat()
    told = Told(
        on_start(chat.connection).pipe(
            ops.take(1),
            ops.flat_map(
                lambda opened: request(
                    chat.connection, {"id": 7}, match=lambda answer: answer.get("id") == 7, codec="json"
                )
            ),
            ops.timeout(60, reactivex.empty()),
        )
    )
    await chat.opened()
    chat.peer.send('{"id":7}')
    assert told.all == [{"id": 7}, "completed"]


# --- A key and a value ------------------------------------------------------------------------------------------------


def ask(chat, value, key="id", **options):
    return request(chat.connection, {"id": value}, match=(key, value), codec="json", **options)


@virtual
async def test_a_key_and_a_value_find_the_answer():
    chat = await Chat().opened()
    one, other = Told(ask(chat, 1)), Told(ask(chat, "2"))
    for message in ('{"id":3}', '{"id":"2","more":1}', '{"id":1}', '{"id":1,"late":1}'):
        chat.peer.send(message)
    assert other.all == [{"id": "2", "more": 1}, "completed"]
    assert one.all == [{"id": 1}, "completed"]
    assert idle(chat.connection)


@pytest.mark.parametrize("codec", [Answer, as_codec(Answer)])
@virtual
async def test_a_field_may_be_an_attribute(codec):
    chat = await Chat().opened()
    told = Told(request(chat.connection, Question(id=7), match=("id", 7), codec=codec))
    chat.peer.send('{"id":6,"result":"no"}')
    chat.peer.send('{"id":7,"result":"yes"}')
    assert told.all == [Answer(id=7, result="yes"), "completed"]


@virtual
async def test_however_many_ask_a_message_is_looked_at_once_for_each_key():
    chat = await Chat().opened()
    looked = []

    def number(message):
        looked.append(message["id"])
        return message["id"]

    subscribers = [len(chat.connection.messages._subscriptions), len(chat.connection.lifecycle._subscriptions)]
    everybody = [Told(ask(chat, value, key=number)) for value in range(50)]
    assert [len(chat.connection.messages._subscriptions), len(chat.connection.lifecycle._subscriptions)] == [
        count + 1 for count in subscribers
    ]
    for value in reversed(range(50)):
        chat.peer.send(f'{{"id":{value}}}')
    assert looked == [*reversed(range(50))]
    assert [told.all for told in everybody] == [[{"id": value}, "completed"] for value in range(50)]
    assert idle(chat.connection)


@pytest.mark.parametrize("message", ["{}", "7", "[]", '{"id":[1]}', '{"id":{}}', "null"])
@pytest.mark.parametrize("key", ["id", lambda message: message["id"], lambda message: message["id"].number])
@virtual
async def test_a_message_without_such_a_thing_is_no_answer(key, message):
    chat = await Chat().opened()
    told = Told(ask(chat, 1, key=key))
    chat.peer.send(message)
    assert told.all == []
    assert errors_of(chat) == []


@virtual
async def test_what_else_a_key_raises_is_the_error_of_all_who_share_it():
    chat = await Chat().opened()

    def fail(message):
        raise ValueError(message)

    later = []
    on_receive(chat.connection, codec="json").pipe(ops.take(1)).subscribe(
        lambda _: later.append(Told(ask(chat, 1, key=fail)))
    )
    everybody = [Told(ask(chat, value, key=fail)) for value in range(3)]
    other = Told(ask(chat, 1))
    chat.peer.send('{"id":1}')
    assert [[type(error) for error in told.all] for told in everybody] == [[ValueError]] * 3
    assert other.all == [{"id": 1}, "completed"]
    assert later[0].all == [], "one who asks within a notification shares the next message"
    chat.peer.send('{"id":1}')
    assert [type(error) for error in later[0].all] == [ValueError]
    assert idle(chat.connection)


async def is_answer(_message):
    return True


@pytest.mark.parametrize("converse", [request, channel])
@pytest.mark.parametrize(
    ("match", "codec", "says"),
    [
        ("id", "json", "expected a function that returns whether"),
        (is_answer, "json", "expected a plain function"),
        (("id", [1]), "json", "unhashable type"),
        ((vars, {}), "json", "unhashable type"),
        (("id",), "json", "expected a key and a value"),
        (("id", 1, 2), "json", "expected a key and a value"),
        ((7, 7), "json", "expected a function that returns what is looked for"),
        ((is_answer, 7), "json", "expected a plain function"),
        (("id", 7), str, "a message that is not read has no field 'id'"),
        (("id", 7), None, "a message that is not read has no field 'id'"),
    ],
)
@virtual
async def test_what_cannot_be_looked_for_raises_at_once(converse, match, codec, says):
    message = {"subscribe": "s"} if converse is channel else {"message": "ask"}
    with pytest.raises(TypeError, match=says):
        converse(Chat().connection, **message, match=match, codec=codec)


@pytest.mark.parametrize("match", [lambda message: message["id"] == 1, ("id", 1)], ids=["function", "key"])
@virtual
async def test_who_asks_within_a_notification_gets_the_next_answer(match):
    chat = await Chat().opened()
    again = []

    def ask_again(_message):
        if not again:
            again.append(Told(request(chat.connection, "{}", match=match, codec="json")))

    on_receive(chat.connection, codec="json").subscribe(ask_again)
    first = Told(request(chat.connection, "{}", match=match, codec="json"))
    chat.peer.send('{"id":1,"answer":"a"}')
    assert first.all == [{"id": 1, "answer": "a"}, "completed"]
    assert again[0].all == []
    chat.peer.send('{"id":1,"answer":"b"}')
    assert again[0].all == [{"id": 1, "answer": "b"}, "completed"]


@virtual
async def test_who_asks_when_answered_gets_the_next_answer():
    chat = await Chat().opened()
    answers = []
    ask(chat, 1).pipe(ops.repeat(3)).subscribe(answers.append)
    for answer in "abcd":
        chat.peer.send(f'{{"id":1,"answer":"{answer}"}}')
    assert [answer["answer"] for answer in answers] == ["a", "b", "c"]
    assert idle(chat.connection)


@virtual
async def test_one_who_raises_keeps_the_answer_from_nobody():
    chat = await Chat().opened()

    def fail(answer):
        raise RuntimeError(answer["id"])

    ends = []
    ask(chat, 1).subscribe(fail, on_completed=lambda: ends.append("completed"))
    told = Told(ask(chat, 1))
    chat.peer.send('{"id":1}')
    assert told.all == [{"id": 1}, "completed"]
    assert ends == ["completed"], "nor the end from itself"
    assert [str(error.__cause__) for error in chat.handler_errors] == ["1"]
    assert idle(chat.connection)


@pytest.mark.parametrize("reconnect", [None, {}])
@virtual
async def test_an_answer_in_the_same_read_as_the_end_is_one(reconnect):
    chat = await Chat(reconnect=reconnect).opened()
    answered, unanswered = Told(ask(chat, 1)), Told(ask(chat, 2))
    chat.peer.hold()
    chat.peer.send('{"id":1}')
    chat.peer.close(1012)
    chat.peer.let_go()
    await asyncio.sleep(1)
    assert answered.all == [{"id": 1}, "completed"]
    assert [error.code for error in unanswered.all] == [1012]


def test_a_request_is_awaited_on_another_loop():
    with opened_in_a_thread() as (project, chat, transport):

        async def answer(text):
            transport.peer.send(text)

        async def converse():
            asking = asyncio.ensure_future(request(chat, "ask", match=lambda _: True))
            await asyncio.sleep(0)
            await asyncio.to_thread(project.call, answer, "yes")
            assert await asking == "yes"
            lost = asyncio.ensure_future(request(chat, "ask", match=lambda _: True))
            await asyncio.sleep(0)
            await asyncio.to_thread(project.call, reset)
            with pytest.raises(ConnectionLost) as raised:
                await lost
            assert raised.value.code == 1006
            with pytest.raises(SendError):
                await request(chat, "ask", match=lambda _: True)

        async def reset():
            transport.peer.reset()

        asyncio.run(converse())
