"""The plot of `benchmarks.fleet_scale`, drawn by matplotlib."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from matplotlib.figure import Figure

from benchmarks.plot import COMPILED, OURS, PEER, save
from benchmarks.table import amount

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.fleet_scale import Found

__all__ = ["plot"]

COLOURS: Final = (PEER, OURS, COMPILED)
#: Thinner than the room that they have.
BAR: Final = 0.8

#: What is compared: the heading, and its value.
PANELS: Final[tuple[tuple[str, Callable[[Found], float]], ...]] = (
    ("Until the last, s", lambda found: found.took),
    ("Messages of the watches for each worker", lambda found: found.messages),
    ("CPU of the busiest worker, s", lambda found: found.most),
)


def plot(found: Mapping[str, Sequence[Found]], path: Path, title: str, promise: float) -> None:
    """Draws what was found, by the way in which workers watch, into a file."""
    figure = Figure(figsize=(11, 7.4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    panels: list[Callable[[Axes], None]] = [partial(_draw_bars, heading, of, found) for heading, of in PANELS]
    panels.append(partial(_draw_seconds, found))
    axes = figure.subplots(2, 2).flat
    for one, panel in zip(axes, panels, strict=True):
        panel(one)
        one.tick_params(labelsize=8)
        one.spines[["top", "right"]].set_visible(False)
    figure.legend(*figure.axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    figure.axes[0].axvline(promise, color="#cf222e", linewidth=1, linestyle="--")
    figure.axes[0].text(promise, -0.65, " lease + 2 s", color="#cf222e", fontsize=8)
    save(figure, path)


def _draw_bars(heading: str, of: Callable[[Found], float], found: Mapping[str, Sequence[Found]], axes: Axes) -> None:
    high = BAR / len(found)
    for number, (way, ones) in enumerate(found.items()):
        at = [place + number * high for place in range(len(ones))]
        bars: Any = axes.barh(at, [max(of(one), 0.01) for one in ones], high, color=COLOURS[number], label=way)
        lost = [" (leases lost)" if one.loses_leases else "" for one in ones]
        axes.bar_label(bars, [amount(of(one)) + it for one, it in zip(ones, lost, strict=True)], padding=3, fontsize=7)
    scenarios = [one.scenario for one in next(iter(found.values()))]
    axes.set_yticks([place + (BAR - high) / 2 for place in range(len(scenarios))], scenarios)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.3)
    axes.set_title(heading, fontsize=9, loc="left")


def _draw_seconds(found: Mapping[str, Sequence[Found]], axes: Axes) -> None:
    """The messages of the watches in each second, while a tenth of the workers is lost."""
    for number, (way, ones) in enumerate(found.items()):
        tenth = next(one for one in ones if one.scenario.startswith("a tenth"))
        seconds = range(int(tenth.took) + 2)
        messages = [tenth.load.messages.get(second, 0.0) / tenth.alive for second in seconds]
        axes.step(list(seconds), messages, where="post", color=COLOURS[number], label=way)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_xlabel("s", fontsize=8)
    axes.set_title("A tenth lost: messages a second for each worker", fontsize=9, loc="left")
    axes.grid(visible=True, alpha=0.3)
