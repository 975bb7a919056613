"""The scripted server over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

import aiohttp
import pytest
import trustme
from raw_client import BOUND, REQUEST, Raw
from websockets.asyncio.client import connect

from rxnodes.testing import Peer, WebSocketServer, echo


@pytest.fixture(scope="module")
def tls():
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


async def test_echo_through_tls_with_websockets_and_aiohttp(tls):
    context, trusting = tls
    async with WebSocketServer(echo, tls=context) as server:
        assert server.url.startswith("wss://")
        async with connect(server.url, ssl=trusting, proxy=None) as ws:
            await ws.send(bytes(300_000))
            assert await ws.recv() == bytes(300_000)
        assert ws.close_code == 1000
        async with aiohttp.ClientSession() as session, session.ws_connect(server.url, ssl=trusting) as ws:
            await ws.send_str("x")
            assert await ws.receive_str() == "x"


@pytest.mark.parametrize(
    ("end", "raised"),
    [
        (Peer.close, contextlib.nullcontext()),
        (Peer.half_close, contextlib.nullcontext()),
        (Peer.drop_tls, pytest.raises(ssl.SSLEOFError)),
    ],
)
async def test_tls_ends_with_and_without_close_notify(tls, end, raised):
    context, trusting = tls

    async def script(peer):
        await peer.send_raw(b"last words")
        await end(peer)

    def client(port):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=BOUND) as sock,
            trusting.wrap_socket(sock, server_hostname="127.0.0.1", suppress_ragged_eofs=False) as wrapped,
        ):
            assert wrapped.recv(100) == b"last words"
            with raised:
                assert wrapped.recv(100) == b""

    async with WebSocketServer(script, tls=context) as server:
        await asyncio.to_thread(client, server.port)


async def test_a_failed_tls_handshake_is_no_failure_of_the_server(tls):
    context, _ = tls
    async with WebSocketServer(echo, tls=context) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(server.url, ssl=ssl.create_default_context(), proxy=None)
        async with Raw(server.port) as client:
            await client.send(REQUEST)  # not TLS
            assert (await client.ending())[1] == "fin"
        assert server.connections == 2
