"""`python -m benchmarks`: measures rxnodes and its peers, interleaved in one run, and says what it found."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import hurt, machine, targets
from benchmarks.contenders import CONTENDERS, with_compiled
from benchmarks.job import Job, Skipped
from benchmarks.limits import allow_many_files
from benchmarks.processes import Node, WorkerError, measure, on_one_cpu, server
from benchmarks.results import Results
from benchmarks.table import table
from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.workloads import Workload

#: Repeats, rounds within a process, seconds of a round, and seconds after which no further repeat is begun.
FULL = (7, 5, 0.2, 1_500.0)
QUICK = (3, 3, 0.08, 110.0)

#: A port of which nothing is asked.
NO_PORT = 9


def main() -> None:
    """Runs the benchmarks that the command line asks for."""
    options = _options()
    if options.only == ["fleet"]:
        from benchmarks import fleet  # noqa: PLC0415 - needs nats-py

        fleet.main(quick=options.quick, limit=options.limit, json_file=options.json)
        return
    if options.only == ["hurt"]:
        sys.exit(hurt.main([] if options.limit is None else ["--minutes", str(options.limit / 60)]))
    if options.with_node and (problem := Node().install()) is not None:
        _say(f"RxJS is skipped: {problem}\n")
    allow_many_files()
    results = Results(machine.describe())
    try:
        Run(options, results).repeat()
    except KeyboardInterrupt:
        _say("\ninterrupted; this is what there is so far\n")
    builds = ("pure",) if options.compiled is None else ("compiled", "pure")
    sys.stdout.write("\n".join((*table(results), "", "Targets", "", *targets.table(results, *builds), "")))
    if options.json is not None:
        found = results.to_dict() | {"targets": targets.to_dicts(results)}
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.svg is not None:
        # Imported only where something is drawn: nothing else of the benchmarks needs matplotlib.
        from benchmarks.plot import plot  # noqa: PLC0415

        plot(results, options.svg)


class Run:
    """All repeats of the workloads that were asked for.

    One repeat goes through every workload, and through all contenders within each, so that what is compared is measured
    within seconds, and what disturbs the machine for a while disturbs all alike.
    """

    def __init__(self, options: argparse.Namespace, results: Results) -> None:
        self._is_quick: bool = options.quick
        self._compiled: Path | None = options.compiled
        self._only: list[str] = options.only
        self._results = results
        repeats, self._rounds, self._seconds, limit = QUICK if options.quick else FULL
        self._repeats: int = options.repeats or repeats
        self._limit: float = limit if options.limit is None else options.limit
        self._begun = time.monotonic()

    def repeat(self) -> None:
        """Measures, until all repeats are done or the time is over."""
        for repeat in range(1, self._repeats + 1):
            for name, workload in self._workloads():
                self._measure_all(repeat, name, workload)
            elapsed = time.monotonic() - self._begun
            if elapsed * (repeat + 1) / repeat > self._limit and repeat < self._repeats:
                _say(
                    f"\rstopping after {repeat} of {self._repeats} repeats: the next would end after {self._limit:g} s"
                )
                break
        _say("\n")

    def _workloads(self) -> Iterator[tuple[str, Workload]]:
        for name, workload in WORKLOADS.items():
            if name in self._only if self._only else workload.in_quick or not self._is_quick:
                yield name, workload

    def _measure_all(self, repeat: int, name: str, workload: Workload) -> None:
        contenders = workload.quick_contenders if self._is_quick and workload.quick_contenders else workload.contenders
        if self._compiled is not None:
            contenders = tuple(with_compiled(contenders))
        fields = workload.options | (workload.quick_options if self._is_quick else {})
        with contextlib.ExitStack() as stack:
            if workload.on_one_cpu:
                stack.enter_context(on_one_cpu())
            is_tls = bool(fields.get("is_tls"))
            port = stack.enter_context(server(is_tls=is_tls)) if workload.needs_server else NO_PORT
            job = Job(workload=workload.function, port=port, rounds=self._rounds, seconds=self._seconds, **fields)  # type: ignore[arg-type]
            # Turned about, so that no one always comes after the same one.
            for contender in contenders if repeat % 2 else reversed(contenders):
                if (name, contender) not in self._results.notes:
                    self._progress(repeat, name, contender)
                    self._measure(repeat, name, contender, job)

    def _measure(self, repeat: int, name: str, contender: str, job: Job) -> None:
        try:
            self._results.add(name, contender, repeat, measure(contender, job, self._compiled))
        except Skipped as reason:
            self._results.notes[name, contender] = str(reason)
        except WorkerError as error:
            self._results.notes[name, contender] = f"failed: {error}"

    def _progress(self, repeat: int, name: str, contender: str) -> None:
        elapsed = time.monotonic() - self._begun
        what = f"{name}: {CONTENDERS[contender].title}"
        _say(f"\r{elapsed:5.0f} s  repeat {repeat}/{self._repeats}  {what:<60}")


def _say(text: str) -> None:
    """Progress is for people: it goes where it does not mix with the table."""
    sys.stderr.write(text)
    sys.stderr.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="rxnodes and its peers, side by side")
    parser.add_argument("--quick", action="store_true", help="fewer workloads and shorter rounds: under two minutes")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=[*WORKLOADS, "fleet", "hurt"],
        metavar="NAME",
        help="this workload; again for more: "
        + ", ".join(WORKLOADS)
        + "; or by themselves: fleet, the figures of one, and hurt, an hour that hurts one",
    )
    parser.add_argument("--repeats", type=int, help="how often each is measured, in a fresh process each time")
    parser.add_argument("--limit", type=float, help="seconds after which no further repeat is begun")
    parser.add_argument(
        "--compiled",
        type=Path,
        metavar="PYTHON",
        help="an interpreter where the compiled wheel is installed: it is measured beside the source, in the same run",
    )
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--svg", type=Path, help="write the plot to this file")
    parser.add_argument("--with-node", action="store_true", help="install rxjs and ws from npm, into benchmarks/.cache")
    return parser.parse_args()


if __name__ == "__main__":
    main()
