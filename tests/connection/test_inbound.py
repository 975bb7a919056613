"""The way of a message from the link to the subscribers, in each form and however many there are."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from virtual import Chat, virtual

from rxnodes import ErrorEvent, SendDropped, Stopped, Unsent
from rxnodes.codecs import as_codec
from rxnodes.transport.receipts import SendQueue
from rxnodes.websocket import on_stop

# Forms of messages


@virtual
async def test_a_binary_message_that_nobody_wants_as_text_is_no_error():
    chat = await Chat().opened()
    seen = []
    chat.connection.for_nodes.binaries.subscribe(seen.append)
    chat.peer.send(b"\xff")
    chat.peer.send("é")
    assert seen == [b"\xff", "é".encode()]
    assert "ErrorEvent" not in chat.journal.kinds


@pytest.mark.parametrize(
    "ask",
    [
        lambda connection: connection.messages,
        lambda connection: connection.for_nodes.texts,
        lambda connection: connection.for_nodes.binaries,
        lambda connection: connection.for_nodes.values(as_codec("json")),
    ],
)
@virtual
async def test_a_form_that_is_first_asked_for_late_shows_what_comes_and_after_the_end_completes(ask):
    early, late = await Chat().opened(), await Chat().opened()
    told = []
    for chat in (early, late):
        chat.peer.send("1")
        if chat is early:
            ask(chat.connection).subscribe(lambda _: told.append("message"), on_completed=lambda: told.append("|"))
            chat.peer.send("2")
        chat.connection.stop()
        await chat.connection.wait_stopped()
        chat.connection.for_project.detach()
    ask(late.connection).subscribe(lambda _: told.append("message"), on_completed=lambda: told.append("|"))
    assert told == ["message", "|", "|"]


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
def test_a_subscriber_that_raises_at_each_message_is_reported_within_the_session():
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
