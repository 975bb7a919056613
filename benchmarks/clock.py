"""Measuring within a worker: rates by rounds, and percentiles of latencies."""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from benchmarks.job import Job

__all__ = ["Counter", "now", "percentiles", "rates", "resident_bytes"]

#: Nanoseconds on a clock that never jumps.
now = time.perf_counter_ns

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


def resident_bytes() -> int:
    """The memory of this process, with the garbage taken out first."""
    gc.collect()
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    # Elsewhere only the peak is known: bytes on macOS, KiB on other systems.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
