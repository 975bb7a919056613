"""The messages of a session, for `async for`, in virtual time."""

from __future__ import annotations

import asyncio
import threading

import pytest
from virtual import virtual

from rxnodes import Project
from rxnodes.testing import ScriptedTransport
from rxnodes.websocket import messages


def chatting():
    transport = ScriptedTransport(lambda peer: peer.accept())
    return Project(websocket={"chat": "ws://chat.test/"}, transport=transport), transport


async def opened(project):
    chat = project.websocket("chat")
    chat.start()
    await chat.wait_started()
    return chat


@virtual
async def test_it_ends_behind_the_last_message_before_stopped():
    project, transport = chatting()
    async with project:
        chat = await opened(project)
        received = messages(chat)
        transport.peer.send("a")
        chat.stop()
        transport.peer.send("b")
        await chat.wait_stopped()
        assert [message async for message in received] == ["a", "b"]


@virtual
async def test_where_none_is_live_it_waits_for_the_next_session_and_for_that_one_only():
    project, transport = chatting()
    async with project:
        chat = await opened(project)
        chat.stop()
        await chat.wait_stopped()
        received = messages(chat)
        for message in ("first", "second"):
            chat.start()
            await chat.wait_started()
            transport.peer.send(message)
            chat.stop()
            await chat.wait_stopped()
        assert [message async for message in received] == ["first"]


@virtual
async def test_a_session_that_reconnects_is_one():
    transport = ScriptedTransport(lambda peer: peer.accept())
    fields = {"url": "ws://chat.test/", "reconnect": {"enabled": True}}
    async with Project(websocket={"chat": fields}, transport=transport) as project:
        chat = await opened(project)
        received = messages(chat)
        transport.peer.send("a")
        transport.peer.reset()
        async with asyncio.timeout(600):
            while len(transport.peers) == 1:
                await asyncio.sleep(1)
        await asyncio.sleep(1)
        transport.peer.send("b")
        chat.stop()
        await chat.wait_stopped()
        assert [message async for message in received] == ["a", "b"]


@virtual
async def test_leaving_the_project_ends_it():
    project, _ = chatting()
    async with project:
        chat = project.websocket("chat")
        never_started = messages(chat)
    assert [message async for message in never_started] == []
    assert [message async for message in messages(chat)] == []


@virtual
@pytest.mark.parametrize(
    ("codec", "expected"), [(str, ["a", "b"]), (bytes, [b"a", b"b"]), (None, ["a", b"b"])], ids=str
)
async def test_messages_come_as_the_codec_says(codec, expected):
    project, transport = chatting()
    async with project:
        chat = await opened(project)
        received = messages(chat, codec=codec)
        transport.peer.send("a")
        transport.peer.send(b"b")
        chat.stop()
        assert [message async for message in received] == expected


@virtual
async def test_a_slow_loop_holds_up_the_peer_and_breaking_out_lets_it_go():
    project, transport = chatting()
    async with project:
        chat = await opened(project)
        for number in range(10):
            asyncio.get_running_loop().call_later(number, transport.peer.send, str(number))
        seen = []
        async for message in messages(chat, buffer=2):
            seen.append(message)
            await asyncio.sleep(100)
            assert transport.peer.is_held
            if message == "4":
                break
        assert seen == ["0", "1", "2", "3", "4"]
        assert not transport.peer.is_held


@virtual
async def test_a_project_that_runs_in_a_thread_of_its_own():
    """The pause is asked for here, and done there."""
    pace = threading.Event()

    def talk(peer):
        peer.accept()
        for number in range(20):
            peer.send(str(number))
        pace.set()

    transport = ScriptedTransport(talk)
    with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
        chat = project.websocket("chat")
        received = messages(chat, buffer=3)
        chat.start()
        await asyncio.to_thread(pace.wait)
        assert transport.peer.is_held
        assert [await anext(received) for _ in range(20)] == [str(number) for number in range(20)]
        await asyncio.to_thread(project.call, asyncio.sleep, 0)
        assert not transport.peer.is_held
        chat.stop()
        assert [message async for message in received] == []


@virtual
async def test_values_of_a_codec():
    project, transport = chatting()
    async with project:
        chat = await opened(project)
        received = messages(chat, codec="json")
        for text in ('{"a": 1}', "no JSON", "[2]"):
            transport.peer.send(text)
        chat.stop()
        await chat.wait_stopped()
        assert [value async for value in received] == [{"a": 1}, [2]]
