"""What was recorded happens again in virtual time."""

from __future__ import annotations

import asyncio
import logging

import pytest

from rxnodes import ConnectError, Project, Stopped
from rxnodes.recording import Recorder, Recording
from rxnodes.testing import ScriptedTransport, attempts, by_url, in_virtual_time, peer_script, record
from rxnodes.websocket import on_receive

RECONNECT = {"enabled": True, "initial_delay": 0.5, "jitter": False}
URL = "ws://chat.test/"


async def run(transport, stop_after=None, *, payloads=True, **fields):
    project = Project(websocket={"chat": {"url": URL, "close_timeout": 1, **fields}}, transport=transport)
    with Recorder(project, payloads=payloads) as recorder:
        async with project:
            chat = project.websocket("chat")
            chat.start()
            if stop_after is not None:
                await asyncio.sleep(stop_after)
                chat.stop(reason="enough")
            await chat.wait_stopped()
    return recorder.recording


def talk_after_close(peer):
    peer.accept("chat.v1")

    def answer():
        loop = asyncio.get_running_loop()
        loop.call_later(0.1, peer.send, "one more thing")
        loop.call_later(0.3, peer.close, 1000, "goodbye")

    peer.expect_close(answer)


def never_answer(peer):
    peer.answers_close = False
    peer.accept()


def peers():
    """Anew for each run: some count the attempts that they have seen."""
    return {
        "the peer closes": (peer_script("--o-m-(mm)-X", messages=["a", b"b", "c"], close=(4001, "bye")), None),
        "an empty Close frame": (peer_script("-oX", close=(1005, "")), None),
        "a reset": (peer_script("-o-m-#"), None),
        "a FIN": (peer_script("-o-m-|"), None),
        "a violation": (peer_script("-o-v"), None),
        "refused": (lambda peer: peer.refuse("no", status=403, retryable=False), None),
        "we stop": (peer_script("-o-m-m-m-m"), 0.6),
        "we stop, and the peer talks on": (talk_after_close, 0.5),
        "we stop, and the peer never answers": (never_answer, 0.5),
        "we stop while connecting": (None, 0.5),
        "it comes back": (attempts("-o-m-#", "--r", "-o-mX", close=(1012, "again")), 5.25),
    }


@pytest.mark.parametrize("name", peers())
@pytest.mark.parametrize("payloads", [True, False])
@in_virtual_time
async def test_it_happens_again(name, payloads):
    script, stop_after = peers()[name]
    fields = {"reconnect": RECONNECT} if name == "it comes back" else {}
    first = await run(ScriptedTransport(script), stop_after, payloads=payloads, **fields)
    again = await run(first.transport(), stop_after, payloads=payloads, **fields)
    assert again.to_marbles() == first.to_marbles()
    assert [_facts(it) for it in again.stopped] == [_facts(it) for it in first.stopped]
    assert [str(it.error) for it in again.errors] == [str(it.error) for it in first.errors]
    assert [type(it.error) for it in again.errors] == [type(it.error) for it in first.errors]
    if payloads:
        assert again.messages == first.messages


def _facts(stopped):
    counted = (stopped.messages_received, stopped.bytes_received, stopped.attempts)
    return (stopped.code, stopped.reason, stopped.was_clean, stopped.initiator, stopped.opened, *counted)


@in_virtual_time
async def test_what_came_after_our_close_frame_comes_after_it_again():
    first = await run(ScriptedTransport(talk_after_close), 0.5)
    early = await run(first.transport(), 0.2)
    assert early.messages == ["one more thing"]
    [stopped] = early.of(Stopped)
    assert stopped.time == pytest.approx(0.5)
    assert stopped.value.reason == "goodbye"


@in_virtual_time
async def test_filler_is_of_the_same_kind_and_size_and_said_to_be_filler(caplog):
    script = peer_script("-o-m-mX", messages=["x" * 10, b"x" * 20])
    first = await run(ScriptedTransport(script), payloads=False)
    with caplog.at_level(logging.WARNING, "rxnodes"):
        transport = first.transport()
    assert "filler" in caplog.text
    seen = []
    async with Project(websocket={"chat": URL}, transport=transport) as project:
        on_receive(project.websocket("chat"), is_binary=None).subscribe(seen.append)
        project.websocket("chat").start()
        await project.websocket("chat").wait_stopped()
    assert seen == ["filler fil", b"filler filler filler"]


@in_virtual_time
async def test_a_dial_beyond_those_recorded_is_refused():
    first = await run(ScriptedTransport(peer_script("-o-X")))
    async with Project(websocket={"chat": URL}, transport=first.transport()) as project:
        chat = project.websocket("chat")
        for _ in range(2):
            chat.start()
            stopped = await chat.wait_stopped()
    assert isinstance(stopped.error, ConnectError)
    assert "no further dial to ws://chat.test/" in str(stopped.error)


@in_virtual_time
async def test_each_connection_meets_its_own_peer_again(tmp_path):
    def project_on(transport):
        return Project(websocket={"a": "ws://a/", "b": "ws://b/"}, transport=transport)

    async def start_both(project):
        for name in ("a", "b"):
            project.websocket(name).start()
        for name in ("a", "b"):
            await project.websocket(name).wait_stopped()

    project = project_on(ScriptedTransport(by_url({"ws://a/": "-o-m-X", "ws://b/": "r"})))
    with Recorder(project, tmp_path / "run.jsonl"):
        async with project:
            await start_both(project)
    again = project_on(Recording.load(tmp_path / "run.jsonl").transport())
    async with again:
        recordings = [record(again.websocket(name)) for name in ("a", "b")]
        await start_both(again)
    assert [it.to_marbles() for it in recordings] == ["co-m-(Xs)", "(ces)"]


@in_virtual_time
async def test_connections_to_the_same_place_meet_their_peers_again_in_the_order_of_their_dials():
    async def run_both(transport):
        fields = {"url": URL, "reconnect": RECONNECT}
        project = Project(websocket={"a": fields, "b": fields}, transport=transport)
        with Recorder(project) as recorder:
            async with project:
                for name in ("a", "b"):
                    project.websocket(name).start()
                for name in ("a", "b"):
                    await project.websocket(name).wait_stopped()
        return recorder.recording

    first = await run_both(ScriptedTransport(attempts("-o-#", "-o-m-m-m-m-X", "-o-X")))
    assert (await run_both(first.transport())).to_marbles() == first.to_marbles()


@in_virtual_time
async def test_a_login_that_the_peer_ended_for_good_ends_for_good_again():
    async def log_in(greeting):
        await greeting.receive()

    fields = {"reconnect": {**RECONNECT, "final_codes": [4401]}}
    first = await run(
        ScriptedTransport(attempts(peer_script("-oX", close=(1012, "again")), peer_script("-oX", close=(4401, "no")))),
        after_connect=log_in,
        **fields,
    )
    again = await run(first.transport(), **fields)
    assert [str(it.error) for it in again.errors] == [str(it.error) for it in first.errors]
    assert [stopped.attempts for stopped in again.stopped] == [2]
