"""Connection: the machine, a transport and the streams together, in virtual time."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from virtual import Chat, virtual

from rxnodes import (
    ConnectError,
    ConnectionState,
    ErrorEvent,
    RxNodesError,
    SendDropped,
    Stopped,
    Unsent,
)
from rxnodes.codecs import as_codec
from rxnodes.connection.connection import Connection
from rxnodes.lifecycle.policy import Policy
from rxnodes.testing.scripted import ScriptedTransport
from rxnodes.transport.base import Target
from rxnodes.transport.receipts import SendQueue
from rxnodes.websocket import on_stop


async def turn(count=3):
    """Lets the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_before_its_project_is_open_commands_are_refused_at_once():
    connection = Connection("chat", Target(url="ws://test/", redacted_url="ws://test/"), Policy(), ScriptedTransport())
    for command in (connection.start, connection.stop, connection.abort, lambda: connection.send("x")):
        with pytest.raises(RxNodesError, match="'chat': its project is not open"):
            command()
    seen = []
    connection.states.subscribe(seen.append)
    assert seen == [ConnectionState.IDLE]
    assert repr(connection) == "<Connection 'chat' idle, session 0>"


def test_a_subscriber_that_raises_before_the_project_is_open_is_logged(caplog):
    connection = Connection("chat", Target(url="ws://test/", redacted_url="ws://test/"), Policy(), ScriptedTransport())
    connection.states.subscribe(lambda _: 1 / 0)
    assert "a subscriber raised" in caplog.text


@virtual
async def test_messages_go_both_ways():
    chat = await Chat().opened()
    chat.connection.send("text")
    chat.connection.send(b"binary")
    chat.connection.send("as bytes", is_binary=True)
    chat.connection.send("as text", is_binary=False)
    chat.connection.send(bytearray(b"array"))
    chat.connection.send(memoryview(b"view"))
    chat.peer.send("hello")
    chat.peer.send(b"\x00")
    assert chat.peer.received == ["text", b"binary", b"as bytes", "as text", b"array", b"view"]
    assert chat.journal.messages == ["hello", b"\x00"]
    chat.connection.stop()
    stopped = await chat.connection.wait_stopped()
    assert (stopped.messages_sent, stopped.bytes_sent) == (6, 4 + 6 + 8 + 7 + 5 + 4)
    assert (stopped.messages_received, stopped.bytes_received) == (2, 6)


@virtual
async def test_what_the_caller_got_wrong_is_raised_at_once():
    chat = await Chat().opened()
    connection = chat.connection
    with pytest.raises(TypeError, match="must be str or bytes, not int"):
        connection.send(7)
    with pytest.raises(TypeError, match="must be str, not bytes"):
        connection.send(b"x", is_binary=False)
    with pytest.raises(ValueError, match="surrogate"):
        connection.send("\ud800")
    for code in (-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535):
        with pytest.raises(ValueError, match=f"close code {code} must not be sent"):
            connection.stop(code=code)
    with pytest.raises(ValueError, match="124 bytes of UTF-8; at most 123 fit"):
        connection.stop(reason="é" * 62)
    with pytest.raises(ValueError, match="surrogate"):
        connection.stop(reason="\udfff")
    assert connection.state is ConnectionState.OPEN
    connection.stop(code=4999, reason="x" * 123)
    await connection.wait_stopped()
    assert chat.peer.close_frame == (4999, "x" * 123)


# Subscribers that raise


@virtual
async def test_a_coroutine_function_is_no_subscriber():
    async def save(_message):
        """Nobody would await it."""

    with pytest.raises(TypeError, match=r"use stream.pipe\(for_each_async\(function\)\)"):
        (await Chat().opened()).connection.messages.subscribe(save)


@virtual
async def test_promise_7_whatever_a_subscriber_raises_the_others_are_notified(caplog):
    chat = await Chat().opened()
    seen = []
    for error in (UnspeakableError(), ValueError("two\nlines"), ValueError("x" * 10_000), ValueError()):
        chat.connection.messages.subscribe(functools.partial(raise_, error))
    chat.connection.messages.subscribe(seen.append)
    chat.peer.send("one")
    chat.peer.send("two")
    assert seen == ["one", "two"]
    assert chat.connection.state is ConnectionState.OPEN
    assert [str(error) for error in chat.handler_errors[:4]] == [
        "a subscriber raised UnspeakableError",
        "a subscriber raised ValueError: two\\nlines",
        f"a subscriber raised ValueError: {'x' * 288}...",
        "a subscriber raised ValueError",
    ]


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def raise_(error, _message):
    raise error


