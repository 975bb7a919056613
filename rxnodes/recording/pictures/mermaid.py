"""Recordings as Mermaid sequence diagrams."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rxnodes.durations import in_words
from rxnodes.errors import printable
from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, Opened, Stopped
from rxnodes.lifecycle.states import CloseCode, Initiator
from rxnodes.recording.entries import LeftOut, Message, Messages, Pulse
from rxnodes.recording.pictures.lanes import LONGEST_TEXT, ending
from rxnodes.websocket.action_nodes import START, STOP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rxnodes.recording.entries import Entry, Recorded

__all__ = ["mermaid"]

#: All other characters are written by their numbers, because Mermaid has its own use for many.
PLAIN = re.compile(r"[^A-Za-z0-9 .,:()_/+-]")

#: Mermaid draws 50,000 characters at most (its `maxTextSize`). Beyond so many lines a diagram has less detail.
MOST_LINES: Final = 500


def mermaid(connections: Sequence[str], recorded: Sequence[Recorded[Entry]]) -> str:
    """The source of a sequence diagram: each connection, its peer, and the traffic between them.

    A diagram that would be too long has sums of the messages between two events; if it still is, its end is left out.
    """
    numbers = {name: number for number, name in enumerate(connections, 1)}
    lines = _written(numbers, recorded, is_in_sums=False)
    if len(lines) > MOST_LINES:
        lines = _written(numbers, recorded, is_in_sums=True)
    if len(lines) > MOST_LINES:
        rest = len(lines) - MOST_LINES
        has_begun = sum(line.startswith("rect") - (line == "end") for line in lines[:MOST_LINES])
        lines = [*lines[:MOST_LINES], *["end"] * has_begun, f"Note over c1: and {rest} more lines"]
    heads = [
        line
        for name, number in numbers.items()
        for line in (f"participant c{number} as {_text(name)}", f"participant p{number} as {_text(name)}: peer")
    ]
    return "\n".join(["sequenceDiagram", *(f"    {line}" for line in [*heads, *lines])]) + "\n"


def _written(numbers: dict[str, int], recorded: Iterable[Recorded[Entry]], *, is_in_sums: bool) -> list[str]:
    writer = _Writer(numbers, is_in_sums=is_in_sums)
    return [*(line for it in recorded for line in writer.lines_of(it)), *writer.rest()]


def _text(text: str) -> str:
    plain = PLAIN.sub(lambda match: f"#{ord(match[0])};", printable(text, LONGEST_TEXT))
    # The word `end` would end a block.
    return re.sub(r"\bend\b", "e#110;d", plain, flags=re.IGNORECASE)


class _Writer:
    """Writes entries one after the other. Messages in a row become one arrow.

    Args:
        numbers: The connections' numbers, by name.
        is_in_sums: Whether messages and pulses that change no state are summed up to the next event.
    """

    def __init__(self, numbers: dict[str, int], *, is_in_sums: bool) -> None:
        self._numbers = numbers
        self._is_in_sums = is_in_sums
        # By connection and direction or node: how many, their size, and the time of the last one.
        self._sums: dict[tuple[int, str], tuple[int, int, float]] = {}
        self._set_off: int | None = None

    def lines_of(self, it: Recorded[Entry]) -> Iterator[str]:
        """The lines of an entry."""
        entry = it.value
        if isinstance(entry, LeftOut):
            return
        number = self._numbers[entry.connection]
        if isinstance(entry, Message | Messages):
            count = entry.count if isinstance(entry, Messages) else 1
            yield from self._add((number, entry.direction), count, entry.size, it.time)
        elif isinstance(entry, Pulse) and self._is_in_sums and entry.node not in {START, STOP}:
            yield from self._add((number, entry.node), entry.count, 0, it.time)
        else:
            yield from self._flush(number if self._is_in_sums else None)
            if isinstance(entry, Pulse):
                yield from self._pulse(number, it.time, entry.node, entry.count)
            else:
                yield from self._event(number, it.time, entry)

    def rest(self) -> Iterator[str]:
        """The lines that are left at the end."""
        yield from self._flush(None)
        if self._set_off is not None:
            yield "end"

    def _add(self, key: tuple[int, str], count: int, size: int, time: float) -> Iterator[str]:
        if not self._is_in_sums and key not in self._sums:
            yield from self._flush(None)
        counted, sized, _ = self._sums.get(key, (0, 0, 0.0))
        self._sums[key] = (counted + count, sized + size, time)

    def _flush(self, number: int | None) -> Iterator[str]:
        """Writes the sums of a connection; `None`: of all connections."""
        for key in [key for key in self._sums if number in {None, key[0]}]:
            count, size, time = self._sums.pop(key)
            of, what = key
            if what in {"in", "out"}:
                arrow = f"c{of}->>p{of}" if what == "out" else f"p{of}->>c{of}"
                yield f"{arrow}: {'a message' if count == 1 else f'{count} messages'}, {size} bytes"
            else:
                yield from self._pulse(of, time, what, count)

    def _pulse(self, number: int, time: float, node: str, count: int) -> Iterator[str]:
        if node == STOP and self._set_off is None:
            # The picture is about the stretch up to On Stop.
            self._set_off = number
            yield "rect rgba(194, 37, 92, 0.1)"
        times = f", {count} times" if count > 1 else ""
        yield f"Note left of c{number}: {_text(node)}{times}, {in_words(time)}"

    def _event(self, number: int, time: float, event: object) -> Iterator[str]:
        c, p = f"c{number}", f"p{number}"
        match event:
            case Connecting():
                yield f"{c}->>{p}: connect, attempt {event.attempt}"
            case Opened():
                yield f"{p}-->>{c}: open after {in_words(event.elapsed)}"
                yield f"Note left of {c}: On WebSocket Start, {in_words(time)}"
            case Closing():
                begins = f"{c}->>{p}" if event.initiator is Initiator.LOCAL else f"{p}->>{c}"
                yield f"{begins}: Close"
            case ErrorEvent():
                yield f"Note right of {c}: error: {_text(event.message)}"
            case Dropped():
                yield f"{p}--x{c}: {_text(ending(event))}"
                yield f"Note right of {c}: next attempt in {in_words(event.retry_in)}"
            case Stopped():
                yield f"{p}-{'-x' if event.code == CloseCode.ABNORMAL_CLOSURE else '->>'}{c}: {_text(ending(event))}"
                yield f"Note left of {c}: On WebSocket Stop, {in_words(time)}"
                if self._set_off == number:
                    self._set_off = None
                    yield "end"
            case _:
                pass
