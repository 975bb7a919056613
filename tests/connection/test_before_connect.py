"""The hook before each attempt: what a connection does through the link that waits for it, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from eager import an_eager_factory
from virtual import accept, virtual

from rxnodes import ConnectionState, GiveUp, Initiator, Project
from rxnodes.connection.before_connect import Attempt, ConnectOptions
from rxnodes.testing import run_in_virtual_time
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


class Stubborn:
    """A hook that goes on whatever happens, until it is let go."""

    def __init__(self):
        self.asked = asyncio.Event()
        self.lets_go = asyncio.Event()
        self.cancelled = 0
        self.task = None

    async def __call__(self, _attempt):
        self.task = asyncio.current_task()
        self.asked.set()
        while not self.lets_go.is_set():
            try:
                await self.lets_go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
        return ConnectOptions()


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "rxnodes"]


LEFT_BEHIND = (
    "chat: before_connect goes on although it was cancelled: its task is left behind, its answer will be ignored"
)


@virtual
async def test_a_hook_that_never_ends_is_left_behind_at_the_deadline(caplog):
    hook = Stubborn()
    async with hooked(hook, close_timeout=10) as (chat, transport):
        chat.start()
        await hook.asked.wait()
        chat.stop()
        stopped = await chat.wait_stopped()
        assert asyncio.get_running_loop().time() == 10
        assert (stopped.opened, stopped.error, stopped.initiator) == (False, None, Initiator.LOCAL)
        assert warnings_in(caplog) == [LEFT_BEHIND]
        assert hook.cancelled == 2, "it is cancelled once more at the end"
        chat.start()
        hook.lets_go.set()
        await chat.wait_started()
        await hook.task
    assert len(transport.peers) == 1, "what the first hook answered is ignored"
    assert warnings_in(caplog) == [LEFT_BEHIND]


@virtual
async def test_a_project_is_left_in_time_whatever_a_hook_does():
    hook = Stubborn()
    async with hooked(hook, close_timeout=3) as (chat, _):
        chat.start()
        await hook.asked.wait()
    assert asyncio.get_running_loop().time() == 3
    assert chat.last_stopped is not None
    hook.lets_go.set()


@virtual
async def test_an_abort_does_not_wait_for_a_hook_that_was_cancelled_before():
    hook = Stubborn()
    async with hooked(hook, close_timeout=10) as (chat, _):
        chat.start()
        await hook.asked.wait()
        chat.stop()
        await asyncio.sleep(0.5)
        chat.abort()
        chat.abort()
        await chat.wait_stopped()
        assert asyncio.get_running_loop().time() == 0.5
        hook.lets_go.set()


@virtual
async def test_a_hook_that_ends_as_it_should_is_not_left_behind_by_an_abort_that_comes_at_once(caplog):
    asked = asyncio.Event()

    async def hook(_attempt):
        asked.set()
        await asyncio.Event().wait()

    async with hooked(hook, close_timeout=10) as (chat, _):
        chat.start()
        await asked.wait()
        chat.stop()
        chat.abort()
        chat.abort()
        await chat.wait_stopped()
    assert warnings_in(caplog) == []


@virtual
async def test_a_hook_that_is_still_there_after_connect_timeout_has_close_timeout_to_end(caplog):
    hook = Stubborn()
    reconnect = {"enabled": True, "initial_delay": 1, "jitter": False, "max_attempts": 2}
    async with hooked(hook, connect_timeout=5, close_timeout=10, reconnect=reconnect) as (chat, _):
        chat.start()
        stopped = await chat.wait_stopped()
        assert asyncio.get_running_loop().time() == 15 + 1 + 15
    assert stopped.attempts == 2
    assert str(stopped.error) == "no open connection within connect_timeout (5 s)"
    assert warnings_in(caplog)[:1] == [LEFT_BEHIND]
    hook.lets_go.set()


@virtual
async def test_what_a_hook_raises_that_was_left_behind_is_logged(caplog):
    asked, ended = asyncio.Event(), asyncio.Event()

    async def hook(_attempt):
        asked.set()
        while not ended.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await ended.wait()
        raise ValueError("late")

    async with hooked(hook, close_timeout=1) as (chat, _):
        chat.start()
        await asked.wait()
        chat.abort()
        chat.abort()
        await chat.wait_stopped()
        ended.set()
        await asyncio.sleep(1)
    assert warnings_in(caplog) == [LEFT_BEHIND, "chat: before_connect raised"]
    assert caplog.records[-1].exc_info[0] is ValueError


# How a hook can end otherwise than with an answer


async def is_cancelled_by_what_it_awaits(_attempt):
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.cancel)
    await future


def raises(error):
    async def hook(_attempt):
        raise error

    return hook


@pytest.mark.parametrize(
    ("hook", "says", "logged"),
    [
        (raises(GiveUp("no more")), "no more", None),
        (raises(ValueError("mine")), "before_connect raised ValueError; the log has the traceback", "raised"),
        (
            is_cancelled_by_what_it_awaits,
            "before_connect was cancelled, by what it awaits and not by a stop",
            "was cancelled, by what it awaits",
        ),
    ],
)
@virtual
async def test_the_error_says_how_a_hook_has_failed(hook, says, logged, caplog):
    async with hooked(hook) as (chat, transport):
        errors = []
        chat.errors.subscribe(errors.append)
        chat.start()
        stopped = await chat.wait_stopped()
    assert [(event.phase, event.message) for event in errors] == [("connect", says)]
    assert stopped.error is errors[0].error
    assert warnings_in(caplog) == ([] if logged is None else [f"chat: before_connect {logged}"])
    assert transport.peers == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_what_a_hook_raises_for_the_program_goes_there_and_the_session_ends(error, caplog):
    told = []

    async def hook(_attempt):
        raise error

    async def main():
        async with hooked(hook) as (chat, _):
            chat.lifecycle.subscribe(told.append)
            chat.start()
            await asyncio.Event().wait()

    with pytest.raises(type(error)):
        run_in_virtual_time(main())
    assert [type(event).__name__ for event in told] == ["Connecting", "ErrorEvent", "Stopped"]
    assert told[1].message == f"before_connect raised {type(error).__name__}"
    assert warnings_in(caplog) == []


@pytest.mark.parametrize("answer", [{"headers": {}}, "ws://elsewhere", 3, {}, "", 0, False, ()], ids=repr)
@virtual
async def test_what_is_no_options_is_no_answer(answer):
    async def hook(_attempt):
        return answer

    async with hooked(hook) as (chat, transport):
        chat.start()
        stopped = await chat.wait_stopped()
    what = type(answer).__name__
    assert str(stopped.error) == f"before_connect gave {what}, not ConnectOptions or None"
    assert transport.peers == []


# Task factories


@pytest.mark.parametrize("command", ["stop", "abort", "start", "send", None])
@pytest.mark.parametrize("then", ["answers", "waits", "delays"])
@virtual
async def test_a_hook_that_begins_at_once_may_give_commands(command, then):
    """With an eager task factory, what a hook does before its first await would come in the midst of `start`."""
    asyncio.get_running_loop().set_task_factory(an_eager_factory())
    states = []

    async def hook(_attempt):
        states.append(chat.state)
        if command == "send":
            chat.send("too early")
        elif command is not None:
            getattr(chat, command)()
        if then == "waits":
            await asyncio.sleep(1)
        return ConnectOptions(delay=1) if then == "delays" else None

    async with hooked(hook, connect_timeout=5) as (chat, transport):
        chat.start()
        assert states == [], "the hook is asked in a turn of its own"
        if command in ("stop", "abort"):
            stopped = await chat.wait_stopped()
            assert (stopped.opened, stopped.error, stopped.initiator) == (False, None, Initiator.LOCAL)
        else:
            await chat.wait_started()
    assert states == [ConnectionState.CONNECTING]
    assert len(transport.peers) == (command not in ("stop", "abort"))


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
async def test_a_consumer_may_pause_before_there_is_a_link(let_go):
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def hook(_attempt):
        began.set()
        await goes_on.wait()

    async with hooked(hook) as (chat, transport):
        seen = []
        chat.messages.subscribe(seen.append)
        chat._driver.pause_control.pause("a consumer")
        chat.start()
        await began.wait()
        if let_go == "within the hook":
            chat._driver.pause_control.resume("a consumer")
        goes_on.set()
        await chat.wait_started()
        transport.peer.send("hello")
        assert seen == (["hello"] if let_go == "within the hook" else [])
        chat._driver.pause_control.resume("a consumer")
        await asyncio.sleep(0)
        assert seen == ["hello"]
        chat._driver.pause_control.pause("a consumer")
        assert transport.peer.is_held
