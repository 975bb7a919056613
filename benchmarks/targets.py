"""What rxnodes is to reach, as ratios to its peers in the same run, for each of its two builds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.contenders import compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.results import Figure, Results

__all__ = ["TARGETS", "Target", "table", "to_dicts"]

OURS: Final = "rxnodes"


@dataclass(frozen=True, slots=True)
class Target:
    """One ratio, and its bound for each build.

    Attributes:
        title: What is compared.
        workload: Where.
        peer: With whom.
        compiled: The bound for the compiled build; `None`: it has none.
        pure: The bound for the source; `None`: it has none.
        metric: What is compared.
        ours: The contender of ours.
        at_most: Whether less is better.
    """

    title: str
    workload: str
    peer: str
    compiled: float | None
    pure: float | None
    metric: str = "rate"
    ours: str = OURS
    at_most: bool = False

    @property
    def bounds(self) -> dict[str, float | None]:
        """The bound of each build."""
        return {"compiled": self.compiled, "pure": self.pure}

    def figure(self, results: Results, build: str) -> Figure | None:
        """The ratio that a build has reached; `None`: it was not measured."""
        ours, peer = self.ours, self.peer
        if build == "compiled":
            ours, peer = compiled(ours), compiled(peer) if peer.startswith(OURS) else peer
        return results.ratio((self.workload, ours), (self.workload, peer), self.metric)

    def is_met(self, figure: Figure | None, bound: float | None) -> bool | None:
        """Whether a bound is kept; `None`: there is none, or nothing was measured."""
        if figure is None or bound is None:
            return None
        return figure.middle <= bound if self.at_most else figure.middle >= bound


def _less(title: str, what: tuple[str, str], peer: str, compiled: float | None, pure: float | None) -> Target:
    workload, metric = what
    return Target(title, workload, peer, compiled, pure, metric, at_most=True)


TARGETS: Final = (
    Target("receive 32 B / aiohttp `async for`", "receive-32", "aiohttp", 9, 4),
    Target("… / aiohttp feeding a Subject", "receive-32", "aiohttp-subject", None, 5),
    Target("… / picows making a `str`", "receive-32", "picows", 1.8, 0.82),
    Target("… / picows making nothing", "receive-32", "picows-bare", 1.3, None),
    Target("… / RxJS on Node.js", "receive-32", "rxjs", 3, 1.4),
    Target("… instrumented / not", "receive-32", OURS, None, 0.98, ours="rxnodes-instrumented"),
    Target("… recorded / not", "receive-32", OURS, None, 0.7, ours="rxnodes-recorded"),
    Target("map, filter, map / aiohttp feeding a Subject", "pipeline", "aiohttp-subject", None, 3),
    Target("batched, map, filter, map / `async for`", "pipeline", "aiohttp", 6, 4, ours="rxnodes-batched"),
    Target("receive 4 KiB / picows making `bytes`", "receive-4k", "picows", 1, None),
    Target("… / aiohttp `async for`", "receive-4k", "aiohttp", None, 1.5),
    Target("receive 1 MiB / aiohttp `async for`", "receive-1m", "aiohttp", 1.2, 1.2),
    Target("receive 159 B of JSON, deflated / aiohttp", "receive-159-deflated", "aiohttp", 1.7, 1.3),
    Target("receive 159 B over TLS / picows", "receive-159-tls", "picows", 1, None),
    Target("send bursts / aiohttp `send_str`", "send", "aiohttp", 7, 5.5),
    Target("… / picows", "send", "picows", None, 2),
    Target("2,000 requests in flight / aiohttp and a dictionary of futures", "requests-2000", "aiohttp", 0.67, 0.5),
    Target("one request after the other / aiohttp's bare loop", "requests-sequential", "aiohttp", 0.7, 0.7),
    _less("echo p50 / picows", ("echo", "echo_p50"), "picows", 1.2, 1.5),
    _less("… / aiohttp", ("echo", "echo_p50"), "aiohttp", None, 1.05),
    _less("start to open, p50 / aiohttp's bare minimum", ("lifecycle", "open_p50"), "aiohttp", 1.05, 1.1),
    _less("stop to gone, p50 / aiohttp's bare minimum", ("lifecycle", "stop_p50"), "aiohttp", 1.05, 1.1),
    _less("2,000 stopped at once / aiohttp `close()`", ("connections-2000", "stop_ms"), "aiohttp", None, 1.15),
    _less("10,000 stopped at once / aiohttp `close()`", ("connections-10000", "stop_ms"), "aiohttp", 1.15, 1.3),
    _less("memory of an idle connection of 2,000 / aiohttp's", ("connections-2000", "held_kib"), "aiohttp", 0.8, 0.8),
    _less("… of 10,000", ("connections-10000", "held_kib"), "aiohttp", 0.75, 0.75),
    _less("… of which opening has added", ("connections-10000", "opened_kib"), "aiohttp", 0.75, 0.75),
)


def table(results: Results, *builds: str) -> Iterator[str]:
    """What these builds have reached of the targets that were measured: the lines of a table in Markdown."""
    yield " | ".join(("| Row", *builds, *(f"target, {build}" for build in builds))) + " |"
    yield "|---" * (1 + 2 * len(builds)) + "|"
    for target in TARGETS:
        figures = {build: target.figure(results, build) for build in builds}
        if any(figures.values()):
            found = (_found(target, figure, target.bounds[build]) for build, figure in figures.items())
            yield " | ".join((f"| {target.title}", *found, *(_bound(target, build) for build in builds))) + " |"


def to_dicts(results: Results) -> list[dict[str, Any]]:
    """The same of both builds, for a JSON file."""
    return [
        {"title": target.title, "at_most": target.at_most}
        | {
            build: {
                "bound": bound,
                "measured": (figure := target.figure(results, build)) and asdict(figure),
                "met": target.is_met(figure, bound),
            }
            for build, bound in target.bounds.items()
        }
        for target in TARGETS
    ]


def _found(target: Target, figure: Figure | None, bound: float | None) -> str:
    if figure is None:
        return "not measured"
    missed = " **missed**" if target.is_met(figure, bound) is False else ""
    return f"{figure.middle:.2f} × [{figure.low:.2f}, {figure.high:.2f}]{missed}"


def _bound(target: Target, build: str) -> str:
    bound = target.bounds[build]
    return "–" if bound is None else f"{'≤' if target.at_most else '≥'} {bound:g} ×"
