"""The proxy: faithful without a fault, and each fault seen from both ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
import time

import aiohttp
import pytest
from websockets.asyncio.client import connect

from rxnodes.testing import ChaosProxy, WebSocketServer, echo, refusing_port

BOUND = 5
QUIET = 0.05


class Line:
    """A raw client, and the server's `Peer` at the other end of the proxy."""

    def __init__(self, sock, proxy, peer) -> None:
        self.sock = sock
        self.proxy = proxy
        self.peer = peer
        self.loop = asyncio.get_running_loop()
        self.received = b""

    async def to_server(self, data):
        async with asyncio.timeout(BOUND):
            await self.loop.sock_sendall(self.sock, data)

    async def to_client(self, data):
        await self.peer.send_raw(data)

    async def at_client(self):
        async with asyncio.timeout(BOUND):
            return await self.loop.sock_recv(self.sock, 65536)

    async def at_server(self):
        async with asyncio.timeout(BOUND):
            return await self.peer._tcp.receive()

    async def exactly_at_client(self, size):
        data = b""
        while len(data) < size:
            piece = await self.at_client()
            assert piece, "FIN"
            data += piece
        return data

    async def client_ending(self):
        try:
            while data := await self.at_client():
                self.received += data
        except ConnectionResetError:
            return "reset"
        return "fin"

    async def server_ending(self):
        async with asyncio.timeout(BOUND):
            return await self.peer.wait_closed()

    def reset_client(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    async def quiet_at_client(self):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(QUIET):
                await self.loop.sock_recv(self.sock, 1)

    async def quiet_at_server(self):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(QUIET):
                await self.peer._tcp.receive()


@contextlib.asynccontextmanager
async def open_line():
    peers = asyncio.Queue()

    async def script(peer):
        await peers.put(peer)
        await peer.hang()

    async with WebSocketServer(script) as server, ChaosProxy(server.port) as proxy:
        with socket.socket() as sock:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", proxy.port))
            yield Line(sock, proxy, await asyncio.wait_for(peers.get(), BOUND))


@pytest.fixture
async def line():
    async with open_line() as opened:
        yield opened


# Faithful


async def test_websockets_and_aiohttp_do_not_notice_it():
    async with WebSocketServer(echo) as server, ChaosProxy(server.url) as proxy:
        assert proxy.url == f"ws://127.0.0.1:{proxy.port}/"
        async with connect(proxy.url, proxy=None) as ws:
            await ws.send(bytes(900_000))
            assert await ws.recv() == bytes(900_000)
        assert ws.close_code == 1000
        async with aiohttp.ClientSession() as session, session.ws_connect(proxy.url) as ws:
            await ws.send_str("x")
            assert await ws.receive_str() == "x"
        assert (proxy.connections, server.connections) == (2, 2)


def test_the_url_keeps_scheme_path_and_query():
    assert ChaosProxy("wss://example.org/chat?a=1", host="localhost").url == "wss://localhost:0/chat?a=1"


async def test_bytes_are_counted(line):
    await line.to_server(b"12345")
    assert await line.at_server() == b"12345"
    await line.to_client(b"123")
    assert await line.at_client() == b"123"
    assert (line.proxy.to_server.bytes_passed, line.proxy.to_client.bytes_passed) == (5, 3)


async def test_fin_passes_and_leaves_the_other_direction_open(line):
    line.sock.shutdown(socket.SHUT_WR)
    assert await line.at_server() == b""
    await line.to_client(b"late")
    assert await line.at_client() == b"late"
    await line.peer.half_close()
    assert await line.client_ending() == "fin"


async def test_reset_passes_to_the_server(line):
    line.reset_client()
    assert await line.server_ending() == "reset"


async def test_reset_passes_to_the_client(line):
    line.peer.reset()
    assert await line.client_ending() == "reset"


async def test_a_client_that_is_gone_for_good_resets_a_server_that_talks_on(line):
    line.sock.shutdown(socket.SHUT_WR)
    assert await line.at_server() == b""
    line.reset_client()

    async def talk_on():
        while True:
            await line.to_client(b"hello?")
            await asyncio.sleep(0)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(talk_on(), BOUND)


async def test_a_refusing_server_resets_the_client():
    with refusing_port() as port:
        async with ChaosProxy(port) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), BOUND)
            writer.close()


async def test_a_source_waits_until_the_target_reads_on(line):
    size = 20_000_000
    sending = asyncio.create_task(line.to_server(b"x" * size))
    await line.quiet_at_client()  # long enough for all buffers to fill
    assert not sending.done()
    received = 0
    while received < size:
        received += len(await line.at_server())
    await sending
    assert line.proxy.to_server.bytes_passed == size


# Faults


async def test_latency_delays_but_does_not_slow_down(line):
    line.proxy.to_client.latency = 0.1
    began = time.monotonic()
    for _ in range(20):
        await line.to_client(b"x")
        await asyncio.sleep(0)
    assert await line.exactly_at_client(20) == b"x" * 20
    assert 0.1 <= time.monotonic() - began < 1


