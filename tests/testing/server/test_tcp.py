"""The end of TCP, down to FIN and RST."""

from __future__ import annotations

import asyncio
import socket

import pytest
from raw_client import REQUEST, Heard, Raw

from rxnodes.testing import Opcode, Peer, WebSocketServer, hang_up, never_read


async def test_a_script_that_returns_ends_with_fin_even_with_bytes_unread():
    async with WebSocketServer(hang_up) as server, Raw(server.port) as client:
        await client.send(REQUEST + bytes(100_000))  # closing a socket with these unread would reset the connection
        data, ending = await client.ending()
        await client.send(b"still taken")  # a reset behind the FIN would show here
    assert data.startswith(b"HTTP/1.1 101")
    assert ending == "fin"


async def test_half_close_goes_on_receiving():
    async def script(peer):
        await peer.half_close()
        return await peer.receive()

    heard = Heard(script)
    async with WebSocketServer(heard) as server, Raw(server.port) as client:
        assert await client.receive() == b""
        await client.send_frame(Opcode.TEXT, b"late")
        assert (await heard.result()).payload == b"late"


async def test_wait_closed_and_close_say_how_the_client_ended():
    for verb in (Peer.wait_closed, Peer.close):
        for end, expected in ((Raw.finish, "fin"), (Raw.reset, "reset")):
            heard = Heard(verb)
            async with WebSocketServer(heard) as server, Raw(server.port) as client:
                await client.send(b"thrown away")
                end(client)
                assert await heard.result() == expected


async def test_a_reset_is_not_forgotten():
    async def script(peer):
        return await peer.wait_closed(), await peer.wait_closed()

    heard = Heard(script)
    async with WebSocketServer(heard) as server, Raw(server.port) as client:
        client.reset()
        assert await heard.result() == ("reset", "reset")


async def test_reset_wakes_a_verb_that_waits():
    async def script(peer):
        waiting = asyncio.create_task(peer.receive())
        await asyncio.sleep(0)
        peer.reset()
        await waiting

    heard = Heard(script)
    async with WebSocketServer(heard) as server, Raw(server.port) as client:
        with pytest.raises(ConnectionAbortedError):
            await heard.result()
        assert await client.ending() == (b"", "reset")


async def test_never_read_fills_the_clients_writes_and_a_small_buffer_does_so_soon():
    async with WebSocketServer(never_read, receive_buffer=4096) as server, Raw(server.port) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        await client.open()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.loop.sock_sendall(client.sock, bytes(200_000))


async def test_two_tasks_may_send_while_the_client_does_not_read():
    async def script(peer):
        await asyncio.gather(peer.send_binary(b"a" * 4_000_000), peer.send_binary(b"b" * 4_000_000))

    async with WebSocketServer(script) as server, Raw(server.port) as client:
        frames = [await client.read_frame(), await client.read_frame()]
    assert [(frame.payload[:1], len(set(frame.payload))) for frame in frames] == [(b"a", 1), (b"b", 1)]