@virtual
async def test_promise_7_raised_while_an_error_event_or_a_stopped_is_delivered_it_is_only_logged(caplog):
    chat = await Chat().opened()
    chat.connection.errors.subscribe(lambda _: 1 / 0)
    on_stop(chat.connection).subscribe(lambda _: 1 / 0)
    chat.connection.for_nodes.ended.subscribe(lambda _: 1 / 0)
    chat.peer.reset()
    await chat.connection.wait_stopped()
    assert chat.journal.kinds == ["Connecting", "Opened", "ErrorEvent", "Stopped"]
    assert sum("a subscriber raised" in record.message for record in caplog.records) == 3


# Forms of messages


@virtual
async def test_nobody_is_told_of_a_binary_message_that_nobody_wanted_as_text():
    chat = await Chat().opened()
    seen = []
    chat.connection.for_nodes.binaries.subscribe(seen.append)
    chat.peer.send(b"\xff")
    chat.peer.send("é")
    assert seen == [b"\xff", "é".encode()]
    assert "ErrorEvent" not in chat.journal.kinds


# Waiting


@virtual
async def test_wait_started_gives_the_opened_or_raises():
    chat = Chat()
    waiting = asyncio.ensure_future(chat.connection.wait_started())
    await turn()
    assert not waiting.done()
    chat.connection.start()
    opened = await waiting
    assert await chat.connection.wait_started() is opened
    chat.connection.stop()
    await chat.connection.wait_stopped()
    assert await chat.connection.wait_started() is opened


@virtual
async def test_wait_started_raises_when_the_session_ends_without_opening():
    chat = Chat(lambda peer: peer.refuse("the server answered 503", status=503))
    chat.connection.start()
    with pytest.raises(ConnectError, match="503") as raised:
        await chat.connection.wait_started()
    assert raised.value.status == 503
    with pytest.raises(ConnectError, match="503"):
        await chat.connection.wait_started()


@virtual
async def test_wait_started_raises_when_it_is_stopped_before_it_is_open():
    chat = Chat(None)
    chat.connection.start()
    waiting = asyncio.ensure_future(chat.connection.wait_started())
    await turn()
    chat.connection.stop()
    with pytest.raises(ConnectError, match="'chat' stopped before it was open"):
        await waiting


@virtual
async def test_wait_stopped_waits_before_the_first_start_and_then_gives_the_last():
    chat = Chat()
    waiting = asyncio.ensure_future(chat.connection.wait_stopped())
    await turn()
    assert not waiting.done()
    await chat.opened()
    chat.connection.stop()
    stopped = await waiting
    assert isinstance(stopped, Stopped)
    assert await chat.connection.wait_stopped() is stopped


@virtual
async def test_who_waits_when_everything_is_closed_is_told():
    chat = Chat()
    waiting = asyncio.ensure_future(chat.connection.wait_stopped())
    await turn()
    chat.connection.for_project.detach()
    for wait in (waiting, chat.connection.wait_started(), chat.connection.wait_stopped()):
        with pytest.raises(RxNodesError, match="closed before the connection was started"):
            await wait


@virtual
async def test_commands_after_the_close_do_nothing(caplog):
    chat = await Chat().opened()
    chat.connection.for_project.shutdown()
    await chat.connection.wait_stopped()
    chat.connection.for_project.detach()
    chat.connection.start()
    chat.connection.stop()
    chat.connection.abort()
    with caplog.at_level(logging.WARNING):
        chat.connection.send("lost")
    assert "message not sent" in caplog.text
    assert len(chat.transport.peers) == 1


# Reconnecting


@pytest.mark.parametrize("stream", [None, "errors", "lifecycle"])
@virtual
async def test_an_error_that_nobody_listens_to_is_a_warning_in_the_log(stream, caplog):
    connection = Connection("chat", Target(url="ws://t/", redacted_url="ws://t/"), Policy(), ScriptedTransport())
    connection.for_project.attach(asyncio.get_running_loop(), threading.get_ident())
    if stream is not None:
        getattr(connection, stream).subscribe(lambda _: None)
    connection.send("too early")
    connection.latency.subscribe(lambda _: 1 / 0)
    connection._driver.on_pong(0.1)
    logged = [(record.levelname, record.message) for record in caplog.records]
    failed = ("ERROR", "chat: a subscriber raised")
    expected = [] if stream else [("WARNING", "chat: 'chat' is idle, not open: message not sent")]
    assert logged == [*expected, failed]


@virtual
async def test_a_close_code_is_a_number():
    chat = await Chat().opened()
    with pytest.raises(TypeError, match="a close code must be an int, not str"):
        chat.connection.stop(code="1000")
    assert chat.connection.state is ConnectionState.OPEN


# Lists of messages


@pytest.mark.parametrize("is_binary", [None, False, True])
@virtual
async def test_reading_6_lists_that_are_first_asked_for_after_the_end_complete(is_binary):
    chat = await Chat().opened()
    early, told = chat.connection.for_nodes.batches(is_binary=False), []
    chat.connection.stop()
    await chat.connection.wait_stopped()
    chat.connection.for_project.detach()
    for stream in (early, chat.connection.for_nodes.batches(is_binary=is_binary)):
        stream.subscribe(told.append, on_completed=lambda: told.append("completed"))
    chat.connection.for_nodes.values(as_codec("json"), batched=True).subscribe(
        on_completed=lambda: told.append("completed")
    )
    assert told == ["completed"] * 3


