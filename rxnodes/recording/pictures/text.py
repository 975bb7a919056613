"""Recordings as text, for a terminal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Final, TypeAlias

from rxnodes.durations import in_words
from rxnodes.lifecycle.states import ConnectionState
from rxnodes.recording.pictures.columns import column_of, columns, cut
from rxnodes.recording.pictures.scale import Room, place, scale_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rxnodes.recording.pictures.lanes import Label, Lane, Lanes, Stretch
    from rxnodes.recording.pictures.scale import Placed, Scale

__all__ = ["Line", "text"]

Line: TypeAlias = "list[tuple[str, str]]"
"""A line: its parts, each with its kind: a state, `in`, `out`, `stop`, `name`, or nothing."""

NARROWEST: Final = 40

#: The columns at the left of the rows, and the part of the width at the right that shows the last state.
MARGIN: Final = 7
TAIL: Final = 1 / 8
MOST_ROWS: Final = 8


@dataclass(frozen=True)
class _Signs:
    """The characters that a terminal can show."""

    states: dict[ConnectionState, str]
    few: str
    many: str
    line: str
    left: str
    across: str
    right: str


UNICODE: Final = _Signs(
    {
        ConnectionState.IDLE: "·",
        ConnectionState.CONNECTING: "░",
        ConnectionState.OPEN: "█",
        ConnectionState.RECONNECTING: "╌",
        ConnectionState.CLOSING: "▒",
        ConnectionState.CLOSED: "·",
    },
    *("●", "◆", "│", "└", "─", "┘"),
)
ASCII: Final = _Signs(
    {
        ConnectionState.IDLE: ".",
        ConnectionState.CONNECTING: "-",
        ConnectionState.OPEN: "=",
        ConnectionState.RECONNECTING: "~",
        ConnectionState.CLOSING: ":",
        ConnectionState.CLOSED: ".",
    },
    *("o", "O", "|", "+", "-", "+"),
)


def text(lanes: Lanes, width: int, *, is_unicode: bool = True) -> list[Line]:
    """The picture.

    Args:
        lanes: The lanes.
        width: Its width in columns.
        is_unicode: Whether it may have characters beyond ASCII.

    Raises:
        ValueError: If the width is less than 40.
    """
    if width < NARROWEST:
        raise ValueError(f"a picture takes {NARROWEST} columns or more, not {width}")
    # Before labels are placed, because escapes take more columns.
    shown = lanes.lanes if is_unicode else [_in_ascii(lane) for lane in lanes.lanes]
    picture = _Picture(scale_of(lanes), width, UNICODE if is_unicode else ASCII)
    lines = [line for lane in shown for line in picture.lane(lane)]
    lines.append(picture.axis(lanes.duration))
    return [[(part if is_unicode else part.translate(_SIGNS), kind) for part, kind in line] for line in lines]


#: Also put in when labels are placed.
_SIGNS: Final = str.maketrans({"×": "x", "…": "~"})  # noqa: RUF001 - the sign is meant
_QUOTES: Final = str.maketrans({"“": '"', "”": '"'})


def _in_ascii(lane: Lane) -> Lane:
    def plain(text: str) -> str:
        return text.translate(_SIGNS).translate(_QUOTES).encode("ascii", "backslashreplace").decode()

    def in_ascii(labels: Iterable[Label]) -> list[Label]:
        return [replace(label, text=plain(label.text)) for label in labels]

    return replace(lane, name=plain(lane.name), nodes=in_ascii(lane.nodes), ends=in_ascii(lane.ends))


class _Picture:
    def __init__(self, scale: Scale, width: int, signs: _Signs) -> None:
        self._scale = scale
        self._columns = width - MARGIN
        self._tail = int(width * TAIL)
        self._last = self._columns - self._tail
        self._signs = signs

    def lane(self, lane: Lane) -> Iterator[Line]:
        """A connection, from top to bottom."""
        yield [(cut(lane.name, self._columns + MARGIN), "name")]
        yield from self._labels(lane.nodes, is_above=True)
        if any(it.direction == "in" for it in lane.traffic):
            yield self._messages(lane, "in")
        yield self._band(lane)
        if any(it.direction == "out" for it in lane.traffic):
            yield self._messages(lane, "out")
        for stretch in lane.stretches:
            yield from self._brace(stretch)
        yield from self._labels(lane.ends, is_above=False)

    def axis(self, duration: float) -> Line:
        """When it began and ended."""
        end = in_words(duration)
        row = [" "] * self._columns
        self._put(row, 0, "0")
        self._put(row, max(2, self._last + 1 - len(end)), end)
        return self._line("", row)

    def _at(self, time: float) -> int:
        return round(self._scale.place(time) * self._last)

    def _put(self, row: list[str], begin: int, word: str) -> None:
        for letter in cut(word, self._columns - begin):
            width = column_of(letter)
            if width:
                # A wide letter has two cells, of which the second is empty.
                row[begin : begin + width] = [letter, *[""] * (width - 1)]
                begin += width
            else:
                row[begin - 1] += letter

    def _line(self, head: str, row: Iterable[str], kinds: Iterable[str] | None = None) -> Line:
        cells = zip(row, kinds or iter(lambda: "", None), strict=False)
        parts = [("".join(c for c, _ in group), kind) for kind, group in groupby(cells, key=lambda cell: cell[1])]
        return [(f"{head:{MARGIN}}", ""), *parts]

    # Rows

    def _band(self, lane: Lane) -> Line:
        row, kinds = [" "] * self._columns, [""] * self._columns
        for number, band in enumerate(lane.bands):
            is_last = number == len(lane.bands) - 1
            begin, end = self._at(band.begin), self._columns if is_last else self._at(band.end)
            end = max(end, begin + 1)
            row[begin:end] = self._signs.states[band.state] * (end - begin)
            kinds[begin:end] = [band.state.value] * (end - begin)
            word = f" {band.state.value} " if band.retry_in is None else f" waits {in_words(band.retry_in)} "
            if len(word) + 2 <= end - begin:
                self._put(row, begin + 1, word)
        return self._line("state", row, kinds)

    def _messages(self, lane: Lane, direction: str) -> Line:
        counts = [0] * self._columns
        for it in lane.traffic:
            if it.direction == direction:
                first, last = self._at(it.begin), self._at(it.end)
                for column in range(first, last + 1):
                    counts[column] += -(-it.count // (last - first + 1))
        row = [" " if count == 0 else self._signs.few if count == 1 else self._signs.many for count in counts]
        for stretch in lane.stretches:
            self._draw_edges(row, stretch)
        return self._line(direction, row, [direction if count else "stop" for count in counts])

    def _draw_edges(self, row: list[str], stretch: Stretch) -> None:
        for column in (self._at(stretch.begin), self._at(stretch.end)):
            if row[column] == " ":
                row[column] = self._signs.line

    def _brace(self, stretch: Stretch) -> Iterator[Line]:
        begin, end = self._at(stretch.begin), self._at(stretch.end)
        row = [" "] * self._columns
        row[begin : end + 1] = self._signs.across * (end + 1 - begin)
        row[begin], row[end] = self._signs.left, self._signs.right
        yield self._line("", row, ["stop"] * self._columns)
        for line in stretch.lines():
            row = [" "] * self._columns
            self._put(row, max(0, min(begin, self._columns - columns(line))), line)
            yield self._line("", row, ["stop"] * self._columns)

    def _labels(self, labels: Iterable[Label], *, is_above: bool) -> Iterator[Line]:
        placed = place(labels, self._scale, Room(self._last, self._tail - 1, 1, MOST_ROWS, is_above))
        rows = max((it.row + len(it.lines) for it in placed), default=0)
        for number in range(rows):
            yield self._label_row(placed, rows - 1 - number if is_above else number)

    def _label_row(self, placed: Iterable[Placed], number: int) -> Line:
        row, kinds = [" "] * self._columns, [""] * self._columns
        for it in placed:
            if it.row > number:
                row[round(it.at * self._last)] = self._signs.line
        for it in placed:
            if it.row <= number < it.row + len(it.lines):
                text = it.lines[number - it.row]
                at = round(it.at * self._last)
                begin = max(0, at - columns(text) + 1) if it.is_left else at
                self._put(row, begin, text)
                if it.label.is_bold:
                    kinds[begin : begin + columns(text)] = ["stop"] * columns(text)
        return self._line("", row, kinds[: self._columns])
