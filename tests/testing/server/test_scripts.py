"""The ready scripts, as clients that we did not write see them."""

from __future__ import annotations

import asyncio

import pytest
import websockets
from raw_client import REQUEST, Raw
from websockets.asyncio.client import connect

from rxnodes.testing import (
    Frame,
    Opcode,
    WebSocketServer,
    close_payload,
    close_with,
    hang_up,
    in_turn,
    keep_tcp_open,
    never_answer_close,
    refuse,
    talk_after_close,
    talk_after_own_close,
    vanish,
)


async def test_never_answer_close():
    async with WebSocketServer(never_answer_close) as server, Raw(server.port) as client:
        await client.open()
        await client.send_frame(Opcode.CLOSE)
        await client.send_frame(Opcode.PING)
        client.finish()
        assert await client.ending() == (b"", "fin")


async def test_talk_after_close():
    async with WebSocketServer(talk_after_close) as server, Raw(server.port) as client:
        await client.open()
        await client.send_frame(Opcode.CLOSE)
        assert [(await client.read_frame()).opcode for _ in range(3)] == [Opcode.TEXT] * 3


async def test_talk_after_own_close():
    async with WebSocketServer(talk_after_own_close) as server, Raw(server.port) as client:
        await client.open()
        opcodes = [(await client.read_frame()).opcode for _ in range(3)]
    assert opcodes == [Opcode.CLOSE, Opcode.TEXT, Opcode.TEXT]


async def test_keep_tcp_open_answers_close_and_leaves_fin_to_the_client():
    async with WebSocketServer(keep_tcp_open) as server, Raw(server.port) as client:
        await client.open()
        await client.send_frame(Opcode.CLOSE, close_payload(1001))
        assert await client.read_frame() == Frame(Opcode.CLOSE, close_payload(1001))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.loop.sock_recv(client.sock, 1)
        client.finish()
        assert await client.ending() == (b"", "fin")


async def test_close_with_is_a_clean_close_for_websockets():
    async with WebSocketServer(close_with(4999, "enough", "one", "two")) as server:
        async with connect(server.url, proxy=None) as ws:
            assert [await ws.recv(), await ws.recv()] == ["one", "two"]
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                await ws.recv()
        assert closed.value.sent.code == 4999
        assert (ws.close_code, ws.close_reason) == (4999, "enough")


def test_in_turn_needs_a_script():
    with pytest.raises(ValueError, match="a script for the first connection"):
        in_turn()


async def test_in_turn_gives_each_connection_its_script():
    async with WebSocketServer(in_turn(vanish, refuse(401), hang_up)) as server:
        endings = []
        for _ in range(4):
            async with Raw(server.port) as client:
                await client.send(REQUEST)
                data, ending = await client.ending()
                endings.append((data[9:12], ending))
        assert server.connections == 4
    assert endings == [(b"101", "reset"), (b"401", "fin"), (b"101", "fin"), (b"101", "fin")]
