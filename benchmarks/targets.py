"""What rxnodes wants to reach, as ratios to its peers in the same run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.results import Figure, Results

__all__ = ["TARGETS", "Outcome", "Target", "outcomes"]


@dataclass(frozen=True, slots=True)
class Target:
    """One ratio, and how large or small it has to be.

    Attributes:
        title: What is compared.
        one: Workload and contender of ours.
        other: Workload and contender of the peer.
        metric: What is compared.
        bound: The smallest ratio that is good enough; with `at_most`, the largest.
        at_most: Whether less is better.
        is_difference: Whether the values are subtracted, and not divided.
        unit: Of a difference.
    """

    title: str
    one: tuple[str, str]
    other: tuple[str, str]
    metric: str
    bound: float
    at_most: bool = False
    is_difference: bool = False
    unit: str = "×"

    def outcome(self, results: Results) -> Outcome:
        """What a run says to it."""
        compare = results.difference if self.is_difference else results.ratio
        figure = compare(self.one, self.other, self.metric)
        if figure is None:
            return Outcome(self, None, None)
        is_met = figure.middle <= self.bound if self.at_most else figure.middle >= self.bound
        return Outcome(self, figure, is_met)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a target.

    Attributes:
        target: The target.
        figure: What was measured; `None`: it was not.
        is_met: Whether it was reached.
    """

    target: Target
    figure: Figure | None
    is_met: bool | None

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            "title": self.target.title,
            "bound": self.target.bound,
            "at_most": self.target.at_most,
            "unit": self.target.unit,
            "measured": self.figure and {"median": self.figure.middle, "min": self.figure.low, "max": self.figure.high},
            "met": self.is_met,
        }


def _rate(
    workload: str,
    other: str,
    title: str,
    bound: float,
    *,
    one: str = "rxnodes",
) -> Target:
    return Target(title, (workload, one), (workload, other), "rate", bound)


def _life(title: str, workload: str, metric: str, bound: float) -> Target:
    return Target(title, (workload, "rxnodes"), (workload, "aiohttp"), metric, bound, at_most=True)


TARGETS = (
    _rate("receive-32", "aiohttp", "receive 32 B / aiohttp async for", 3.0),
    _rate("receive-32", "aiohttp-subject", "receive 32 B / aiohttp feeding a Subject", 5.0),
    _rate("receive-32", "rxjs", "receive 32 B / RxJS on Node.js", 1.2),
    _rate("receive-32", "picows", "receive 32 B / picows' listener that makes a str", 0.75),
    _rate("receive-32", "picows-bare", "receive 32 B / picows' listener that makes nothing", 0.75),
    _rate("pipeline", "aiohttp-subject", "map, filter, map / aiohttp feeding a Subject", 3.0),
    _rate("pipeline", "aiohttp", "the same, batched / aiohttp async for", 2.5, one="rxnodes-batched"),
    _rate("receive-32", "rxnodes", "receive 32 B, instrumented / not", 0.98, one="rxnodes-instrumented"),
    _rate("receive-32", "rxnodes", "receive 32 B, recorded / not", 0.7, one="rxnodes-recorded"),
    _rate("receive-4k", "aiohttp", "receive 4 KiB / aiohttp async for", 1.5),
    _rate("receive-1m", "aiohttp", "receive 1 MiB / aiohttp async for", 1.0),
    _rate("send", "aiohttp", "send bursts / aiohttp await send_str", 5.0),
    _rate("send", "picows", "send bursts / picows", 2.0),
    _rate("requests-2000", "aiohttp", "2,000 requests in flight / aiohttp with futures", 0.5),
    _rate("requests-sequential", "aiohttp", "one request after the other / aiohttp", 0.7),
    _life("echo p50 / aiohttp", "echo", "echo_p50", 1.05),
    _life("start to open p50 / aiohttp, bare minimum", "lifecycle", "open_p50", 1.10),
    _life("stop to gone p50 / aiohttp, bare minimum", "lifecycle", "stop_p50", 1.10),
    _life("2,000 stopped at once / aiohttp", "connections-2000", "stop_ms", 1.15),
    Target(
        "an idle connection's memory above aiohttp's",
        ("connections-2000", "rxnodes"),
        ("connections-2000", "aiohttp"),
        "held_kib",
        8.0,
        at_most=True,
        is_difference=True,
        unit="KiB",
    ),
)


def outcomes(results: Results) -> list[Outcome]:
    """What a run says to each of the targets."""
    return [target.outcome(results) for target in TARGETS]
