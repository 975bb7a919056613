"""The plot: bars that compare rxnodes with its peers, and lines that show how it grows. Drawn by matplotlib."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.contenders import CONTENDERS, with_compiled
from benchmarks.table import amount
from benchmarks.workloads import HELD, WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.results import Results

__all__ = ["COMPILED", "OURS", "PEER", "plot", "save"]

OURS: Final = "#0969da"
COMPILED: Final = "#8250df"
PEER: Final = "#9aa4ae"

COLUMNS: Final = 2

#: What is drawn as bars: the workload, the metric, and the heading.
BARS: Final = (
    ("receive-32", "rate", "Receive 32 B text, messages a second"),
    ("pipeline", "rate", "… through map, filter, map"),
    ("receive-159-deflated", "rate", "Receive 159 B of JSON, deflated"),
    ("receive-159-tls", "rate", "Receive 159 B text over TLS"),
    ("receive-4k", "rate", "Receive 4 KiB binary"),
    ("receive-1m", "rate", "Receive 1 MiB binary"),
    ("send", "rate", "Send 32 B text, in bursts"),
    ("echo", "echo_p50", "Echo of 32 B text, p50 in µs; less is better"),
    ("lifecycle", "open_p50", "Start to open, p50 in µs; less is better"),
    ("lifecycle", "stop_p50", "Stop to really gone, p50 in µs; less is better"),
)

#: Who has a bar. The table has them all.
SHOWN: Final = (
    "rxnodes",
    "rxnodes-batched",
    "aiohttp",
    "aiohttp-subject",
    "websockets",
    "websocket-client",
    "picows",
    "rxjs",
)


@dataclass(frozen=True, slots=True)
class Growth:
    """One thing that may grow with another.

    Attributes:
        title: What grows, and its unit.
        along: With what it grows.
        workloads: Where that is measured.
        size: How much of it there is: the name of a job's field.
        metric: What is measured.
        value: What is drawn, of the measured value and the size.
        peer: With whom it is compared.
    """

    title: str
    along: str
    workloads: tuple[str, ...]
    size: str
    metric: str
    value: Callable[[float, int], float]
    peer: str = "aiohttp"

    def points(self, results: Results, contender: str) -> list[tuple[int, float]]:
        """What was measured, by size."""
        points: list[tuple[int, float]] = []
        for name in self.workloads:
            figure = results.figure(name, contender, self.metric)
            if figure is not None:
                size = int(str(WORKLOADS[name].options.get(self.size, SMALLEST[self.size])))
                points.append((size, self.value(figure.middle, size)))
        return points


SMALLEST: Final = {"connections": 1, "subscribers": 1, "size": 32}

_CONNECTIONS: Final = tuple(name for name in WORKLOADS if name.startswith("connections-"))
_HELD: Final = tuple(name for name in _CONNECTIONS if WORKLOADS[name].metrics == HELD)

GROWTHS: Final = (
    Growth("One message, ns", "connections", _CONNECTIONS, "connections", "message_ns", lambda ns, _: ns),
    Growth(
        "Stopping all, µs for each", "connections", _CONNECTIONS, "connections", "stop_ms", lambda ms, n: ms * 1000 / n
    ),
    Growth("Held, KiB for each", "connections", _HELD, "connections", "held_kib", lambda kib, _: kib),
    Growth(
        "One message, ns for each subscriber",
        "subscribers",
        ("receive-32", "subscribers-10", "subscribers-100"),
        "subscribers",
        "rate",
        lambda rate, number: 1e9 / rate / number,
        "aiohttp-subject",
    ),
    Growth(
        "One message, µs",
        "bytes in a message",
        ("receive-32", "receive-4k", "receive-1m"),
        "size",
        "rate",
        lambda rate, _: 1e6 / rate,
    ),
)


def plot(results: Results, path: Path) -> None:
    """Draws what was measured into a file, whose name says which kind it is."""
    draw: list[Callable[[Axes], None]] = [*_bars(results), *_lines(results)]
    rows = max(1, -(-len(draw) // COLUMNS))
    figure = Figure(figsize=(11, 2.7 * rows), layout="constrained")
    figure.suptitle(f"rxnodes and its peers, side by side in one run\n{_about(results.machine)}", fontsize=10)
    for axes, panel in zip(figure.subplots(rows, COLUMNS, squeeze=False).flat, draw, strict=False):
        panel(axes)
    for axes in figure.axes[len(draw) :]:
        axes.set_axis_off()
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Writes a plot: texts stay texts, and the same figures give the same file."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "rxnodes"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _about(machine: dict[str, str]) -> str:
    versions = ", ".join(f"{name} {machine[name]}" for name in ("aiohttp", "picows", "rxjs") if name in machine)
    system = f"{machine['processor']}, {machine['CPUs']} CPUs, {machine['python']}"
    return f"{system}; {versions}; {machine['date']}; medians"


def _colour(contender: str) -> str:
    if not contender.startswith("rxnodes"):
        return PEER
    return COMPILED if CONTENDERS[contender].is_compiled else OURS


def _bars(results: Results) -> Iterable[Callable[[Axes], None]]:
    for workload, metric, title in BARS:
        found = {
            contender: figure.middle
            for contender in with_compiled(SHOWN)
            if (figure := results.figure(workload, contender, metric)) is not None
        }
        if found:
            yield partial(_draw_bars, title, found)


def _draw_bars(title: str, found: dict[str, float], axes: Axes) -> None:
    labels = [CONTENDERS[contender].title for contender in found]
    bars: Any = axes.barh(labels, list(found.values()), color=[_colour(contender) for contender in found])
    axes.bar_label(bars, [amount(value) for value in found.values()], padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xticks([])
    axes.margins(x=0.15)
    axes.tick_params(labelsize=8, length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _lines(results: Results) -> Iterable[Callable[[Axes], None]]:
    for growth in GROWTHS:
        found = {name: growth.points(results, name) for name in with_compiled(("rxnodes", growth.peer))}
        # A line has two ends.
        lines = {name: points for name, points in found.items() if len(points) > 1}
        if lines:
            yield partial(_draw_lines, growth, lines)


def _draw_lines(growth: Growth, lines: dict[str, list[tuple[int, float]]], axes: Axes) -> None:
    for name, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", color=_colour(name), label=CONTENDERS[name].title)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if growth.size == "size":
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_title(f"{growth.title}, by {growth.along}", fontsize=9, loc="left")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
