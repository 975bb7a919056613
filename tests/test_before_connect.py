"""The hook before each attempt: what a connection does through the link that waits for it, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from virtual import accept, virtual

from rxnodes import ConnectionState, Initiator, Project
from rxnodes.before_connect import Attempt, ConnectOptions
from rxnodes.transport.scripted import ScriptedTransport


@contextlib.asynccontextmanager
async def hooked(hook, script=accept, **fields):
    """A connection with a hook, and its transport."""
    transport = ScriptedTransport(script)
    settings = {"url": "ws://chat.test/", "before_connect": hook, **fields}
    async with Project(websocket={"chat": settings}, transport=transport) as project:
        yield project.websocket("chat"), transport


async def as_configured(_attempt):
    return None


@virtual
async def test_behind_the_hook_everything_goes_through():
    async with hooked(as_configured) as (chat, transport):
        seen = []
        chat.messages.subscribe(seen.append)
        chat.start()
        await chat.wait_started()
        chat.send("text")
        chat.send(b"binary")
        transport.peer.send("answer")
        chat.stop(code=4000, reason="done")
        stopped = await chat.wait_stopped()
    assert transport.peer.received == ["text", b"binary"]
    assert transport.peer.close_frame == (4000, "done")
    assert seen == ["answer"]
    assert stopped.was_clean
    assert (stopped.messages_sent, stopped.messages_received) == (2, 1)


@virtual
async def test_the_peers_close_is_answered():
    async with hooked(as_configured) as (chat, transport):
        chat.start()
        await chat.wait_started()
        transport.peer.close(1001, "going away")
        stopped = await chat.wait_stopped()
    assert transport.peer.close_frame == (1001, "")
    assert (stopped.was_clean, stopped.initiator, stopped.code) == (True, Initiator.REMOTE, 1001)


@virtual
async def test_an_abort_while_open_ends_the_transports_link():
    async with hooked(as_configured) as (chat, transport):
        chat.start()
        await chat.wait_started()
        chat.abort()
        stopped = await chat.wait_stopped()
    assert transport.peer.was_aborted
    assert (stopped.code, stopped.initiator, stopped.opened) == (1006, Initiator.LOCAL, True)


@pytest.mark.parametrize("command", ["stop", "abort"])
@virtual
async def test_a_hook_that_swallows_its_cancellation_is_waited_for_and_not_followed(command):
    """There is nothing left of an attempt only when its hook has ended; and then no dial comes of it."""
    asked, ended = asyncio.Event(), []

    async def stubborn(_attempt):
        asked.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(0.5)
        ended.append(asyncio.get_running_loop().time())
        return ConnectOptions(delay=60)

    async with hooked(stubborn, close_timeout=10) as (chat, transport):
        chat.start()
        await asked.wait()
        getattr(chat, command)()
        stopped = await chat.wait_stopped()
        assert ended == [0.5]
        assert asyncio.get_running_loop().time() == 0.5
    assert transport.peers == []
    assert (stopped.opened, stopped.error, stopped.initiator) == (False, None, Initiator.LOCAL)


@virtual
async def test_the_hook_is_told_of_each_attempt_and_its_answer_is_used():
    attempts = []

    async def fresh(attempt):
        attempts.append(attempt)
        return ConnectOptions(
            url="ws://other.test/" if attempt.attempt > 1 else None,
            query={"token": f"secret{attempt.attempt}"},
            delay=5,
        )

    def script(peer):
        if len(attempts) == 1:
            peer.refuse("busy")
        else:
            peer.accept()

    reconnect = {"enabled": True, "initial_delay": 1, "jitter": 0}
    async with hooked(fresh, script, reconnect=reconnect) as (chat, transport):
        chat.start()
        await asyncio.sleep(4)
        assert transport.peers == [], "the delay comes before the dial"
        assert chat.state is ConnectionState.CONNECTING
        await chat.wait_started()
    assert [(one.connection, one.session, one.attempt) for one in attempts] == [("chat", 1, 1), ("chat", 1, 2)]
    assert attempts[0].error is None
    assert "busy" in str(attempts[1].error)
    assert [peer.target.url for peer in transport.peers] == [
        "ws://chat.test/?token=secret1",
        "ws://other.test/?token=secret2",
    ]
    assert all("secret" not in peer.target.redacted_url for peer in transport.peers)


def test_what_a_hook_gives_holds_no_secret_when_printed():
    options = ConnectOptions(
        url="ws://chat.test/?token=secret", headers={"Authorization": "secret"}, query={"a": "secret"}
    )
    assert repr(options) == "ConnectOptions(delay=0.0)"
    attempt = Attempt(connection="chat", session=1, attempt=2, error=None)
    assert repr(attempt) == "Attempt(connection='chat', session=1, attempt=2, error=None)"


@virtual
@pytest.mark.parametrize("let_go", ["behind the hook", "within the hook"])
async def test_a_consumer_that_wants_no_more_is_heard_before_there_is_a_link(let_go):
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def hook(_attempt):
        began.set()
        await goes_on.wait()

    async with hooked(hook) as (chat, transport):
        seen = []
        chat.messages.subscribe(seen.append)
        chat._valve.close("a consumer")
        chat.start()
        await began.wait()
        if let_go == "within the hook":
            chat._valve.open("a consumer")
        goes_on.set()
        await chat.wait_started()
        transport.peer.send("hello")
        assert seen == (["hello"] if let_go == "within the hook" else [])
        chat._valve.open("a consumer")
        await asyncio.sleep(0)
        assert seen == ["hello"]
        chat._valve.close("a consumer")
        assert transport.peer.is_held
