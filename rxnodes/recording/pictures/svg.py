"""Recordings as SVG.

A picture has no size of its own: places in time are in percent, and letters keep their size. So it can be read in a
column of 360 pixels and on a slide alike. The standard library's ElementTree writes it, and escapes every text.
"""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from rxnodes.durations import in_words
from rxnodes.lifecycle.states import ConnectionState
from rxnodes.recording.pictures.columns import columns
from rxnodes.recording.pictures.lanes import Traffic, described
from rxnodes.recording.pictures.scale import Room, place, scale_of, turned

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rxnodes.recording.pictures.lanes import Band, Label, Lane, Lanes, Stretch
    from rxnodes.recording.pictures.scale import Placed, Scale

__all__ = ["svg"]

#: Widths in pixels: the narrowest at which nothing overlaps, and those from which on bands have more text.
NARROWEST: Final = 360
WIDER: Final = (600, 1000)

#: Where time begins and ends, in percent of the width, and the edge. Between end and edge is the last state.
LEFT, RIGHT, EDGE = 3.5, 91.0, 97.0

#: A letter's width, a row of labels, the band, and the room above and below it, in pixels.
LETTER: Final = 7.0
ROW: Final = 16
BAND: Final = 28
MESSAGES: Final = 26
GAP: Final = 8
MOST_ROWS: Final = 8

#: Into how many equal parts the axis is divided at most, and how many seconds a part may have.
TICKS: Final = 6
ROUND: Final = (1, 2, 5, 10, 15, 30, *(60 * it for it in (1, 2, 5, 10, 15, 30, 60, 120, 360, 720)))

#: Up to so many messages in a hundredth of the width are drawn one by one.
SINGLE: Final = 2

#: The names of states in the legend, if they are not their own.
STATES: Final = {ConnectionState.IDLE: "no session", ConnectionState.RECONNECTING: "waits to try again"}

STYLE: Final = """
.rxn { --ground: #ffffff; --ink: #1c2126; --faint: #59636e; --line: #c9d0d8; --stop: #c2255c; --aside: #fdf0f4;
  --idle: #e4e8ec; --connecting: #ffd57a; --open: #8fd9a8; --closing: #9cc4f7; --in: #1f6feb; --out: #8250df;
  --waits: #b97a00; color-scheme: light dark;
  font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) { .rxn { --ground: #14181d; --ink: #eef1f4; --faint: #a3adb8; --line: #3a434d;
  --stop: #ff8fb3; --aside: #2c1a22; --idle: #363d46; --connecting: #7d5c10; --open: #1d6b3e; --closing: #20508f;
  --in: #79b8ff; --out: #d2a8ff; --waits: #d9a520; } }
.rxn text { fill: var(--ink); } .rxn .faint { fill: var(--faint); }
.rxn .over { paint-order: stroke; stroke: var(--ground); stroke-width: 3px; stroke-linejoin: round; }
.rxn .name { font-size: 14px; font-weight: 700; } .rxn .stop { fill: var(--stop); font-weight: 700; }
.rxn .ground { fill: var(--ground); stroke: var(--line); } .rxn .aside { fill: var(--aside); }
.rxn .lead { stroke: var(--line); } .rxn .edge { stroke: var(--stop); stroke-dasharray: 3 3; fill: none; }
.rxn .brace { stroke: var(--stop); fill: none; stroke-width: 1.5; }
.rxn .idle, .rxn .closed { fill: var(--idle); } .rxn .connecting { fill: var(--connecting); }
.rxn .reconnecting { fill: var(--ground); stroke: var(--waits); stroke-width: 3; stroke-dasharray: 6 3; }
.rxn .open { fill: var(--open); } .rxn .closing { fill: var(--closing); }
.rxn .in { fill: var(--in); } .rxn .out { fill: var(--out); } .rxn .pulse { fill: var(--ink); }
.rxn .stopping { fill: var(--stop); }
.rxn .w0, .rxn .w1 { display: none; }
@media (min-width: 600px) {
  .rxn .w0 { display: inline; } .rxn .b0 { text-anchor: start; transform: translateX(8px); } }
@media (min-width: 1000px) {
  .rxn .w1 { display: inline; } .rxn .b1 { text-anchor: start; transform: translateX(8px); } }
"""


def svg(lanes: Lanes) -> str:
    """The picture as an SVG document."""
    return _Picture(lanes).text()


