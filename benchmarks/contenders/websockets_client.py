"""websockets, with its asyncio client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from websockets.asyncio.client import connect

from benchmarks.clock import now, percentiles, rates, resident_bytes
from benchmarks.limits import may_open

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from benchmarks.job import Job, Metrics

#: Connections are opened so many at a time.
WAVE = 100


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
    opening: list[int] = []
    stopping: list[int] = []
    for _ in range(job.count):
        begun = now()
        ws = await _connect(job)
        opening.append(now() - begun)
        begun = now()
        await ws.close()
        await asyncio.sleep(0)  # the descriptor closes a turn of the loop later
        stopping.append(now() - begun)
    return percentiles("open", opening) | percentiles("stop", stopping)


async def connections(job: Job) -> Metrics:
    """Opens many connections, holds them, and closes all at once."""
    number = may_open(job.connections)
    # What the first connection alone brings in, such as modules, is no connection's.
    await (await _open(job)).close()
    before = resident_bytes()
    held: list[ClientConnection] = []
    begun = now()
    for first in range(0, number, WAVE):
        held += await asyncio.gather(*(_open(job) for _ in range(min(WAVE, number - first))))
    opened = now() - begun
    size = resident_bytes() - before
    begun = now()
    await asyncio.gather(*(ws.close() for ws in held))
    await asyncio.sleep(0)
    return {
        "open_ms": [opened / 1e6],
        "held_kib": [size / 1024 / number],
        "stop_ms": [(now() - begun) / 1e6],
    }


async def _open(job: Job) -> ClientConnection:
    return await _connect(job)
