"""No WebSocket library at all: asyncio's own protocol and prebuilt frames. It shows how fast the server is."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from typing_extensions import override

from benchmarks.clock import lives, now, percentiles, rates
from benchmarks.job import client_header_size

if TYPE_CHECKING:
    from benchmarks.job import Job, Metrics

#: Bytes of frames in one write.
BLOCK_SIZE = 256 * 1024

#: An unchanging mask of zeros: nothing to compute.
MASK = bytes(4)

CLOSE_FRAME = b"\x88\x82" + MASK + b"\x03\xe8"


class ByteCounter(asyncio.BufferedProtocol):
    """Counts bytes, without looking at them."""

    def __init__(self) -> None:
        self._buffer = bytearray(BLOCK_SIZE)
        self._left = 0
        self._waiter: asyncio.Future[None] | None = None
        self.lost = asyncio.get_running_loop().create_future()

    @override
    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self._left -= nbytes
        if self._left <= 0 and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)

    def expect(self, size: int) -> asyncio.Future[None]:
        """What is awaited until so many bytes have come."""
        self._left = size
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter


async def _connect(job: Job) -> tuple[asyncio.Transport, ByteCounter]:
    loop = asyncio.get_running_loop()
    transport, counter = await loop.create_connection(ByteCounter, "127.0.0.1", job.port)
    answered = counter.expect(1)
    key = os.urandom(16).hex().encode()
    transport.write(
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
    )
    await answered
    return transport, counter


def _frame(payload: bytes) -> bytes:
    length = len(payload)
    assert client_header_size(length) == 6  # noqa: PLR2004 - short frames are all that is sent here
    return bytes((0x81, 0x80 | length)) + MASK + payload


def _server_frame_size(size: int) -> int:
    return client_header_size(size) - len(MASK) + size


async def _close(transport: asyncio.Transport, counter: ByteCounter) -> None:
    transport.write(CLOSE_FRAME)
    await counter.lost


async def receive(job: Job) -> Metrics:
    """Counts bytes."""
    transport, counter = await _connect(job)
    frame_size = _server_frame_size(job.size)

    async def run(count: int) -> None:
        seen = counter.expect(count * frame_size)
        transport.write(_frame(job.blast(count).encode()))
        await seen

    metrics: Metrics = {"rate": await rates(job, run)}
    await _close(transport, counter)
    return metrics


async def send(job: Job) -> Metrics:
    """Writes prebuilt bursts, and lets the loop take a turn after each."""
    transport, counter = await _connect(job)
    frame = _frame(job.text.encode())

    async def run(count: int) -> None:
        done = counter.expect(1)
        transport.write(_frame(job.sink(count).encode()))
        for first in range(0, count, job.burst):
            transport.write(frame * min(job.burst, count - first))
            await asyncio.sleep(0)
        await done

    metrics: Metrics = {"rate": await rates(job, run)}
    await _close(transport, counter)
    return metrics


async def echo(job: Job) -> Metrics:
    """Writes, and waits for the answer."""
    transport, counter = await _connect(job)
    frame = _frame(job.text.encode())
    took: list[int] = []
    transport.write(_frame(b"echo"))
    for _ in range(job.count):
        begun = now()
        answered = counter.expect(_server_frame_size(job.size))
        transport.write(frame)
        await answered
        took.append(now() - begun)
    await _close(transport, counter)
    return percentiles("echo", took)


async def lifecycle(job: Job) -> Metrics:
    """Connects, and closes."""

    async def close(connection: tuple[asyncio.Transport, ByteCounter]) -> None:
        await _close(*connection)
        await asyncio.sleep(0)  # the descriptor closes a turn of the loop later

    return await lives(job, lambda: _connect(job), close)
