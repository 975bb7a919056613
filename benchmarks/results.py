"""What was measured, and what it comes to: medians, spreads, and ratios within one run."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.job import Metrics

__all__ = ["Figure", "Results"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its spread.

    Attributes:
        middle: The median of the repeats.
        low: The smallest of them.
        high: The largest of them.
    """

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Figure:
        """The figure of these values, of which there is at least one."""
        return cls(median(values), min(values), max(values))


@dataclass(slots=True)
class Results:
    """All measurements of a run.

    Attributes:
        machine: What it was made on.
        values: By workload, contender and metric: one value per repeat, the median of its rounds, or `None` where that
            measurement failed.
        notes: By workload and contender: why there is none.
    """

    machine: dict[str, str]
    values: dict[tuple[str, str, str], dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    notes: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])

    def add(self, workload: str, contender: str, repeat: int, metrics: Metrics) -> None:
        """Keeps what one worker found."""
        for metric, rounds in metrics.items():
            self.values[workload, contender, metric][repeat] = median(rounds)

    def figure(self, workload: str, contender: str, metric: str) -> Figure | None:
        """The median of the repeats, if there are any."""
        repeats = self.values.get((workload, contender, metric))
        return Figure.of(list(repeats.values())) if repeats else None

    def ratio(self, over: tuple[str, str], under: tuple[str, str], metric: str) -> Figure | None:
        """The one's value over the other's.

        Each repeat gives one ratio, of two measurements made within seconds of one another, so that a machine that is
        busy for a while does not tilt it.

        Args:
            over: Workload and contender of the one.
            under: Workload and contender of the other.
            metric: What is compared.
        """
        ones = self.values.get((*over, metric), {})
        others = self.values.get((*under, metric), {})
        ratios = [ones[repeat] / others[repeat] for repeat in ones if others.get(repeat)]
        return Figure.of(ratios) if ratios else None

    def to_dict(self) -> dict[str, Any]:
        """Everything, for a JSON file."""
        workloads: dict[str, Any] = {}
        for (workload, contender, metric), repeats in self.values.items():
            figure = Figure.of(list(repeats.values()))
            of_contender = workloads.setdefault(workload, {}).setdefault(contender, {})
            of_contender[metric] = {
                "median": figure.middle,
                "min": figure.low,
                "max": figure.high,
                "repeats": [repeats[repeat] for repeat in sorted(repeats)],
            }
        for (workload, contender), note in self.notes.items():
            workloads.setdefault(workload, {}).setdefault(contender, {})["note"] = note
        return {"machine": self.machine, "workloads": workloads}
