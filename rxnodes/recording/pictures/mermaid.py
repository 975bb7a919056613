"""Recordings as Mermaid sequence diagrams."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, Opened, Stopped
from rxnodes.lifecycle.states import CloseCode, Initiator
from rxnodes.recording.entries import LeftOut, Message, Messages, Pulse
from rxnodes.recording.pictures.lanes import ending, seconds
from rxnodes.websocket.action_nodes import STOP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rxnodes.recording.entries import Direction, Entry, Recorded

__all__ = ["mermaid"]

#: What stands for itself; everything else is written by its number, because Mermaid has its own use for much.
PLAIN = re.compile(r"[^A-Za-z0-9 .,:()_/+-]")


def mermaid(connections: Sequence[str], recorded: Iterable[Recorded[Entry]]) -> str:
    """The source of a sequence diagram: each connection and its peer, and what went between them."""
    numbers = {name: number for number, name in enumerate(connections, 1)}
    lines = ["sequenceDiagram"]
    for name, number in numbers.items():
        lines += [f"    participant c{number} as {_text(name)}", f"    participant p{number} as {_text(name)}: peer"]
    writer = _Writer(numbers)
    for it in recorded:
        lines += (f"    {line}" for line in writer.lines_of(it))
    return "\n".join([*lines, *(f"    {line}" for line in writer.rest())]) + "\n"


def _text(text: str) -> str:
    plain = PLAIN.sub(lambda match: f"#{ord(match[0])};", text)
    # A word of Mermaid's own, which would end a block.
    return re.sub(r"\bend\b", "e#110;d", plain, flags=re.IGNORECASE)


class _Writer:
    """Writes entries one after the other; messages that follow one another become one arrow."""

    def __init__(self, numbers: dict[str, int]) -> None:
        self._numbers = numbers
        self._messages: tuple[int, Direction, int, int] | None = None
        self._set_off: int | None = None

    def lines_of(self, it: Recorded[Entry]) -> Iterator[str]:
        """The lines of an entry."""
        entry = it.value
        if isinstance(entry, LeftOut):
            return
        number = self._numbers[entry.connection]
        if isinstance(entry, Message | Messages):
            count = entry.count if isinstance(entry, Messages) else 1
            before = self._messages
            if before is not None and before[:2] == (number, entry.direction):
                self._messages = (number, entry.direction, before[2] + count, before[3] + entry.size)
            else:
                yield from self._arrow()
                self._messages = (number, entry.direction, count, entry.size)
            return
        yield from self._arrow()
        if isinstance(entry, Pulse):
            yield from self._pulse(number, it.time, entry)
        else:
            yield from self._event(number, it.time, entry)

    def rest(self) -> Iterator[str]:
        """What is left when the recording is at its end."""
        yield from self._arrow()
        if self._set_off is not None:
            yield "end"

    def _arrow(self) -> Iterator[str]:
        if self._messages is not None:
            number, direction, count, size = self._messages
            arrow = f"c{number}->>p{number}" if direction == "out" else f"p{number}->>c{number}"
            what = "a message" if count == 1 else f"{count} messages"
            yield f"{arrow}: {what}, {size} bytes"
            self._messages = None

    def _pulse(self, number: int, time: float, pulse: Pulse) -> Iterator[str]:
        if pulse.node == STOP and self._set_off is None:
            # The stretch up to On Stop is what the picture is about.
            self._set_off = number
            yield "rect rgba(194, 37, 92, 0.1)"
        times = f", {pulse.count} times" if pulse.count > 1 else ""
        yield f"Note left of c{number}: {_text(pulse.node)}{times}, {seconds(time)}"

    def _event(self, number: int, time: float, event: object) -> Iterator[str]:
        c, p = f"c{number}", f"p{number}"
        match event:
            case Connecting():
                yield f"{c}->>{p}: connect, attempt {event.attempt}"
            case Opened():
                yield f"{p}-->>{c}: open after {seconds(event.elapsed)}"
                yield f"Note left of {c}: On WebSocket Start, {seconds(time)}"
            case Closing():
                begins = f"{c}->>{p}" if event.initiator is Initiator.LOCAL else f"{p}->>{c}"
                yield f"{begins}: Close"
            case ErrorEvent():
                yield f"Note right of {c}: error: {_text(event.message)}"
            case Dropped():
                yield f"{p}--x{c}: {_text(ending(event))}"
                yield f"Note right of {c}: next attempt in {seconds(event.retry_in)}"
            case Stopped():
                yield f"{p}-{'-x' if event.code == CloseCode.ABNORMAL_CLOSURE else '->>'}{c}: {_text(ending(event))}"
                yield f"Note left of {c}: On WebSocket Stop, {seconds(time)}"
                if self._set_off == number:
                    self._set_off = None
                    yield "end"
            case _:
                pass
