"""reactivex without any connection: what ten of its own operators cost."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from reactivex import operators as ops
from reactivex.subject import Subject

from benchmarks.clock import pulses

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import Observable

    from benchmarks.job import Job, Metrics

#: The operators in the pipeline through which a pulse goes.
NODES = 10


async def pulse(job: Job) -> Metrics:
    """Emits through ten `do_action`, each with something that does nothing."""
    return await _through(job, ops.do_action(lambda _: None))


async def pulse_gated(job: Job) -> Metrics:
    """Emits through ten `filter` that let everything pass: the nearest to a node whose `pass_through` is on."""
    return await _through(job, ops.filter(lambda _: True))


async def _through(job: Job, operator: Callable[[Observable[None]], Observable[None]]) -> Metrics:
    source: Observable[None]
    subject = source = Subject[None]()
    for _ in range(NODES):
        source = source.pipe(operator)
    return await pulses(job, partial(subject.on_next, None), source)
