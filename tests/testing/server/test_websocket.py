"""Leaving the scripted server: what is cancelled, closed and raised; and using it without asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
from concurrent.futures import Future

import pytest
from raw_client import BOUND, REQUEST, Heard, Raw
from websockets.asyncio.client import connect

from rxnodes import Project, RxNodesError
from rxnodes.testing import Peer, WebSocketServer, echo, hang_up, vanish


@pytest.mark.parametrize("error", [LookupError, pytest.fail.Exception])
async def test_a_failed_script_raises_on_leaving_also_by_pytest(error):
    async def script(peer):
        await peer.accept()
        raise error("in the script")

    async def use():
        async with WebSocketServer(script) as server, Raw(server.port) as client:
            await client.open()
            await client.ending()

    with pytest.raises(BaseExceptionGroup, match="serving a connection failed") as failed:
        await use()
    assert [str(error) for error in failed.value.exceptions] == ["in the script"]


async def test_a_failed_script_is_noted_on_what_the_body_raised():
    async def script(_):
        raise LookupError("in the script")

    async def use():
        async with WebSocketServer(script) as server, Raw(server.port) as client:
            await client.ending()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as failed:
        await use()
    assert "in the script" in failed.value.__notes__[0]


async def test_a_script_may_fail_with_a_connection_error():
    async def script(_):
        raise ConnectionResetError

    async with WebSocketServer(script) as server, Raw(server.port) as client:
        assert await client.ending() == (b"", "fin")


async def test_leaving_ends_scripts_and_leaves_neither_task_nor_socket_nor_port():
    running, cancelled = asyncio.Semaphore(0), []

    async def script(peer):
        running.release()
        try:
            await peer.hang()
        finally:
            cancelled.append(peer.number)

    before = asyncio.all_tasks()
    async with contextlib.AsyncExitStack() as clients:
        async with WebSocketServer(script) as server:
            connected = [await clients.enter_async_context(Raw(server.port)) for _ in range(3)]
            await connected[-1].send(b"unread")
            for _ in connected:
                await asyncio.wait_for(running.acquire(), BOUND)
        assert sorted(cancelled) == [1, 2, 3]
        assert asyncio.all_tasks() == before
        assert [(await client.ending())[1] for client in connected] == ["fin", "fin", "reset"]
    with pytest.raises(ConnectionRefusedError):
        async with Raw(server.port):
            pass
    gc.collect()  # an open socket would warn now, and a warning is an error


async def test_the_same_port_can_be_taken_again():
    async with WebSocketServer(hang_up) as first, Raw(first.port) as client:
        await client.open()
        await client.ending()
    async with WebSocketServer(hang_up, port=first.port) as second, Raw(first.port) as client:
        assert b"101" in await client.open()
    assert second.port == first.port


def test_with_uvloop():
    uvloop = pytest.importorskip("uvloop")

    async def use():
        for script, expected in ((hang_up, "fin"), (vanish, "reset")):
            async with WebSocketServer(script) as server, Raw(server.port) as client:
                await client.send(REQUEST)
                assert (await client.ending())[1] == expected
        for end, expected in ((Raw.finish, "fin"), (Raw.reset, "reset")):
            heard = Heard(Peer.wait_closed)
            async with WebSocketServer(heard) as server, Raw(server.port) as client:
                end(client)
                assert await heard.result() == expected
        async with WebSocketServer(echo) as server, connect(server.url, proxy=None, max_size=None) as ws:
            await ws.send(bytes(3_000_000))
            assert await asyncio.wait_for(ws.recv(), BOUND)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use())


# In a plain with


def test_in_a_plain_with_it_serves_from_a_thread_of_its_own():
    with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as project:
        chat = project.websocket("chat")
        heard = []
        chat.messages.subscribe(heard.append)
        chat.start()
        project.call(chat.wait_started)
        chat.send("hello")
        chat.stop()
        assert project.call(chat.wait_stopped).was_clean
    assert heard == ["hello"]
    assert not any(thread.name == "rxnodes" for thread in threading.enumerate())


async def fails_when_it_is_left(peer):
    await peer.accept()
    try:
        await peer.hang()
    finally:
        raise AssertionError("in the script")


def left_with(error):
    with WebSocketServer(fails_when_it_is_left) as server, Project(websocket={"chat": server.url}) as project:
        project.websocket("chat").start()
        project.call(project.websocket("chat").wait_started)
        project.websocket("chat").abort()
        if error is not None:
            raise error


def test_in_a_plain_with_a_script_cannot_leave_it():
    """The server's thread would wait for itself."""
    told = Future()

    async def leaves(peer):
        try:
            told.set_result(server.__exit__(None, None, None))
        except RxNodesError as error:
            told.set_exception(error)

    server = WebSocketServer(leaves).__enter__()
    with socket.create_connection((server.host, server.port)):
        with pytest.raises(RxNodesError, match="cannot be left in the thread that it runs"):
            told.result(10)
    server.__exit__(None, None, None)


def test_a_failed_script_is_raised_on_leaving_a_plain_with():
    with pytest.raises(BaseExceptionGroup, match="serving a connection failed"):
        left_with(None)


def test_a_failed_script_is_noted_on_what_the_body_of_a_plain_with_raised():
    with pytest.raises(ValueError, match="mine") as failed:
        left_with(ValueError("mine"))
    assert "in the script" in failed.value.__notes__[0]


def test_an_interrupt_while_a_plain_with_is_left_is_told_when_it_has_ended(monkeypatch):
    waits = []

    def left_interrupted():
        with WebSocketServer(echo) as server:
            ended = server._background._has_ended
            wait = ended.wait

            def interrupted_once():
                waits.append(ended.is_set())
                if len(waits) == 1:
                    raise KeyboardInterrupt
                return wait()

            monkeypatch.setattr(ended, "wait", interrupted_once)

    with pytest.raises(KeyboardInterrupt):
        left_interrupted()
    assert len(waits) >= 1
    assert not any(thread.name == "rxnodes" for thread in threading.enumerate())
