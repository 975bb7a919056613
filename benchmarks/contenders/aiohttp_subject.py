"""aiohttp feeding a reactivex Subject, as one would write it by hand."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from reactivex.subject import Subject

from benchmarks.clock import Counter, blasts
from benchmarks.contenders.aiohttp_alone import connected
from benchmarks.contenders.through import one_by_one

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from benchmarks.job import Job, Metrics


@asynccontextmanager
async def feeding(job: Job, subject: Subject[str]) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A connection whose messages go to the subject."""
    async with connected(job) as ws:

        async def read() -> None:
            async for message in ws:
                subject.on_next(message.data)

        reader = asyncio.create_task(read())
        try:
            yield ws
        finally:
            reader.cancel()


async def receive(job: Job) -> Metrics:
    """Counts messages, in so many subscribers."""
    subject = Subject[str]()
    counters = [Counter() for _ in range(job.subscribers)]
    for counter in counters:
        subject.subscribe(counter.on_next)
    async with feeding(job, subject) as ws:
        return await blasts(job, ws.send_str, *counters)


async def pipeline(job: Job) -> Metrics:
    """Counts messages behind map, filter, map."""
    subject = Subject[str]()
    counter = Counter()
    one_by_one(subject).subscribe(counter.on_next)
    async with feeding(job, subject) as ws:
        return await blasts(job, ws.send_str, counter)
