"""How a connection stands that another worker holds, or has held, while somebody waits for that here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rxnodes.fleet.remote.chronicle import readable
from rxnodes.fleet.rules import commands
from rxnodes.fleet.rules.values import Tail
from rxnodes.lifecycle.events import Opened, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.connection.protocols import Helm
    from rxnodes.fleet.rules.machine import State
    from rxnodes.fleet.rules.values import Entry
    from rxnodes.fleet.store import Logged
    from rxnodes.fleet.worker.log_follower import Follows

__all__ = ["Elsewhere", "Reads"]


class Reads(Protocol):
    """What reads the log."""

    def follow(self, connection: Follows, behind: int) -> None:
        """Reads it for a connection that is held elsewhere, behind this sequence number."""
        ...

    def unfollow(self, connection: Follows) -> None:
        """Reads it no longer."""
        ...

    def read_history(self, name: str, tell: Callable[[list[Logged]], None]) -> None:
        """Reads the entries of a connection that are kept, and tells them."""
        ...


class Waiting(Protocol):
    """The connection's seat, where somebody waits."""

    name: str
    helm: Helm

    @property
    def last_stopped(self) -> Stopped | None:
        """The `Stopped` of the last session whose end is known here."""
        ...

    @property
    def state(self) -> State:
        """Where the worker stands towards the connection."""
        ...

    def note(self, event: Opened | Stopped | None = None) -> None:
        """What was learned of how it stands."""
        ...


class Elsewhere:
    """Follows the log of one connection to the end of the session that is live or wished. On the loop's thread.

    Where those who wait are to be given an event from before, the entries that are kept are read for it.

    Args:
        seat: The connection's seat.
        log: What reads the log.

    Attributes:
        name: The connection's name.
    """

    __slots__ = ("_is_following", "_is_recalling", "_log", "_seat", "_tail", "name")

    def __init__(self, seat: Waiting, log: Reads) -> None:
        self.name = seat.name
        self._seat = seat
        self._log = log
        self._tail = Tail()
        self._is_following = False
        self._is_recalling = False

    @property
    def is_live(self) -> bool:
        """Whether a session is live or wished, or the end of the last one is not known yet."""
        return self._is_recalling or (self._is_following and self._is_wanted)

    @property
    def _is_wanted(self) -> bool:
        return commands.is_live(self._seat.state.record.wish, self._tail)

    def learn(self, tail: Tail, *, is_opening_wanted: bool) -> None:
        """The log stands like this.

        Args:
            tail: The end of the log.
            is_opening_wanted: Whether those who wait are to be given the live session's `Opened`, too.
        """
        self._tail = tail
        if self._is_wanted:
            if is_opening_wanted and tail.is_live and tail.has_opened:
                self._recall()
            self._is_following = True
            self._log.follow(self, tail.sequence)
        else:
            self._look_for_end()

    def recall_end(self, tail: Tail) -> None:
        """The connection is held here from now on: only the end of the last session is missing."""
        self._tail = tail
        self._look_for_end()

    def unfollow(self) -> None:
        """Follows the log no longer."""
        if self._is_following:
            self._is_following = False
            self._log.unfollow(self)

    def see(self, entry: Entry, tail: Tail) -> None:
        """An entry of the log has come."""
        self._tail = tail
        event = entry.event if isinstance(entry.event, Opened | Stopped) else None
        if not (self._is_wanted or isinstance(event, Stopped)):
            self._look_for_end()
        self._seat.note(event)

    def _look_for_end(self) -> None:
        """No session is live or wished. The last one may have ended before anybody here looked."""
        stopped = self._seat.last_stopped
        if self._tail.session > (0 if stopped is None else stopped.session):
            self._recall()

    def _recall(self) -> None:
        if not self._is_recalling:
            self._is_recalling = True
            self._log.read_history(self.name, self._on_read)

    def _on_read(self, entries: list[Logged]) -> None:
        events = [entry.event for entry, _ in readable(entries)]
        found = [it for it in events if isinstance(it, Opened | Stopped) and it.session == self._tail.session]
        # The end first: else those who wait for the next session to open would be given this one.
        for event in sorted(found, key=lambda it: isinstance(it, Opened)):
            self._seat.helm.note(event)
        self._is_recalling = False
        self._seat.note()
