"""rxnodes with `batched=True`: one list of messages per read of the socket, so that operators run once per list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.clock import Counter, blasts
from benchmarks.contenders.nodes import connected
from benchmarks.contenders.through import list_by_list
from rxnodes.websocket import on_receive

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import Observable

    from benchmarks.job import Job, Metrics


async def receive(job: Job) -> Metrics:
    """Counts messages, a list at a time."""
    return await _count(job, lambda batches: batches)


async def pipeline(job: Job) -> Metrics:
    """Counts messages behind map, filter, map, each of them list-wise."""
    return await _count(job, list_by_list)


async def _count(job: Job, through: Callable[[Observable[list[str]]], Observable[Any]]) -> Metrics:
    counter = Counter()
    async with connected(job) as connection:
        through(on_receive(connection, batched=True)).subscribe(counter.on_batch)
        return await blasts(job, connection.send, counter)
