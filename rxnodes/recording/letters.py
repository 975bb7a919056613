"""The letters of entries in a marble diagram, and entries in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, LifecycleEvent, Opened, Stopped
from rxnodes.lifecycle.states import Initiator
from rxnodes.recording.entries import Message, Messages

if TYPE_CHECKING:
    from rxnodes.recording.entries import Entry

__all__ = ["ALL_LETTERS", "LETTERS", "described", "is_incoming", "letter_of"]

LETTERS: dict[type[LifecycleEvent], str] = {Connecting: "c", Opened: "o", Dropped: "d", ErrorEvent: "e", Stopped: "s"}
MESSAGE = "m"
CLOSING_BY_US = "x"
CLOSING_BY_PEER = "X"
ALL_LETTERS = frozenset({*LETTERS.values(), MESSAGE, CLOSING_BY_US, CLOSING_BY_PEER})

#: How many characters of a message an assertion shows.
SHOWN = 60


def is_incoming(entry: Entry) -> TypeGuard[Message | Messages]:
    """Whether an entry is one or more received messages."""
    return isinstance(entry, Message | Messages) and entry.direction == "in"


def letter_of(entry: Entry) -> str | None:
    """The letter of an entry; `None`: it has none."""
    if isinstance(entry, Closing):
        return CLOSING_BY_US if entry.initiator is Initiator.LOCAL else CLOSING_BY_PEER
    if isinstance(entry, LifecycleEvent):
        return LETTERS[type(entry)]
    return MESSAGE if is_incoming(entry) else None


def described(entry: Entry) -> str:
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
