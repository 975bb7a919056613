"""rxnodes with `batched=True`: one list of messages per read of the socket, so that operators run once per list."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from benchmarks.clock import Counter, rates
from benchmarks.contenders.nodes import connected
from benchmarks.contenders.through import list_by_list
from benchmarks.job import Skipped
from rxnodes.websocket import on_receive

if TYPE_CHECKING:
    from reactivex import Observable

    from benchmarks.job import Job, Metrics
    from rxnodes import Connection


def _batches(connection: Connection) -> Observable[list[str]]:
    if "batched" not in inspect.signature(on_receive).parameters:
        raise Skipped("this rxnodes has no on_receive(batched=True)")
    receive_batches: Any = on_receive
    batches: Observable[list[str]] = receive_batches(connection, batched=True)
    return batches


async def receive(job: Job) -> Metrics:
    """Counts messages, a list at a time."""
    return await _count(job, lambda batches: batches)


async def pipeline(job: Job) -> Metrics:
    """Counts messages behind map, filter, map, each of them list-wise."""
    return await _count(job, list_by_list)


async def _count(job: Job, through: Any) -> Metrics:
    counter = Counter()
    async with connected(job) as connection:
        through(_batches(connection)).subscribe(counter.on_batch)

        async def run(count: int) -> None:
            seen = counter.expect(count)
            connection.send(job.blast(count))
            await seen

        return {"rate": await rates(job, run)}
