"""Recordings: what they keep, how they are asserted, and how they are replayed."""

from __future__ import annotations

import asyncio

import pytest
import reactivex
from projects import project_of
from reactivex import operators as ops
from reactivex.testing import TestScheduler

from rxnodes import Closing, ConnectionState, ErrorEvent, Opened, SendError, Stopped, pulse
from rxnodes.recording.diagrams import LETTERS
from rxnodes.testing import Recorded, attempts, in_virtual_time, peer_script, record
from rxnodes.websocket import client_send, client_start, client_stop

RECONNECT = {"enabled": True, "initial_delay": 0.5, "jitter": False}


async def recorded(script, **fields):
    async with project_of(script, **fields) as project:
        recording = record(project.websocket("chat"))
        project.websocket("chat").start()
        await project.websocket("chat").wait_stopped()
    return recording


@in_virtual_time
async def test_a_recording_keeps_all_that_is_told_with_its_time():
    recording = await recorded(attempts("--o-m-#", "-o-(mX)", messages=["a", b"b"]), reconnect=RECONNECT)
    assert recording.to_marbles() == "c-o-m-(ed)----co-(mXs)"
    assert repr(recording) == "<Recording of 'chat': c-o-m-(ed)----co-(mXs)>"
    assert [type(event).__name__ for event in recording.events] == (
        ["Connecting", "Opened", "ErrorEvent", "Dropped", "Connecting", "Opened", "Closing", "Stopped"]
    )
    assert recording.messages == ["a", b"b"]
    assert recording.states == [
        ConnectionState.IDLE,
        ConnectionState.CONNECTING,
        ConnectionState.OPEN,
        ConnectionState.RECONNECTING,
        ConnectionState.CONNECTING,
        ConnectionState.OPEN,
        ConnectionState.CLOSING,
        ConnectionState.CLOSED,
    ]
    assert [stopped.attempts for stopped in recording.stopped] == [2]
    assert [error.phase for error in recording.errors] == ["receive"]
    assert [it.time for it in recording.of(Opened)] == pytest.approx([0.2, 1.2])
    assert [it.value for it in recording.of(Opened)] == recording.events[1::4]
    assert [it.value for it in recording.recorded if it.time == pytest.approx(0.6)] == recording.events[2:4]


@in_virtual_time
async def test_a_closing_of_ours_is_a_small_x():
    async with project_of(peer_script("-o")) as project:
        recording = record(project.websocket("chat"))
        project.websocket("chat").start()
        await asyncio.sleep(0.3)
    assert recording.to_marbles() == "co-(xs)"
    assert recording.of(Closing)[0].value.initiator == "local"


def test_every_event_has_a_letter_of_its_own():
    kinds = {kind.__name__ for kind in LETTERS} | {"Closing"}
    assert kinds == {
        kind.__name__ for kind in Opened.__mro__[1].__subclasses__() if kind.__module__ == Opened.__module__
    }
    assert len(set(LETTERS.values())) == len(LETTERS)


@in_virtual_time
async def test_a_recording_begins_now_and_ends_when_it_is_disposed():
    async with project_of(peer_script("-o-m-m-m-m")) as project:
        chat = project.websocket("chat")
        chat.start()
        await asyncio.sleep(0.25)
        with record(chat) as recording:
            await asyncio.sleep(0.3)
        await asyncio.sleep(2)
    # In ticks of its own: the messages come 0.05 and 0.25 seconds after it began.
    assert recording.to_marbles() == "m-m"
    assert recording.messages == ["1", "2"]
    assert recording.states == [ConnectionState.OPEN]


@in_virtual_time
async def test_an_assertion_holds_however_the_diagram_is_spelt():
    recording = await recorded(peer_script("-o-(mm) 2s X"))
    for diagram in (
        "co-(mm) 2s (Xs)",
        "co-(m,m)--------------------(Xs)---",
        " c o - (mm) 1s 1000ms (X s)",
        "co-(mm) 2s (Xs) 1m ",
    ):
        recording.assert_marbles(diagram)


@in_virtual_time
async def test_a_difference_is_shown():
    recording = await recorded(peer_script("--o--m----X-|", close=(1001, "bye")))
    with pytest.raises(AssertionError) as failed:
        recording.assert_marbles("c-o--m-m--X-s")
    assert str(failed.value).splitlines() == [
        "'chat' did not do what the diagram says:",
        "  expected  c-o--m-m--X-s",
        "  recorded  c-o--m----X-s",
        "                   ^",
        "first difference at 0.7 s; recorded there:",
        "  nothing",
    ]
    with pytest.raises(AssertionError, match=r"(?s)at 1.2 s; recorded there:\n  Stopped: 1001 'bye'$"):
        recording.assert_marbles("c-o--m----X--s")
    with pytest.raises(AssertionError, match=r"at 0 s; recorded there:\n  Connecting$"):
        recording.assert_marbles("")
    with pytest.raises(AssertionError, match=r"at 1 s; recorded there:\n  Closing$"):
        recording.assert_marbles("c-o--m---- -s")
    with pytest.raises(ValueError, match="column 3, 'q'"):
        recording.assert_marbles("c-q")


