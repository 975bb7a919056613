"""A transport that breaks its contract by raising: the attempt ends all the same, and the log says why."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from promises import Journal
from virtual import accept, virtual

from rxnodes import ConnectError, ConnectionLost, Initiator, Project, Unsent
from rxnodes.testing import run_in_virtual_time
from rxnodes.transport.scripted import ScriptedTransport

RECONNECT = {"enabled": True, "initial_delay": 1, "jitter": False}


class BrokenTransport(ScriptedTransport):
    """Raises instead of dialling.

    Args:
        failures: What the dials raise, one after the other; afterwards they do as they should.
    """

    def __init__(self, *failures):
        super().__init__(accept)
        self._errors = list(failures)

    def dial(self, target, sink):
        if self._errors:
            raise self._errors.pop(0)
        return super().dial(target, sink)


class BrokenLinks(ScriptedTransport):
    """Its links raise in some of their methods; if `does_it`, after they have done their work."""

    def __init__(self, *broken, does_it=False):
        super().__init__(accept)
        self.broken = set(broken)
        self.does_it = does_it

    def dial(self, target, sink):
        self.sink = sink
        return _BrokenLink(super().dial(target, sink), self)


class _BrokenLink:
    def __init__(self, link, transport):
        self._link = link
        self._transport = transport

    def __getattr__(self, name):
        method = getattr(self._link, name)
        if name not in self._transport.broken:
            return method

        def raises(*args):
            if self._transport.does_it:
                method(*args)
            raise RuntimeError(f"{name} is broken")

        return raises


async def as_configured(_attempt):
    return None


@contextlib.asynccontextmanager
async def on(transport, *, hook=False, **fields):
    """A connection on a transport, with a hook or without, and the journal of what it tells."""
    settings = {"url": "ws://chat.test/?token=secret", **({"before_connect": as_configured} if hook else {}), **fields}
    async with Project(websocket={"chat": settings}, transport=transport) as project:
        chat = project.websocket("chat")
        journal = Journal()
        chat.lifecycle.subscribe(journal.event)
        chat.messages.subscribe(journal.message)
        states = []
        chat.states.subscribe(lambda state: journal.state(state) if states else states.append(state))
        yield chat, journal


# --- The dial ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", [False, True])
@virtual
async def test_a_dial_that_raises_is_a_refused_start(hook, caplog):
    """It is the transport's own fault, so that trying again cannot help."""
    async with on(BrokenTransport(ValueError("token=secret")), hook=hook, reconnect=RECONNECT) as (chat, journal):
        chat.start()
        stopped = await chat.wait_stopped()
    assert journal.kinds == ["Connecting", "ErrorEvent", "Stopped"]
    error = journal.events[1]
    assert error.phase == "connect"
    assert error.message == "the transport failed, its dial raised ValueError: the log has more"
    assert (stopped.initiator, stopped.opened, stopped.attempts) == (Initiator.NETWORK, False, 1)
    assert stopped.error is error.error
    assert not stopped.error.retryable
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == "chat: the transport failed, its dial raised"
    assert record.exc_info[0] is ValueError


@pytest.mark.parametrize("hook", [False, True])
@virtual
async def test_a_connect_error_that_a_dial_raises_says_itself_whether_to_try_again(hook):
    failures = [ConnectError("no route"), ConnectError("no such name", status=404, retryable=False)]
    async with on(BrokenTransport(*failures), hook=hook, reconnect=RECONNECT) as (chat, journal):
        chat.start()
        stopped = await chat.wait_stopped()
    assert journal.kinds == ["Connecting", "ErrorEvent", "Dropped", "Connecting", "ErrorEvent", "Stopped"]
    assert [event.message for event in journal.events if event.__class__.__name__ == "ErrorEvent"] == [
        "no route",
        "no such name",
    ]
    assert stopped.error.status == 404


@pytest.mark.parametrize("hook", [False, True])
@pytest.mark.parametrize("error", [asyncio.CancelledError(), BaseExceptionGroup("many", [ValueError()])], ids=repr)
@virtual
async def test_whatever_a_dial_raises_ends_the_session(hook, error):
    async with on(BrokenTransport(error), hook=hook) as (chat, _):
        chat.start()
        stopped = await chat.wait_stopped()
        assert type(error).__name__ in str(stopped.error)
        chat.start()
        await chat.wait_started()
    assert chat.last_stopped.session == 2


