"""How a connection stands that another worker holds, or has held, while somebody waits for that here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxnodes.fleet.reading import readable
from rxnodes.fleet.remote.chronicle import forgotten_end
from rxnodes.fleet.rules import commands
from rxnodes.fleet.rules.values import Tail
from rxnodes.fleet.worker.seat_commands import Look
from rxnodes.lifecycle.events import Opened, Stopped

if TYPE_CHECKING:
    from rxnodes.fleet.remote.commander import Command
    from rxnodes.fleet.rules.values import Entry
    from rxnodes.fleet.store import Logged
    from rxnodes.fleet.worker.seat import Seat
    from rxnodes.fleet.worker.worker import Worker

__all__ = ["Elsewhere"]


class Elsewhere:
    """Follows the log of one connection to the end of the session that is live or wished. On the loop's thread.

    It reads the entries that are kept where those who wait are to be given an event from before.

    Args:
        seat: The connection's seat, where somebody waits.
        worker: The worker, which reads the log.

    Attributes:
        name: The connection's name.
    """

    __slots__ = ("_is_following", "_is_recalling", "_seat", "_started_behind", "_tail", "_worker", "name")

    def __init__(self, seat: Seat, worker: Worker) -> None:
        self.name = seat.name
        self._seat = seat
        self._worker = worker
        self._tail = Tail()
        # The last session that had ended when a start was given here: that one wants another.
        self._started_behind = 0
        self._is_following = False
        self._is_recalling = False

    @property
    def is_live(self) -> bool:
        """Whether a session is live or wished, or the end of the last one is not known yet."""
        return self._is_recalling or (self._is_following and self._goes_on)

    @property
    def _goes_on(self) -> bool:
        """Whether a session is live, or one is wished that has not ended yet.

        A session that ends with its holder leaves its wish for the next one, which nobody here has waited for.
        """
        wish, tail = self._seat.state.record.wish, self._tail
        is_to_come = max(wish.after, self._started_behind) >= tail.session
        return tail.is_live or (is_to_come and commands.is_wanted(wish, tail))

    @property
    def _misses_end(self) -> bool:
        """Whether the last session is over, and its `Stopped` is not known here."""
        stopped = self._seat.connection.last_stopped
        return not self._tail.is_live and self._tail.session > (0 if stopped is None else stopped.session)

    def learn(self, command: Command, tail: Tail) -> None:
        """A command was written, or changes nothing, and the log ends like this."""
        self._tail = tail
        if command.is_start and not tail.is_live:
            self._started_behind = tail.session
        if self._goes_on:
            # What `wait_started` gives may lie anywhere in the log.
            if tail.is_live and tail.has_opened and (command.is_start or isinstance(command, Look)):
                self._recall()
            self._is_following = True
            self._worker.follower.follow(self, tail.sequence)
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
            self._worker.follower.unfollow(self)

    def see(self, entry: Entry, tail: Tail) -> None:
        """An entry of the log has come."""
        self._tail = tail
        event = entry.event if isinstance(entry.event, Opened | Stopped) else None
        if not (self._goes_on or isinstance(event, Stopped)):
            self._look_for_end()
        self._seat.note(event)

    def _look_for_end(self) -> None:
        """No session is live or wished. The last one may have ended before anybody here looked."""
        if self._misses_end:
            self._recall()

    def _recall(self) -> None:
        if not self._is_recalling:
            self._is_recalling = True
            self._worker.histories.read(self.name, self._on_read)

    def _on_read(self, entries: list[Logged]) -> None:
        events = [entry.event for entry, _ in readable(entries)]
        found = [it for it in events if isinstance(it, Opened | Stopped) and it.session == self._tail.session]
        # The end first: else those who wait for the next session to open would be given this one.
        for event in sorted(found, key=lambda it: isinstance(it, Opened)):
            self._seat.helm.note(event)
        if self._misses_end:
            self._seat.helm.note(forgotten_end(self.name, self._tail, self._seat.now()))
        self._is_recalling = False
        self._seat.note()
