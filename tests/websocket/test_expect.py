"""Expecting messages, on a scripted transport in virtual time."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from conversing import Told, errors_of, idle, no_match
from reactivex.disposable import Disposable
from reactivex.internal.exceptions import SequenceContainsNoElementsError
from reactivex.scheduler import TimeoutScheduler
from virtual import Chat, virtual

from rxnodes import ConnectionLost, DecodeError, Project, RequestTimeout
from rxnodes.testing import ScriptedTransport
from rxnodes.websocket import expect, on_receive


def is_b(text):
    return text.startswith("b")


@virtual
async def test_it_listens_from_the_call_on_and_keeps_what_comes():
    chat = await Chat().opened()
    chat.peer.send("b1")
    expected = expect(chat.connection, is_b)
    early = Told(expected)
    for message in ("a2", "b2", "b3"):
        chat.peer.send(message)
    assert early.all == ["b2", "completed"]
    assert Told(expected).all == ["b2", "completed"]
    assert await expected == await expected == "b2"
    assert idle(chat.connection)


@virtual
async def test_a_key_and_a_value_find_it():
    chat = await Chat().opened()
    expected = expect(chat.connection, ("event", "joined"), codec="json")
    chat.peer.send('{"event":"left"}')
    chat.peer.send('{"event":"joined","who":"me"}')
    assert await expected == {"event": "joined", "who": "me"}


@virtual
async def test_it_waits_while_idle_and_while_connecting():
    chat = Chat(lambda peer: None)
    idling = Told(expect(chat.connection, is_b))
    chat.connection.start()
    await asyncio.sleep(0)
    connecting = Told(expect(chat.connection, is_b))
    chat.peer.accept()
    chat.peer.send("b")
    assert idling.all == connecting.all == ["b", "completed"]


@pytest.mark.parametrize(
    ("end", "code", "reason", "cause"),
    [
        (lambda chat: chat.peer.reset(), 1006, "", ConnectionLost),
        (lambda chat: chat.connection.stop(), 1000, "", None),
        (lambda chat: chat.peer.close(4401, "who are you"), 4401, "who are you", None),
    ],
)
@pytest.mark.parametrize("reconnect", [None, {}])
@virtual
async def test_the_first_end_is_its_error(end, code, reason, cause, reconnect):
    chat = await Chat(reconnect=reconnect).opened()
    expected = expect(chat.connection, is_b)
    end(chat)
    with pytest.raises(ConnectionLost, match="the connection ended before the expected message came") as raised:
        await expected
    assert (raised.value.code, raised.value.reason) == (code, reason)
    assert type(raised.value.__cause__) is (cause or type(None))
    with pytest.raises(ConnectionLost):
        await expected
    assert idle(chat.connection)


@virtual
async def test_a_dial_that_fails_is_an_end():
    chat = Chat(lambda peer: peer.refuse("no"))
    expected = expect(chat.connection, is_b)
    chat.connection.start()
    with pytest.raises(ConnectionLost) as raised:
        await expected
    assert str(raised.value.__cause__) == "no"


@virtual
async def test_who_expects_when_told_of_an_end_expects_something_of_the_next_session():
    chat = await Chat().opened()
    expected = []
    waiting = expect(chat.connection, is_b)
    chat.connection.lifecycle.subscribe(
        lambda event: expected or type(event).__name__ != "Stopped" or expected.append(expect(chat.connection, is_b))
    )
    again = expect(chat.connection, is_b)
    chat.connection.stop()
    await chat.connection.wait_stopped()
    assert [type(Told(it).all[0]) for it in (waiting, again)] == [ConnectionLost] * 2
    await chat.opened()
    chat.peer.send("b")
    assert await expected[0] == "b"


@virtual
async def test_who_expects_when_told_of_a_message_gets_the_next_one():
    chat = await Chat().opened()
    expected = []
    on_receive(chat.connection).subscribe(lambda _: expected.append(expect(chat.connection, is_b)))
    first = expect(chat.connection, is_b)
    chat.peer.send("b1")
    chat.peer.send("b2")
    assert await first == "b1"
    assert await expected[0] == "b2"


@virtual
async def test_the_timeout_runs_from_the_call():
    chat = await Chat().opened()
    loop = asyncio.get_running_loop()
    began = loop.time()
    expected = expect(chat.connection, is_b, timeout=2.5)
    await asyncio.sleep(2)
    with pytest.raises(RequestTimeout, match=r"^'chat': no expected message within 2.5 s$"):
        await expected
    assert loop.time() - began == pytest.approx(2.5)
    chat.peer.send("b")
    with pytest.raises(RequestTimeout):
        await expected
    assert idle(chat.connection)


@virtual
async def test_nothing_is_left_of_one_whose_message_has_come():
    chat = await Chat().opened()
    loop = asyncio.get_running_loop()
    before = [timer for timer in loop._scheduled if not timer.cancelled()]
    told = []
    expect(chat.connection, is_b, timeout=5).subscribe(lambda _: told.append(idle(chat.connection)))
    chat.peer.send("b")
    assert told == [True]
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == before


@virtual
async def test_disposing_it_or_leaving_it_gives_the_message_up():
    chat = await Chat().opened()
    with expect(chat.connection, is_b, timeout=5) as expected:
        waiting = asyncio.ensure_future(expected)
        await asyncio.sleep(0)
        assert not idle(chat.connection)
    assert idle(chat.connection)
    chat.peer.send("b")
    assert Told(expected).all == ["completed"]
    for it in (waiting, expected):
        with pytest.raises(SequenceContainsNoElementsError):
            await it


@virtual
async def test_leaving_it_behind_its_message_changes_nothing():
    chat = await Chat().opened()
    with expect(chat.connection, is_b) as expected:
        chat.peer.send("b")
    expected.dispose()
    assert await expected == "b"


@virtual
async def test_a_subscriber_that_leaves_leaves_the_others_what_is_expected():
    chat = await Chat().opened()
    expected = expect(chat.connection, is_b)
    gone, stays = Told(expected), Told(expected)
    gone.subscription.dispose()
    chat.peer.send("b")
    assert gone.all == []
    assert stays.all == ["b", "completed"]


@virtual
async def test_what_match_raises_is_its_error_and_what_does_not_fit_the_codec_is_none():
    chat = await Chat().opened()
    failing = expect(chat.connection, no_match)
    numbers = expect(chat.connection, lambda _: True, codec=int)
    chat.peer.send("text")
    chat.peer.send("7")
    with pytest.raises(KeyError):
        await failing
    assert await numbers == 7
    assert [type(event.error) for event in errors_of(chat)] == [DecodeError]


@virtual
async def test_a_subscriber_that_raises_harms_no_other():
    chat = await Chat().opened()
    expected = expect(chat.connection, is_b)

    def fail(_message):
        raise RuntimeError

    expected.subscribe(fail)
    told = Told(expected)
    chat.peer.send("b")
    assert told.all == ["b", "completed"]
    assert [type(error.__cause__) for error in chat.handler_errors] == [RuntimeError]


@virtual
async def test_an_outcome_that_nobody_takes_is_no_warning(caplog):
    chat = await Chat().opened()
    expect(chat.connection, is_b)
    expect(chat.connection, is_b, timeout=1)
    expect(chat.connection, no_match)
    await asyncio.sleep(2)
    chat.connection.stop()
    await chat.connection.wait_stopped()
    gc.collect()
    assert chat.handler_errors == []
    assert caplog.records == []
    assert idle(chat.connection)


@virtual
async def test_what_is_wrong_raises_at_once():
    connection = Chat().connection
    for match, options in ((7, {}), (("id", 7), {}), (is_b, {"timeout": "5"}), (is_b, {"codec": 7})):
        with pytest.raises(TypeError):
            expect(connection, match, **options)
    with pytest.raises(TypeError, match="expected a Connection"):
        expect("chat", is_b)
    with pytest.raises(ValueError, match=r"from 0.001"):
        expect(connection, is_b, timeout=0)


@virtual
async def test_before_the_project_is_open_and_after_it():
    transport = ScriptedTransport(lambda peer: peer.accept())
    project = Project(websocket={"chat": "ws://chat.test/", "unused": "ws://chat.test/"}, transport=transport)
    early = expect(project.websocket("chat"), is_b)
    late = expect(project.websocket("unused"), is_b, timeout=5)
    unused = expect(project.websocket("unused"), is_b)
    await asyncio.sleep(4)
    async with project:
        chat = project.websocket("chat")
        chat.start()
        await chat.wait_started()
        transport.peer.send("b")
        assert await early == "b"
        with pytest.raises(RequestTimeout):
            await late
    for it in (unused, expect(chat, is_b)):
        with pytest.raises(
            ConnectionLost,
            match=r"'(chat|unused)' was removed, or the project closed, before the expected message came",
        ):
            await it


@virtual
async def test_one_that_begins_while_the_streams_complete_is_told_so():
    outcomes = []
    async with Project(websocket={"chat": "ws://chat.test/"}, transport=ScriptedTransport()) as project:
        chat = project.websocket("chat")

        def expect_again(error):
            outcomes.append(error)
            expect(chat, is_b).subscribe(on_error=outcomes.append)

        expect(chat, is_b).subscribe(on_error=expect_again)
        expect(chat, is_b).subscribe(on_error=outcomes.append)
    assert [type(outcome) for outcome in outcomes] == [ConnectionLost] * 3


def test_a_timeout_that_is_over_in_its_own_thread_before_the_call_returns(monkeypatch):
    def at_once(scheduler, _seconds, action):
        thread = threading.Thread(target=action, args=(scheduler,))
        thread.start()
        thread.join()
        return Disposable()

    monkeypatch.setattr(TimeoutScheduler, "schedule_relative", at_once)
    timed_out = expect(Project(websocket={"chat": "ws://chat.test/"}).websocket("chat"), is_b, timeout=60)
    assert timed_out.is_over
    with pytest.raises(RequestTimeout):
        timed_out.run()


def test_in_threads_and_on_another_loop():
    transport = ScriptedTransport(lambda peer: peer.accept())
    project = Project(websocket={"chat": "ws://chat.test/"}, transport=transport)
    chat = project.websocket("chat")
    early = expect(chat, is_b, timeout=60)
    timed_out = expect(chat, is_b, timeout=0.01)
    with pytest.raises(RequestTimeout):
        timed_out.run()
    with project:
        chat.start()
        project.call(chat.wait_started)

        async def send(text):
            transport.peer.send(text)

        async def on_another_loop():
            with expect(chat, is_b, timeout=60) as expected:
                waiting = asyncio.ensure_future(expected)
                await asyncio.to_thread(project.call, send, "b1")
                return await waiting, await expected

        assert asyncio.run(on_another_loop()) == ("b1", "b1")
        assert early.run() == "b1"
        with expect(chat, is_b, timeout=60) as expected:
            sending = threading.Thread(target=project.call, args=(send, "b2"))
            sending.start()
            assert expected.run() == "b2"
            sending.join()
        with expect(chat, is_b, timeout=60) as given_up:
            pass
        with pytest.raises(SequenceContainsNoElementsError):
            given_up.run()
    # Their clocks were stopped.
    assert not [it for it in threading.enumerate() if isinstance(it, threading.Timer) and not it.finished.is_set()]
