"""The outcomes of a message that is sent, and the queues in which it waits."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from rxnodes.errors import SendUnknown
from rxnodes.transport.receipt import Receipt

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = [
    "Backlog",
    "DropReason",
    "HandOver",
    "QueueOverflow",
    "Receipt",
    "SendDropped",
    "SendOutcome",
    "SendQueue",
    "Sent",
    "SharedOutcome",
    "Unsent",
]

DropReason = Literal["full", "expired", "not open", "no message"]
QueueOverflow = Literal["error", "drop_newest", "drop_oldest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What the outcomes of a send have in common.

    Attributes:
        connection: The connection's name.
        session: The session's number; 0 where none was live.
        attempt: The attempt's number within the session; 0 likewise.
        at: When it happened, in UTC.
        tag: The tag that the sender gave the message; `None`: none.
        size: The bytes of the message, without framing.
    """

    connection: str
    session: int
    attempt: int
    at: datetime
    tag: object
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent(_Outcome):
    """The message has left for the network. Only the peer knows whether it has arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendDropped(_Outcome):
    """The message was given up, and the session goes on.

    Attributes:
        reason: "full": the send queue had no room. "expired": it waited longer than `time_to_live`. "not open": there
            was no open connection, and nothing waits for one. "no message": there was nothing to send, or it could not
            be written, as the `ErrorEvent` says.
    """

    reason: DropReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent(_Outcome):
    """The session ended before the message could leave."""


SendOutcome = Sent | SendDropped | Unsent
"""All outcomes of a message."""


class SharedOutcome(NamedTuple):
    """The outcome of messages that were sent or given up together, without the tag and the size of each.

    Attributes:
        kind: The type of the outcome. `SendUnknown`: there is none, because the process that was to send them has not
            answered.
        connection: As in the outcome, and so are the rest.
        more: The further fields of this type.
    """

    kind: type[SendOutcome | SendUnknown]
    connection: str
    session: int
    attempt: int
    at: datetime
    more: dict[str, Any]

    def of(self, receipt: Receipt) -> SendOutcome:
        """The outcome of one of them.

        Raises:
            SendUnknown: If there is none.
        """
        kind, connection, session, attempt, at, more = self
        if issubclass(kind, SendUnknown):
            raise self.unknown
        common: dict[str, Any] = {"connection": connection, "session": session, "attempt": attempt, "at": at}
        return kind(**common, tag=receipt.tag, size=receipt.size, **more)

    @property
    def unknown(self) -> SendUnknown:
        """The error for an outcome that nobody knows."""
        return SendUnknown(f"{self.connection!r}: no answer says what became of the message, which may have been sent")


class Sender(Protocol):
    """What a receipt needs of its connection."""

    def watch(self) -> None:
        """Counts one more receipt whose outcome somebody waits for."""
        ...

    def run_on_loop(self, action: Callable[[], None]) -> None:
        """Runs `action` on the loop's thread."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SendQueue:
    """The bounds of the messages that wait to be sent on one connection.

    Attributes:
        max_messages: How many messages may wait; `None`: as many as fit into `max_bytes`.
        max_bytes: How many bytes they may have together, without framing.
        overflow: What happens to a message that does not fit. "error": it is refused, with an `ErrorEvent` of phase
            `send`. "drop_newest": it is refused, and only its receipt tells. "drop_oldest": those that have waited
            longest make room for it.
        while_connecting: Whether a message waits for the connection to open while it is connecting or reconnecting.
            Otherwise it is refused, with an `ErrorEvent`.
        time_to_live: How long it waits for that, in seconds; `None`: to the end of the session. For a message that
            another thread sends, the time until the loop takes it over counts as well.
    """

    max_messages: int | None = 1_000_000
    max_bytes: int = 128 * 1024 * 1024
    overflow: QueueOverflow = "error"
    while_connecting: bool = False
    time_to_live: float | None = None

    @property
    def message_limit(self) -> float:
        """How many messages may wait, as a number also where there is no limit."""
        return math.inf if self.max_messages is None else self.max_messages

    def due(self, now: float) -> float:
        """When a message that is sent at the time `now` has waited long enough."""
        return math.inf if self.time_to_live is None else now + self.time_to_live

    def make_room(self, waiting: deque[Receipt], size: int, *, least: int = 0) -> list[Receipt]:
        """Takes out what does not fit, and returns it.

        Args:
            waiting: The messages that wait.
            size: Their bytes.
            least: How many messages stay in any case.
        """
        dropped: list[Receipt] = []
        while len(waiting) > least and (len(waiting) > self.message_limit or size > self.max_bytes):
            # A message that would not fit into an empty queue must not push out all others in vain.
            is_oldest = self.overflow == "drop_oldest" and waiting[-1].size <= self.max_bytes
            dropped.append(waiting.popleft() if is_oldest else waiting.pop())
            size -= dropped[-1].size
        return dropped


