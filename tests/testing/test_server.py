"""The scripted server: what a client sees of each verb, down to FIN and RST.

Raw sockets show what went over TCP; `websockets` and aiohttp show that clients we did not write agree.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import threading
import time
from concurrent.futures import Future

import aiohttp
import pytest
import trustme
import websockets
from websockets.asyncio.client import connect

from rxnodes import Project, RxNodesError
from rxnodes.testing import (
    RSV1,
    CloseReceived,
    EndOfStream,
    Frame,
    Opcode,
    Peer,
    WebSocketServer,
    accept_key,
    answer_with,
    close_payload,
    close_with,
    deflate,
    echo,
    hang_up,
    in_turn,
    keep_tcp_open,
    never_answer_close,
    never_answer_handshake,
    never_read,
    parse_close,
    refuse,
    refusing_port,
    stall_in_header,
    take_frame,
    talk_after_close,
    talk_after_own_close,
    vanish,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
REQUEST = (
    "GET /chat?room=1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: a\r\nsec-websocket-protocol: b\r\n\r\n"
).encode()
RESPONSE_END = b"\r\n\r\n"
MASK = b"\x01\x02\x03\x04"
BOUND = 5


class Raw:
    """A client that is nothing but a socket. Whatever it waits for is bounded."""

    def __init__(self, port: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.port = port
        self.buffer = bytearray()

    async def __aenter__(self):
        try:
            await self.loop.sock_connect(self.sock, ("127.0.0.1", self.port))
        except OSError:
            self.sock.close()
            raise
        return self

    async def __aexit__(self, *_):
        self.sock.close()

    async def open(self):
        await self.send(REQUEST)
        return await self.read_until(RESPONSE_END)

    async def send(self, data):
        async with asyncio.timeout(BOUND):
            await self.loop.sock_sendall(self.sock, data)

    async def send_frame(self, opcode, payload=b"", **fields):
        await self.send(Frame(opcode, payload, mask=MASK, **fields).encode())

    async def receive(self):
        """Gives what one read gives; `b""` is FIN, and RST raises."""
        async with asyncio.timeout(BOUND):
            return await self.loop.sock_recv(self.sock, 65536)

    async def read_until(self, end):
        while end not in self.buffer:
            data = await self.receive()
            assert data, f"FIN after {bytes(self.buffer)!r}"
            self.buffer += data
        at = self.buffer.index(end) + len(end)
        head = bytes(self.buffer[:at])
        del self.buffer[:at]
        return head

    async def read_frame(self):
        while (frame := take_frame(self.buffer)) is None:
            data = await self.receive()
            assert data, "FIN instead of a frame"
            self.buffer += data
        return frame

    async def ending(self):
        """Reads to the end; gives what came before it, and how it ended."""
        try:
            while data := await self.receive():
                self.buffer += data
        except ConnectionResetError:
            return bytes(self.buffer), "reset"
        return bytes(self.buffer), "fin"

    def finish(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Heard:
    """Runs a script's body, and lets the test await what it returned or raised."""

    def __init__(self, body) -> None:
        self.body = body
        self.outcome = asyncio.get_running_loop().create_future()

    async def __call__(self, peer):
        try:
            self.outcome.set_result(await self.body(peer))
        except Exception as error:  # noqa: BLE001 - the test judges it
            self.outcome.set_exception(error)

    async def result(self):
        async with asyncio.timeout(BOUND):
            return await self.outcome


@pytest.fixture(scope="module")
def tls():
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


# Frames


def test_accept_key_of_the_rfc():
    assert accept_key(KEY) == ACCEPT


@pytest.mark.parametrize(
    ("frame", "octets"),
    [  # RFC 6455 section 5.7
        (Frame(Opcode.TEXT, b"Hello"), "810548656c6c6f"),
        (Frame(Opcode.TEXT, b"Hello", mask=bytes.fromhex("37fa213d")), "818537fa213d7f9f4d5158"),
        (Frame(Opcode.TEXT, b"Hel", fin=False), "010348656c"),
        (Frame(Opcode.CONTINUATION, b"lo"), "80026c6f"),
        (Frame(Opcode.PING, b"Hello"), "890548656c6c6f"),
        (Frame(Opcode.TEXT, b"", rsv=RSV1), "c100"),
    ],
)
def test_frames_of_the_rfc_both_ways(frame, octets):
    assert frame.encode().hex() == octets
    assert take_frame(bytearray.fromhex(octets)) == frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("mask", [None, MASK])
