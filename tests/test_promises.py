"""The ten promises of the design, each over real sockets where sockets matter."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time

import pytest
from promises import Journal
from websockets.asyncio.server import serve

from rxnodes import ConnectError, ConnectionState, ErrorEvent, Initiator, Project, ProtocolError, Stopped, pulse
from rxnodes.testing import WebSocketServer, close_with, echo, in_turn, never_answer_close, never_read, talk_after_close
from rxnodes.testing.server import refusing_port
from rxnodes.transport.aiohttp import sockets as aiohttp_sockets
from rxnodes.websocket import client_send, client_start, client_stop, on_receive, on_start, on_stop

#: How much longer than its bound something may take on a busy machine, in seconds.
ROOM = 3.0


@pytest.fixture
def sockets(monkeypatch):
    """Every socket that a dial makes."""
    made = []
    create = aiohttp_sockets.create_socket

    def watched(address):
        sock = create(address)
        made.append(sock)
        return sock

    monkeypatch.setattr(aiohttp_sockets, "create_socket", watched)
    return made


def watch(connection):
    """A journal of all that a connection tells."""
    journal = Journal()
    initial = []
    connection.states.subscribe(lambda state: journal.state(state) if initial else initial.append(state))
    connection.lifecycle.subscribe(journal.event)
    connection.messages.subscribe(journal.message)
    return journal


async def session(url, **fields):
    """One session from start to end, and what was told."""
    async with Project(websocket={"chat": {"url": url, **fields}}) as project:
        chat = project.websocket("chat")
        journal = watch(chat)
        chat.start()
        async with asyncio.timeout(20):
            await chat.wait_stopped()
    return journal


async def end_refused(stop):
    with refusing_port() as port:
        return await session(f"ws://127.0.0.1:{port}/")


async def end_by_the_peer(stop):
    async with WebSocketServer(close_with(4000, "enough")) as server:
        return await session(server.url)


async def end_by_us(stop):
    async with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as project:
        chat = project.websocket("chat")
        journal = watch(chat)
        chat.start()
        await chat.wait_started()
        stop(chat)
        await chat.wait_stopped()
    return journal


async def end_while_connecting(stop):
    async def never_answer(peer):
        await peer.hang()

    async with WebSocketServer(never_answer) as server, Project(websocket={"chat": server.url}) as project:
        chat = project.websocket("chat")
        journal = watch(chat)
        chat.start()
        stop(chat)
        await chat.wait_stopped()
    return journal


async def end_while_waiting_to_retry(stop):
    fields = {"reconnect": {"enabled": True, "initial_delay": 20, "jitter": False}}
    with refusing_port() as port:
        async with Project(websocket={"chat": {"url": f"ws://127.0.0.1:{port}/", **fields}}) as project:
            chat = project.websocket("chat")
            journal = watch(chat)
            waiting = asyncio.Event()
            chat.states.subscribe(lambda state: state is ConnectionState.RECONNECTING and waiting.set())
            chat.start()
            await waiting.wait()
            stop(chat)
            await chat.wait_stopped()
    return journal


async def end_by_leaving_the_project(stop):
    async with WebSocketServer(echo) as server:
        async with Project(websocket={"chat": server.url}) as project:
            chat = project.websocket("chat")
            journal = watch(chat)
            chat.start()
            await chat.wait_started()
    return journal


@pytest.mark.parametrize("stop", [lambda chat: chat.stop(), lambda chat: chat.abort()], ids=["stop", "abort"])
@pytest.mark.parametrize(
    "end",
    [
        end_refused,
        end_by_the_peer,
        end_by_us,
        end_while_connecting,
        end_while_waiting_to_retry,
        end_by_leaving_the_project,
    ],
)
async def test_promise_1_one_stopped_per_start(end, stop):
    journal = await end(stop)
    assert journal.kinds.count("Stopped") == 1
    assert journal.kinds[-1] == "Stopped"


async def test_promise_2_when_stopped_is_delivered_it_is_over(sockets):
    async with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as project:
        chat = project.websocket("chat")
        journal = watch(chat)
        before = asyncio.all_tasks()
        timers = len([handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()])
        at_stopped = []

        def look(_):
            at_stopped.append(
                (
                    chat.state,
                    [sock.fileno() for sock in sockets],
                    {task for task in asyncio.all_tasks() - before if "rxnodes" in task.get_name()},
                    len([handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]),
                )
            )

        on_stop(chat).subscribe(look)
        chat.start()
        await chat.wait_started()
        assert [sock.fileno() > 0 for sock in sockets] == [True]
        chat.stop()
        await chat.wait_stopped()
        # No event tells that nothing follows: this is a moment in which it would have come.
        await asyncio.sleep(0.01)
        assert at_stopped == [(ConnectionState.CLOSED, [-1], set(), timers)]
        assert journal.kinds[-1] == "Stopped"


async def test_promise_3_everything_received_is_delivered_first():
    async def talk_on(peer):
        await peer.accept()
        await peer.expect_close()
        for number in range(100):
            await peer.send_text(str(number))
        await peer.send_close(1000, "that was all")

    async with WebSocketServer(talk_on) as server, Project(websocket={"chat": server.url}) as project:
        chat = project.websocket("chat")
        order = []
        chat.messages.subscribe(order.append)
        chat.lifecycle.subscribe(lambda event: order.append(type(event).__name__))
        chat.start()
        await chat.wait_started()
        chat.stop()
        stopped = await chat.wait_stopped()
    assert order == ["Connecting", "Opened", "Closing", *map(str, range(100)), "Stopped"]
    assert (stopped.code, stopped.reason, stopped.was_clean) == (1000, "that was all", True)


async def test_promise_4_what_was_sent_before_stop_goes_out_before_the_close_frame():
    received = []

    async def collect(websocket):
        received.extend([message async for message in websocket])

    async with serve(collect, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Project(websocket={"chat": f"ws://127.0.0.1:{port}/"}) as project:
            chat = project.websocket("chat")
            chat.start()
            await chat.wait_started()
            for number in range(1000):
                chat.send(f"{number} {'x' * 1000}")
            chat.stop()
            stopped = await chat.wait_stopped()
    assert [int(message.split()[0]) for message in received] == list(range(1000))
    assert (stopped.messages_sent, stopped.unsent, stopped.was_clean) == (1000, 0, True)


@pytest.mark.slow
async def test_promise_4_what_could_not_be_sent_is_counted():
    fields = {"close_timeout": 0.3}
    async with WebSocketServer(never_read, receive_buffer=4096) as server:
        async with Project(websocket={"chat": {"url": server.url, **fields}}) as project:
            chat = project.websocket("chat")
            chat.start()
            await chat.wait_started()
            for _ in range(100):
                chat.send("x" * 500_000)
            chat.stop()
            stopped = await chat.wait_stopped()
    assert stopped.unsent > 50
    assert stopped.messages_sent + stopped.unsent == 100
    assert stopped.initiator is Initiator.TIMEOUT


@pytest.mark.parametrize("script", [never_answer_close, talk_after_close], ids=["silent", "talking"])
async def test_promise_5_closing_is_bounded(script):
    async with WebSocketServer(script) as server:
        async with Project(websocket={"chat": {"url": server.url, "close_timeout": 0.3}}) as project:
            chat = project.websocket("chat")
            journal = watch(chat)
            chat.start()
            await chat.wait_started()
            before = time.monotonic()
            chat.stop()
            stopped = await chat.wait_stopped()
            took = time.monotonic() - before
    assert 0.25 < took < 0.3 + ROOM
    assert (stopped.initiator, stopped.code, stopped.was_clean) == (Initiator.TIMEOUT, 1006, False)
    assert journal.kinds[-2:] == ["ErrorEvent", "Stopped"]


async def test_promise_6_order_is_the_same_for_every_subscriber():
    async with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as project:
        chat = project.websocket("chat")
        first, last = [], []
        chat.lifecycle.subscribe(first.append)
        chat.messages.subscribe(first.append)
        project.subscribe(
            on_start(chat).pipe(client_send(chat, "one"), client_send(chat, "two")),
            on_receive(chat).pipe(client_stop(chat), client_start(chat)),
        )
        chat.messages.subscribe(last.append)
        chat.lifecycle.subscribe(last.append)
        chat.start()
        await chat.wait_stopped()
        chat.abort()
        await chat.wait_stopped()
    assert first == last
    kinds = [type(event).__name__ for event in first]
    # Whether the two echoes come in one read or in two: Closing follows what had come before the stop.
    assert kinds[:5] in (
        ["Connecting", "Opened", "str", "str", "Closing"],
        ["Connecting", "Opened", "str", "Closing", "str"],
    )


async def test_promise_7_subscribers_are_isolated(caplog):
    async with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as project:
        chat = project.websocket("chat")
        journal = watch(chat)
        for stream in (chat.states, chat.lifecycle, chat.messages, chat.errors, on_stop(chat)):
            stream.subscribe(lambda _: 1 / 0)
        seen = []
        chat.messages.subscribe(seen.append)
        chat.start()
        await chat.wait_started()
        chat.send("one")
        chat.send("two")
        chat.stop()
        stopped = await chat.wait_stopped()
    assert seen == ["one", "two"]
    assert stopped.was_clean
    phases = {event.phase for event in journal.events if isinstance(event, ErrorEvent)}
    assert phases == {"handler"}
    assert "ZeroDivisionError" in caplog.text


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


async def test_promise_7_whatever_a_subscriber_raises():
    async def say_abc_in_one_packet_and_d(peer):
        await peer.accept()
        await peer.send_raw(b"\x81\x01a\x81\x01b\x81\x01c")
        await peer.receive_message()
        await peer.send_text("d")
        await peer.send_close()
        await peer.expect_close()

    def raises(_):
        raise UnspeakableError

    async with (
        WebSocketServer(say_abc_in_one_packet_and_d) as server,
        Project(websocket={"chat": server.url}) as project,
    ):
        chat = project.websocket("chat")
        journal = watch(chat)
        seen = []
        for stream in (chat.states, chat.lifecycle, chat.messages, chat.errors, on_receive(chat), on_stop(chat)):
            stream.subscribe(raises)
        on_receive(chat).subscribe(seen.append)
        chat.start()
        async with asyncio.timeout(20):
            await chat.wait_started()
            chat.send("more")
            stopped = await chat.wait_stopped()
    assert seen == ["a", "b", "c", "d"]
    assert stopped.was_clean
    messages = {event.message for event in journal.events if isinstance(event, ErrorEvent)}
    assert messages == {"a subscriber raised UnspeakableError"}


async def test_promise_8_commands_are_idempotent():
    async with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as project:
        chat = project.websocket("chat")
        journal = watch(chat)
        chat.stop()
        chat.start()
        chat.start()
        await chat.wait_started()
        chat.start()
        for _ in range(3):
            chat.stop()
        chat.start()
        assert (await chat.wait_stopped()).session == 1
        await chat.wait_started()
        chat.stop()
        chat.start()
        chat.stop()
        assert (await chat.wait_stopped()).session == 2
        chat.stop()
    assert journal.kinds == ["Connecting", "Opened", "Closing", "Stopped"] * 2
    assert server.connections == 2


async def test_promise_8_a_close_by_the_peer_is_retried_unless_its_code_says_it_cannot_help():
    fields = {"reconnect": {"enabled": True, "initial_delay": 0.001}}
    async with WebSocketServer(in_turn(close_with(1012, "restarting"), close_with(1008, "go away"))) as server:
        journal = await session(server.url, **fields)
    assert journal.kinds == ["Connecting", "Opened", "Dropped", "Connecting", "Opened", "Closing", "Stopped"]
    stopped = journal.events[-1]
    assert isinstance(stopped, Stopped)
    assert (stopped.code, stopped.attempts) == (1008, 2)


@pytest.mark.parametrize(
    ("code", "reason", "seen"),
    [(1000, "", 1000), (1001, "going", 1001), (4999, "é" * 61, 4999), (None, "", 1005)],
)
async def test_promise_9_code_and_reason_are_the_peers_words(code, reason, seen):
    async with WebSocketServer(close_with(code, reason)) as server:
        stopped = (await session(server.url)).events[-1]
    assert (stopped.code, stopped.reason, stopped.was_clean) == (seen, reason, True)
    assert stopped.initiator is Initiator.REMOTE


async def test_promise_9_a_violation_is_answered_with_its_code_and_nothing_more_is_read():
    answers = []

    async def break_the_protocol(peer):
        await peer.accept()
        await peer.send_text("before")
        await peer.send_raw(b"\x83\x00")
        await peer.send_text("after")
        answers.append((await peer.expect_close()).code)

    async with WebSocketServer(break_the_protocol) as server:
        journal = await session(server.url)
    stopped = journal.events[-1]
    assert answers == [1002]
    assert journal.messages == ["before"]
    assert (stopped.code, stopped.was_clean, stopped.initiator) == (1006, False, Initiator.LOCAL)
    assert isinstance(stopped.error, ProtocolError)


@pytest.mark.slow
async def test_promise_10_leaving_the_project_stops_every_connection_150_at_once():
    async with WebSocketServer(echo) as server:
        names = [f"c{number}" for number in range(150)]
        before = len(os.listdir("/dev/fd"))
        async with Project(websocket=dict.fromkeys(names, server.url)) as project:
            connections = [project.websocket(name) for name in names]
            journals = [watch(connection) for connection in connections]
            project.subscribe(*(pulse().pipe(client_start(connection)) for connection in connections))
            await asyncio.gather(*(connection.wait_started() for connection in connections))
            assert server.connections == 150
        assert all(journal.events[-1].was_clean for journal in journals)
        # The server's sides end a moment later.
        async with asyncio.timeout(ROOM):
            while len(os.listdir("/dev/fd")) > before:
                await asyncio.sleep(0.001)


@pytest.mark.slow
async def test_200_rounds_leave_nothing_behind(sockets):
    async def rounds(count):
        for _ in range(count):
            chat.start()
            await chat.wait_started()
            chat.send("hello")
            chat.stop()
            await chat.wait_stopped()
        sockets.clear()
        gc.collect()
        timers = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]
        return len(asyncio.all_tasks()), len(timers), len(gc.get_objects()), sys.getallocatedblocks()

    async with serve(lambda websocket: websocket.wait_closed(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Project(websocket={"chat": f"ws://127.0.0.1:{port}/"}) as project:
            chat = project.websocket("chat")
            # CPython's own caches and free lists fill up first.
            tasks, timers, objects, blocks = await rounds(200)
            files = len(os.listdir("/dev/fd"))
            tasks_after, timers_after, objects_after, blocks_after = await rounds(200)
            assert (chat.session, chat.state) == (400, ConnectionState.CLOSED)
            # The server's side of the last round may still be ending.
            assert tasks_after <= tasks + 1
            assert timers_after <= timers + 1
            assert len(os.listdir("/dev/fd")) <= files + 2
            # A session that stayed would be dozens of objects and hundreds of blocks.
            assert objects_after - objects < 200
            assert blocks_after - blocks < 200 * 5


async def test_a_refused_dial_says_why():
    with refusing_port() as port:
        stopped = (await session(f"ws://127.0.0.1:{port}/")).events[-1]
    assert isinstance(stopped.error, ConnectError)
    assert str(stopped.error) == "the TCP connection failed: Connection refused"