class Backlog:
    """Messages that wait for a connection to open, within the bounds of its send queue."""

    __slots__ = ("_queue", "_size", "receipts")

    def __init__(self, queue: SendQueue) -> None:
        self._queue = queue
        self._size = 0
        self.receipts: deque[Receipt] = deque()

    def add(self, receipt: Receipt) -> list[Receipt]:
        """Adds a message whose `due` is set. Returns the messages that have no room in the queue."""
        self.receipts.append(receipt)
        self._size += receipt.size
        overflowed = self._queue.make_room(self.receipts, self._size)
        self._size -= sum(receipt.size for receipt in overflowed)
        return overflowed

    @property
    def due(self) -> float | None:
        """When the first one has waited long enough; `None`: never."""
        due = self.receipts[0].due if self.receipts else math.inf
        return None if due == math.inf else due

    def take_first(self) -> Receipt:
        """Takes out the one that has waited longest."""
        first = self.receipts.popleft()
        self._size -= first.size
        return first

    def take_expired(self, now: float) -> list[Receipt]:
        """Takes out those that have waited long enough."""
        expired: list[Receipt] = []
        while self.receipts and self.receipts[0].due <= now:
            expired.append(self.take_first())
        return expired


class HandOver:
    """Messages that other threads have sent, until the loop takes them over, within the bounds of the send queue.

    The loop takes them in batches, and is woken once for each. A batch ends when the loop takes it, or when the loop is
    given another command, which later messages must not overtake. A message that is first in the queue is always taken,
    because the loop may have room for it.

    It is not thread-safe: the caller holds a lock.

    Attributes:
        batch: The number of the open batch, or of the last one.
        is_sealed: Whether the next message begins another one.
    """

    __slots__ = ("_overflowed", "_queue", "_receipts", "_size", "batch", "is_sealed")

    def __init__(self, queue: SendQueue) -> None:
        self._queue = queue
        self._receipts: deque[Receipt] = deque()
        self._size = 0
        self._overflowed: list[Receipt] = []
        self.batch = 0
        self.is_sealed = True

    def begin(self) -> None:
        """Begins another batch."""
        self.batch += 1
        self.is_sealed = False

    def add(self, receipt: Receipt, now: float) -> None:
        """Adds a message to the batch at the time `now`. What has no room goes out with the next batch."""
        receipt.batch = self.batch
        receipt.due = self._queue.due(now)
        self._receipts.append(receipt)
        self._size += receipt.size
        for overflowed in self._queue.make_room(self._receipts, self._size, least=1):
            self._size -= overflowed.size
            overflowed.payload = b""
            self._overflowed.append(overflowed)

    def take(self, batch: int) -> tuple[list[Receipt], list[Receipt]]:
        """Takes a batch out, and those before it. Returns its messages, and what had no room so far."""
        if batch == self.batch:
            self.is_sealed = True
        taken: list[Receipt] = []
        while self._receipts and self._receipts[0].batch <= batch:
            taken.append(self._receipts.popleft())
        self._size -= sum(receipt.size for receipt in taken)
        overflowed, self._overflowed = self._overflowed, []
        return taken, overflowed
