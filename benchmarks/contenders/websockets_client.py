"""websockets, with its asyncio client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from websockets.asyncio.client import connect

from benchmarks.clock import lives, many, now, percentiles, rates

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from benchmarks.job import Job, Metrics


def _connect(job: Job) -> connect:
    """As the others are: without limits and pings, and with compression only where it is asked for."""
    return connect(
        job.url, compression="deflate" if job.is_deflated else None, max_size=None, ping_interval=None, proxy=None
    )


async def receive(job: Job) -> Metrics:
    """Counts messages in `async for`."""
    async with _connect(job) as ws:

        async def run(count: int) -> None:
            await ws.send(job.blast(count))
            received = 0
            async for _message in ws:
                received += 1
                if received == count:
                    break

        return {"rate": await rates(job, run)}


async def send(job: Job) -> Metrics:
    """Awaits each send."""
    text = job.text
    async with _connect(job) as ws:

        async def run(count: int) -> None:
            await ws.send(job.sink(count))
            for _ in range(count):
                await ws.send(text)
            await ws.recv()

        return {"rate": await rates(job, run)}


async def echo(job: Job) -> Metrics:
    """Sends, and receives the answer."""
    text = job.text
    took: list[int] = []
    async with _connect(job) as ws:
        await ws.send("echo")
        for _ in range(job.count):
            begun = now()
            await ws.send(text)
            await ws.recv()
            took.append(now() - begun)
    return percentiles("echo", took)


async def lifecycle(job: Job) -> Metrics:
    """Connects, and closes."""
    return await lives(job, lambda: _open(job), _close)


async def connections(job: Job) -> Metrics:
    """Opens many connections, holds them, and closes all at once."""
    return await many(job, lambda: _open(job), _close)


async def _open(job: Job) -> ClientConnection:
    return await _connect(job)


async def _close(ws: ClientConnection) -> None:
    await ws.close()
    await asyncio.sleep(0)  # the descriptor closes a turn of the loop later
