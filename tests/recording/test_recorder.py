"""What a recorder records, where, and what it leaves alone."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import signal
import stat
import sys
import textwrap
import weakref

import pytest
from projects import closed, opened, project_of
from reactivex import operators as ops

from rxnodes import Project, UnknownConfiguration, pulse
from rxnodes.recording import Message, Messages, Pulse, Recorder, Recording
from rxnodes.testing import ScriptedTransport, WebSocketServer, attempts, echo, in_virtual_time, peer_script
from rxnodes.websocket import client_send, client_start, client_stop, on_receive, on_start

RECONNECT = {"enabled": True, "initial_delay": 0.5, "jitter": False}


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@in_virtual_time
async def test_the_file_is_json_lines_with_all_that_happened_in_order(tmp_path):
    project = project_of(peer_script("--o-mmX", messages=["héllo", b"\xff"], close=(1001, "bye")))
    chat = project.websocket("chat")
    with Recorder(project, tmp_path / "run.jsonl", payloads=True):
        async with project:
            project.subscribe(
                on_start(chat).pipe(client_send(chat, "hello")),
                on_receive(chat, is_binary=None).pipe(client_stop(chat, pass_through=True)),
                pulse().pipe(client_start(chat)),
            )
            await chat.wait_stopped()
    head, *lines = lines_of(tmp_path / "run.jsonl")
    assert (head["rxnodes"], head["version"], head["states"]) == ("recording", 1, {"chat": "idle"})
    assert [(line["t"], line["event"]) for line in lines] == [
        (0.0, "Pulse"),
        (0.0, "Connecting"),
        (0.2, "Opened"),
        (0.2, "Pulse"),
        (0.2, "Message"),
        (0.4, "Message"),
        (0.5, "Message"),
        (0.6, "Closing"),
        (0.6, "Stopped"),
    ]
    assert all(list(line)[:6] == ["t", "at", "connection", "session", "attempt", "event"] for line in lines)
    assert [line["node"] for line in lines if line["event"] == "Pulse"] == [
        "WebSocket Client Start",
        "WebSocket Client Send",
    ]
    assert [list(line.items())[6:] for line in lines if line["event"] == "Message"] == [
        [("direction", "out"), ("kind", "text"), ("size", 5), ("payload", "hello")],
        [("direction", "in"), ("kind", "text"), ("size", 6), ("payload", "héllo")],
        [("direction", "in"), ("kind", "binary"), ("size", 1), ("payload_base64", "/w==")],
    ]
    assert {"code": 1001, "reason": "bye", "messages_received": 2}.items() <= lines[-1].items()


@in_virtual_time
async def test_what_was_recorded_is_loaded_as_it_was(tmp_path):
    project = project_of(attempts("--o-m-#", "r", "-o-X", messages=["a"]), reconnect=RECONNECT)
    with (
        Recorder(project, tmp_path / "run.jsonl", payloads=True) as to_file,
        Recorder(project, payloads=True) as to_memory,
    ):
        async with project:
            chat = project.websocket("chat")
            chat.start()
            await chat.wait_stopped()
    loaded = Recording.load(tmp_path / "run.jsonl")
    assert [repr(it.value) for it in loaded.recorded] == [repr(it.value) for it in to_memory.recording.recorded]
    assert loaded.to_marbles() == to_memory.recording.to_marbles() == to_file.recording.to_marbles()
    assert loaded.began_at == to_file.recording.began_at
    assert loaded.messages == ["a"]
    assert loaded.states == to_memory.recording.states
    assert [type(error.error) for error in loaded.errors] == [type(it.error) for it in to_memory.recording.errors]
    assert loaded.stopped == to_memory.recording.stopped


@in_virtual_time
async def test_without_payloads_what_comes_close_together_is_one_entry():
    def script(peer):
        peer.accept()
        loop = asyncio.get_running_loop()
        for number in range(300):
            loop.call_later(1 + number * 0.001, peer.send, "x" * 10)
        loop.call_later(2, peer.send, b"alone")

    project = project_of(script)
    chat = project.websocket("chat")
    with Recorder(chat) as recorder:
        async with project:
            project.subscribe(on_receive(chat).pipe(ops.filter(lambda text: text[0] == "x"), client_send(chat)))
            chat.start()
            await asyncio.sleep(2.05)
    recording = recorder.recording
    for direction in ("in", "out"):
        texts = [it.value for it in recording.of((Messages, Message)) if it.value.direction == direction]
        texts = [it for it in texts if it.kind == "text"]
        assert sum(getattr(it, "count", 1) for it in texts) == 300
        assert sum(it.size for it in texts) == 3000
        assert len(texts) <= 4
        assert all(it.span <= 0.1001 for it in texts if isinstance(it, Messages))
    assert sum(it.value.count for it in recording.of(Pulse)) == 300
    [alone] = [it for it in recording.of(Message) if it.value.kind == "binary"]
    assert (alone.time, alone.value.size, alone.value.payload) == (2.0, 5, None)
    with pytest.raises(ValueError, match="payloads=True"):
        recording.messages  # noqa: B018
    with pytest.raises(AssertionError, match=r"at 1 s; recorded there:\n  \d+ messages"):
        recording.assert_marbles("(co)")


class Frame(bytes):
    """A message of a type of the program's own."""


