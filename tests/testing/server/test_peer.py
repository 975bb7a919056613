"""What a client sees of each verb: the opening handshake and messages."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import pytest
import websockets
from raw_client import ACCEPT, BOUND, MASK, REQUEST, RESPONSE_END, Heard, Raw
from websockets.asyncio.client import connect

from rxnodes.testing import (
    RSV1,
    CloseReceived,
    EndOfStream,
    Frame,
    Opcode,
    Peer,
    WebSocketServer,
    answer_with,
    close_payload,
    echo,
    never_answer_handshake,
    refuse,
    refusing_port,
    stall_in_header,
)

# The opening handshake


async def test_a_request_is_read_and_answered_with_what_follows_in_one_segment():
    async def script(peer):
        request = await peer.read_request()
        await peer.accept("b", "x-test", {"X-More": "1"}, then=Frame(Opcode.TEXT, b"hi").encode())
        return request

    heard = Heard(script)
    async with WebSocketServer(heard) as server, Raw(server.port) as client:
        await client.send(REQUEST)
        head, _, rest = (await client.receive()).partition(RESPONSE_END)
        request = await heard.result()
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        f"Sec-WebSocket-Accept: {ACCEPT}".encode(),
        b"Sec-WebSocket-Protocol: b",
        b"Sec-WebSocket-Extensions: x-test",
        b"X-More: 1",
    ]
    assert rest == b"\x81\x02hi"
    assert (request.method, request.target, request.version) == ("GET", "/chat?room=1", "HTTP/1.1")
    assert request.header("SEC-WEBSOCKET-PROTOCOL") == "a, b"
    assert request.header("Origin") is None


async def test_headers_of_the_101_can_be_wrong_or_missing():
    async def script(peer):
        await peer.accept(extra_headers={"sec-websocket-accept": "wrong", "Upgrade": None})

    async with WebSocketServer(script) as server, Raw(server.port) as client:
        assert await client.open() == (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nsec-websocket-accept: wrong\r\n\r\n"
        )


async def test_refuse_gives_the_status_to_websockets_and_aiohttp():
    async with WebSocketServer(refuse(503, {"Retry-After": "7"})) as server:
        with pytest.raises(websockets.InvalidStatus) as refused:
            await connect(server.url, proxy=None)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as rejected:
                await session.ws_connect(server.url)
        assert server.connections == 2
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"] == "7"
    assert rejected.value.status == 503


async def test_answer_with_sends_junk_and_fin():
    async with WebSocketServer(answer_with(b"\x00junk", b"\xff")) as server, Raw(server.port) as client:
        await client.send(REQUEST)
        assert await client.ending() == (b"\x00junk\xff", "fin")


async def test_stall_in_header_stays_open_and_silent():
    async with WebSocketServer(stall_in_header) as server, Raw(server.port) as client:
        await client.send(REQUEST)
        assert await client.read_until(b"Upgrade: webs")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.loop.sock_recv(client.sock, 1)


async def test_never_answer_handshake_says_nothing():
    async with WebSocketServer(never_answer_handshake) as server:
        with pytest.raises(TimeoutError):
            await connect(server.url, open_timeout=0.05, proxy=None)
        assert server.connections == 1


@pytest.mark.parametrize(
    ("data", "complaint"), [(b"GET / HTTP/1.1\r\n\r\n", "no Sec-WebSocket-Key"), (bytes(70_000), "no request")]
)
async def test_accept_objects_to_what_is_no_opening_handshake(data, complaint):
    heard = Heard(Peer.accept)
    async with WebSocketServer(heard) as server, Raw(server.port) as client:
        await client.send(data)
        with pytest.raises(AssertionError, match=complaint):
            await heard.result()


async def test_a_refusing_port_refuses():
    with refusing_port() as port, pytest.raises(ConnectionRefusedError):
        async with Raw(port):
            pass


# Messages


async def test_echo_with_websockets():
    async with WebSocketServer(echo) as server, connect(server.url, proxy=None) as ws:
        await ws.send("text ü")
        assert await ws.recv() == "text ü"
        await ws.send([b"in ", b"three ", b"parts"])
        assert await ws.recv() == b"in three parts"
        await asyncio.wait_for(await ws.ping(), BOUND)
        await ws.close(4001, "done")
    assert (ws.close_code, ws.protocol.close_rcvd.code) == (4001, 4001)


async def test_echo_with_aiohttp():
    async with (
        WebSocketServer(echo) as server,
        aiohttp.ClientSession() as session,
        session.ws_connect(server.url) as ws,
    ):
        await ws.send_bytes(bytes(200_000))
        assert await ws.receive_bytes() == bytes(200_000)
        await ws.close(code=3000)
        assert ws.close_code == 3000


async def test_echo_answers_an_empty_close_with_an_empty_close_and_fin():
    async with WebSocketServer(echo) as server, Raw(server.port) as client:
        await client.open()
        await client.send_frame(Opcode.CLOSE)
        assert await client.ending() == (b"\x88\x00", "fin")


async def test_every_sending_verb():
    async def script(peer):
        await peer.accept()
        await peer.send_text("t")
        await peer.send_text(b"\xff")
        await peer.send_binary(b"b")
        await peer.ping(b"i")
        await peer.pong(b"o")
        await peer.send_frame(Frame(3, b"?", fin=False, rsv=7, mask=MASK))
        await peer.send_frame(Frame(Opcode.TEXT), length=9, length_bits=16)
        await peer.send_raw(b"raw")
        await peer.send_close(None)
        await peer.send_close(5000, b"\xff")

    async with WebSocketServer(script) as server, Raw(server.port) as client:
        await client.open()
        data, ending = await client.ending()
    assert data == b"".join(
        [
            b"\x81\x01t",
            b"\x81\x01\xff",
            b"\x82\x01b",
            b"\x89\x01i",
            b"\x8a\x01o",
            b"\x73\x81" + MASK + bytes([ord("?") ^ MASK[0]]),
            b"\x81\x7e\x00\x09",
            b"raw",
            b"\x88\x00",
            b"\x88\x03\x13\x88\xff",
        ]
    )
    assert ending == "fin"


async def test_receive_tells_a_frame_as_it_came_and_answers_nothing():
    async def script(peer):
        await peer.accept()
        return [await peer.receive() for _ in range(2)]

    heard = Heard(script)
    async with WebSocketServer(heard) as server, Raw(server.port) as client:
        await client.open()
        await client.send(Frame(Opcode.TEXT, b"naked", fin=False).encode())
        await client.send_frame(Opcode.PING, b"masked")
        naked, masked = await heard.result()
        assert await client.ending() == (b"", "fin")
    assert naked == Frame(Opcode.TEXT, b"naked", fin=False)
    assert not naked.masked
    assert (masked.opcode, masked.payload, masked.masked) == (Opcode.PING, b"masked", True)


@pytest.mark.parametrize("answer_pings", [True, False])
async def test_expect_close_skips_data_and_answers_pings_if_asked(answer_pings):
    async def script(peer):
        await peer.accept()
        return await peer.expect_close(answer_pings=answer_pings)

    heard = Heard(script)
    async with WebSocketServer(heard) as server, Raw(server.port) as client:
        await client.open()
        await client.send_frame(Opcode.TEXT, b"skipped")
        await client.send_frame(Opcode.PING, b"p")
        await client.send_frame(Opcode.CLOSE, close_payload(4000, "over"))
        assert await heard.result() == (4000, "over")
        assert await client.ending() == (b"\x8a\x01p" if answer_pings else b"", "fin")


async def test_expect_close_fails_the_script_when_none_comes():
    heard = Heard(Peer.expect_close)
    async with WebSocketServer(heard) as server, Raw(server.port) as client:
        client.finish()
        with pytest.raises(AssertionError, match="no Close frame"):
            await heard.result()


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([Frame(Opcode.TEXT, b"x")], "did not mask"),
        ([Frame(Opcode.TEXT, b"x", rsv=RSV1, mask=MASK)], "reserved bits"),
        ([Frame(Opcode.CONTINUATION, b"x", mask=MASK)], "started a message with"),
        ([Frame(Opcode.TEXT, fin=False, mask=MASK), Frame(Opcode.TEXT, mask=MASK)], "continued a message with"),
    ],
)
async def test_receive_message_objects_to_a_client_that_breaks_the_protocol(frames, complaint):
    heard = Heard(Peer.receive_message)
    async with WebSocketServer(heard) as server, Raw(server.port) as client:
        await client.send(b"".join(frame.encode() for frame in frames))
        with pytest.raises(AssertionError, match=complaint):
            await heard.result()


async def test_receive_message_tells_close_fin_and_reset_apart():
    for end, error in (
        (lambda client: client.send_frame(Opcode.CLOSE, close_payload(1001)), CloseReceived),
        (lambda client: asyncio.to_thread(client.finish), EndOfStream),
        (lambda client: asyncio.to_thread(client.reset), ConnectionResetError),
    ):
        heard = Heard(Peer.receive_message)
        async with WebSocketServer(heard) as server, Raw(server.port) as client:
            await end(client)
            with pytest.raises(error):
                await heard.result()


async def test_a_cancelled_receive_loses_nothing():
    async def script(peer):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(peer.receive(), 0)
        return await peer.receive()

    heard = Heard(script)
    async with WebSocketServer(heard) as server, Raw(server.port) as client:
        await client.send_frame(Opcode.TEXT, b"still here")
        assert (await heard.result()).payload == b"still here"
