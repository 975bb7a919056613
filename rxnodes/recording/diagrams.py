"""The marble diagrams of a recording, and how one differs from another diagram."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, TypeGuard

from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, LifecycleEvent, Opened, Stopped
from rxnodes.lifecycle.states import Initiator
from rxnodes.recording.entries import LeftOut, Message, Messages
from rxnodes.recording.marbles import align, cells_of, draw, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rxnodes.recording.entries import Entry, Recorded
    from rxnodes.recording.marbles import Cells

__all__ = ["LETTERS", "compare", "diagrams_of", "is_incoming"]

LETTERS: Final[dict[type[LifecycleEvent], str]] = {
    Connecting: "c",
    Opened: "o",
    Dropped: "d",
    ErrorEvent: "e",
    Stopped: "s",
}
MESSAGE = "m"
CLOSING_BY_US = "x"
CLOSING_BY_PEER = "X"
ALL_LETTERS = frozenset({*LETTERS.values(), MESSAGE, CLOSING_BY_US, CLOSING_BY_PEER})

#: How many characters of a message an assertion shows.
SHOWN = 60

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
        f"  {_described(it.value)}"
        for it in entries
        if _tick_of(it, tick) == first and _letter_of(it.value) is not None
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
        letter = _letter_of(it.value)
        if letter is not None and not isinstance(it.value, LeftOut):
            rows[it.value.connection][_tick_of(it, tick)] += letter
    return {name: dict(row) for name, row in rows.items()}


def _tick_of(entry: Recorded[Entry], tick: float) -> int:
    return int(entry.time / tick + ROUNDING)


def is_incoming(entry: Entry) -> TypeGuard[Message | Messages]:
    """Whether an entry is one or more received messages."""
    return isinstance(entry, Message | Messages) and entry.direction == "in"


def _letter_of(entry: Entry) -> str | None:
    """The letter of an entry; `None`: it has none."""
    if isinstance(entry, Closing):
        return CLOSING_BY_US if entry.initiator is Initiator.LOCAL else CLOSING_BY_PEER
    if isinstance(entry, LifecycleEvent):
        return LETTERS[type(entry)]
    return MESSAGE if is_incoming(entry) else None


def _described(entry: Entry) -> str:
    """An entry in words, for an assertion that failed."""
    match entry:
        case ErrorEvent():
            return f"ErrorEvent, {entry.phase}: {entry.message}"
        case Dropped() | Stopped():
            return f"{type(entry).__name__}: {entry.code} {entry.reason!r}"
        case Message() if entry.payload is not None:
            shown = repr(entry.payload)
            return f"message {shown if len(shown) <= SHOWN else shown[:SHOWN] + '...'}"
        case Message() | Messages():
            return f"message of {entry.size} bytes" if isinstance(entry, Message) else f"{entry.count} messages"
        case _:
            return type(entry).__name__
