"""The table on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import CONTENDERS, with_compiled
from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.results import Figure, Results
    from benchmarks.workloads import Metric, Workload

__all__ = ["amount", "table"]


def amount(value: float) -> str:
    """A number with three digits that count."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{_digits(value / size)}{letter}"
    return _digits(value)


def _digits(value: float) -> str:
    if abs(value) >= 100:  # noqa: PLR2004 - three digits
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"  # noqa: PLR2004


def table(results: Results) -> Iterator[str]:
    """The lines of everything that was measured."""
    yield from _machine(results.machine)
    for name, workload in WORKLOADS.items():
        if any(key[0] == name for key in results.values):
            yield ""
            yield from _workload(results, name, workload)
    yield from _growth(results)


def _machine(machine: dict[str, str]) -> Iterator[str]:
    about = dict(machine)
    head = [about.pop(key) for key in ("processor", "system", "date")]
    yield f"{head[0]}, {about.pop('CPUs')} CPUs; {head[1]}; {head[2]}"
    yield f"{about.pop('python')}; " + ", ".join(f"{name} {version}" for name, version in about.items())
    yield "Medians of fresh processes; ± is half of the way from the lowest to the highest, × the ratio within the run."


def _workload(results: Results, name: str, workload: Workload) -> Iterator[str]:
    yield workload.title
    for contender in with_compiled(workload.contenders):
        title = CONTENDERS[contender].title
        note = results.notes.get((name, contender))
        cells = [_cell(results, name, contender, metric, workload) for metric in workload.metrics]
        if any(cells):
            yield f"  {title:<31} " + "  ".join(filter(None, cells)).rstrip() + (f"   ({note})" if note else "")
        elif note:
            yield f"  {title:<31} skipped: {note}"


def _cell(results: Results, name: str, contender: str, metric: Metric, workload: Workload) -> str:
    figure = results.figure(name, contender, metric.name)
    if figure is None:
        return ""
    label = "" if len(workload.metrics) == 1 else f"{metric.title} "
    ratio = results.ratio((name, contender), (name, workload.baseline), metric.name)
    times = "" if ratio is None or contender == workload.baseline else f"{_digits(ratio.middle)} ×"
    return f"{label}{amount(figure.middle):>7} {metric.unit:<3} {_spread(figure):>5} {times:>7}"


def _spread(figure: Figure) -> str:
    """How far the repeats lie apart: half of the way from the lowest to the highest, in percent of the median."""
    return f"±{(figure.high - figure.low) / 2 / figure.middle * 100:.0f}%" if figure.middle else ""


def _growth(results: Results) -> Iterator[str]:
    """What a message and an end cost, from one connection to many, and what a subscriber costs."""
    lines = list(_per_connection(results))
    few = results.figure("receive-32", "rxnodes", "rate")
    many = results.figure("subscribers-100", "rxnodes", "rate")
    if few is not None and many is not None:
        each = (1e9 / many.middle - 1e9 / few.middle) / 99
        lines.append(f"  {'one more subscriber':<30} {each:.0f} ns per message, from 1 to 100 of them")
    if lines:
        yield ""
        yield "Growth"
        yield from lines


def _per_connection(results: Results) -> Iterator[str]:
    for contender in ("rxnodes", "aiohttp"):
        cells: list[str] = []
        for name, workload in WORKLOADS.items():
            message = results.figure(name, contender, "message_ns")
            stop = results.figure(name, contender, "stop_ms")
            if message is not None and stop is not None:
                number = int(str(workload.options["connections"]))
                cells.append(f"{number:,}: {message.middle:,.0f} ns, {stop.middle * 1000 / number:,.0f} µs")
        if cells:
            yield f"  {contender + ': connections, per message, stop each':<30}"
            yield "    " + ";  ".join(cells)