@virtual
async def test_reading_6_threads_that_ask_at_once_get_the_same_lists():
    for _ in range(50):
        connection = Chat().connection
        barrier = threading.Barrier(4)

        def ask(is_binary, connection=connection, barrier=barrier):
            barrier.wait(10)
            return connection.for_nodes.batches(is_binary=is_binary)

        with ThreadPoolExecutor(4) as pool:
            streams = list(pool.map(ask, [None, None, True, True]))
        assert streams == [connection.for_nodes.batches(is_binary=it) for it in (None, None, True, True)]


@virtual
async def test_a_list_that_is_in_the_form_asked_for_is_given_as_it_is():
    chat = await Chat().opened()
    seen = []
    for is_binary in (None, False, True):
        chat.connection.for_nodes.batches(is_binary=is_binary).subscribe(seen.append)
    texts, binaries = ["a", "b"], [b"c", b"d"]
    chat.connection._driver.inbound.take(texts)
    chat.connection._driver.inbound.take(binaries)
    assert seen == [texts, texts, [b"a", b"b"], binaries, ["c", "d"], binaries]
    assert [it is texts or it is binaries for it in seen] == [True, True, False, True, False, True]


# Very many messages in one read


async def flooded(messages, count=20_000, codec=None, on_value=None, turns=None):
    """What a connection told of so many messages in one read, and how often the loop had a turn meanwhile."""
    chat = await Chat().opened()
    seen, loop = [], asyncio.get_running_loop()
    if codec is not None:
        chat.connection.for_nodes.values(as_codec(codec)).subscribe(on_value)
    chat.connection.errors.subscribe(seen.append)
    on_stop(chat.connection).subscribe(seen.append)

    def turn():
        turns.append(len(seen))
        if chat.connection.is_live:
            loop.call_soon(turn)

    loop.call_soon(turn)
    chat.connection._driver.inbound.take(messages * count)
    chat.peer.close(4001, "enough")
    await chat.connection.wait_stopped()
    assert len(chat.journal.messages) == count * len(messages)
    return seen, chat


@pytest.mark.slow
def test_reading_7_a_flood_that_fits_no_codec_lets_others_run_and_is_told_before_the_end():
    turns = []
    seen, chat = asyncio.run(flooded(["no"], codec="json", turns=turns))
    assert [type(it) for it in seen] == [ErrorEvent] * 20_000 + [Stopped]
    assert {(it.phase, it.session, it.attempt) for it in seen[:-1]} == {("receive", 1, 1)}
    assert (seen[-1].code, seen[-1].reason) == (4001, "enough")
    assert chat.transport.peer.is_lost
    assert len(turns) > 10


@pytest.mark.slow
def test_a_subscriber_that_takes_long_with_each_of_very_many_messages_lets_others_run():
    turns = []
    seen, _ = asyncio.run(flooded(["1"], count=2_000, codec="json", on_value=lambda _: time.sleep(0.0001), turns=turns))
    assert [type(it) for it in seen] == [Stopped]
    assert len(turns) > 3


@pytest.mark.slow
def test_who_raises_for_each_is_told_within_the_session():
    turns = []
    seen, _ = asyncio.run(flooded(["1"], count=1_000, codec="json", on_value=lambda _: 1 / 0, turns=turns))
    assert {it.session for it in seen} == {1}
    assert {it.phase for it in seen[:-1]} == {"handler"}
    assert len(seen) == 1_001


async def reset_in_a_flood():
    chat = await Chat(unread, send_queue=SendQueue(while_connecting=True)).opened()
    connection, told = chat.connection, []
    waiting = connection.send("waits")
    connection.lifecycle.subscribe(told.append)
    connection.for_nodes.values(as_codec("json")).subscribe()
    connection._driver.inbound.take(["no"] * 5_000)
    chat.peer.fail("the network is gone")
    late = connection.send("too late")
    connection.stop()
    stopped = await connection.wait_stopped()
    return chat, await waiting, await late, stopped


@pytest.mark.slow
def test_what_is_sent_while_the_last_that_came_is_still_delivered_has_an_outcome():
    chat, waiting, late, stopped = asyncio.run(reset_in_a_flood())
    assert isinstance(waiting, Unsent)
    assert isinstance(late, SendDropped)
    assert chat.journal.kinds[-1] == "Stopped"
    assert len(chat.journal.messages) == 5_000
    assert stopped.unsent == 1
    assert "'chat' has lost its peer: message not sent" in [
        event.message for event in chat.journal.events if isinstance(event, ErrorEvent) and event.phase == "send"
    ]


def unread(peer):
    peer.accept()
    peer.stop_reading()
