"""The plot: an SVG written by hand, so that drawing it needs nothing but Python.

It carries a background of its own and follows the reader's light or dark mode, so that it can be read wherever it is
shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from benchmarks.contenders import CONTENDERS
from benchmarks.table import amount
from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.results import Results
    from benchmarks.workloads import Metric

__all__ = ["plot"]

WIDTH = 880
MARGIN = 28
GAP = 36
TOP = 84
LABELS = 158
VALUES = 62
ROW = 22
BAR = 13
HEADING = 44
CHART = 130
AXIS = 34

STYLE = """
  .card { fill: #ffffff; stroke: #d1d9e0; }
  text { fill: #1f2328; font: 12px -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; }
  .title { font-size: 19px; font-weight: 600; }
  .heading { font-size: 13px; font-weight: 600; }
  .muted { fill: #59636e; }
  .small { font-size: 11px; }
  .ours { fill: #0969da; }
  .ours-text { fill: #0969da; font-weight: 600; }
  .peer { fill: #b6bfc8; }
  .grid { stroke: #d1d9e0; stroke-width: 1; }
  .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
  .ours-line { stroke: #0969da; }
  .peer-line { stroke: #818b98; }
  .peer-dot { fill: #818b98; }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #3d444d; }
    text { fill: #f0f6fc; }
    .muted { fill: #9198a1; }
    .ours { fill: #4493f8; }
    .ours-text { fill: #4493f8; }
    .peer { fill: #4a525c; }
    .grid { stroke: #2b323b; }
    .ours-line { stroke: #4493f8; }
    .peer-line { stroke: #7d8590; }
    .peer-dot { fill: #7d8590; }
  }
"""

#: What is drawn as bars: the workload, the metric, and the heading.
BARS = (
    ("receive-32", "rate", "Receive 32 B text"),
    ("pipeline", "rate", "… through map, filter, map"),
    ("receive-4k", "rate", "Receive 4 KiB binary"),
    ("receive-1m", "rate", "Receive 1 MiB binary"),
    ("send", "rate", "Send 32 B text, in bursts"),
    ("echo", "echo_p50", "Echo of 32 B text, p50"),
    ("lifecycle", "open_p50", "Start to open, p50"),
    ("lifecycle", "stop_p50", "Stop to really gone, p50"),
)

#: Who has a bar. The table has them all.
SHOWN = (
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
class Series:
    """A line: who it is of, and its points."""

    contender: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One part of the plot.

    Attributes:
        height: How much room it needs.
        draw: Draws it, given its left edge, its top and its width.
    """

    height: int
    draw: Callable[[float, float, float], Iterator[str]]


def plot(results: Results) -> str:
    """The whole plot, as the text of an SVG file."""
    rows = [*_in_rows(_bar_panels(results), 2), *_in_rows(_line_panels(results), 3)]
    body: list[str] = []
    top = float(TOP)
    for row in rows:
        # As wide as in a full row: bars and charts of one kind are then of one scale.
        columns = 2 if row.is_bars else 3
        width = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns
        for column, panel in enumerate(row.panels):
            body += panel.draw(MARGIN + column * (width + GAP), top, width)
        top += max(panel.height for panel in row.panels) + GAP * 0.7
    return "\n".join((*_frame(results, top), *body, "</svg>", ""))


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side."""

    panels: Sequence[Panel]
    is_bars: bool


def _in_rows(panels: Sequence[Panel], columns: int) -> Iterator[Row]:
    for first in range(0, len(panels), columns):
        yield Row(panels[first : first + columns], is_bars=columns == 2)  # noqa: PLR2004 - bars come in twos


def _frame(results: Results, height: float) -> Iterator[str]:
    machine = results.machine
    peers = ("aiohttp", "picows", "rxjs")
    versions = ", ".join(f"{name} {machine[name]}" for name in peers if name in machine)
    about = (
        f"{machine['processor']}, {machine['CPUs']} CPUs, {machine['python']}; {versions}; {machine['date']}; medians"
    )
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'height="{height:.0f}" role="img" aria-label="rxnodes and its peers, measured side by side">'
    )
    yield f"<style>{STYLE}</style>"
    yield f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="8"/>'
    yield _text(MARGIN, 38, "rxnodes and its peers, side by side in one run", "title")
    yield _text(MARGIN, 58, about, "muted small")


def _text(x: float, y: float, text: str, classes: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}" text-anchor="{anchor}">{escape(text)}</text>'


# Bars


def _bar_panels(results: Results) -> list[Panel]:
    panels: list[Panel] = []
    for workload, metric_name, heading in BARS:
        metric = next(metric for metric in WORKLOADS[workload].metrics if metric.name == metric_name)
        bars = [
            (contender, figure.middle)
            for contender in SHOWN
            if (figure := results.figure(workload, contender, metric_name)) is not None
        ]
        if bars:
            panels.append(_bars(heading, metric, bars))
    return panels


def _bars(heading: str, metric: Metric, bars: Sequence[tuple[str, float]]) -> Panel:
    unit = "messages per second" if metric.unit == "/s" else "µs; less is better"
    longest = max(value for _, value in bars)

    def draw(left: float, top: float, width: float) -> Iterator[str]:
        yield _text(left, top + 12, heading, "heading")
        yield _text(left, top + 28, unit, "muted small")
        room = width - LABELS - VALUES
        for index, (contender, value) in enumerate(bars):
            y = top + HEADING + index * ROW
            is_ours = contender.startswith("rxnodes")
            length = max(2.0, value / longest * room)
            yield _text(left, y + BAR - 2, CONTENDERS[contender].title, "ours-text" if is_ours else "")
            yield (
                f'<rect class="{"ours" if is_ours else "peer"}" x="{left + LABELS:.1f}" y="{y:.1f}" '
                f'width="{length:.1f}" height="{BAR}" rx="2"/>'
            )
            yield _text(left + LABELS + length + 6, y + BAR - 2, amount(value), "ours-text" if is_ours else "muted")

    return Panel(HEADING + len(bars) * ROW, draw)


# Lines


def _line_panels(results: Results) -> list[Panel]:
    messages = [_by_connections(results, contender, "message_ns", lambda ns, _: ns) for contender in _TWO]
    stops = [
        _by_connections(results, contender, "stop_ms", lambda ms, number: ms * 1000 / number) for contender in _TWO
    ]
    subscribers = [_by_subscribers(results, contender) for contender in ("rxnodes", "aiohttp-subject")]
    charts = (
        ("One message, by connections", "ns; all connections are read from", messages),
        ("Stopping all, by connections", "µs for each connection", stops),
        ("One message, by subscribers", "ns for each subscriber", subscribers),
    )
    # A line has two ends.
    drawn = ((heading, unit, [one for one in series if len(one.points) > 1]) for heading, unit, series in charts)
    return [_lines(heading, unit, series) for heading, unit, series in drawn if series]


_TWO = ("rxnodes", "aiohttp")


def _by_connections(results: Results, contender: str, metric: str, scale: Callable[[float, int], float]) -> Series:
    points: list[tuple[int, float]] = []
    for name, workload in WORKLOADS.items():
        figure = results.figure(name, contender, metric)
        if figure is not None:
            number = int(str(workload.options["connections"]))
            points.append((number, scale(figure.middle, number)))
    return Series(contender, tuple(points))


def _by_subscribers(results: Results, contender: str) -> Series:
    points: list[tuple[int, float]] = []
    for name in ("receive-32", "subscribers-10", "subscribers-100"):
        figure = results.figure(name, contender, "rate")
        if figure is not None:
            number = int(str(WORKLOADS[name].options.get("subscribers", 1)))
            points.append((number, 1e9 / figure.middle / number))
    return Series(contender, tuple(points))


def _lines(heading: str, unit: str, series: Sequence[Series]) -> Panel:
    numbers = sorted({number for one in series for number, _ in one.points})
    highest = _round_up(max(value for one in series for _, value in one.points))
    span = math.log(numbers[-1] / numbers[0])

    def draw(left: float, top: float, width: float) -> Iterator[str]:
        base = top + HEADING + CHART
        edge = left + AXIS

        def x(number: int) -> float:
            return edge + math.log(number / numbers[0]) / span * (width - AXIS - 12)

        def y(value: float) -> float:
            return base - value / highest * CHART

        yield _text(left, top + 12, heading, "heading")
        yield _text(left, top + 28, unit, "muted small")
        for share in (0.0, 0.5, 1.0):
            at = y(highest * share)
            yield f'<line class="grid" x1="{edge:.1f}" y1="{at:.1f}" x2="{left + width:.1f}" y2="{at:.1f}"/>'
            yield _text(edge - 6, at + 4, f"{highest * share:,.0f}", "muted small", "end")
        for number in numbers:
            yield _text(x(number), base + 16, f"{number:,}", "muted small", "middle")
        for one in series:
            yield from _line(one, x, y)
        yield from _legend(series, edge, base + 36)

    return Panel(HEADING + CHART + 40, draw)


def _line(one: Series, x: Callable[[int], float], y: Callable[[float], float]) -> Iterator[str]:
    kind = "ours" if one.contender == "rxnodes" else "peer"
    path = " ".join(f"{x(number):.1f},{y(value):.1f}" for number, value in one.points)
    yield f'<polyline class="line {kind}-line" points="{path}"/>'
    for number, value in one.points:
        dot = "ours" if kind == "ours" else "peer-dot"
        yield f'<circle class="{dot}" cx="{x(number):.1f}" cy="{y(value):.1f}" r="3"/>'


def _legend(series: Sequence[Series], left: float, top: float) -> Iterator[str]:
    for one in series:
        is_ours = one.contender == "rxnodes"
        title = CONTENDERS[one.contender].title
        yield f'<circle class="{"ours" if is_ours else "peer-dot"}" cx="{left + 4:.1f}" cy="{top - 4:.1f}" r="4"/>'
        yield _text(left + 13, top, title, "ours-text small" if is_ours else "small")
        left += 34 + 6.2 * len(title)


def _round_up(value: float) -> float:
    """The next number that reads well at the end of an axis."""
    size = 10.0 ** math.floor(math.log10(value))
    return next(step * size for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * size >= value)
