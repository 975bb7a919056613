"""What a connection tells of itself, and what its subscribers raise."""

from __future__ import annotations

import asyncio
import functools
import threading

import pytest
from virtual import Chat, virtual

from rxnodes import ConnectionState
from rxnodes.connection.connection import Connection
from rxnodes.lifecycle.policy import Policy
from rxnodes.transport.base import Target
from rxnodes.transport.scripted import ScriptedTransport
from rxnodes.websocket import on_stop


def test_a_subscriber_that_raises_before_the_project_is_open_is_logged(caplog):
    connection = Connection("chat", Target(url="ws://test/", redacted_url="ws://test/"), Policy(), ScriptedTransport())
    connection.states.subscribe(lambda _: 1 / 0)
    assert "a subscriber raised" in caplog.text


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


@pytest.mark.parametrize("stream", [None, "errors", "lifecycle"])
@virtual
async def test_an_error_that_nobody_listens_to_is_a_warning_in_the_log(stream, caplog):
    connection = Connection("chat", Target(url="ws://t/", redacted_url="ws://t/"), Policy(), ScriptedTransport())
    connection.for_project.attach(asyncio.get_running_loop(), threading.get_ident())
    if stream is not None:
        getattr(connection, stream).subscribe(lambda _: None)
    connection.send("too early")
    connection.latency.subscribe(lambda _: 1 / 0)
    connection._driver.publisher.publish_latency(0.1)
    logged = [(record.levelname, record.message) for record in caplog.records]
    failed = ("ERROR", "chat: a subscriber raised")
    expected = [] if stream else [("WARNING", "chat: 'chat' is idle, not open: message not sent")]
    assert logged == [*expected, failed]
