"""A board that writes down what observables do in virtual time, and draws it as a marble diagram.

Whatever lies along time is placed in percent of the width, and letters stay as large as they are: a picture is legible
on a phone and on a wide page alike.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

from reactivex.scheduler.eventloop import AsyncIOScheduler

from rxnodes import ConnectionState, Trigger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from reactivex import Observable

    from rxnodes import Connection

__all__ = ["Board"]

#: Where time begins and ends, in percent of the width.
LEFT, RIGHT = 5, 95
#: The width of a letter, and the heights of what lies below one another, in pixels.
LETTER: Final = 7.3
#: Classes of texts, and from which width of the picture they are shown.
WIDTHS: Final = {"all": 328, "w0": 560, "w1": 660}
LABEL: Final = 18
LANE: Final = 34
BOX: Final = 30
MARBLE: Final = 24

STYLE: Final = """
.rxm { --ground: #ffffff; --ink: #1c2126; --faint: #59636e; --line: #59636e; --edge: #c9d0d8; --box: #eef2f7;
  --marble: #cfe3ff; --end: #ffd3df; --idle: #e4e8ec; --connecting: #ffd57a; --open: #8fd9a8; --closing: #9cc4f7;
  --work: #e2d5fb; color-scheme: light dark;
  font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
@media (prefers-color-scheme: dark) { .rxm { --ground: #14181d; --ink: #eef1f4; --faint: #a3adb8; --line: #a3adb8;
  --edge: #3a434d; --box: #232a32; --marble: #1f4d85; --end: #7a2547; --idle: #363d46; --connecting: #7d5c10;
  --open: #1d6b3e; --closing: #20508f; --work: #4b3a78; } }
.rxm text { fill: var(--ink); } .rxm .faint { fill: var(--faint); }
.rxm .ground { fill: var(--ground); stroke: var(--edge); } .rxm .box { fill: var(--box); stroke: var(--edge); }
.rxm .line { stroke: var(--line); stroke-width: 1.5; fill: none; } .rxm .marble { fill: var(--marble); }
.rxm .marble, .rxm .end { stroke: var(--line); } .rxm .end { fill: var(--end); }
.rxm .idle, .rxm .closed { fill: var(--idle); } .rxm .connecting { fill: var(--connecting); }
.rxm .reconnecting { fill: var(--ground); stroke: var(--connecting); stroke-width: 3; stroke-dasharray: 6 3; }
.rxm .open { fill: var(--open); } .rxm .closing { fill: var(--closing); } .rxm .work { fill: var(--work); }
.rxm .w0, .rxm .w1 { display: none; }
@media (min-width: 560px) { .rxm .w0 { display: inline; } } @media (min-width: 660px) { .rxm .w1 { display: inline; } }
"""


@dataclass
class Row:
    """One line of the picture: an operator's box, or a lane with what happened along it.

    Attributes:
        is_box: Whether it is the box of an operator.
        marbles: When, and what is written on it.
        bands: From when to when, its kind, and what is written on it.
        ended: When it completed, or `None`.
    """

    label: str
    is_box: bool = False
    marbles: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    bands: list[tuple[float, float, str, str]] = field(default_factory=list[tuple[float, float, str, str]])
    ended: float | None = None


class Board:
    """Rows, written down from the moment that it is made until `run` returns."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._rows: list[Row] = []
        self._duration = 0.0
        self._is_over = False

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return round(self._loop.time() - self._began, 6)

    # What is written down

    def source(self, label: str, values: Mapping[float, str], *, completes: float | None = None) -> Trigger[str]:
        """A source that emits these values, each at its time."""
        trigger = Trigger[str]()
        self.watch(label, trigger)
        for time, value in values.items():
            self.at(time, trigger.fire, value)
        if completes is not None:
            self.at(completes, trigger.on_completed)
        return trigger

    def watch(self, label: str, observable: Observable[Any], show: Callable[[Any], str] = str) -> None:
        """A lane with what an observable emits from now on."""
        row = self.lane(label)

        def complete() -> None:
            if not self._is_over:
                row.ended = self.now

        observable.subscribe(
            lambda value: self.mark(row, show(value)),
            on_completed=complete,
            scheduler=AsyncIOScheduler(self._loop),
        )

    def states(self, label: str, connection: Connection) -> None:
        """A lane with the states of a connection."""
        row = self.lane(label)

        def note(state: ConnectionState) -> None:
            if not self._is_over:
                self._end_band(row)
                word = "" if state is ConnectionState.IDLE else state.value
                row.bands.append((self.now, self.now, state.value, word))

        connection.states.subscribe(note)

    def working(self, label: str, seconds: float) -> Callable[[str], Awaitable[str]]:
        """A lane with a coroutine function that works on each value for so long, and gives it in capitals."""
        row = self.lane(label)

        async def work(value: str) -> str:
            began = self.now
            await asyncio.sleep(seconds)
            row.bands.append((began, self.now, "work", value))
            return value.upper()

        return work

    def box(self, code: str) -> None:
        """The box of an operator."""
        self._rows.append(Row(code, is_box=True))

    def lane(self, label: str) -> Row:
        """An empty lane."""
        self._rows.append(Row(label))
        return self._rows[-1]

    def mark(self, row: Row, text: str) -> None:
        """Writes a marble into a lane."""
        if not self._is_over:
            row.marbles.append((self.now, text))

    # When it happens

    def at(self, time: float, act: Callable[..., object], *arguments: object) -> None:
        """Does something at a time of the board."""
        self._loop.call_at(self._began + time, act, *arguments)

    async def run(self, duration: float) -> None:
        """Lets so much time pass, and closes the board."""
        await asyncio.sleep(duration - self.now)
        self._duration = duration
        self._is_over = True
        for row in self._rows:
            self._end_band(row)

    def _end_band(self, row: Row) -> None:
        if row.bands and row.bands[-1][2] != "work":
            begin, _, kind, word = row.bands[-1]
            row.bands[-1] = begin, self.now, kind, word

    # How it is drawn

    def svg(self, name: str) -> str:
        """The picture."""
        root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "class": "rxm", "role": "img"})
        ET.SubElement(root, "title").text = f"Marble diagram of {name}"
        ET.SubElement(root, "desc").text = "; ".join(map(self._told, self._rows))
        ET.SubElement(root, "style").text = STYLE
        ground = _add(root, "rect", "ground", x=0.5, y=0.5, rx=8, style="width:calc(100% - 1px)")
        y = 10.0
        for row in self._rows:
            y = self._draw_box(root, row, y) if row.is_box else self._draw_lane(root, row, y)
        ground.set("height", f"{y + 5:g}")
        root.set("width", "100%")
        root.set("height", f"{y + 6:g}")
        document: bytes = ET.tostring(root, encoding="us-ascii")
        return document.decode() + "\n"

    def _told(self, row: Row) -> str:
        """A row in words, for those who do not see it."""
        told = [f"{text} at {time:g} s" for time, text in row.marbles]
        told += [f"{word or kind} from {begin:g} to {end:g} s" for begin, end, kind, word in row.bands]
        told += [] if row.ended is None else [f"completes at {row.ended:g} s"]
        return f"{row.label}: {', '.join(told) or 'nothing'}" if not row.is_box else row.label

    def _draw_box(self, root: ET.Element, row: Row, y: float) -> float:
        _add(root, "rect", "box", x="2%", width="96%", y=y + 2, height=BOX - 4, rx=6)
        _add(root, "text", "", x="50%", y=y + BOX / 2 + 4, text_anchor="middle").text = row.label
        return y + BOX + 4

    def _draw_lane(self, root: ET.Element, row: Row, y: float) -> float:
        _add(root, "text", "faint", x=10, y=y + 12).text = row.label
        middle = y + LABEL + LANE / 2
        _add(root, "line", "line", x1=f"{LEFT - 2}%", x2="98%", y1=middle, y2=middle)
        tip = _add(root, "svg", "", x="98%", y=middle, style="overflow:visible")
        _add(tip, "path", "line", d="M-6,-4 L0,0 L-6,4")
        for begin, end, kind, word in row.bands:
            inset = 1.5 if kind == "reconnecting" else 0
            width = self._place(end) - self._place(begin)
            _add(
                root,
                "rect",
                kind,
                x=f"{self._place(begin):.2f}%",
                width=f"{max(width, 0.3):.2f}%",
                y=middle - 12 + inset,
                height=24 - 2 * inset,
            )
            if kind_of_word := _where_it_fits(word, width):
                x = f"{self._place(begin) + width / 2:.2f}%"
                _add(root, "text", kind_of_word, x=x, y=middle + 4, text_anchor="middle").text = word
        if row.ended is not None:
            # Beside a marble of the same time, which would hide it.
            last = max((_width_of(text) / 2 + 5 for time, text in row.marbles if time == row.ended), default=0.0)
            there = _add(root, "svg", "", x=f"{self._place(row.ended):.2f}%", y=middle, style="overflow:visible")
            _add(there, "line", "line", x1=last, x2=last, y1=-13, y2=13)
        for time, text in row.marbles:
            there = _add(root, "svg", "", x=f"{self._place(time):.2f}%", y=middle, style="overflow:visible")
            width = _width_of(text)
            kind = "end" if text == "Stopped" else "marble"
            _add(there, "rect", kind, x=-width / 2, width=width, y=-MARBLE / 2, height=MARBLE, rx=MARBLE / 2)
            _add(there, "text", "", y=4, text_anchor="middle").text = text
        return y + LABEL + LANE + 4

    def _place(self, time: float) -> float:
        """Where a time is, in percent."""
        return LEFT + (RIGHT - LEFT) * time / self._duration


def _width_of(text: str) -> float:
    """The width of a marble."""
    return max(MARBLE, len(text) * LETTER + 12)


def _where_it_fits(word: str, width: float) -> str | None:
    """The class of a word in a band so many percent wide; `None`: it is never wide enough."""
    need = len(word) * LETTER + 4
    return next((kind for kind, total in WIDTHS.items() if word and need <= total * width / 100), None)


def _add(parent: ET.Element, tag: str, kind: str, **attributes: float | str) -> ET.Element:
    named = {name.replace("_", "-"): it if isinstance(it, str) else f"{it:g}" for name, it in attributes.items()}
    return ET.SubElement(parent, tag, ({"class": kind} if kind else {}) | named)
