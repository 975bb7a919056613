"""websocket-client: blocking calls, no event loop. Each function holds up the loop, which has nothing else to do."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from websocket import WebSocket, create_connection

from benchmarks.clock import lives, now, percentiles, rates

if TYPE_CHECKING:
    from benchmarks.job import Job, Metrics


def _connect(job: Job) -> WebSocket:
    connection: WebSocket = create_connection(job.url, timeout=30)
    return connection


async def receive(job: Job) -> Metrics:
    """Counts messages."""
    with closing(_connect(job)) as ws:

        async def run(count: int) -> None:
            ws.send(job.blast(count))
            for _ in range(count):
                ws.recv()

        return {"rate": await rates(job, run)}


async def send(job: Job) -> Metrics:
    """Sends one after the other."""
    text = job.text
    with closing(_connect(job)) as ws:

        async def run(count: int) -> None:
            ws.send(job.sink(count))
            for _ in range(count):
                ws.send(text)
            ws.recv()

        return {"rate": await rates(job, run)}


async def echo(job: Job) -> Metrics:
    """Sends, and receives the answer."""
    text = job.text
    took: list[int] = []
    with closing(_connect(job)) as ws:
        ws.send("echo")
        for _ in range(job.count):
            begun = now()
            ws.send(text)
            ws.recv()
            took.append(now() - begun)
    return percentiles("echo", took)


async def lifecycle(job: Job) -> Metrics:
    """Connects, and closes."""

    async def open_one() -> WebSocket:
        return _connect(job)

    async def close(ws: WebSocket) -> None:
        ws.close()

    return await lives(job, open_one, close)
