"""How a connection stands for an observer, by the log as far as it was emitted, and by the wish that is known.

Pure: no clock, no network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxnodes.fleet.rules.commands import is_wanted
from rxnodes.fleet.rules.values import Record, Tail
from rxnodes.lifecycle.events import STATE_AFTER, Closing, Connecting, Opened, Stopped
from rxnodes.lifecycle.states import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rxnodes.fleet.rules.values import Entry

__all__ = ["Standing", "says_all", "state_behind"]


class Standing:
    """A connection's state, and which of its sessions counts as live.

    A command is a write, and the log says what came of it. Until then the session it asks for counts as live,
    under the number that it will have.

    Attributes:
        state: The state behind what has been emitted.
        tail: The end of the log, as far as it has been emitted.
        record: The record, as far as it is known.
        commands: How many commands given here are not written yet.
        starts: How many of these are starts.
    """

    __slots__ = ("_awaited", "_awaited_in", "_old", "_started_behind", "commands", "record", "starts", "state", "tail")

    def __init__(self) -> None:
        self.state = ConnectionState.IDLE
        self.tail = Tail()
        self.record = Record()
        self.commands = 0
        self.starts = 0
        # The last session that had ended when this observer came, or whose end is missing for good.
        self._old = 0
        # A session of which somebody knows that it began, so its end has to be emitted, and the epoch of that.
        self._awaited = 0
        self._awaited_in = 0
        # The last session that had ended when a start was given here: that one wants another.
        self._started_behind = 0

    # In these, `ended` is the last session whose `Stopped` every subscriber has seen.

    def session(self, ended: int) -> int:
        """The number of the session that is wished, live or last."""
        after = max(self.record.wish.after, self._started_behind)
        wished = after + 1 if is_wanted(self.record.wish, self.tail) else 0
        number = max(self.tail.session, 0 if self._is_overtaken else self._awaited, wished)
        return number + 1 if self.starts and self.has_ended(number, ended) else number

    def is_live(self, ended: int) -> bool:
        """Whether a session is live, or what a command leads to is not in the log yet."""
        return self.commands > 0 or not self.has_ended(self.session(ended), ended)

    def has_ended(self, session: int, ended: int) -> bool:
        """Whether this session is over, and every subscriber has seen that."""
        return session <= max(self._old, ended)

    @property
    def _is_overtaken(self) -> bool:
        """Whether another holder has claimed since, and the log has not the session that is awaited: it never will."""
        return self.tail.epoch > self._awaited_in and self.tail.session < self._awaited

    def _await(self, session: int, epoch: int) -> None:
        if session > self._awaited:
            self._awaited = session
            self._awaited_in = epoch

    # What the log says

    def recall(self, entries: Iterable[tuple[Entry, Tail]]) -> None:
        """Takes note of the last entries from before this observer came, the last one always among them."""
        state: ConnectionState | None = None
        for entry, tail in entries:
            self.tail = tail
            state = STATE_AFTER.get(type(entry.event), state) if entry.event is not None else state
        tail = self.tail
        self.state = state_behind(tail) if state is None else state
        self._old = tail.session - tail.is_live

    def follow(self, entry: Entry, tail: Tail) -> None:
        """An entry is emitted."""
        self.tail = tail
        if entry.event is not None:
            self.state = STATE_AFTER.get(type(entry.event), self.state)

    def pass_over(self, session: int) -> None:
        """Entries are missing: the end of no session up to this one will be emitted any more."""
        self._old = max(self._old, session)

    def go_back(self) -> None:
        """The log has lost its last entries. What was known of it may never come true."""
        self._awaited = self._started_behind = 0

    # What the record says

    def know(self, record: Record) -> None:
        """The record has changed."""
        if is_wanted(self.record.wish, self.tail):
            # What was wished may have begun before it was taken back.
            self._await(record.wish.after, record.epoch)
        self.record = record

    def resolve(self, tail: Tail, *, is_start: bool) -> None:
        """A command is written, or changes nothing, by what the log says there."""
        self.commands -= 1
        self.starts -= is_start
        self._await(tail.session, tail.epoch)
        if is_start and not tail.is_live:
            self._started_behind = max(self._started_behind, tail.session)


def says_all(entry: Entry) -> bool:
    """Whether the last entry of a log is enough to know the state, the last `Opened` of a live session, and the end."""
    event, after = entry.event, entry.after
    if isinstance(event, Stopped):
        return True
    if not after.session:
        return True
    if not after.is_live or event is None:
        return False
    return isinstance(event, Opened) or (isinstance(event, Connecting | Closing) and not after.has_opened)


def state_behind(tail: Tail) -> ConnectionState:
    """The state where no entry is left that would say it."""
    if tail.is_live:
        return ConnectionState.OPEN if tail.has_opened else ConnectionState.CONNECTING
    return ConnectionState.CLOSED if tail.session else ConnectionState.IDLE
