"""aiohttp as its documentation shows it: `async for`, `send_str`, `receive`, `close`."""

from __future__ import annotations

import asyncio
import socket
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from typing_extensions import override

from benchmarks.clock import lives, many, now, percentiles, rates
from benchmarks.limits import may_open
from rxnodes.codecs import as_codec, decode, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from benchmarks.job import Job, Metrics

JSON = as_codec("json")


@asynccontextmanager
async def connected(job: Job) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A connection, closed at the end."""
    async with aiohttp.ClientSession() as session, _connect(session, job) as ws:
        yield ws


def _connect(session: aiohttp.ClientSession, job: Job) -> Any:
    compress = zlib.MAX_WBITS if job.is_deflated else 0
    # The server's certificate is made on the spot.
    return session.ws_connect(job.url, max_msg_size=0, compress=compress, ssl=not job.is_tls)


async def receive(job: Job) -> Metrics:
    """Counts messages in `async for`."""
    async with connected(job) as ws:

        async def run(count: int) -> None:
            await ws.send_str(job.blast(count))
            received = 0
            async for _message in ws:
                received += 1
                if received == count:
                    break

        return {"rate": await rates(job, run)}


async def pipeline(job: Job) -> Metrics:
    """The same, with what map, filter, map do written into the loop."""
    async with connected(job) as ws:

        async def run(count: int) -> None:
            await ws.send_str(job.blast(count))
            received = 0
            async for message in ws:
                length = len(message.data)
                if length > 0:
                    received += length + 1 > 0
                if received == count:
                    break

        return {"rate": await rates(job, run)}


async def send(job: Job) -> Metrics:
    """Awaits each send."""
    text = job.text
    async with connected(job) as ws:

        async def run(count: int) -> None:
            await ws.send_str(job.sink(count))
            for _ in range(count):
                await ws.send_str(text)
            await ws.receive()

        return {"rate": await rates(job, run)}


async def echo(job: Job) -> Metrics:
    """Sends, and receives the answer."""
    text = job.text
    took: list[int] = []
    async with connected(job) as ws:
        await ws.send_str("echo")
        for _ in range(job.count):
            begun = now()
            await ws.send_str(text)
            await ws.receive()
            took.append(now() - begun)
    return percentiles("echo", took)


async def requests(job: Job) -> Metrics:
    """Asks many questions at once: a dictionary of futures finds who waits for an answer."""
    waiting: dict[int, asyncio.Future[Any]] = {}
    async with connected(job) as ws:
        await ws.send_str("echo")

        async def answer() -> None:
            async for message in ws:
                value = decode(JSON, message.data)
                waiting.pop(value["id"]).set_result(value)

        async def ask(number: int) -> Any:
            future = waiting[number] = asyncio.get_running_loop().create_future()
            await ws.send_str(text_of(number))
            return await future

        async def run(count: int) -> None:
            for first in range(0, count, job.burst):
                last = min(first + job.burst, count)
                await asyncio.gather(*(ask(number) for number in range(first, last)))

        answering = asyncio.create_task(answer())
        metrics = {"rate": await rates(job, run)}
        answering.cancel()
    return metrics


async def requests_sequential(job: Job) -> Metrics:
    """Asks the next question when the last one is answered."""
    async with connected(job) as ws:
        await ws.send_str("echo")

        async def run(count: int) -> None:
            for number in range(count):
                await ws.send_str(text_of(number))
                decode(JSON, (await ws.receive()).data)

        return {"rate": await rates(job, run)}


def text_of(number: int) -> str:
    """A question, which the server repeats; the codec is the one that rxnodes is measured with."""
    return str(encode(JSON, {"id": number, "ask": "time"}))


class WatchedSocket(socket.socket):
    """Tells when its descriptor is gone, which nothing else does."""

    on_gone: Callable[[], None] | None = None

    @override
    def close(self) -> None:
        super().close()
        self._tell()

    @override
    def detach(self) -> int:
        # uvloop closes the descriptor itself.
        descriptor = super().detach()
        self._tell()
        return descriptor

    def _tell(self) -> None:
        on_gone, self.on_gone = self.on_gone, None
        if on_gone is not None:
            on_gone()


class Watch:
    """The sockets of a client session, and when each has gone."""

    def __init__(self) -> None:
        self.left = 0
        self.gone_at = 0
        self.all_gone = asyncio.get_running_loop().create_future()

    def make(self, address: Any) -> WatchedSocket:
        """The factory of sockets that a connector takes."""
        sock = WatchedSocket(*address[:3])
        sock.on_gone = self._on_gone
        if not self.left:
            self.all_gone = asyncio.get_running_loop().create_future()
        self.left += 1
        return sock

    async def gone(self) -> int:
        """Waits until all of them are gone, and gives the moment."""
        await self.all_gone
        return self.gone_at

    def _on_gone(self) -> None:
        self.left -= 1
        self.gone_at = now()
        if not self.left:
            self.all_gone.set_result(None)


async def lifecycle(job: Job) -> Metrics:
    """The bare minimum for the guarantee that rxnodes gives: the handshake is answered, the TCP connection is gone."""
    watch = Watch()

    async def close(ws: aiohttp.ClientWebSocketResponse) -> int:
        await ws.close()
        return await watch.gone()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=watch.make)) as session:
        return await lives(job, lambda: session.ws_connect(job.url), close)


async def connections(job: Job) -> Metrics:
    """Opens many connections, holds them, reads from all of them, and closes all at once."""
    each = max(1, job.messages // may_open(job.connections))

    async def read_all(held: list[aiohttp.ClientWebSocketResponse]) -> Metrics:
        took = [await _read_all(job, held, each) for _ in range(job.rounds)]
        return {"message_ns": [nanoseconds / each / len(held) for nanoseconds in took]}

    watch = Watch()
    connector = aiohttp.TCPConnector(limit=0, socket_factory=watch.make)
    async with aiohttp.ClientSession(connector=connector) as session:
        return await many(
            job, lambda: session.ws_connect(job.url), aiohttp.ClientWebSocketResponse.close, read_all, watch.gone
        )


async def _read_all(job: Job, websockets: list[aiohttp.ClientWebSocketResponse], each: int) -> int:
    async def read(ws: aiohttp.ClientWebSocketResponse) -> None:
        received = 0
        async for _message in ws:
            received += 1
            if received == each:
                break

    begun = now()
    await websockets[0].send_str(job.blast_all(each))
    await asyncio.gather(*map(read, websockets))
    return now() - begun
