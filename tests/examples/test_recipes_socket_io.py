"""Socket.IO, against python-socketio."""

from __future__ import annotations

import sys

import pytest
from foreign import ForeignServer, needs, recipe

pytestmark = [pytest.mark.slow, needs("socketio", "uvicorn")]


@pytest.fixture
async def server():
    async with ForeignServer(sys.executable, "-m", "uvicorn", "socket_io_api:app", "--port={port}") as server:
        yield server


def greeting(server, query=""):
    url = f"ws://127.0.0.1:{server.port}/socket.io/?EIO=4&transport=websocket{query}"
    return recipe("socket_io.py", url, "greet", "ann")


async def test_events_and_answers_come_when_the_server_comes_back(server):
    async with greeting(server) as program:
        # It gets so far only if pings are answered: one that is not ends the connection within 0.6 s.
        await program.until('42["news",30]')
        assert [line for line in program.lines if line.startswith("43")] == ['431["hello, ann"]']
        server.kill()
        await server.start()
        await program.until('432["hello, ann"]')
        await program.until('42["news",30]')
        await program.interrupt()


async def test_a_client_that_is_refused_does_not_try_again(server):
    async with greeting(server, "&stranger=1") as program:
        assert await program.complaints() == ['server: {"message":"no strangers"}']
