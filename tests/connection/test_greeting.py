"""What `after_connect` is given: messages to and fro before the connection is open, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import errno
import json
import os
import threading
from contextvars import ContextVar

import pytest
from virtual import Chat, virtual

from rxnodes import (
    ConnectError,
    ConnectionState,
    DecodeError,
    GiveUp,
    RxNodesError,
    SendError,
)
from rxnodes.codecs import as_codec
from rxnodes.testing import run_in_virtual_time
from rxnodes.transport.receipts import SendQueue


class Hook:
    """A login that a test plays: it hands out its greeting, and goes on until the test lets it."""

    def __init__(self):
        self._begun = asyncio.get_running_loop().create_future()
        self._outcome = asyncio.get_running_loop().create_future()

    async def __call__(self, greeting):
        self._begun.set_result(greeting)
        await self._outcome

    async def greeting(self):
        return await self._begun

    def done(self):
        self._outcome.set_result(None)

    def fails(self, error):
        self._outcome.set_exception(error)


async def greeted(**options):
    """A connection in the midst of its login, the hook, and what it was given."""
    hook = Hook()
    chat = Chat(after_connect=hook, **options)
    chat.connection.start()
    return chat, hook, await hook.greeting()


async def opened(chat, hook):
    hook.done()
    await chat.connection.wait_started()


# What comes


@virtual
async def test_what_does_not_match_is_kept_in_order_for_all():
    chat, hook, greeting = await greeted()
    lists = []
    chat.connection.for_nodes.batches(is_binary=None).subscribe(lists.append)
    for message in ("a", "b", b"c", "welcome", "d", b"e"):
        chat.peer.send(message)
    assert await greeting.receive(lambda text: text == "welcome") == "welcome"
    assert chat.connection.state is ConnectionState.CONNECTING
    assert chat.journal.messages == []
    hook.done()
    chat.peer.send("f")
    await chat.connection.wait_started()
    chat.peer.send("g")
    assert chat.journal.messages == ["a", "b", b"c", "d", b"e", "f", "g"]
    assert lists == [["a", "b"], [b"c"], ["d"], [b"e"], ["f"], ["g"]]
    chat.connection.stop()
    stopped = await chat.connection.wait_stopped()
    assert (stopped.messages_received, stopped.bytes_received) == (7, 7)


@virtual
async def test_what_was_kept_is_given_to_the_next_receive():
    chat, _, greeting = await greeted()
    for message in ("one", "two", "three"):
        chat.peer.send(message)
    assert await greeting.receive(lambda text: text.startswith("th")) == "three"
    assert await greeting.receive() == "one"
    assert await greeting.receive() == "two"


@pytest.mark.parametrize(
    ("own", "codec", "message", "value"),
    [
        (None, {}, "text", "text"),
        (None, {}, b"binary", "binary"),
        (None, {"codec": None}, b"binary", b"binary"),
        (None, {"codec": "json"}, "[1]", [1]),
        ("json", {}, "[1]", [1]),
        ("json", {"codec": None}, "[1]", "[1]"),
        ("json", {"codec": bytes}, "[1]", b"[1]"),
    ],
)
@virtual
async def test_a_message_is_read_with_the_codec(own, codec, message, value):
    chat, _, greeting = await greeted(codec=own and as_codec(own))
    chat.peer.send(message)
    assert await greeting.receive(**codec) == value


@pytest.mark.parametrize(
    ("own", "codec", "value", "message"),
    [
        (None, {}, "text", "text"),
        (None, {}, b"binary", b"binary"),
        (None, {"codec": "json"}, [1], "[1]"),
        ("json", {}, [1], "[1]"),
        ("json", {"codec": None}, "text", "text"),
    ],
)
@virtual
async def test_a_message_is_written_with_the_codec(own, codec, value, message):
    chat, _, greeting = await greeted(codec=own and as_codec(own))
    await greeting.send(value, **codec)
    assert chat.peer.received == [message]


@virtual
async def test_what_does_not_fit_the_codec_is_raised_once():
    chat, _, greeting = await greeted(codec=as_codec("json"))
    chat.peer.send("no JSON")
    chat.peer.send("[1]")
    with pytest.raises(DecodeError):
        await greeting.receive()
    assert await greeting.receive() == [1]


@virtual
async def test_a_message_of_another_form_is_no_match_and_what_else_a_match_raises_is_raised():
    chat, hook, greeting = await greeted(codec=as_codec("json"))
    for value in ([], {"kind": "news"}, None, {"type": "auth_ok"}):
        chat.peer.send(json.dumps(value))
    assert await greeting.receive(lambda value: value["type"] == "auth_ok") == {"type": "auth_ok"}
    with pytest.raises(ZeroDivisionError):
        await greeting.receive(lambda _: 1 / 0)
    await opened(chat, hook)
    assert len(chat.journal.messages) == 3


@virtual
async def test_a_receive_that_is_cancelled_takes_nothing():
    """Also where its message has come, but the task has had no turn since."""
    chat, _, greeting = await greeted()
    task = asyncio.create_task(greeting.receive())
    await asyncio.sleep(0)
    chat.peer.send("hello")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await greeting.receive() == "hello"


@virtual
async def test_several_tasks_of_a_hook_receive_at_once():
    chat, _, greeting = await greeted()
    tasks = [asyncio.create_task(greeting.receive(lambda text, want=want: text == want)) for want in ("a", "b", "c")]
    await asyncio.sleep(0)
    for message in ("c", "x", "b", "a"):
        chat.peer.send(message)
    assert await asyncio.gather(*tasks) == ["a", "b", "c"]
    assert await greeting.receive() == "x"


# Back-pressure


@virtual
async def test_reading_pauses_while_much_waits_that_nobody_takes():
    chat, hook, greeting = await greeted()
    for _ in range(3):
        chat.peer.send("x" * 30_000)
    assert chat.peer.is_held
    chat.peer.send("welcome")
    for _ in range(3):
        await greeting.receive()
    assert not chat.peer.is_held
    assert await greeting.receive() == "welcome"
    for _ in range(2000):
        chat.peer.send("")
    assert chat.peer.is_held, "many small ones are much, too"
    await opened(chat, hook)
    assert not chat.peer.is_held
    await asyncio.sleep(0)
    assert chat.journal.messages == [""] * 2000


@virtual
async def test_a_consumer_that_pauses_since_an_attempt_before_does_not_hold_up_the_login():
    chat, hook, greeting = await greeted()
    pause_control = chat.connection._driver.pause_control
    pause_control.pause("a consumer")
    assert not chat.peer.is_held
    for message in ("welcome", "kept"):
        chat.peer.send(message)
    assert await greeting.receive() == "welcome"
    await opened(chat, hook)
    assert chat.journal.messages == ["kept"], "what was read already is delivered"
    assert chat.peer.is_held, "and from here on the pause counts"
    chat.peer.send("later")
    pause_control.resume("a consumer")
    await asyncio.sleep(0)
    assert chat.journal.messages == ["kept", "later"]


@virtual
async def test_a_closing_behind_a_failed_login_reads_on():
    chat, hook, _ = await greeted()
    for _ in range(3):
        chat.peer.send("x" * 30_000)
    assert chat.peer.is_held
    hook.fails(GiveUp("no"))
    stopped = await chat.connection.wait_stopped()
    assert stopped.was_clean
    assert (stopped.messages_received, stopped.undelivered) == (0, 0)


# What is sent


@virtual
async def test_nothing_of_others_goes_out_before_it_is_open():
    chat, hook, greeting = await greeted()
    chat.connection.send("too early")
    await greeting.send("token")
    await opened(chat, hook)
    chat.connection.send("now")
    assert chat.peer.received == ["token", "now"]
    assert chat.journal.kinds == ["Connecting", "ErrorEvent", "Opened"]


@virtual
async def test_a_login_is_in_no_total_and_in_no_outcome():
    chat, hook, greeting = await greeted()
    outcomes = []
    chat.connection.sends.subscribe(outcomes.append)
    await greeting.send("token")
    chat.peer.stop_reading()
    late = asyncio.create_task(greeting.send("never taken"))
    await asyncio.sleep(0)
    await opened(chat, hook)
    chat.connection.send("counted", tag="ours")
    chat.connection.stop()
    await asyncio.sleep(1)
    chat.peer.reset()
    stopped = await chat.connection.wait_stopped()
    with pytest.raises(RxNodesError):
        await late
    assert (stopped.messages_sent, stopped.bytes_sent, stopped.unsent) == (0, 0, 1)
    assert [outcome.tag for outcome in outcomes] == ["ours"]


@virtual
async def test_a_full_send_queue_is_told_to_the_login():
    chat, hook, greeting = await greeted(send_queue=SendQueue(max_messages=1, overflow="drop_newest"))
    chat.peer.stop_reading()
    first = asyncio.create_task(greeting.send("first"))
    await asyncio.sleep(0)
    with pytest.raises(SendError, match="send queue is full"):
        await greeting.send("second")
    chat.peer.resume_reading()
    await first
    await opened(chat, hook)
    chat.connection.stop()
    stopped = await chat.connection.wait_stopped()
    assert (stopped.messages_sent, stopped.unsent) == (0, 0)


@pytest.mark.parametrize("end", ["close", "reset", "stop"])
@virtual
async def test_a_send_that_cannot_leave_says_why(end):
    chat, _, greeting = await greeted(close_timeout=1)
    chat.peer.stop_reading()
    waiting = asyncio.create_task(greeting.send("token"))
    await asyncio.sleep(0)
    if end == "stop":
        chat.connection.stop()
    else:
        getattr(chat.peer, end)()
    with pytest.raises(RxNodesError) as caught:
        await waiting
    assert isinstance(caught.value, ConnectError) is (end != "stop")
    assert getattr(caught.value, "code", None) == (1000 if end == "close" else None)
    with pytest.raises(RxNodesError):
        await greeting.send("more")


# Who may use it, and when


@virtual
async def test_a_greeting_is_told_of_its_attempt():
    chat, _, greeting = await greeted(script=lambda peer: peer.accept("chat.v2", headers={"X-Shard": "7"}))
    assert (greeting.attempt.connection, greeting.attempt.session, greeting.attempt.attempt) == ("chat", 1, 1)
    assert greeting.attempt.error is None
    assert (greeting.subprotocol, greeting.headers["x-shard"]) == ("chat.v2", "7")
    assert repr(greeting) == "<Greeting of 'chat', session 1, attempt 1>"
    assert chat.connection.state is ConnectionState.CONNECTING


@virtual
async def test_a_greeting_that_was_kept_is_refused():
    chat, hook, greeting = await greeted()
    chat.peer.send("for all")
    waiting = asyncio.create_task(greeting.receive(lambda _: False))
    await asyncio.sleep(0)
    await opened(chat, hook)
    for use in (waiting, greeting.receive(), greeting.send("token")):
        with pytest.raises(RxNodesError, match="the login is over"):
            await use
    assert chat.journal.messages == ["for all"]


@virtual
async def test_a_greeting_belongs_to_its_loop():
    _, _, greeting = await greeted()
    raised = []

    def elsewhere():
        for use in (greeting.receive, lambda: greeting.send("token")):
            with pytest.raises(RxNodesError, match="belongs to the event loop") as caught:
                asyncio.run(use())
            raised.append(caught.value)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(raised) == 2


@virtual
async def test_a_login_sees_the_context_of_the_start():
    who = ContextVar("who", default="nobody")
    seen = []

    async def hook(_greeting):
        seen.append(who.get())

    chat = Chat(None, after_connect=hook)
    token = who.set("me")
    chat.connection.start()
    who.reset(token)
    await asyncio.sleep(0)
    chat.peer.accept()
    await chat.connection.wait_started()
    assert seen == ["me"]


# How a login can end


def group(*errors):
    return BaseExceptionGroup("several", errors)


class UnspeakableError(OSError):
    def __str__(self):
        raise ValueError("no text")


class UnspeakableGiveUp(GiveUp):
    __str__ = UnspeakableError.__str__


TRACEBACK = "; the log has the traceback"


@pytest.mark.parametrize(
    ("error", "says", "retryable", "is_logged"),
    [
        (GiveUp("wrong password"), "wrong password", False, False),
        (GiveUp(), "after_connect gave up", False, False),
        (UnspeakableGiveUp(), "after_connect gave up", False, False),
        (ConnectError("try later"), "try later", True, False),
        (ConnectError("wrong password", retryable=False), "wrong password", False, False),
        (DecodeError("no JSON"), "after_connect raised DecodeError: no JSON", True, False),
        (group(DecodeError("no JSON"), GiveUp("wrong password")), "wrong password", False, False),
        (group(group(ConnectError("try later"))), "try later", True, False),
        (group(ConnectError("no"), ValueError()), f"after_connect raised ExceptionGroup{TRACEBACK}", True, True),
        (ConnectionRefusedError(), f"after_connect failed: {os.strerror(errno.ECONNREFUSED)}", True, False),
        (OSError("token [Errno 111]"), f"after_connect failed: {os.strerror(111)}", True, False),
        (group(TimeoutError()), f"after_connect failed: {os.strerror(errno.ETIMEDOUT)}", True, False),
        (group(TimeoutError(), KeyError()), f"after_connect raised ExceptionGroup{TRACEBACK}", True, True),
        (OSError("token"), f"after_connect raised OSError{TRACEBACK}", True, True),
        (UnspeakableError(), f"after_connect raised UnspeakableError{TRACEBACK}", True, True),
        (OSError("token", "no number"), f"after_connect raised OSError{TRACEBACK}", True, True),
        (FileNotFoundError(2, "", "token"), f"after_connect raised FileNotFoundError{TRACEBACK}", True, True),
        (ValueError("token"), f"after_connect raised ValueError{TRACEBACK}", True, True),
        (asyncio.CancelledError(), "after_connect was cancelled, by what it awaits and not by a stop", True, True),
        (GeneratorExit(), f"after_connect raised GeneratorExit{TRACEBACK}", True, True),
    ],
    ids=repr,
)
@virtual
async def test_the_error_says_how_a_login_has_failed(error, says, retryable, is_logged, caplog):
    async def hook(_greeting):
        raise error

    chat = Chat(after_connect=hook)
    chat.connection.start()
    stopped = await chat.connection.wait_stopped()
    assert (str(stopped.error), stopped.error.retryable) == (says, retryable)
    assert stopped.error.__traceback__ is None
    assert [record.levelname for record in caplog.records] == ["ERROR"] * is_logged
    assert chat.journal.kinds == ["Connecting", "ErrorEvent", "Closing", "Stopped"]
    assert chat.peer.close_frame == (1000, "")
    with pytest.raises(ConnectError) as caught:
        await chat.connection.wait_started()
    assert str(caught.value) == says


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_what_a_login_raises_for_the_program_goes_there(error):
    async def hook(_greeting):
        raise error

    async def main():
        chats.append(Chat(after_connect=hook))
        chats[0].connection.start()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(await chats[0].connection.wait_stopped())

    chats, stopped = [], []
    with pytest.raises(type(error)):
        run_in_virtual_time(main())
    assert str(stopped[0].error) == f"after_connect raised {type(error).__name__}"


@pytest.mark.parametrize("command", ["stop", "abort", "start"])
@virtual
async def test_a_login_may_give_commands(command):
    async def hook(_greeting):
        getattr(chat.connection, command)()
        await asyncio.sleep(1)

    chat = Chat(after_connect=hook)
    chat.connection.start()
    if command == "start":
        await chat.connection.wait_started()
    else:
        stopped = await chat.connection.wait_stopped()
        assert (stopped.opened, stopped.error) == (False, None)
        assert asyncio.get_running_loop().time() == 0


@pytest.mark.parametrize("end", ["stop", "reset"])
@virtual
async def test_a_hook_that_cleans_up_is_waited_for(end, caplog):
    ended = []

    async def hook(_greeting):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.5)
            ended.append(asyncio.get_running_loop().time())

    chat = Chat(after_connect=hook, close_timeout=2)
    chat.connection.start()
    await asyncio.sleep(1)
    chat.connection.stop() if end == "stop" else chat.peer.reset()
    await chat.connection.wait_stopped()
    assert ended == [1.5]
    assert asyncio.get_running_loop().time() == 1.5
    assert caplog.records == []


@virtual
async def test_a_hook_that_swallows_a_loss_is_left_behind_without_any_other_timeout(caplog):
    lets_go = asyncio.Event()

    async def hook(_greeting):
        while not lets_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await lets_go.wait()

    chat = Chat(after_connect=hook, connect_timeout=None, close_timeout=2)
    chat.connection.start()
    await asyncio.sleep(1)
    chat.peer.reset()
    await chat.connection.wait_stopped()
    assert asyncio.get_running_loop().time() == 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    lets_go.set()


@virtual
async def test_a_hook_that_answers_though_it_was_cancelled_has_not_logged_in():
    async def hook(_greeting):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    chat = Chat(after_connect=hook)
    chat.connection.start()
    await asyncio.sleep(1)
    chat.peer.reset()
    stopped = await chat.connection.wait_stopped()
    assert stopped.opened is False
    assert chat.journal.kinds == ["Connecting", "ErrorEvent", "Stopped"]


@virtual
async def test_what_is_received_may_be_known_by_a_key_and_a_value():
    chat, _, greeting = await greeted(codec=as_codec("json"))
    for message in ('{"type":"news"}', "[1]", '{"type":"welcome"}'):
        chat.peer.send(message)
    assert await greeting.receive(("type", "welcome")) == {"type": "welcome"}
    assert await greeting.receive((len, 1)) == {"type": "news"}


async def no_plain_function(_message):
    return True


@pytest.mark.parametrize(
    ("match", "codec", "says"),
    [
        ("welcome", "json", "match: expected a function"),
        (no_plain_function, "json", "match: expected a plain function"),
        (("type", ["welcome"]), "json", "match: expected a key and a value that can be looked for"),
        (("type", "welcome"), str, "a message that is not read has no field 'type'; codec=\"json\" reads it"),
    ],
)
@virtual
async def test_a_match_that_could_never_be_one_raises_at_once(match, codec, says):
    chat, _, greeting = await greeted()
    chat.peer.send('{"type":"welcome"}')
    with pytest.raises(TypeError, match=says):
        await greeting.receive(match, codec=codec)
    assert await greeting.receive() == '{"type":"welcome"}', "nothing was taken"


@virtual
async def test_the_headers_are_the_same_for_all_and_nobody_can_change_them():
    chat, hook, greeting = await greeted(script=lambda peer: peer.accept(headers={"X-Id": "7"}))
    await opened(chat, hook)
    told = chat.connection.last_opened
    for headers in (greeting.headers, told.headers, copy.deepcopy(told).headers):
        with pytest.raises(TypeError):
            headers["X-Id"] = "8"
        assert headers == {"X-Id": "7"}


@pytest.mark.parametrize("codec", ["json", "msgpack", dict[str, int], (str, int), (str, {}.__getitem__)])
@virtual
async def test_nothing_of_a_message_that_does_not_fit_is_told(codec):
    """It may hold a token, and what the hook raises is told to everybody."""

    async def log_in(greeting):
        await greeting.receive(codec=codec)

    chat = Chat(lambda peer: (peer.accept(), peer.send("the-token")), after_connect=log_in)
    chat.connection.start()
    stopped = await chat.connection.wait_stopped()
    assert "a message does not fit" in str(stopped.error)
    assert "the-token" not in f"{stopped} {chat.journal.events}"
