"""Where things stand in a picture: a scale of time that gives room to busy moments, and labels that do not overlap."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rxnodes.recording.pictures.lanes import Label, Lanes

__all__ = ["Placed", "Room", "Scale", "place", "scale_of"]

#: What happens within this part of the whole time is drawn at one place.
SAME: Final = 1 / 5000
#: How much of the width a moment has at least, and all such rooms together at most.
ROOM: Final = 0.045
ALL_ROOMS: Final = 0.65
#: Beyond so many moments, single messages have no room of their own.
MOST_MOMENTS: Final = 60
#: More labels than these are not even tried.
MOST_LABELS: Final = 40


class Scale:
    """Maps seconds to the width, from 0 to 1: each moment has some room, and the rest goes by the root of the time."""

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
        """Where a time is."""
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
        text: Its text, as far as there is room for it.
        at: Where what it tells of happened, from 0 to 1.
        row: Its row, from 0, counted from the band.
        is_left: Whether it ends there, and does not begin there.
    """

    label: Label
    text: str
    at: float
    row: int
    is_left: bool


@dataclass(frozen=True, slots=True)
class Room:
    """The room for labels beside a band.

    Attributes:
        width: The width of the picture.
        letter: The width of a letter.
        rows: How many rows there may be.
        is_above: Whether it is above the band. There the last of those that happen together stands next to the band.
    """

    width: float
    letter: float
    rows: int
    is_above: bool


def place(labels: Iterable[Label], scale: Scale, room: Room) -> list[Placed]:
    """Places labels in rows, so that they do not overlap. Where there is no room, those that weigh least go."""
    numbered = sorted(enumerate(labels), key=lambda it: -it[1].weight)[:MOST_LABELS]
    while True:
        placed = _placed(numbered, scale, room)
        if all(it.row < room.rows for it in placed):
            return placed
        numbered.pop()


def _placed(numbered: Iterable[tuple[int, Label]], scale: Scale, room: Room) -> list[Placed]:
    """From right to left, each in the lowest row that is free: so the line of one passes left of the labels below."""
    placed: list[Placed] = []
    free_up_to: list[float] = []
    for _, label in sorted(numbered, key=lambda it: (-it[1].time, -it[0] if room.is_above else it[0])):
        at = scale.place(label.time) * room.width
        is_left = at + (len(label.text) + 1) * room.letter > room.width + room.letter and at > room.width / 2
        fits = int((at if is_left else room.width + room.letter - at) / room.letter) - 1
        text = label.text if len(label.text) <= fits else f"{label.text[: max(fits - 1, 0)]}…"
        length = (len(text) + 1) * room.letter
        begin, end = (at - length, at) if is_left else (at, at + length)
        row = 0
        while row < len(free_up_to) and end > free_up_to[row]:
            row += 1
        # The line to it goes through the rows below.
        for below in range(0 if is_left else row):
            free_up_to[below] = min(free_up_to[below], at)
        free_up_to[row : row + 1] = [begin]
        placed.append(Placed(label, text, at / room.width, row, is_left))
    return placed