@pytest.mark.parametrize("payloads", [True, False])
@in_virtual_time
async def test_what_was_sent_is_recorded_of_whatever_type(tmp_path, payloads):
    project = project_of(peer_script("o"))
    chat = project.websocket("chat")
    with Recorder(project, tmp_path / "run.jsonl", payloads=payloads):
        async with project:
            await opened(chat)
            chat.send(Frame(b"abc"))
            chat.send("é")
    sent = [it for it in Recording.load(tmp_path / "run.jsonl").of(Message) if it.value.direction == "out"]
    assert [(it.value.kind, it.value.size) for it in sent] == [("binary", 3), ("text", 2)]
    assert [it.value.payload for it in sent] == ([b"abc", "é"] if payloads else [None, None])


@in_virtual_time
async def test_connections_that_come_later_are_recorded_and_others_are_not():
    transport = ScriptedTransport(peer_script("-o-X"))
    project = Project(websocket={"chat": "ws://a/", "other": "ws://b/"}, transport=transport)
    chat, other = project.websocket("chat"), project.websocket("other")
    with Recorder(project) as everything, Recorder([chat]) as one:
        async with project:
            added = project.add_websocket("late", "ws://c/")
            for connection in (chat, other, added):
                connection.start()
                await connection.wait_stopped()
    assert everything.recording.connections == ["chat", "other", "late"]
    assert one.recording.connections == ["chat"]
    assert everything.recording.to_marbles().splitlines() == [
        "chat:  co-(Xs)",
        "other: ---co-(Xs)",
        "late:  ------co-(Xs)",
    ]
    assert everything.recording.only("late").to_marbles() == "------co-(Xs)"
    with pytest.raises(UnknownConfiguration):
        everything.recording.only("later")
    with pytest.raises(ValueError, match="3 connections"):
        everything.recording.assert_marbles("")


@in_virtual_time
async def test_a_recorder_that_is_left_leaves_nothing_behind():
    project = project_of(peer_script("-o-m-m"))
    chat = project.websocket("chat")
    async with project:
        with Recorder(project, payloads=True) as recorder:
            chat.start()
            await asyncio.sleep(0.35)
        side = chat.for_nodes
        assert not side.pulse_observers
        assert not side.send_observers
        await asyncio.sleep(1)
    assert recorder.recording.to_marbles() == "co-m"
    with pytest.raises(RuntimeError, match="entered once"):
        recorder.__enter__()


@in_virtual_time
async def test_a_connection_that_was_removed_is_not_held():
    project = Project(websocket={}, transport=ScriptedTransport(peer_script("-o-m")))
    with Recorder(project) as recorder:
        async with project:
            removed = await opened(project.add_websocket("guest", "ws://guest.test/"))
            await project.remove_websocket("guest")
            removed = weakref.ref(removed)
            await asyncio.sleep(1)
            gc.collect()
            assert removed() is None
    assert recorder.recording.to_marbles() == "c(oxs)"


