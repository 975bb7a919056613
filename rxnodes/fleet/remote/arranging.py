"""Puts the messages of a connection and the entries of its log, which come by two ways, back into their order.

Pure: no clock, no network. An attempt's messages are numbered from 1. A batch says which number its first message has,
and an entry that ends an attempt says how many there were.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rxnodes.fleet.letters import Batch
from rxnodes.fleet.remote.chronicle import Read
from rxnodes.lifecycle.events import Dropped, Opened, Stopped

if TYPE_CHECKING:
    from rxnodes.lifecycle.events import LifecycleEvent

__all__ = ["KEPT_PATIENCE", "PATIENCE", "Arranging", "Emission", "Missed"]

#: How many seconds an end waits for the messages before it.
PATIENCE: Final = 1.0
#: How many seconds it waits where messages are kept, so that they come if the fleet's store does.
KEPT_PATIENCE: Final = 60.0
#: How many bytes or characters may wait for the `Opened` of their attempt. Beyond that messages are discarded, which
#: shows as a gap.
MOST_EARLY: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Missed:
    """Messages that have not come, and will not be shown.

    Attributes:
        session: The session's number.
        attempt: The attempt's number.
        numbers: Their numbers within the attempt.
    """

    session: int
    attempt: int
    numbers: range


Emission = Read | Batch | Missed
"""What an observer emits: an entry of the log, messages, or that some are missing."""


class Arranging:
    """The order in which an observer emits the entries and messages of one connection.

    Messages wait for the `Opened` of their attempt. Its `Dropped` or `Stopped` waits for as many messages as it says
    that there were. After `patience` seconds it waits no longer, and the rest is missed: what comes later is discarded.

    Attributes:
        patience: How many seconds an end waits.
        deadline: When the end that waits has waited long enough; `None`: none waits.
        discarded: How many messages came too late, or too early and too many.
    """

    __slots__ = (
        *("_attempt", "_early", "_early_size", "_held", "_is_over", "_is_wanted", "_next", "_owed"),
        *("deadline", "discarded", "patience"),
    )

    def __init__(self) -> None:
        self.patience = PATIENCE
        self._is_wanted = False
        # The attempt that was open last, and whether its end has been emitted.
        self._attempt = (0, 0)
        self._is_over = True
        # The number of the next message; `None`: the first that comes is taken.
        self._next: int | None = None
        # From where on the holder said that it publishes, where that was within an attempt.
        self._owed: tuple[tuple[int, int], int] | None = None
        self._early: list[Batch] = []
        self._early_size = 0
        # Entries that are held back. The first one is an end that waits for messages.
        self._held: deque[Read] = deque()
        self.deadline: float | None = None
        self.discarded = 0

    # Interest

    def want(self) -> None:
        """From here on messages are wanted: all of the attempts that open later."""
        self._is_wanted = True

    def owe(self, session: int, attempt: int, first: int, *, is_kept: bool = False) -> None:
        """The holder says that it publishes the messages of an attempt that is under way, from this number on.

        Where they are kept, who wanted them before the attempt opened gets all of them.
        """
        if not is_kept:
            self._owed = ((session, attempt), first)
        is_under_way = (session, attempt) == self._attempt and not self._is_over
        if is_under_way and (self._next is None or (self._next == 1 and not is_kept)):
            self._next = first

    def want_no_more(self, now: float) -> list[Emission]:
        """Messages are wanted no more, so nothing waits for them."""
        self._is_wanted = False
        self._next = self._owed = None
        self._early, self._early_size = [], 0
        return self.elapse(now)

    # What comes

    def recall(self, event: LifecycleEvent) -> None:
        """Takes note of an event from before anybody asked."""
        self._follow(event)
        self._next = None

    def add_entry(self, read: Read, now: float) -> list[Emission]:
        """An entry of the log has come. Returns what is to be emitted now, in order."""
        self._held.append(read)
        return self.elapse(now) if len(self._held) == 1 else []

    def add_batch(self, batch: Batch, now: float) -> list[Emission]:
        """Messages have come. Returns what is to be emitted now, in order."""
        attempt = (batch.session, batch.attempt)
        if attempt == self._attempt and not self._is_over and self._is_wanted:
            told = self._take(batch)
            return told + self.elapse(now) if self._held else told
        if attempt > self._attempt and self._is_wanted and self._early_size + _size(batch) <= MOST_EARLY:
            self._keep_early(batch)
        else:
            self.discarded += len(batch.messages)
        return []

    def postpone(self) -> None:
        """What came meanwhile had to wait here: an end that waits for messages begins anew to wait, with `elapse`."""
        self.deadline = None

    # The order

    def _take(self, batch: Batch) -> list[Emission]:
        """Messages of the attempt that is open."""
        expected = batch.first if self._next is None else self._next
        after = batch.first + len(batch.messages)
        if batch.first == expected:
            self._next = after
            return [batch] if batch.messages else []
        if batch.first < expected:
            known = min(expected - batch.first, len(batch.messages))
            self.discarded += known
            if known == len(batch.messages):
                return []
            self._next = after
            return [replace(batch, first=expected, messages=batch.messages[known:])]
        self._next = after
        missed = Missed(*self._attempt, range(expected, batch.first))
        return [missed, batch] if batch.messages else [missed]

    def elapse(self, now: float) -> list[Emission]:
        """Works off what is held back, after some time or news. Returns what is to be emitted now, in order."""
        told: list[Emission] = []
        while self._held:
            read = self._held[0]
            patience, missing = self._waits_for(read)
            if patience > 0:
                if self.deadline is None:
                    self.deadline = now + patience
                if now < self.deadline:
                    return told
                if missing:
                    told.append(Missed(*self._attempt, missing))
            self.deadline = None
            self._held.popleft()
            told.append(read)
            if read.entry.event is not None:
                told += self._follow(read.entry.event)
        return told

    def _waits_for(self, read: Read) -> tuple[float, range]:
        """How long an entry has to wait at most, and for which messages, as far as that is known."""
        event, count = read.entry.event, read.entry.published
        nothing = range(0)
        is_end = isinstance(event, Dropped | Stopped) and (event.session, event.attempt) == self._attempt
        if not is_end or self._is_over or not self._is_wanted or self._next is None:
            return 0.0, nothing
        if count is None:
            # Its holder was lost. What it had kept may still be on its way.
            return (PATIENCE if self.patience > PATIENCE else 0.0), nothing
        missing = range(self._next, count + 1)
        return (self.patience if missing else 0.0), missing

    def _follow(self, event: LifecycleEvent) -> list[Emission]:
        """An event is emitted. Returns the messages that it lets through."""
        attempt = (event.session, event.attempt)
        if isinstance(event, Opened):
            self._attempt = attempt
            self._is_over = False
            owed = self._owed
            self._next = (owed[1] if owed is not None and owed[0] == attempt else 1) if self._is_wanted else None
            return self._take_early(attempt)
        if isinstance(event, Dropped | Stopped):
            self._attempt = max(attempt, self._attempt)
            self._is_over = True
        return []

    def _take_early(self, attempt: tuple[int, int]) -> list[Emission]:
        early, self._early, self._early_size = self._early, [], 0
        told: list[Emission] = []
        for batch in early:
            if (batch.session, batch.attempt) == attempt:
                told += self._take(batch)
            elif (batch.session, batch.attempt) > attempt:
                self._keep_early(batch)
            else:
                self.discarded += len(batch.messages)
        return told

    def _keep_early(self, batch: Batch) -> None:
        self._early.append(batch)
        self._early_size += _size(batch)


def _size(batch: Batch) -> int:
    return sum(map(len, batch.messages))
