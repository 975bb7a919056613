"""picows: frames are handed to a listener."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from typing_extensions import override

from benchmarks.clock import Counter, lives, many, now, percentiles, rates

if TYPE_CHECKING:
    from benchmarks.job import Job, Metrics


class Receiver(WSListener):
    """Makes a message of each frame, as a subscriber of the others gets one."""

    def __init__(self, *, is_text: bool) -> None:
        self._is_text = is_text
        self.counter = Counter()

    @override
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.counter.on_next(frame.get_payload_as_utf8_text() if self._is_text else frame.get_payload_as_bytes())


async def receive(job: Job) -> Metrics:
    """Counts messages."""
    return await count_with(Receiver(is_text=job.is_text), job)


async def count_with(receiver: Receiver, job: Job) -> Metrics:
    """Counts what the receiver is given."""
    # The server's certificate is made on the spot.
    tls = ssl._create_unverified_context() if job.is_tls else None  # noqa: S323, SLF001 - as its documentation does
    transport, _ = await ws_connect(lambda: receiver, job.url, max_frame_size=2**31 - 1, ssl_context=tls)

    async def run(count: int) -> None:
        seen = receiver.counter.expect(count)
        transport.send(WSMsgType.TEXT, job.blast(count).encode())
        await seen

    metrics: Metrics = {"rate": await rates(job, run)}
    await _close(transport)
    return metrics


async def send(job: Job) -> Metrics:
    """Sends bursts, and lets the loop take a turn after each."""
    receiver = Receiver(is_text=True)
    transport, _ = await ws_connect(lambda: receiver, job.url)
    payload = job.text.encode()

    async def run(count: int) -> None:
        done = receiver.counter.expect(1)
        transport.send(WSMsgType.TEXT, job.sink(count).encode())
        for first in range(0, count, job.burst):
            for _ in range(min(job.burst, count - first)):
                transport.send(WSMsgType.TEXT, payload)
            await asyncio.sleep(0)
        await done

    metrics: Metrics = {"rate": await rates(job, run)}
    await _close(transport)
    return metrics


class Echoer(WSListener):
    """Sends the next message when the last one has come back."""

    def __init__(self, job: Job) -> None:
        self._payload = job.text.encode()
        self._left = job.count
        self._begun = 0
        self.took: list[int] = []
        self.done = asyncio.get_running_loop().create_future()

    @override
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        frame.get_payload_as_utf8_text()
        self.took.append(now() - self._begun)
        self._left -= 1
        if self._left:
            self.send(transport)
        else:
            self.done.set_result(None)

    def send(self, transport: WSTransport) -> None:
        """Sends one message."""
        self._begun = now()
        transport.send(WSMsgType.TEXT, self._payload)


async def echo(job: Job) -> Metrics:
    """Sends, and receives the answer."""
    echoer = Echoer(job)
    transport, _ = await ws_connect(lambda: echoer, job.url)
    transport.send(WSMsgType.TEXT, b"echo")
    echoer.send(transport)
    await echoer.done
    await _close(transport)
    return percentiles("echo", echoer.took)


async def lifecycle(job: Job) -> Metrics:
    """Connects, and closes."""
    return await lives(job, lambda: _open(job), _close)


async def connections(job: Job) -> Metrics:
    """Opens many connections, holds them, and closes all at once."""
    return await many(job, lambda: _open(job), _close)


async def _open(job: Job) -> WSTransport:
    return (await ws_connect(WSListener, job.url))[0]


async def _close(transport: WSTransport) -> None:
    transport.send_close()
    await transport.wait_disconnected()
