"""Marble diagrams: what a peer does, and what a connection tells, each in one line of text.

One character is one tick. Below, a peer's diagram stands over that of its connection, at the same times::

    peer_script:  --o--m-m--X-|
    record:       c-o--m-m--X-s

The notation is that of Rx:

=============  =========================================================================================================
`-`            Nothing, for a tick.
a letter       Something, in the tick in which it stands.
`(ed)`         Several things in one tick, in this order. Commas within are ignored.
` 20s `        Nothing, for that time: `20s`, `1.5s`, `300ms`, `2m`, between spaces. It is a whole number of ticks.
space          Ignored, so that diagrams can be aligned.
=============  =========================================================================================================

It differs from reactivex in two points. A group takes one tick, not one for each of its characters: otherwise nothing
could be written in the tick behind it. And each letter stands for itself, as in RxJS; reactivex takes `ab` for one
value.

`rxnodes.testing.peer_script` has the letters of a peer, `Recording` has those of a connection.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["TICK", "Cells", "Mark", "align", "cells_of", "draw", "parse", "problem_at"]

#: The default length of a tick, in seconds, as in `reactivex.from_marbles`.
TICK = 0.1

#: From so many ticks on, silence is drawn as a time.
LONG_SILENCE = 20

#: More decimals make no difference to a number of seconds above 1e-300.
DECIMALS = 330

TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
WAIT = re.compile(rf"(?<!\S){TIME.pattern}(?!\S)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}

Cells = dict[int, str]


@dataclass(frozen=True, slots=True)
class Mark:
    """A letter of a diagram.

    Attributes:
        tick: Its tick, from 0.
        letter: The letter.
        column: Its column in the diagram, from 1.
    """

    tick: int
    letter: str
    column: int


def parse(diagram: str, *, letters: Iterable[str], tick: float = TICK) -> list[Mark]:
    """Reads a diagram.

    Args:
        diagram: The diagram.
        letters: The letters that have a meaning.
        tick: The length of a tick, in seconds.

    Returns:
        Its letters, in order.

    Raises:
        ValueError: If the diagram cannot be read, with the place.

    Example:
        >>> [(mark.tick, mark.letter) for mark in parse("-a(bc) 1s d", letters="abcd")]
        [(1, 'a'), (2, 'b'), (2, 'c'), (13, 'd')]
    """
    if not tick > 0:
        raise ValueError(f"a tick must take more than 0 seconds, not {tick!r}")
    return list(_Reader(diagram, frozenset(letters), tick).marks())


class _Reader:
    """Goes through a diagram from left to right."""

    def __init__(self, diagram: str, letters: frozenset[str], tick: float) -> None:
        self._diagram = diagram
        self._letters = letters
        self._tick_seconds = tick
        self._place = 0
        self._tick = 0

    def marks(self) -> Iterator[Mark]:
        while self._place < len(self._diagram):
            character = self._diagram[self._place]
            if wait := WAIT.match(self._diagram, self._place):
                self._tick += self._ticks(wait)
                self._place = wait.end()
            elif character == " ":
                self._place += 1
            elif character == "(":
                yield from self._group()
            else:
                if character != "-":
                    yield self._mark()
                self._place += 1
                self._tick += 1

    def _group(self) -> Iterator[Mark]:
        end = self._diagram.find(")", self._place)
        if end < 0:
            raise self._problem("the group is not closed")
        self._place += 1
        while self._place < end:
            if self._diagram[self._place] not in " ,":
                yield self._mark()
            self._place += 1
        self._place += 1
        self._tick += 1

    def _mark(self) -> Mark:
        letter = self._diagram[self._place]
        if letter not in self._letters:
            hint = "; a time stands between spaces" if TIME.match(self._diagram, self._place) else ""
            raise self._problem(f"it has no meaning here; use one of {' '.join(sorted(self._letters))}{hint}")
        return Mark(self._tick, letter, self._place + 1)

    def _ticks(self, wait: re.Match[str]) -> int:
        ticks = _whole_ticks(float(wait[1]) * SECONDS[wait[2]], self._tick_seconds)
        if ticks is None:
            raise self._problem(f"{wait[0]} is no whole number of ticks of {self._tick_seconds:g} s")
        return ticks

    def _problem(self, problem: str) -> ValueError:
        return problem_at(self._diagram, self._place + 1, problem)


def _whole_ticks(seconds: float, tick: float) -> int | None:
    """A time in ticks; `None` if it is no whole number of them, apart from rounding."""
    ticks = seconds / tick
    return round(ticks) if abs(ticks - round(ticks)) <= 1e-6 + 1e-14 * ticks else None


def problem_at(diagram: str, column: int, problem: str) -> ValueError:
    """An error that shows a diagram and one of its columns, from 1."""
    return ValueError(f"{diagram!r}, column {column}, {diagram[column - 1]!r}: {problem}")


def cells_of(marks: Iterable[Mark]) -> Cells:
    """The letters of each tick that has any."""
    cells: defaultdict[int, str] = defaultdict(str)
    for mark in marks:
        cells[mark.tick] += mark.letter
    return dict(cells)


def draw(cells: Cells, *, tick: float = TICK) -> str:
    """A diagram with these letters. From 20 ticks on, silence is drawn as a time.

    Example:
        >>> draw({0: "c", 2: "o", 5: "ed", 50: "s"})
        'c-o--(ed) 4.4s s'
    """
    return "".join(column[0] for column in _columns([cells], tick)).strip()


def align(rows: Sequence[Cells], *, tick: float = TICK) -> list[str]:
    """Diagrams with each tick in the same column, and below them a line that points to the differences."""
    columns = list(_columns(rows, tick))
    lines = ["".join(column[row] for column in columns).rstrip() for row in range(len(rows))]
    pointers = ("^" if len({cell.strip() for cell in column}) > 1 else " " for column in columns)
    widths = (len(column[0]) for column in columns)
    return [*lines, "".join(pointer.ljust(width) for pointer, width in zip(pointers, widths, strict=True)).rstrip()]


def _columns(rows: Sequence[Cells], tick: float) -> Iterator[list[str]]:
    """For each tick a text for each row, all of the same width. A silence of all rows that is long is one column."""
    ticks = sorted({tick for row in rows for tick in row})
    for before, this in zip([-1, *ticks], ticks, strict=False):
        silence = this - before - 1
        if silence >= LONG_SILENCE:
            yield [f" {_seconds(silence, tick)}s "] * len(rows)
        else:
            yield from [["-"] * len(rows)] * silence
        texts = [_cell(row.get(this, "-")) for row in rows]
        width = max(map(len, texts))
        yield [text.ljust(width) for text in texts]


def _cell(letters: str) -> str:
    return letters if len(letters) == 1 else f"({letters})"


def _seconds(ticks: int, tick: float) -> str:
    """A number of ticks as seconds, with the fewest decimals from which it can be read again."""
    texts = (f"{ticks * tick:.{decimals}f}" for decimals in range(DECIMALS))
    return next(text for text in texts if _whole_ticks(float(text), tick) == ticks)
