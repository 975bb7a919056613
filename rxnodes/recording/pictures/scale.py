"""Places in a picture: a scale of time that gives room to busy moments, and labels that do not overlap."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from rxnodes.recording.pictures.columns import columns, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rxnodes.recording.pictures.lanes import Label, Lanes

__all__ = ["Placed", "Room", "Scale", "place", "scale_of", "turned"]

#: Moments within this part of the whole time are drawn at one place.
SAME: Final = 1 / 5000
#: The least part of the width for a moment, and the largest part for all such rooms together.
ROOM: Final = 0.045
ALL_ROOMS: Final = 0.65
#: Beyond so many moments, messages have no room of their own.
MOST_MOMENTS: Final = 60
#: How many labels are tried at most.
MOST_LABELS: Final = 40
#: How many lines a label has at most, and how many columns its lines have at least, if they are several.
MOST_LINES: Final = 3
ENOUGH: Final = 16
#: Beyond so many labels with the same text, one stands for all.
MOST_ALIKE: Final = 6


class Scale:
    """Maps seconds to the width, from 0 to 1. Each gap between two moments has some room, and more by its root."""

    def __init__(self, moments: Sequence[float]) -> None:
        self.moments = moments
        gaps = [after - before for before, after in pairwise(moments)]
        room = min(ROOM, ALL_ROOMS / max(len(gaps), 1))
        roots = [gap**0.5 for gap in gaps]
        left = 1 - room * len(gaps)
        self._places = [0.0]
        for root in roots:
            self._places.append(self._places[-1] + room + left * root / sum(roots))

    def place(self, time: float) -> float:
        """The place of a time, from 0 to 1."""
        after = bisect_right(self.moments, time)
        if after == 0 or len(self.moments) == 1:
            return 0.0
        if after == len(self.moments):
            return 1.0
        begin, end = self.moments[after - 1], self.moments[after]
        left, right = self._places[after - 1], self._places[after]
        return left + (right - left) * (time - begin) / (end - begin)


def scale_of(lanes: Lanes) -> Scale:
    """The scale of a picture."""
    times = {0.0, lanes.duration}
    messages: set[float] = set()
    for lane in lanes.lanes:
        times |= {band.begin for band in lane.bands}
        times |= {label.time for label in lane.nodes if label.weight > 1}
        messages |= {label.time for label in lane.nodes} | {it.begin for it in lane.traffic}
    if len(times) + len(messages) <= MOST_MOMENTS:
        times |= messages
    return Scale(_apart(sorted(times), lanes.duration * SAME))


def _apart(times: Iterable[float], least: float) -> list[float]:
    apart: list[float] = []
    for time in times:
        if not apart or time - apart[-1] > least:
            apart.append(time)
    return apart


@dataclass(frozen=True, slots=True)
class Placed:
    """A label with its place.

    Attributes:
        label: The label.
        lines: Its text, as far as there is room; the first line is the upper one.
        at: The place of its time, from 0 to 1.
        row: The row of the line next to the band, counted from the band, from 0.
        is_left: Whether it ends at its place; otherwise it begins there.
    """

    label: Label
    lines: tuple[str, ...]
    at: float
    row: int
    is_left: bool


@dataclass(frozen=True, slots=True)
class Room:
    """The room for labels beside a band.

    Attributes:
        width: The width of the whole time.
        tail: The width behind it, which shows the last state.
        letter: The width of a letter.
        rows: How many rows there may be.
        is_above: Whether it is above the band. There, of labels with the same time, the last is next to the band.
    """

    width: float
    tail: float
    letter: float
    rows: int
    is_above: bool

    def fits(self, at: float, *, is_left: bool) -> int:
        """How many columns a text may have that ends at a place (`is_left`), or begins there."""
        return int((at if is_left else self.width + self.tail + self.letter - at) / self.letter) - 1

    def is_left(self, text: str, at: float, most: int) -> bool:
        """Whether a text ends at its place, because it has no room behind that."""
        fits = self.fits(at, is_left=False)
        # Two lines that begin there are read more easily than one that ends there, unless they are too short.
        enough = columns(text) if most == 1 else max(ENOUGH, -(-columns(text) // 2))
        return columns(text) > fits and fits < enough and at > self.width / 2


def place(labels: Iterable[Label], scale: Scale, room: Room) -> list[Placed]:
    """Places labels in rows, so that they do not overlap.

    Below the band, a label that is too long for one line takes more. If there is no room for all, each has one line,
    and those with the least weight are left out.
    """
    numbered = sorted(enumerate(_merged(labels)), key=lambda it: -it[1].weight)[:MOST_LABELS]
    for most in () if room.is_above else range(MOST_LINES, 1, -1):
        placed = _placed(numbered, scale, room, most)
        if len(placed) == len(numbered):
            return placed
    while True:
        placed = _placed(numbered, scale, room, 1)
        if len(placed) == len(numbered):
            return placed
        # Several at once, because each further try places all that are left.
        del numbered[-(1 + (len(numbered) - len(placed)) // 2) :]


def turned(placed: Sequence[Placed], rooms: Sequence[Room]) -> dict[Placed, int]:
    """Which labels that end at their places can begin there in a wider room.

    Args:
        placed: The labels, as they were placed in a narrower room.
        rooms: The wider rooms, the narrowest first.

    Returns:
        By the label, the number of the first room in which it can.
    """
    found: dict[Placed, int] = {}
    for it in sorted((it for it in placed if it.is_left), key=lambda it: -it.at):
        for number, room in enumerate(rooms):
            others = [(other, other.is_left and found.get(other, len(rooms)) > number) for other in placed]
            if _can_begin(it, others, room):
                found[it] = number
                break
    return found


def _can_begin(it: Placed, others: Iterable[tuple[Placed, bool]], room: Room) -> bool:
    begin = it.at * room.width
    end = begin + _length(it.lines, room)
    for other, is_left in others:
        at, length = other.at * room.width, _length(other.lines, room)
        left, right = (at - length, at) if is_left else (at, at + length)
        is_beside = other.row < it.row + len(it.lines) and it.row < other.row + len(other.lines)
        is_in_the_way = is_beside and begin < right and left < end
        passes = other.row > it.row and begin < at < end
        if other is not it and (is_in_the_way or passes):
            return False
    return end <= room.width + room.tail


def _length(lines: Iterable[str], room: Room) -> float:
    return (max(map(columns, lines)) + 1) * room.letter


def _merged(labels: Iterable[Label]) -> Iterator[Label]:
    """For very many labels with the same text the first, with their number; for a long series the last."""
    alike: defaultdict[str, list[Label]] = defaultdict(list)
    for label in labels:
        alike[label.series or label.text].append(label)
    for group in alike.values():
        if len(group) <= MOST_ALIKE:
            yield from group
        elif group[0].series:
            yield group[-1]
        else:
            yield replace(group[0], text=f"{group[0].text} ×{len(group)}")  # noqa: RUF001 - the sign is meant


def _placed(numbered: Sequence[tuple[int, Label]], scale: Scale, room: Room, most: int) -> list[Placed]:
    """Places the labels that end at their places from left to right, then the others from right to left.

    In this order, the line from a label to the band passes beside the labels that are nearer to the band.
    """
    lefts: list[tuple[float, int, Label]] = []
    rights: list[tuple[float, int, Label]] = []
    reaches_to = math.inf
    for number, label in sorted(numbered, key=lambda it: (it[1].time, it[0]), reverse=True):
        at = scale.place(label.time) * room.width
        # Otherwise its line would cross the text of a later label that ends at its place.
        follows = reaches_to < at and columns(label.text) <= room.fits(at, is_left=True)
        is_left = follows or room.is_left(label.text, at, most)
        turn = -number if room.is_above else number
        (lefts if is_left else rights).append((at if is_left else -at, turn, label))
        if is_left:
            reaches_to = min(reaches_to, at - _length(_lines(label, at, room, most, is_left=True), room))
    placed: list[Placed] = []
    space = _Space(room.rows)
    for is_left, group in ((True, lefts), (False, rights)):
        for key, _, label in sorted(group, key=lambda it: it[:2]):
            at = abs(key)
            lines = _lines(label, at, room, most, is_left=is_left)
            length = _length(lines, room)
            begin, end = (at - length, at) if is_left else (at, at + length)
            row = space.take(at, begin, end, len(lines))
            if row is not None:
                placed.append(Placed(label, lines, at / room.width, row, is_left))
    return placed


def _lines(label: Label, at: float, room: Room, most: int, *, is_left: bool) -> tuple[str, ...]:
    return wrapped(label.text, max(2, room.fits(at, is_left=is_left)), most)


class _Space:
    """Rows, with their texts and the lines that go through them to the band."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._texts: list[tuple[int, float, float]] = []
        self._lines: list[tuple[float, int]] = []

    def take(self, at: float, begin: float, end: float, height: int) -> int | None:
        """The lowest row for a text; if it can, one where no line crosses a text. `None`: there is no room."""
        rows = [row for row in range(self._rows - height + 1) if self._is_free(row, begin, end, height)]
        if not rows:
            return None
        row = next((row for row in rows if not self._crosses(row, at, begin, end, height)), rows[0])
        self._texts += ((row + line, begin, end) for line in range(height))
        self._lines.append((at, row))
        return row

    def _is_free(self, row: int, begin: float, end: float, height: int) -> bool:
        return all(
            not row <= other < row + height or end <= left or right <= begin for other, left, right in self._texts
        )

    def _crosses(self, row: int, at: float, begin: float, end: float, height: int) -> bool:
        through = any(begin < x < end and row + height <= other for x, other in self._lines)
        return through or any(left < at < right and other < row for other, left, right in self._texts)
