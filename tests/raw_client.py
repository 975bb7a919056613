"""A client that is nothing but a socket, for tests of the scripted server."""

from __future__ import annotations

import asyncio
import socket
import struct

from rxnodes.testing import (
    Frame,
    take_frame,
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
