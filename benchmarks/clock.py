"""Measuring within a worker: rates by rounds, percentiles of latencies, and what several contenders do alike."""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from benchmarks.limits import may_open

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from reactivex import Observable

    from benchmarks.job import Job, Metrics

__all__ = [
    "WAVE",
    "Counter",
    "blasts",
    "lives",
    "many",
    "now",
    "percentiles",
    "pulses",
    "rates",
    "resident_bytes",
]

T = TypeVar("T")

#: Nanoseconds on a clock that never jumps.
now = time.perf_counter_ns

#: Connections are opened so many at a time.
WAVE = 100

#: The first latencies of a series are those of a cold program.
WARM_UP_SHARE = 0.1


class Counter:
    """Counts down messages, and tells when as many as expected have come."""

    __slots__ = ("_done", "_left")

    def __init__(self) -> None:
        self._left = 0
        self._done: asyncio.Future[None] | None = None

    def expect(self, count: int) -> asyncio.Future[None]:
        """What is awaited until `count` messages have come."""
        self._left = count
        self._done = asyncio.get_running_loop().create_future()
        return self._done

    def on_next(self, _message: object) -> None:
        """A message has come."""
        self._left -= 1
        if not self._left and self._done is not None:
            self._done.set_result(None)

    def on_batch(self, messages: Sequence[object]) -> None:
        """Several messages have come."""
        self._left -= len(messages)
        if not self._left and self._done is not None:
            self._done.set_result(None)


async def rates(job: Job, run: Callable[[int], Awaitable[None]]) -> list[float]:
    """Messages a second in each of the job's rounds.

    Args:
        job: Says how many rounds there are, and how long each should take.
        run: Moves so many messages.
    """
    await run(job.warm_up)
    count = max(job.warm_up, int(await _rate(run, job.warm_up) * job.seconds))
    return [await _rate(run, count) for _ in range(job.rounds)]


async def _rate(run: Callable[[int], Awaitable[None]], count: int) -> float:
    begun = now()
    await run(count)
    return count * 1e9 / (now() - begun)


def percentiles(name: str, nanoseconds: Sequence[int]) -> dict[str, list[float]]:
    """The median and the 99th percentile of a series, in microseconds."""
    warm = sorted(nanoseconds[int(len(nanoseconds) * WARM_UP_SHARE) :])
    return {f"{name}_p50": [warm[len(warm) // 2] / 1e3], f"{name}_p99": [warm[len(warm) * 99 // 100] / 1e3]}


async def blasts(job: Job, ask: Callable[[str], Awaitable[object]], *counters: Counter) -> Metrics:
    """Asks the server for messages, and waits until each of the counters has them."""

    async def run(count: int) -> None:
        seen = [counter.expect(count) for counter in counters]
        await ask(job.blast(count))
        await asyncio.gather(*seen)

    return {"rate": await rates(job, run)}


async def pulses(job: Job, fire: Callable[[], object], result: Observable[object]) -> Metrics:
    """Fires pulses, and counts what comes of them."""
    counter = Counter()
    result.subscribe(counter.on_next)

    async def run(count: int) -> None:
        seen = counter.expect(count)
        for _ in range(count):
            fire()
        await seen

    return {"rate": await rates(job, run)}


async def lives(job: Job, open_one: Callable[[], Awaitable[T]], close: Callable[[T], Awaitable[int | None]]) -> Metrics:
    """Opens and closes one connection after the other.

    Args:
        job: Says how many.
        open_one: Opens one.
        close: Closes it, and gives the moment when it was gone, unless that is now.
    """
    opening: list[int] = []
    stopping: list[int] = []
    for _ in range(job.count):
        begun = now()
        connection = await open_one()
        opening.append(now() - begun)
        begun = now()
        gone_at = await close(connection)
        stopping.append((gone_at or now()) - begun)
    return percentiles("open", opening) | percentiles("stop", stopping)


async def many(
    job: Job,
    open_one: Callable[[], Awaitable[T]],
    close: Callable[[T], Awaitable[object]],
    read_all: Callable[[list[T]], Awaitable[Metrics]] | None = None,
    gone: Callable[[], Awaitable[int]] | None = None,
) -> Metrics:
    """Opens many connections, holds them, may read from all of them, and closes all at once.

    Args:
        job: Says how many.
        open_one: Opens one.
        close: Closes one.
        read_all: Reads from all of them, and gives what it has measured.
        gone: Gives the moment when the last one was gone; `None`: when all are closed.
    """
    number = may_open(job.connections)
    # What the first connection alone brings in, such as modules, is no connection's.
    await close(await open_one())
    before = resident_bytes()
    held: list[T] = []
    begun = now()
    for first in range(0, number, WAVE):
        held += await asyncio.gather(*(open_one() for _ in range(min(WAVE, number - first))))
    metrics = {"open_ms": [(now() - begun) / 1e6]}
    # Before it is opened, there is nothing of a connection.
    metrics["held_kib"] = metrics["opened_kib"] = [(resident_bytes() - before) / 1024 / number]
    if read_all is not None:
        metrics |= await read_all(held)
    begun = now()
    await asyncio.gather(*map(close, held))
    gone_at = now() if gone is None else await gone()
    return metrics | {"stop_ms": [(gone_at - begun) / 1e6]}


def resident_bytes() -> int:
    """The memory of this process, with the garbage taken out first."""
    gc.collect()
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    # Elsewhere only the peak is known: bytes on macOS, KiB on other systems.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
