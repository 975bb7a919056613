"""The marble diagrams of a recording, and how one differs from another diagram."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from rxnodes.recording.entries import LeftOut
from rxnodes.recording.letters import ALL_LETTERS, described, letter_of
from rxnodes.recording.marbles import align, cells_of, draw, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rxnodes.recording.entries import Entry, Recorded
    from rxnodes.recording.marbles import Cells

__all__ = ["compare", "diagrams_of"]

#: In ticks. Times are binary fractions, which are not exact: an event must not fall into the tick before its own.
ROUNDING = 1e-6


def diagrams_of(connections: Iterable[str], entries: Iterable[Recorded[Entry]], *, tick: float) -> dict[str, str]:
    """The diagram of each connection by its name; a tick is in seconds."""
    return {name: draw(cells, tick=tick) for name, cells in _cells(connections, entries, tick).items()}


def compare(diagram: str, connection: str, entries: Sequence[Recorded[Entry]], *, tick: float) -> str | None:
    """Says where a connection differs from a diagram; `None`: nowhere.

    Raises:
        ValueError: If the diagram cannot be read, with the place.
    """
    expected = cells_of(parse(diagram, letters=ALL_LETTERS, tick=tick))
    recorded = _cells([connection], entries, tick)[connection]
    if expected == recorded:
        return None
    above, below, pointers = align([expected, recorded], tick=tick)
    first = min(number for number in {*expected, *recorded} if expected.get(number) != recorded.get(number))
    there = [
        f"  {described(it.value)}" for it in entries if _tick_of(it, tick) == first and letter_of(it.value) is not None
    ]
    return "\n".join(
        [
            f"{connection!r} did not do what the diagram says:",
            f"  expected  {above}",
            f"  recorded  {below}",
            f"            {pointers}",
            f"first difference at {first * tick:g} s; recorded there:",
            *(there or ["  nothing"]),
        ]
    )


def _cells(connections: Iterable[str], entries: Iterable[Recorded[Entry]], tick: float) -> dict[str, Cells]:
    """The letters of each tick, by the connection's name; in one pass, because both may be very many."""
    rows: dict[str, defaultdict[int, str]] = {name: defaultdict(str) for name in connections}
    for it in entries:
        letter = letter_of(it.value)
        if letter is not None and not isinstance(it.value, LeftOut):
            rows[it.value.connection][_tick_of(it, tick)] += letter
    return {name: dict(row) for name, row in rows.items()}


def _tick_of(entry: Recorded[Entry], tick: float) -> int:
    return int(entry.time / tick + ROUNDING)
