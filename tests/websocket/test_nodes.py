"""The seven nodes, on a scripted transport in virtual time."""

from __future__ import annotations

import asyncio

import pytest
import reactivex
from conversing import errors_of
from reactivex import operators as ops
from reactivex.subject import BehaviorSubject
from virtual import Chat, virtual

from rxnodes import ConnectionState, DecodeError, ErrorEvent, Opened, SendError, Stopped, Trigger, pulse
from rxnodes.websocket import (
    all_stopped,
    channel,
    client_send,
    client_start,
    client_stop,
    on_error,
    on_gap,
    on_receive,
    on_start,
    on_stop,
    request,
    until_stopped,
)


async def turn(count=3):
    for _ in range(count):
        await asyncio.sleep(0)


@virtual
async def test_the_designs_example():
    chat = Chat()
    connection = chat.connection
    chat.transport.script = lambda peer: (peer.accept(), peer.send("welcome"))
    order = []
    on_start(connection).pipe(client_send(connection, "hello")).subscribe()
    on_receive(connection).pipe(client_stop(connection)).subscribe(lambda _: order.append("the stop's pulse"))
    on_stop(connection).subscribe(lambda _: order.append("On Stop"))
    pulse().pipe(client_start(connection)).subscribe()
    stopped = await connection.wait_stopped()
    assert stopped.was_clean
    assert chat.peer.received == ["hello"]
    assert order == ["the stop's pulse", "On Stop"]


@virtual
async def test_client_stop_lets_its_pulse_pass_at_once():
    chat = await Chat().opened()
    passed = []
    pulse("same").pipe(client_stop(chat.connection, code=3000, reason="enough")).subscribe(
        lambda value: passed.append((value, chat.connection.state))
    )
    assert passed == [("same", ConnectionState.CLOSING)]
    await chat.connection.wait_stopped()
    assert chat.peer.close_frame == (3000, "enough")


@pytest.mark.parametrize("node", [client_start, client_stop, client_send])
@virtual
async def test_actions_have_enabled_and_pass_through(node):
    chat = Chat()
    seen = []
    attributes = {"message": "x"} if node is client_send else {}
    pulse(1).pipe(node(chat.connection, enabled=False, **attributes)).subscribe(seen.append)
    assert seen == []
    pulse(2).pipe(node(chat.connection, pass_through=True, **attributes)).subscribe(seen.append)
    assert seen == [2]
    assert chat.connection.state is ConnectionState.IDLE
    assert chat.journal.events == []


@virtual
async def test_send_a_constant_a_function_an_observable_or_the_pulse():
    chat = await Chat().opened()
    connection = chat.connection
    data = reactivex.Subject()
    pulse(1).pipe(client_send(connection, "constant")).subscribe()
    pulse(2).pipe(client_send(connection, lambda number: f"number {number}")).subscribe()
    pulse("the pulse").pipe(client_send(connection)).subscribe()
    trigger = Trigger()
    passed = []
    trigger.pipe(client_send(connection, data)).subscribe(passed.append)
    data.on_next("old")
    data.on_next("latest")
    assert chat.peer.received == ["constant", "number 2", "the pulse"]
    trigger.fire(1)
    trigger.fire(2)
    data.on_completed()
    trigger.fire(3)
    assert chat.peer.received[3:] == ["latest", "latest", "latest"]
    assert passed == [1, 2, 3]


@virtual
async def test_a_data_connection_without_a_value_yet_is_an_error_event():
    chat = await Chat().opened()
    passed = []
    pulse(1).pipe(client_send(chat.connection, reactivex.never())).subscribe(passed.append)
    assert passed == [1]
    (error,) = errors_of(chat)
    assert (error.phase, "no message to send yet" in error.message) == ("send", True)


@virtual
async def test_a_data_connection_that_fails_is_the_pipelines_error():
    chat = await Chat().opened()
    error = ValueError("no")
    failed = []
    Trigger().pipe(client_send(chat.connection, reactivex.throw(error))).subscribe(on_error=failed.append)
    assert failed == [error]


@pytest.mark.parametrize(
    ("message", "is_binary", "sent"),
    [
        ("é", False, "é"),
        ("é", True, "é".encode()),
        (b"\xff", True, b"\xff"),
        ("é", None, "é"),
        (b"\xff", None, b"\xff"),
    ],
)
@virtual
async def test_is_binary_on_send(message, is_binary, sent):
    chat = await Chat().opened()
    pulse().pipe(client_send(chat.connection, message, is_binary=is_binary)).subscribe()
    pulse(message).pipe(client_send(chat.connection, is_binary=is_binary)).subscribe()
    assert chat.peer.received == [sent, sent]


