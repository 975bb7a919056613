"""How long the opening of a store waits for servers."""

from __future__ import annotations

import asyncio

import pytest

from rxnodes import ConnectError
from rxnodes.fleet.nats import nats_store


async def test_a_server_without_jetstream_is_waited_for_no_longer_than_is_asked_for():
    async def serve(reader, writer):
        writer.write(b'INFO {"server_id":"it","version":"2.10.0","max_payload":1048576,"headers":true}\r\n')
        async for line in reader:
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(ConnectError) as caught:
            await nats_store(f"nats://127.0.0.1:{port}", patience=1.0).open()
    assert str(caught.value) == f"no JetStream answers at 127.0.0.1:{port} (for 1 s)"
