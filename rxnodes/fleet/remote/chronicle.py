"""The log of one connection as an observer reads it: every entry once, in order, and what is missing.

Pure: no clock, no network.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from rxnodes.errors import RxNodesError
from rxnodes.fleet.reading import readable
from rxnodes.lifecycle.events import Stopped

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from rxnodes.fleet.rules.values import Entry, Tail
    from rxnodes.fleet.store import Logged

__all__ = ["Chronicle", "Read", "forgotten_end"]

#: How many entries are remembered, to find the place again where a log that lost its end goes on.
REMEMBERED: Final = 16


class Read(NamedTuple):
    """An entry that is news.

    Attributes:
        entry: The entry.
        tail: How the connection stands behind it.
        is_behind_gap: Whether entries before it are missing.
    """

    entry: Entry
    tail: Tail
    is_behind_gap: bool

    @property
    def ended_before(self) -> int:
        """The last session that had ended before this entry: neither this nor a later one tells its end."""
        return self.tail.session - (self.tail.is_live or isinstance(self.entry.event, Stopped))


class Chronicle:
    """Which entries of a connection's log have been read.

    Attributes:
        is_astray: Whether the log has gone back since. The next entry tells whether it concerns this connection.
    """

    __slots__ = ("_ids", "_sequence", "is_astray")

    def __init__(self) -> None:
        self._sequence = 0
        self._ids: deque[str] = deque(maxlen=REMEMBERED)
        self.is_astray = False

    def begin(self, entries: Iterable[Logged]) -> list[Read]:
        """Reads the first entries. Nothing is said of those before them."""
        return [Read(entry, tail, is_behind_gap=False) for entry, tail in self._decoded(entries)]

    def follow(self, logged: Logged) -> Read | None:
        """Reads the next entry; `None`: it is no news, or cannot be read."""
        if logged.sequence <= self._sequence:
            return None
        before = self._sequence
        for entry, tail in self._decoded((logged,)):
            return Read(entry, tail, is_behind_gap=entry.behind is not None and entry.behind != before)
        return None

    def is_last(self, logged: Logged) -> bool:
        """Whether an entry is the one that was read last, though it may have another sequence number."""
        for entry in readable((logged,)):
            if self._ids and self._ids[-1] == entry[0].id:
                self._sequence = logged.sequence
                return True
        return False

    def go_on(self, entries: Iterable[Logged]) -> list[Read]:
        """Reads the whole log again, after it has gone back, and gives what comes behind what was read before."""
        known = set(self._ids)
        entries = list(entries)
        places = [place for place, (entry, _) in enumerate(readable(entries)) if entry.id in known]
        news = entries[places[-1] + 1 :] if places else entries
        self._sequence = entries[places[-1]].sequence if places else 0
        read = self._decoded(news)
        return [Read(entry, tail, is_behind_gap=place == 0) for place, (entry, tail) in enumerate(read)]

    def _decoded(self, entries: Iterable[Logged]) -> list[tuple[Entry, Tail]]:
        decoded = list(readable(entries))
        for entry, tail in decoded:
            self._sequence = tail.sequence
            self._ids.append(entry.id)
        return decoded


def forgotten_end(name: str, tail: Tail, at: datetime) -> Stopped:
    """The `Stopped` of the last session, for those who wait for it, where the log has lost that entry."""
    lost = RxNodesError(f"{name!r}: the fleet's log does not have the end of session {tail.session} any more")
    return tail.unseen_end(name, at, lost)
