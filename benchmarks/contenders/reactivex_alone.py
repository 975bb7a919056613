"""reactivex without any connection: what ten of its own operators cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reactivex import operators as ops
from reactivex.subject import Subject

from benchmarks.clock import Counter, rates

if TYPE_CHECKING:
    from reactivex import Observable

    from benchmarks.job import Job, Metrics

#: The operators in the pipeline through which a pulse goes.
NODES = 10


async def pulse(job: Job) -> Metrics:
    """Emits through ten `do_action`, each with something that does nothing."""
    source: Observable[None]
    subject = source = Subject[None]()
    counter = Counter()
    for _ in range(NODES):
        source = source.pipe(ops.do_action(lambda _: None))
    source.subscribe(counter.on_next)

    async def run(count: int) -> None:
        seen = counter.expect(count)
        for _ in range(count):
            subject.on_next(None)
        await seen

    return {"rate": await rates(job, run)}


async def pulse_gated(job: Job) -> Metrics:
    """Emits through ten `filter` that let everything pass: the nearest to a node whose `pass_through` is on."""
    source: Observable[None]
    subject = source = Subject[None]()
    counter = Counter()
    for _ in range(NODES):
        source = source.pipe(ops.filter(lambda _: True))
    source.subscribe(counter.on_next)

    async def run(count: int) -> None:
        seen = counter.expect(count)
        for _ in range(count):
            subject.on_next(None)
        await seen

    return {"rate": await rates(job, run)}