@pytest.mark.parametrize("hook", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_what_is_meant_for_the_program_goes_there_and_the_session_ends(hook, error):
    told = []

    async def main():
        async with on(BrokenTransport(error), hook=hook) as (chat, journal):
            told.append(journal)
            chat.start()
            await asyncio.Event().wait()

    with pytest.raises(type(error)):
        run_in_virtual_time(main())
    assert told[0].kinds[-1] == "Stopped"


@pytest.mark.parametrize("hook", [False, True])
@pytest.mark.parametrize("command", ["stop", "abort", "start"])
@virtual
async def test_a_command_before_the_refusal_is_told(hook, command):
    async with on(BrokenTransport(ValueError()), hook=hook) as (chat, journal):
        chat.start()
        getattr(chat, command)()
        stopped = await chat.wait_stopped()
    assert journal.kinds.count("Stopped") == 1
    assert stopped.session == 1


# --- The link ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("also", [(), ("abort",)], ids=["", "and abort"])
@pytest.mark.parametrize("does_it", [False, True])
@pytest.mark.parametrize("method", ["send", "close", "close_now", "pause_reading", "resume_reading", "abort"])
@virtual
async def test_a_link_that_raises_is_at_its_end(method, does_it, also, caplog):
    transport = BrokenLinks(method, *also, does_it=does_it)
    async with on(transport, reconnect=RECONNECT if method != "close_now" else {}) as (chat, journal):
        chat.start()
        await chat.wait_started()
        began = asyncio.get_running_loop().time()
        if method == "send":
            receipt = chat.send("hello")
        elif method == "close":
            chat.stop()
        elif method == "close_now":
            transport.peer.close(4000)
        elif method == "abort":
            chat.abort()
        else:
            chat._driver.pause_control.pause("a consumer")
            chat._driver.pause_control.resume("a consumer")
        await asyncio.sleep(0.5)
        assert journal.kinds[-1] in ("Dropped", "Stopped")
        assert asyncio.get_running_loop().time() - began == 0.5
        transport.broken.clear()
        if method == "send":
            assert receipt.outcome is not None
        # Nobody listens any more to a transport that has failed.
        transport.sink.lost(None, None)
        transport.sink.messages(["late"])
        transport.sink.ponged(1.0)
        chat.stop()
        await chat.wait_stopped()
    assert journal.kinds.count("Stopped") == 1
    assert journal.messages == []
    if method != "abort" and not (method == "close_now" and does_it):
        [error] = [event for event in journal.events if type(event).__name__ == "ErrorEvent"]
        assert isinstance(error.error, ConnectionLost)
        assert error.message == "the transport failed, its link raised RuntimeError: the log has more"
    records = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [str(record.exc_info[1]) for record in records] == [f"{method} is broken"]


@virtual
async def test_what_was_given_to_a_link_that_raised_is_unsent():
    async with on(BrokenLinks("send", "abort")) as (chat, _):
        chat.start()
        await chat.wait_started()
        receipts = [chat.send("one", tag=1), chat.send("two")]
        stopped = await chat.wait_stopped()
        assert [type(await receipt) for receipt in receipts] == [Unsent, Unsent]
    assert stopped.unsent == 2


@virtual
async def test_what_waited_for_the_opening_is_unsent_where_the_link_raises():
    async with on(BrokenLinks("send"), send_queue={"while_connecting": True}) as (chat, _):
        chat.start()
        receipts = [chat.send("one"), chat.send("two")]
        stopped = await chat.wait_stopped()
    assert [type(receipt.outcome) for receipt in receipts] == [Unsent, Unsent]
    assert stopped.unsent == 2


@pytest.mark.parametrize("hook", [False, True])
@pytest.mark.parametrize("given", [None, "a link"])
@virtual
async def test_a_dial_that_gives_no_link_is_a_refused_start(hook, given, caplog):
    class Linkless(ScriptedTransport):
        def dial(self, target, sink):
            return given

    async with on(Linkless(), hook=hook) as (chat, journal):
        chat.start()
        await chat.wait_stopped()
    assert journal.kinds == ["Connecting", "ErrorEvent", "Stopped"]
    assert f"dial gave {type(given).__name__}, not a link" in caplog.text
