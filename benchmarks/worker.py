"""One measurement in a process of its own: `python -m benchmarks.worker CONTENDER JOB` prints one line of JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from importlib import import_module

from benchmarks.contenders import CONTENDERS
from benchmarks.job import Job, Metrics, Skipped
from benchmarks.limits import allow_many_files
from rxnodes.wire import IS_COMPILED

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Measures, and prints `{"metrics": …}`, or `{"skipped": why}`."""
    name, job = arguments[0], Job.from_json(arguments[1])
    allow_many_files()
    try:
        result: dict[str, object] = {"metrics": measure(name, job)}
    except Skipped as reason:
        result = {"skipped": str(reason)}
    print(json.dumps(result))  # noqa: T201 - what it is for


def measure(name: str, job: Job) -> Metrics:
    """What the contender does for the workload.

    Raises:
        Skipped: If it, or what it needs, is not there.
    """
    contender = CONTENDERS[name]
    if name.startswith("rxnodes") and contender.is_compiled != IS_COMPILED:
        raise Skipped(f"this interpreter has the {'compiled' if IS_COMPILED else 'pure'} build")
    try:
        module = import_module(f"benchmarks.contenders.{contender.module}")
    except ModuleNotFoundError as error:
        raise Skipped(f"{error.name} is not installed") from None
    factory = None
    if contender.uses_uvloop:
        try:
            factory = import_module("uvloop").new_event_loop
        except ModuleNotFoundError:
            raise Skipped("uvloop is not installed") from None
    with asyncio.Runner(loop_factory=factory) as runner:
        metrics: Metrics = runner.run(getattr(module, job.workload)(job))
        return metrics


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(sys.argv[1:])
