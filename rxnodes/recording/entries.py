"""What a recording has besides lifecycle events: messages, pulses, and how many entries were left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from datetime import datetime

    from rxnodes.lifecycle.events import LifecycleEvent

__all__ = ["Direction", "Entry", "Kind", "LeftOut", "Message", "Messages", "Pulse", "Recorded"]

T_co = TypeVar("T_co", covariant=True)

Direction = Literal["in", "out"]
Kind = Literal["text", "binary"]


@dataclass(frozen=True, slots=True)
class Recorded(Generic[T_co]):
    """An entry with its time.

    Attributes:
        time: Seconds since the recording began.
        value: A lifecycle event, a `Message`, `Messages`, a `Pulse` or a `LeftOut`.
    """

    time: float
    value: T_co


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfConnection:
    """The fields that all entries of a connection have.

    Attributes:
        connection: The connection's name.
        session: The session's number; 0 before the first.
        attempt: The attempt's number within the session; 0 likewise.
        at: When it happened, in UTC.
    """

    connection: str
    session: int
    attempt: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(_OfConnection):
    """A message that was delivered, or that was written to the network.

    Attributes:
        direction: `in`: it was received. `out`: it was sent.
        kind: `text` or `binary`.
        size: Its bytes, without framing.
        payload: The message itself; `None`: payloads are not recorded. The `repr` does not show it.
    """

    direction: Direction
    kind: Kind
    size: int
    payload: str | bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages(_OfConnection):
    """Messages that followed closely on each other, without their payloads.

    Attributes:
        direction: `in` or `out`.
        kind: `text` or `binary`.
        count: How many messages.
        size: The bytes of all, without framing.
        span: Seconds from the first to the last.
    """

    direction: Direction
    kind: Kind
    count: int
    size: int
    span: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse(_OfConnection):
    """A pulse made an action node execute.

    Attributes:
        node: The node's name, such as `WebSocket Client Stop`.
        count: How many followed closely on each other.
    """

    node: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """How many entries a recording lost because it grew too large.

    Attributes:
        messages: How many messages.
        pulses: How many pulses.
        events: How many lifecycle events.
    """

    messages: int = 0
    pulses: int = 0
    events: int = 0


Entry: TypeAlias = "LifecycleEvent | Message | Messages | Pulse | LeftOut"
"""Whatever can be recorded."""