async def no_message(_pulse):
    return "hello"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda chat: client_send(chat, b"bytes", is_binary=False), "must be str, not bytes"),
        (lambda chat: client_send(chat, 7, is_binary=True), "must be str or bytes, not int"),
        (lambda chat: client_send(chat, None), "must be str or bytes, not NoneType"),
        (lambda chat: client_send(chat, "\ud800"), "surrogate"),
        (lambda chat: client_send(chat, no_message), "message: expected a plain function that returns what to send"),
        (lambda chat: client_send(chat, "hello", tag="it"), "tag: expected a function that returns the tag of a pulse"),
        (lambda chat: client_stop(chat, code=1006), "1006"),
        (lambda chat: client_stop(chat, reason="x" * 124), "123"),
    ],
)
@virtual
async def test_what_cannot_be_sent_raises_when_the_pipeline_is_built(make, says):
    with pytest.raises((TypeError, ValueError), match=says):
        make(Chat().connection)


@virtual
async def test_what_is_no_message_is_an_error_event_and_the_pulse_passes():
    chat = await Chat().opened()
    passed = []
    pulse(7).pipe(client_send(chat.connection)).subscribe(passed.append)
    pulse(8).pipe(client_send(chat.connection, lambda _: b"no str", is_binary=False)).subscribe(passed.append)
    pulse("\ud800").pipe(client_send(chat.connection)).subscribe(passed.append)
    assert passed == [7, 8, "\ud800"]
    assert [(event.phase, type(event.error)) for event in errors_of(chat)] == [("send", SendError)] * 3


@virtual
async def test_sending_while_not_open_is_an_error_event_and_the_pulse_passes():
    chat = Chat()
    passed = []
    pulse(1).pipe(client_send(chat.connection, "x")).subscribe(passed.append)
    assert passed == [1]
    (error,) = chat.journal.events
    assert (error.phase, error.session) == ("send", 0)


@virtual
async def test_a_tag_tells_what_became_of_a_pulses_message():
    chat = await Chat().opened()
    seen = []
    chat.connection.sends.subscribe(lambda outcome: seen.append((outcome.tag, outcome.size)))
    for message in ([], ["constant"], [lambda pulse: pulse * 2], [BehaviorSubject("latest")]):
        pulse("four").pipe(client_send(chat.connection, *message, tag=len)).subscribe()
    assert seen == [(4, 4), (4, 8), (4, 8), (4, 6)]


@virtual
async def test_what_a_function_or_a_tag_raises_is_the_pipelines_error():
    chat = await Chat().opened()
    failed = []
    for node in (
        client_send(chat.connection, "constant", tag=len),
        client_send(chat.connection, str, tag=len),
        client_send(chat.connection, lambda number: str(number / 0)),
    ):
        pulse(7).pipe(node).subscribe(on_error=failed.append)
    assert [type(error) for error in failed] == [TypeError, TypeError, ZeroDivisionError]
    assert chat.peer.received == []
    assert chat.connection.state is ConnectionState.OPEN


@virtual
async def test_on_receive_gives_the_form_that_was_asked_for():
    chat = await Chat().opened()
    text, binary, both = [], [], []
    on_receive(chat.connection).subscribe(text.append)
    on_receive(chat.connection, is_binary=True).subscribe(binary.append)
    on_receive(chat.connection, is_binary=None).subscribe(both.append)
    for message in ("é", b"b", b"\xff"):
        chat.peer.send(message)
    assert text == ["é", "b"]
    assert binary == ["é".encode(), b"b", b"\xff"]
    assert both == ["é", b"b", b"\xff"]
    (error,) = errors_of(chat)
    assert (error.phase, type(error.error)) == ("receive", DecodeError)


@virtual
async def test_on_receive_in_batches():
    chat = await Chat().opened()
    connection = chat.connection
    text, binary, both = [], [], []
    on_receive(connection, batched=True).subscribe(text.append)
    on_receive(connection, batched=True, is_binary=True).subscribe(binary.append)
    on_receive(connection, batched=True, is_binary=None).subscribe(both.append)
    assert on_receive(connection, batched=True) is on_receive(connection, batched=True)
    for messages in (["a", "b"], [b"c", b"\xff"], [b"\xfe"]):
        connection._driver.inbound.take(messages)
    assert text == [["a", "b"], ["c"]]
    assert binary == [[b"a", b"b"], [b"c", b"\xff"], [b"\xfe"]]
    assert both == [["a", "b"], [b"c", b"\xff"], [b"\xfe"]]
    assert [(event.phase, type(event.error)) for event in errors_of(chat)] == [("receive", DecodeError)] * 2
    completed = []
    on_receive(connection, batched=True).subscribe(on_completed=lambda: completed.append(True))
    connection.for_project.detach()
    assert completed == [True]