@in_virtual_time
async def test_neither_a_login_nor_a_secret_is_recorded(tmp_path):
    async def log_in(greeting):
        await greeting.send("top-secret-token")
        await greeting.receive()

    def script(peer):
        peer.accept(headers={"Set-Cookie": "top-secret-cookie"})
        peer.expect(lambda _: peer.send("top-secret-welcome"))

    settings = {"headers": {"Authorization": "top-secret-header"}, "after_connect": log_in}
    project = Project(
        websocket={"chat": {"url": "ws://chat.test/?key=top-secret-key", **settings}},
        transport=ScriptedTransport(script),
    )
    chat = project.websocket("chat")
    with Recorder(project, tmp_path / "run.jsonl", payloads=True):
        async with project:
            await opened(chat)
            await chat.send("after the login")
            await closed(chat)
    text = (tmp_path / "run.jsonl").read_text()
    assert "top-secret" not in text
    assert [line["payload"] for line in lines_of(tmp_path / "run.jsonl") if line.get("event") == "Message"] == [
        "after the login"
    ]
    assert stat.S_IMODE((tmp_path / "run.jsonl").stat().st_mode) == 0o600


@in_virtual_time
async def test_entries_come_in_order_whoever_subscribed_first():
    project = project_of(peer_script("-o-X"))
    chat = project.websocket("chat")
    project.subscribe(on_start(chat).pipe(client_send(chat, "hello")))
    with Recorder(project) as recorder:
        async with project:
            chat.start()
            await chat.wait_stopped()
    kinds = [type(it.value).__name__ for it in recorder.recording.recorded]
    assert kinds == ["Connecting", "Opened", "Pulse", "Message", "Closing", "Stopped"]


@in_virtual_time
async def test_errors_are_in_the_log_again_where_the_disk_is_full(tmp_path, monkeypatch, caplog):
    """With a recorder they are in the recording, and not in the log."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    project = project_of(attempts("-o-#", "r"), reconnect=RECONNECT)
    chat = project.websocket("chat")
    with Recorder(project, tmp_path / "run.jsonl"):
        async with project:
            chat.start()
            await asyncio.sleep(0.15)
            assert not caplog.records
            with monkeypatch.context() as patch:
                patch.setattr("rxnodes.recording.keeping._write", full)
                await asyncio.sleep(0.2)
            assert "the recording ends here" in caplog.records[0].getMessage()
            assert not chat.for_nodes.send_observers
            await asyncio.sleep(0.6)
            assert caplog.records[-1].getMessage() == "chat: refused"
    assert [type(it).__name__ for it in Recording.load(tmp_path / "run.jsonl").events] == ["Connecting", "Opened"]


def test_pulses_of_another_thread_are_recorded():
    project = project_of(peer_script("-o", tick=0.001))
    chat = project.websocket("chat")
    with Recorder(project) as recorder, project:
        pulse().pipe(client_start(chat)).subscribe()
        project.call(chat.wait_started)
        pulse().pipe(client_stop(chat)).subscribe()
        project.call(chat.wait_stopped)
    assert [type(it.value).__name__ for it in recorder.recording.recorded] == [
        *("Pulse", "Connecting", "Opened", "Pulse", "Closing", "Stopped")
    ]


@pytest.mark.slow
async def test_a_program_that_is_killed_leaves_a_recording(tmp_path):
    program = """
        import asyncio, os, signal, sys
        from rxnodes import Project
        from rxnodes.recording import Recorder

        async def main():
            project = Project(websocket={"chat": sys.argv[1]})
            with Recorder(project, sys.argv[2]):
                async with project:
                    chat = project.websocket("chat")
                    chat.lifecycle.subscribe(lambda it: type(it).__name__ == "Stopped" and os.kill(os.getpid(), signal.SIGKILL))
                    chat.start()
                    await chat.wait_started()
                    chat.stop()
                    await chat.wait_stopped()

        asyncio.run(main())
    """
    path = tmp_path / "run.jsonl"
    async with WebSocketServer(echo) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(program), server.url, str(path)
        )
        assert await process.wait() == -signal.SIGKILL
    assert [type(event).__name__ for event in Recording.load(path).events] == [
        *("Connecting", "Opened", "Closing", "Stopped")
    ]


@pytest.mark.parametrize("wrong", ["chat", ["chat"], object()])
def test_what_cannot_be_recorded_is_refused(wrong):
    with pytest.raises(TypeError, match="expected a Connection, got"):
        Recorder(wrong)


def test_what_is_wrong_is_said(tmp_path):
    project = project_of(None)
    with pytest.raises(ValueError, match="max_bytes"):
        Recorder(project, max_bytes=0)
    with pytest.raises(RuntimeError, match="enter the recorder"):
        Recorder(project).recording  # noqa: B018
    with pytest.raises(OSError, match="No such file"):
        Recorder(project, tmp_path / "nowhere" / "run.jsonl").__enter__()
