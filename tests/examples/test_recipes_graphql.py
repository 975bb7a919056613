"""GraphQL over WebSocket, against strawberry on uvicorn."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest
from foreign import ForeignServer, load, needs, recipe

from rxnodes import Project
from rxnodes.testing import WebSocketServer

pytestmark = [pytest.mark.slow, needs("strawberry", "uvicorn", "websockets")]


@pytest.fixture
async def server():
    async with ForeignServer(sys.executable, "-m", "uvicorn", "graphql_api:app", "--port={port}") as server:
        yield server


async def test_operations_go_on_when_the_server_comes_back(server):
    operations = ["{ hello }", "{ nope }", "subscription { ticks(upTo: 2) }", "subscription { ticks }"]
    async with recipe("graphql.py", f"ws://127.0.0.1:{server.port}", *operations) as program:
        await program.until("{'data': {'ticks': 30}}")
        server.kill()
        await server.start()
        await program.until("{'data': {'ticks': 30}}")
        await program.interrupt()
    # Of each server: the answer, the error, and what two subscriptions and one of them give.
    assert program.lines.count("{'data': {'hello': 'world'}}") == 2
    assert sum("Cannot query field 'nope'" in line for line in program.lines) == 2
    assert program.lines.count("{'data': {'ticks': 2}}") == 4
    assert program.lines.count("{'data': {'ticks': 3}}") == 2


async def test_a_subscription_that_is_disposed_ends_at_the_server(server):
    graphql = load("graphql")
    settings = {
        "url": f"ws://127.0.0.1:{server.port}",
        "subprotocols": ["graphql-transport-ws"],
        "codec": "json",
        "after_connect": graphql.log_in,
    }
    async with Project(websocket={"api": settings}) as project:
        api = project.websocket("api")
        api.start()
        await api.wait_started()

        async def listeners():
            return (await graphql.run(api, "{ listeners }"))["data"]["listeners"]

        subscription = graphql.run(api, "subscription { ticks }").subscribe()
        assert await listeners() == 1
        subscription.dispose()
        # The server takes a moment to end its generator.
        while await listeners():
            pass


async def test_a_ping_is_answered():
    answered = asyncio.get_running_loop().create_future()

    async def serve(peer):
        await peer.accept(subprotocol="graphql-transport-ws")
        assert json.loads(await peer.receive_message()) == {"type": "connection_init"}
        await peer.send_text('{"type": "connection_ack"}')
        await peer.send_text('{"type": "ping"}')
        answered.set_result(json.loads(await peer.receive_message()))
        await peer.send_close((await peer.expect_close()).code)

    async with WebSocketServer(serve) as server, recipe("graphql.py", server.url) as program:
        assert await answered == {"type": "pong"}
        await program.interrupt()