def test_a_frame_of_any_size_is_taken_only_when_it_is_all_there(size, mask):
    frame = Frame(Opcode.BINARY, bytes(i % 251 for i in range(size)), mask=mask)
    octets = frame.encode()
    assert take_frame(bytearray(octets[:-1])) is None
    buffer = bytearray(octets + b"rest")
    assert take_frame(buffer) == frame
    assert buffer == b"rest"


def test_wrong_lengths():
    assert Frame(Opcode.TEXT, b"ab").encode(length=5) == b"\x81\x05ab"
    assert Frame(Opcode.TEXT, b"ab").encode(length_bits=16) == b"\x81\x7e\x00\x02ab"
    assert Frame(Opcode.TEXT, b"ab").encode(length_bits=64) == b"\x81\x7f" + bytes(7) + b"\x02ab"
    assert Frame(Opcode.TEXT).encode(length=1 << 40)[1] == 127


def test_close_payloads():
    assert close_payload(None) == b""
    assert close_payload(1000, "bye") == b"\x03\xe8bye"
    assert close_payload(1000, b"\xff") == b"\x03\xe8\xff"
    assert parse_close(b"") == (1005, "")
    assert parse_close(b"\x03\xe8bye") == (1000, "bye")
    for wrong in (b"\x03", b"\x03\xe8\xff"):
        with pytest.raises(ValueError, match=r"one byte|utf-8"):
            parse_close(wrong)


def test_deflate_as_in_rfc_7692():
    assert deflate(b"Hello").hex() == "f248cdc9c90700"  # section 7.2.3.1


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
    ("octets", "complaint"), [(b"GET / HTTP/1.1\r\n\r\n", "no Sec-WebSocket-Key"), (bytes(70_000), "no request")]
)
async def test_accept_objects_to_what_is_no_opening_handshake(octets, complaint):
    heard = Heard(Peer.accept)
    async with WebSocketServer(heard) as server, Raw(server.port) as client:
        await client.send(octets)
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
        octets, ending = await client.ending()
    assert octets == b"".join(
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


# The end of TCP


async def test_a_script_that_returns_ends_with_fin_even_with_octets_unread():
    async with WebSocketServer(hang_up) as server, Raw(server.port) as client:
        await client.send(REQUEST + bytes(100_000))  # closing a socket with these unread would reset the connection
        octets, ending = await client.ending()
        await client.send(b"still taken")  # a reset behind the FIN would show here
    assert octets.startswith(b"HTTP/1.1 101")
    assert ending == "fin"


async def test_vanish_resets():
    async with WebSocketServer(vanish) as server, Raw(server.port) as client:
        await client.send(REQUEST)
        octets, ending = await client.ending()
    assert octets.startswith(b"HTTP/1.1 101")
    assert ending == "reset"


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


# Ready scripts


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
                octets, ending = await client.ending()
                endings.append((octets[9:12], ending))
        assert server.connections == 4
    assert endings == [(b"101", "reset"), (b"401", "fin"), (b"101", "fin"), (b"101", "fin")]


# TLS


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


# Leaving


async def test_a_failed_script_raises_on_leaving():
    async def script(peer):
        await peer.accept()
        raise LookupError("in the script")

    async def use():
        async with WebSocketServer(script) as server, Raw(server.port) as client:
            await client.open()
            await client.ending()

    with pytest.raises(ExceptionGroup) as failed:
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


async def test_what_pytest_raises_in_a_script_is_not_lost_either():
    async def script(_):
        pytest.fail("from the script")

    async def use():
        async with WebSocketServer(script) as server, Raw(server.port) as client:
            await client.ending()

    with pytest.raises(BaseExceptionGroup, match="serving a connection failed"):
        await use()


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


async def test_150_connections_at_once():
    async def talk(url):
        async with connect(url, proxy=None) as ws:
            await ws.send("x")
            return await ws.recv()

    began = time.monotonic()
    async with WebSocketServer(echo) as server:
        answers = await asyncio.gather(*(talk(server.url) for _ in range(150)))
        assert server.connections == 150
    assert answers == ["x"] * 150
    assert time.monotonic() - began < 10


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
