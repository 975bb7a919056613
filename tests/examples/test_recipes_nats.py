"""NATS' own WebSocket, against nats-server."""

from __future__ import annotations

import asyncio

import pytest
from foreign import ForeignServer, load, program, recipe

from rxnodes.testing import WebSocketServer

NATS, is_there = program("nats-server")


@pytest.fixture
async def server(tmp_path):
    config = 'websocket { host: "127.0.0.1", port: {port}, no_tls: true }\nhost: "127.0.0.1"\nport: -1\n'
    file = tmp_path / "nats.conf"
    async with ForeignServer(NATS, "-c", str(file), config=(file, config)) as server:
        yield server


@is_there
@pytest.mark.slow
@pytest.mark.parametrize("text", ["hello", "a long text " * 5_000])
async def test_it_publishes_again_when_the_server_comes_back(server, text):
    async with recipe("nats.py", f"ws://127.0.0.1:{server.port}", "home.hall", text) as program:
        await program.until(text)
        server.kill()
        await server.start()
        await program.until(text)
        await program.interrupt()


@pytest.mark.slow
async def test_a_ping_that_comes_in_two_parts_is_answered():
    answered = asyncio.get_running_loop().create_future()

    async def serve(peer):
        await peer.accept()
        await peer.send_binary(b"INFO {}\r\n")
        assert await peer.receive_message() == b'CONNECT {"verbose":false}\r\nPING\r\n'
        await peer.send_binary(b"PONG\r\n")
        await peer.receive_message()
        await peer.send_binary(b"PI")
        await peer.send_binary(b"NG\r\n")
        answered.set_result(await peer.receive_message())
        await peer.send_close((await peer.expect_close()).code)

    async with WebSocketServer(serve) as server, recipe("nats.py", server.url, "home.hall", "hello") as program:
        assert await answered == b"PONG\r\n"
        await program.interrupt()


@pytest.mark.parametrize("step", [1, 2, 7, 100])
def test_operations_are_the_same_however_they_are_cut(step):
    nats = load("nats")
    stream = b"PING\r\nMSG a 1 0\r\n\r\nMSG a 1 reply 7\r\nPING\r\n!\r\n+OK\r\n"
    rest, found = b"", []
    for at in range(0, len(stream), step):
        rest, more = nats.split((rest, []), stream[at : at + step])
        found += more
    lines = [b"PING\r\n", b"MSG a 1 0\r\n", b"MSG a 1 reply 7\r\n", b"+OK\r\n"]
    assert (rest, found) == (b"", list(zip(lines, [b"", b"", b"PING\r\n!", b""], strict=True)))