@virtual
async def test_event_nodes_never_error_and_complete_when_the_project_closes():
    chat = Chat(lambda peer: peer.refuse())
    told = []
    for node in (on_start, on_stop, on_error, on_receive):
        node(chat.connection).subscribe(
            lambda value, node=node: told.append((node.__name__, type(value))),
            on_error=lambda _: told.append("error"),
            on_completed=lambda node=node: told.append((node.__name__, "completed")),
        )
    chat.connection.start()
    await chat.connection.wait_stopped()
    assert told == [("on_error", ErrorEvent), ("on_stop", Stopped)]
    chat.connection.for_project.detach()
    assert set(told[2:]) == {(name, "completed") for name in ("on_start", "on_stop", "on_error", "on_receive")}


@virtual
async def test_on_start_fires_on_every_open():
    chat = await Chat(reconnect={}).opened()
    seen = []
    on_start(chat.connection).subscribe(seen.append)
    chat.peer.reset()
    await asyncio.sleep(5)
    assert [type(event) for event in seen] == [Opened]
    assert seen[0].is_reconnect


@virtual
async def test_all_stopped_emits_at_once_when_nothing_is_live():
    one, two = Chat(), await Chat().opened()
    two.connection.stop()
    stopped = await two.connection.wait_stopped()
    seen = []
    all_stopped(one.connection, two.connection).subscribe(seen.append, on_completed=lambda: seen.append("completed"))
    assert seen == [(None, stopped), "completed"]
    all_stopped().subscribe(seen.append)
    assert seen[2:] == [()]


@virtual
async def test_all_stopped_waits_for_the_last_and_for_every_subscriber():
    one, two = await Chat().opened(), await Chat().opened()
    seen = []
    all_stopped(one.connection, two.connection).subscribe(seen.append)
    on_stop(two.connection).subscribe(lambda _: seen.append("somebody else saw it"))
    one.connection.stop()
    await one.connection.wait_stopped()
    assert seen == []
    two.connection.stop()
    await two.connection.wait_stopped()
    assert seen == ["somebody else saw it", (one.connection.last_stopped, two.connection.last_stopped)]


@virtual
async def test_all_stopped_does_not_count_one_that_was_started_again():
    one, two = await Chat().opened(), await Chat().opened()
    seen = []
    all_stopped(one.connection, two.connection).subscribe(seen.append)
    one.connection.stop()
    await one.connection.wait_stopped()
    one.connection.start()
    two.connection.stop()
    await two.connection.wait_stopped()
    assert seen == []
    one.connection.stop()
    await one.connection.wait_stopped()
    assert [stopped.session for stopped in seen[0]] == [2, 1]


@virtual
async def test_until_stopped_holds_pulses_until_the_end():
    chat = await Chat().opened()
    connection = chat.connection
    chat.peer.answers_close = False
    restart = Trigger()
    seen = []
    restart.pipe(client_stop(connection), until_stopped(connection), client_start(connection)).subscribe(
        lambda value: seen.append((value, connection.state))
    )
    on_stop(connection).subscribe(lambda _: seen.append("On Stop"))
    restart.fire("again")
    await turn()
    assert seen == []
    chat.peer.close()
    await connection.wait_stopped()
    await connection.wait_started()
    assert seen == ["On Stop", ("again", ConnectionState.CLOSED)]
    assert connection.session == 2


@virtual
async def test_until_stopped_lets_pass_when_nothing_is_live():
    chat = Chat()
    seen = []
    reactivex.of(1, 2).pipe(until_stopped(chat.connection), ops.to_list()).subscribe(seen.append)
    assert seen == [[1, 2]]


# What is given in place of a connection

NODES = [
    client_send,
    client_start,
    client_stop,
    on_error,
    on_gap,
    on_receive,
    on_start,
    on_stop,
    all_stopped,
    until_stopped,
    lambda it: request(it, "ask", match=bool),
    lambda it: channel(it, subscribe="on", match=bool),
]


@pytest.mark.parametrize("node", NODES)
def test_a_node_says_what_it_wants_in_place_of_a_name(node):
    with pytest.raises(TypeError, match=r"expected a Connection, got str"):
        node("chat")


def test_a_node_that_was_not_called_says_so_where_the_pipeline_is_built():
    with pytest.raises(TypeError, match=r"expected a Connection, got Observable"):
        pulse().pipe(client_start)
