"""Both builds of rxnodes beside one another: what each wants to reach, as ratios to its peers, and what it reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.contenders import compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.results import Figure, Results

__all__ = ["ROWS", "Row", "to_dicts", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One ratio, and how large or small it has to be for each build.

    Attributes:
        title: What is compared.
        workload: Where.
        peer: With whom.
        compiled: The bound for the compiled build.
        pure: The bound for the source; `None`: there is none.
        metric: What is compared.
        ours: The contender of ours.
        at_most: Whether less is better.
    """

    title: str
    workload: str
    peer: str
    compiled: float
    pure: float | None
    metric: str = "rate"
    ours: str = "rxnodes"
    at_most: bool = False

    def figures(self, results: Results) -> tuple[Figure | None, Figure | None]:
        """The ratio of the compiled build, and that of the source."""
        compiled_one, pure_one = (
            results.ratio((self.workload, ours), (self.workload, self.peer), self.metric)
            for ours in (compiled(self.ours), self.ours)
        )
        return compiled_one, pure_one

    def is_met(self, figure: Figure | None, bound: float | None) -> bool | None:
        """Whether a bound is kept; `None`: there is none, or nothing was measured."""
        if figure is None or bound is None:
            return None
        return figure.middle <= bound if self.at_most else figure.middle >= bound


def _receive(title: str, workload: str, peer: str, compiled: float, pure: float | None) -> Row:
    return Row(title=title, workload=workload, peer=peer, compiled=compiled, pure=pure)


def _less(title: str, what: tuple[str, str], peer: str, compiled: float, pure: float) -> Row:
    workload, metric = what
    return Row(title=title, workload=workload, peer=peer, compiled=compiled, pure=pure, metric=metric, at_most=True)


ROWS: Final = (
    _receive("receive 32 B / aiohttp `async for`", "receive-32", "aiohttp", 9, 4),
    _receive("… / picows making a `str`", "receive-32", "picows", 1.8, 0.82),
    _receive("… / picows making nothing", "receive-32", "picows-bare", 1.3, None),
    _receive("… / RxJS on Node.js", "receive-32", "rxjs", 3, 1.4),
    Row(
        title="batched, map, filter, map / `async for`",
        workload="pipeline",
        peer="aiohttp",
        compiled=6,
        pure=4,
        ours="rxnodes-batched",
    ),
    _receive("receive 4 KiB / picows making `bytes`", "receive-4k", "picows", 1.0, None),
    _receive("receive 1 MiB / aiohttp `async for`", "receive-1m", "aiohttp", 1.2, 1.2),
    _receive("receive 159 B of JSON, deflated / aiohttp", "receive-159-deflated", "aiohttp", 1.7, 1.3),
    _receive("receive 159 B over TLS / picows", "receive-159-tls", "picows", 1.0, None),
    _receive("send bursts / aiohttp `send_str`", "send", "aiohttp", 7, 5.5),
    # The targets say how much longer they may take: 1.5 and 2 times, and 1 / 0.7 times.
    _receive("2,000 requests in flight / aiohttp and a dictionary of futures", "requests-2000", "aiohttp", 0.67, 0.5),
    _receive("one request after the other / aiohttp's bare loop", "requests-sequential", "aiohttp", 0.7, 0.7),
    _less("echo p50 / picows", ("echo", "echo_p50"), "picows", 1.2, 1.5),
    _less("start to open, p50 / aiohttp's bare minimum", ("lifecycle", "open_p50"), "aiohttp", 1.05, 1.10),
    _less("stop to gone, p50 / aiohttp's bare minimum", ("lifecycle", "stop_p50"), "aiohttp", 1.05, 1.10),
    _less("10,000 stopped at once / aiohttp `close()`", ("connections-10000", "stop_ms"), "aiohttp", 1.15, 1.3),
    _less(
        "memory of an idle connection of 10,000 / aiohttp's", ("connections-10000", "held_kib"), "aiohttp", 0.75, 0.75
    ),
    _less("… of which opening has added", ("connections-10000", "opened_kib"), "aiohttp", 0.75, 0.75),
)


def write(results: Results) -> Iterator[str]:
    """The lines of the table, in Markdown."""
    yield "| Row | compiled | pure | target, compiled | target, pure |"
    yield "|---|---|---|---|---|"
    for row in ROWS:
        compiled_one, pure_one = row.figures(results)
        cells = (
            row.title,
            _found(row, compiled_one, row.compiled),
            _found(row, pure_one, row.pure),
            _bound(row, row.compiled),
            _bound(row, row.pure),
        )
        yield f"| {' | '.join(cells)} |"


def to_dicts(results: Results) -> list[dict[str, Any]]:
    """The same, for a JSON file."""
    found: list[dict[str, Any]] = []
    for row in ROWS:
        builds = zip(("compiled", "pure"), row.figures(results), (row.compiled, row.pure), strict=True)
        found.append(
            {"title": row.title, "at_most": row.at_most}
            | {
                build: {
                    "bound": bound,
                    "measured": figure and {"median": figure.middle, "min": figure.low, "max": figure.high},
                    "met": row.is_met(figure, bound),
                }
                for build, figure, bound in builds
            }
        )
    return found


def _found(row: Row, figure: Figure | None, bound: float | None) -> str:
    if figure is None:
        return "not measured"
    missed = " **missed**" if row.is_met(figure, bound) is False else ""
    return f"{figure.middle:.2f} × [{figure.low:.2f}, {figure.high:.2f}]{missed}"


def _bound(row: Row, bound: float | None) -> str:
    return "–" if bound is None else f"{'≤' if row.at_most else '≥'} {bound:g} ×"