class _Picture:
    """Draws from top to bottom.

    Attributes:
        y: How far it has come, in pixels.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._scale: Scale = scale_of(lanes)
        self._root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "class": "rxn", "role": "img"})
        self.y = 12.0
        words = described(lanes)
        number = f"{zlib.crc32(words.encode('utf-8', 'replace')):x}"
        self._add("title", id=f"rxn-t{number}").text = self._title()
        self._add("desc", id=f"rxn-d{number}").text = words
        self._root.set("aria-labelledby", f"rxn-t{number} rxn-d{number}")
        self._add("style").text = STYLE
        self._ground = self._add("rect", x="0.5", y="0.5", width="100%", rx="8", style="width:calc(100% - 1px)")
        self._ground.set("class", "ground")
        for lane in lanes.lanes:
            self._draw_lane(lane)
        if lanes.lanes:
            self._draw_axis()
            self._draw_legend()
        else:
            self._write(f"{LEFT}%", self.y + 14, words, "faint")
            self.y += 30
        self._root.set("width", "100%")
        self._root.set("height", f"{self.y:.0f}")
        self._ground.set("height", f"{self.y - 1:.0f}")

    def text(self) -> str:
        """The document."""
        # In ASCII, so that no terminal and no file can spoil it.
        document: bytes = ET.tostring(self._root, encoding="us-ascii")
        return document.decode() + "\n"

    def _title(self) -> str:
        names = ", ".join(lane.name for lane in self._lanes.lanes[:3])
        more = f" and {len(self._lanes.lanes) - 3} more" if len(self._lanes.lanes) > 3 else ""  # noqa: PLR2004
        return f"{names}{more}: a recording of {in_words(self._lanes.duration)}"

    # Pieces

    def _add(self, tag: str, parent: ET.Element | None = None, **attributes: object) -> ET.Element:
        named = {name.replace("_", "-"): _number(value) for name, value in attributes.items()}
        return ET.SubElement(self._root if parent is None else parent, tag, named)

    def _write(  # noqa: PLR0913 - as SVG has them
        self, x: str, y: float, text: str, kind: str = "", *, anchor: str = "start", dx: float = 0
    ) -> None:
        element = self._add("text", x=x, y=y)
        if dx:
            element.set("dx", _number(dx))
        if anchor != "start":
            element.set("text-anchor", anchor)
        if kind:
            element.set("class", kind)
        element.text = text

    def _at(self, time: float) -> float:
        """The place of a time, in percent."""
        return LEFT + (RIGHT - LEFT) * self._scale.place(time)

    # A lane

    def _draw_lane(self, lane: Lane) -> None:
        self._write(f"{LEFT}%", self.y + 14, lane.name, "name")
        self.y += 24
        above, below = self._placed(lane.nodes, is_above=True), self._placed(lane.ends, is_above=False)
        ways = {it.direction for it in lane.traffic}
        top = self.y
        band_top = top + _rows(above) * ROW + (MESSAGES if "in" in ways else GAP)
        bottom = band_top + BAND + (MESSAGES if "out" in ways else GAP)
        for stretch in lane.stretches:
            self._set_off(stretch, top - 2, band_top - MESSAGES, bottom)
        self._draw_labels(above, top + _rows(above) * ROW - 4, -ROW, band_top)
        for number, band in enumerate(lane.bands):
            self._draw_band(band, band_top, is_last=number == len(lane.bands) - 1)
        self._draw_pulses(lane.nodes, band_top)
        self._draw_traffic(lane.traffic, band_top)
        self.y = bottom
        if lane.stretches:
            self.y += 10 + ROW * max(len(stretch.lines()) for stretch in lane.stretches)
        self._draw_labels(below, self.y + 14, ROW, band_top + BAND)
        for stretch in lane.stretches:
            self._say(stretch, bottom)
        self.y += _rows(below) * ROW + 14

    def _placed(self, labels: Iterable[Label], *, is_above: bool) -> list[Placed]:
        return place(labels, self._scale, _room(NARROWEST, is_above=is_above))

    def _draw_labels(self, placed: Sequence[Placed], first_y: float, step: float, line_to: float) -> None:
        # Lines first, so that texts cover them.
        for it in placed:
            x = f"{LEFT + (RIGHT - LEFT) * it.at:.2f}%"
            y = first_y + step * it.row
            near = y - 9 if y < line_to else y + 2
            self._add("line", x1=x, x2=x, y1=near, y2=line_to).set("class", "lead")
        begins = turned(placed, [_room(width, is_above=step < 0) for width in WIDER])
        for it in placed:
            x = f"{LEFT + (RIGHT - LEFT) * it.at:.2f}%"
            y = first_y + step * it.row
            # Below the band, lines may have to pass through a text, which is set off from them.
            kind = "stop" if it.label.is_bold else "over" if y > line_to else ""
            anchor, dx = ("end", -4) if it.is_left else ("start", 4)
            if it in begins:
                kind = f"{kind} b{begins[it]}".strip()
            for number, line in enumerate(it.lines):
                self._write(x, y + ROW * number, line, kind, anchor=anchor, dx=dx)

    def _draw_band(self, band: Band, top: float, *, is_last: bool) -> None:
        begin, end = self._at(band.begin), EDGE if is_last else self._at(band.end)
        width = max(end - begin, 0.15)
        inset = 1.5 if band.state is ConnectionState.RECONNECTING else 0
        rect = self._add("rect", x=f"{begin:.2f}%", width=f"{width:.2f}%", y=top + inset, height=BAND - 2 * inset)
        rect.set("class", band.state.value)
        again = f", attempt {band.attempt}" if band.attempt > 1 else ""
        waits = "" if band.retry_in is None else f", {in_words(band.retry_in)} to the next attempt"
        title = f"{band.state.value}{again} from {in_words(band.begin)}{waits}"
        self._add("title", rect).text = title
        word = band.state.value if band.retry_in is None else f"waits {in_words(band.retry_in)}"
        self._write_where_it_fits(word, begin, width, top + BAND / 2 + 4)

    def _write_where_it_fits(self, word: str, begin: float, width: float, y: float) -> None:
        need = len(word) * LETTER + 12
        kinds = ("", "w0", "w1")
        for kind, total in zip(kinds, (NARROWEST, *WIDER), strict=True):
            if need <= total * width / 100:
                self._write(f"{begin:.2f}%", y, word, kind, dx=6)
                return

    def _draw_pulses(self, nodes: Iterable[Label], band_top: float) -> None:
        for label in nodes:
            if label.is_pulse:
                # A picture in the picture, because a path knows no percent.
                there = self._add("svg", x=f"{self._at(label.time):.2f}%", y=band_top, style="overflow:visible")
                mark = self._add("path", there, d="M-5.5,-5 L5.5,-5 L0,5 z")
                mark.set("class", "pulse stopping" if label.is_bold else "pulse")
                self._add("title", mark).text = f"a pulse: {label.text} at {in_words(label.time)}"

    def _draw_traffic(self, traffic: Iterable[Traffic], band_top: float) -> None:
        slots: defaultdict[tuple[str, int], list[Traffic]] = defaultdict(list)
        for it in traffic:
            for at, part in self._in_slots(it):
                slots[it.direction, at].append(part)
        tallest = max((sum(it.count for it in slot) for slot in slots.values()), default=1)
        for (direction, at), slot in slots.items():
            base = band_top - 3 if direction == "in" else band_top + BAND + 3
            count = sum(it.count for it in slot)
            if count <= SINGLE:
                for it in slot:
                    self._draw_marble(it, base)
                continue
            # By the logarithm, so that few can be seen beside very many.
            height = 6 + (MESSAGES - 10) * math.log(count) / math.log(tallest)
            y = base - height if direction == "in" else base
            x = max(at, LEFT)
            rect = self._add("rect", x=f"{x}%", width=f"{at + 0.9 - x:.1f}%", y=y, height=height)
            rect.set("class", direction)
            size = sum(it.size for it in slot)
            self._add("title", rect).text = f"{count} messages {direction}, {size} bytes, at {in_words(slot[0].begin)}"

    def _in_slots(self, it: Traffic) -> Iterable[tuple[int, Traffic]]:
        """A run of messages, spread over the hundredths of the width in which it lies."""
        first, last = int(self._at(it.begin)), int(self._at(it.end))
        slots = min(last - first + 1, it.count)
        for number in range(slots):
            count, size = _share(it.count, slots, number), _share(it.size, slots, number)
            yield first + number, Traffic(it.begin, it.end, it.direction, count, size)

    def _draw_marble(self, it: Traffic, base: float) -> None:
        y = base - 9 if it.direction == "in" else base + 9
        circle = self._add("circle", cx=f"{self._at(it.begin):.2f}%", cy=y, r=5.5)
        circle.set("class", it.direction)
        what = "a message came" if it.direction == "in" else "a message was sent"
        self._add("title", circle).text = f"{what}: {it.size} bytes, at {in_words(it.begin)}"

    def _set_off(self, stretch: Stretch, top: float, edge: float, bottom: float) -> None:
        begin, end = self._at(stretch.begin), self._at(stretch.end)
        rect = self._add("rect", x=f"{begin:.2f}%", width=f"{end - begin:.2f}%", y=top, height=bottom - top)
        rect.set("class", "aside")
        for at in (begin, end):
            x = f"{at:.2f}%"
            self._add("line", x1=x, x2=x, y1=max(top, edge), y2=bottom + 6).set("class", "edge")

    def _say(self, stretch: Stretch, y: float) -> None:
        begin, end = self._at(stretch.begin), self._at(stretch.end)
        brace = self._add("line", x1=f"{begin:.2f}%", x2=f"{end:.2f}%", y1=y + 6, y2=y + 6)
        brace.set("class", "brace")
        lines = stretch.lines()
        # The first line has bold letters, which are wider.
        need = 1.15 * LETTER * max(map(columns, lines)) * 100 / NARROWEST
        if end - need >= LEFT:
            x, anchor = end, "end"
        else:
            x, anchor = (begin if begin + need <= EDGE else LEFT), "start"
        for number, line in enumerate(lines):
            self._write(f"{x:.2f}%", y + 21 + number * ROW, line, "stop over" if number == 0 else "over", anchor=anchor)

    # Below all lanes

    def _draw_axis(self) -> None:
        y = self.y
        self._add("line", x1=f"{LEFT}%", x2=f"{EDGE}%", y1=y, y2=y).set("class", "lead")
        edges = [time for lane in self._lanes.lanes for it in lane.stretches for time in (it.begin, it.end)]
        taken: list[tuple[float, float]] = []
        for moment in dict.fromkeys(
            [0.0, self._lanes.duration, *edges, *self._scale.moments, *_round_times(self._lanes.duration)]
        ):
            at = self._at(moment)
            text = in_words(moment) if moment else "0"
            half = columns(text) * LETTER / 2 + 4
            # The last one may be long.
            begin = min(at * NARROWEST / 100 - half, NARROWEST - 2 * half)
            end = begin + 2 * half
            if all(end <= left or right <= begin for left, right in taken):
                taken.append((begin, end))
                self._add("line", x1=f"{at:.2f}%", x2=f"{at:.2f}%", y1=y, y2=y + 4).set("class", "lead")
                x, anchor = (100.0, "end") if end == NARROWEST else (at, "middle" if moment else "start")
                self._write(f"{x:.2f}%", y + 17, text, "faint", anchor=anchor, dx=-4 if anchor == "end" else 0)
        self.y += 36

    def _draw_legend(self) -> None:
        states = {band.state for lane in self._lanes.lanes for band in lane.bands}
        if ConnectionState.IDLE in states:
            # Both have one colour and one name: no session.
            states.discard(ConnectionState.CLOSED)
        items = [(state.value, STATES.get(state, state.value)) for state in ConnectionState if state in states]
        ways = {it.direction for lane in self._lanes.lanes for it in lane.traffic}
        items += [(way, text) for way, text in (("in", "message in"), ("out", "message out")) if way in ways]
        if any(label.is_pulse for lane in self._lanes.lanes for label in lane.nodes):
            items.append(("pulse", "pulse"))
        x = 0.0
        for kind, text in items:
            length = 18 + len(text) * LETTER + 10
            if x + length > NARROWEST * (EDGE - LEFT) / 100:
                x, self.y = 0.0, self.y + ROW + 2
            self._draw_key(kind, x)
            self._write(f"{LEFT}%", self.y, text, "faint", dx=x + 18)
            x += length
        self.y += 18
        notes = ["Busy moments are stretched: time is not to scale."] if self._lanes.duration else []
        out = self._lanes.left_out
        if out.messages or out.pulses or out.events:
            notes.append(f"Left out: {out.messages} messages, {out.pulses} pulses, {out.events} events.")
        for note in notes:
            self._write(f"{LEFT}%", self.y, note, "faint")
            self.y += ROW

    def _draw_key(self, kind: str, x: float) -> None:
        # Its place is in percent, and its parts are in pixels.
        there = self._add("svg", x=f"{LEFT}%", y=self.y, style="overflow:visible")
        if kind in {"in", "out"}:
            mark = self._add("circle", there, cx=x + 6, cy=-4, r=5)
        elif kind == "pulse":
            mark = self._add("path", there, d=f"M{x + 1:.0f},-9 L{x + 11:.0f},-9 L{x + 6:.0f},1 z")
        else:
            mark = self._add("rect", there, x=x + 0.5, y=-9.5, width=12, height=10)
        mark.set("class", kind)


def _number(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def _round_times(duration: float) -> Iterable[float]:
    """Round times, for the stretches in which nothing happens."""
    step = next(
        (step for step in ROUND if duration <= TICKS * step), 24 * 3600 * math.ceil(duration / 24 / 3600 / TICKS)
    )
    return (step * number for number in range(1, math.ceil(duration / step)))


def _room(width: float, *, is_above: bool) -> Room:
    """The room for labels in a picture of this width."""
    return Room(width * (RIGHT - LEFT) / 100, width * (EDGE - RIGHT) / 100, LETTER, MOST_ROWS, is_above)


def _share(total: int, parts: int, number: int) -> int:
    """The size of one part, if all are as equal as they can be."""
    return total * (number + 1) // parts - total * number // parts


def _rows(placed: Iterable[Placed]) -> int:
    return max((it.row + len(it.lines) for it in placed), default=0)