async def test_latency_holds_for_fin_too(line):
    line.proxy.to_client.latency = 0.1
    began = time.monotonic()
    await line.peer.half_close()
    assert await line.at_client() == b""
    assert time.monotonic() - began >= 0.1


async def test_bandwidth(line):
    line.proxy.to_server.bandwidth = 20_000
    began = time.monotonic()
    await line.to_server(bytes(4_000))
    received = 0
    while received < 4_000:
        received += len(await line.at_server())
    assert 0.15 <= time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("fault", "value", "off"), [("latency", 3600, 0), ("bandwidth", 0, None), ("bandwidth", 0.001, None)]
)
async def test_what_is_under_way_comes_at_once_when_the_fault_is_lifted(line, fault, value, off):
    setattr(line.proxy.to_client, fault, value)
    await line.to_client(b"first of all")
    if value == 0.001:
        assert await line.at_client() == b"f"
    await line.quiet_at_client()
    setattr(line.proxy.to_client, fault, off)
    assert b"first of all".endswith(await line.at_client())


async def test_slices_come_one_by_one(line):
    line.proxy.to_client.slice_size = 2
    await line.to_client(b"abcde")
    assert [await line.at_client() for _ in range(3)] == [b"ab", b"cd", b"e"]


async def test_a_black_hole_swallows_one_direction_only(line):
    line.proxy.to_server.black_hole = True
    await line.to_server(b"lost")
    await line.quiet_at_server()
    await line.to_client(b"through")
    assert await line.at_client() == b"through"
    line.proxy.to_server.black_hole = False
    await line.to_server(b"found")
    assert await line.at_server() == b"found"


@pytest.mark.parametrize("ending", ["fin", "reset"])
async def test_a_black_hole_holds_an_end_back_until_it_is_lifted(line, ending):
    line.proxy.to_server.black_hole = True
    if ending == "fin":
        line.sock.shutdown(socket.SHUT_WR)
    else:
        line.reset_client()
    await line.quiet_at_server()
    line.proxy.to_server.black_hole = False
    assert await line.server_ending() == ending


async def test_a_black_hole_relieves_a_source_whose_target_does_not_read(line):
    line.proxy.to_server.black_hole = True
    await line.to_server(bytes(20_000_000))
    assert line.proxy.to_server.bytes_passed == 0


async def test_half_close_ends_one_direction_for_good(line):
    line.proxy.to_client.half_close = True
    assert await line.at_client() == b""
    line.proxy.to_client.half_close = False
    await line.to_client(b"lost")
    await line.to_server(b"through")
    assert await line.at_server() == b"through"
    assert line.proxy.to_client.bytes_passed == 0
    line.sock.shutdown(socket.SHUT_WR)
    assert await line.server_ending() == "fin"


async def test_reset_after_cuts_within_a_segment_on_both_sides(line):
    line.proxy.to_client.reset_after = 3
    await line.to_client(b"abcdef")
    assert await line.client_ending() == "reset"
    assert line.received in {b"abc", b""}  # Linux gives what came before a reset, others need not
    assert line.proxy.to_client.bytes_passed == 3
    assert await line.server_ending() == "reset"


async def test_reset_after_nothing_resets_at_once(line):
    line.proxy.to_server.reset_after = 0
    assert await line.client_ending() == "reset"
    assert await line.server_ending() == "reset"


async def test_reset_all(line):
    line.proxy.to_server.black_hole = True
    line.proxy.to_client.latency = 3600
    line.proxy.reset_all()
    assert await line.client_ending() == "reset"
    assert await line.server_ending() == "reset"


async def test_a_switch_acts_within_the_turn(line):
    line.proxy.to_client.latency = 3600
    await line.to_client(b"x")
    await line.quiet_at_client()
    line.proxy.to_client.clear()
    assert line.sock.recv(1) == b"x"  # with no await between


async def test_a_misspelt_fault_is_refused(line):
    with pytest.raises(AttributeError):
        line.proxy.to_client.latncy = 1


# Leaving


async def test_leaving_leaves_no_task_and_no_socket():
    before = asyncio.all_tasks()
    async with open_line() as line:
        line.proxy.to_server.latency = 3600
        line.proxy.to_client.black_hole = True
        await line.to_server(b"x")
        await line.to_client(b"x")
        await line.peer.half_close()
        assert asyncio.all_tasks() > before
    assert asyncio.all_tasks() == before
    gc.collect()  # an open socket would warn now, and a warning is an error


def test_with_uvloop():
    uvloop = pytest.importorskip("uvloop")

    async def use():
        for end, expected in ((Line.reset_client, "reset"), (lambda line: line.sock.shutdown(socket.SHUT_WR), "fin")):
            async with open_line() as line:
                end(line)
                assert await line.server_ending() == expected
        async with open_line() as line:
            line.peer.reset()
            assert await line.client_ending() == "reset"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use())