@in_virtual_time
async def test_a_difference_shows_what_was_told():
    recording = await recorded(peer_script("-om-#", messages=["x" * 100]))
    with pytest.raises(AssertionError, match=r"  message 'x{59}\.\.\.$"):
        recording.assert_marbles("co--(es)")
    with pytest.raises(AssertionError, match=r"  ErrorEvent, receive: the connection broke.*\n  Stopped: 1006 ''$"):
        recording.assert_marbles("com-s")
    # The order within a tick counts.
    with pytest.raises(AssertionError, match=r"first difference at 0.4 s"):
        recording.assert_marbles("com-(se)")


async def test_a_tick_takes_time():
    with pytest.raises(ValueError, match="a tick must take more than 0 seconds"):
        record(project_of(None).websocket("chat"), tick=0)


@in_virtual_time
async def test_a_graph_driven_by_reactivexs_own_marbles():
    async with project_of(peer_script("-o")) as project:
        chat = project.websocket("chat")
        recording = record(chat)
        keys = reactivex.from_marbles("--S---h-q--h---S", timespan=0.1)
        project.subscribe(
            keys.pipe(ops.filter("S".__eq__), client_start(chat)),
            keys.pipe(ops.filter("h".__eq__), client_send(chat)),
            keys.pipe(ops.filter("q".__eq__), client_stop(chat)),
        )
        await asyncio.sleep(2)
    recording.assert_marbles("--co----(xs)--e---co---(xs)")
    assert isinstance(recording.errors[0].error, SendError)


# --- Replaying --------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_recorded_events_are_replayed_at_their_times():
    recording = await recorded(attempts("--o-#", "-o-X"), reconnect=RECONNECT)
    loop = asyncio.get_running_loop()
    began_at, seen, done = loop.time(), [], loop.create_future()
    recording.replay(Opened).subscribe(
        lambda event: seen.append(Recorded(loop.time() - began_at, event)), on_completed=lambda: done.set_result(None)
    )
    await done
    assert [it.value for it in seen] == [it.value for it in recording.of(Opened)]
    assert [it.time for it in seen] == pytest.approx([0.2, 1.0])


@in_virtual_time
async def test_a_replay_is_cold_and_follows_the_scheduler_of_its_subscription():
    recording = await recorded(peer_script("-o-X"))
    for _ in range(2):
        scheduler, seen = TestScheduler(), []
        recording.replay(Stopped).subscribe(seen.append, scheduler=scheduler)
        scheduler.advance_to(0.2)
        assert seen == []
        scheduler.advance_to(0.4)
        assert seen == recording.stopped


@in_virtual_time
async def test_a_replay_can_be_disposed_and_may_be_empty():
    recording = await recorded(peer_script("-o-X"))
    seen = []
    recording.replay(Stopped).subscribe(seen.append).dispose()
    await asyncio.sleep(1)
    assert seen == []
    recording.replay(ErrorEvent).subscribe(seen.append, on_completed=lambda: seen.append("completed"))
    assert seen == ["completed"]


@in_virtual_time
async def test_a_replay_in_a_project_runs_on_its_loop():
    recording = await recorded(peer_script("-o-X"))
    restarts = []
    async with project_of(peer_script("-o")) as project:
        project.subscribe(
            recording.replay(Stopped).pipe(
                ops.do_action(restarts.append), ops.delay(0.5), client_start(project.websocket("chat"))
            ),
            pulse().pipe(ops.do_action(lambda _: restarts.append("before"))),
        )
        again = record(project.websocket("chat"))
        await asyncio.sleep(1)
    assert restarts == ["before", *recording.stopped]
    again.assert_marbles("--------co(xs)")


@pytest.mark.parametrize("wrong", ["chat", None])
@in_virtual_time
async def test_what_is_no_connection_is_not_recorded(wrong):
    with pytest.raises(TypeError, match="expected a Connection, got"):
        record(wrong)


def test_a_recording_is_made_on_an_event_loop():
    with project_of(peer_script("-o-X", tick=0.001)) as project:
        chat = project.websocket("chat")
        with pytest.raises(RuntimeError, match=r"begin it .* in a coroutine, which project\.call\(\) runs"):
            record(chat)

        async def begin():
            return record(chat)

        recording = project.call(begin)
        chat.start()
        project.call(chat.wait_stopped)
    assert len(recording.stopped) == 1
