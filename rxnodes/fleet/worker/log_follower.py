"""Reads the log for those connections of a worker that are held elsewhere, and that somebody waits for here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from rxnodes.fleet.reading import readable

if TYPE_CHECKING:
    from rxnodes.fleet.store import Logged, Store, Watch
    from rxnodes.fleet.worker.elsewhere import Elsewhere

__all__ = ["LogFollower"]

#: How many seconds the log is still read when nobody needs it any more: one command often follows another.
LINGER: Final = 5.0


class LogFollower:
    """One watch of the log for all connections that need it; none while none does. On the loop's thread.

    Args:
        store: The fleet's store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # Who follows, and behind which sequence number: the watch may lag behind what was read.
        self._following: dict[str, tuple[Elsewhere, int]] = {}
        # The last entry of each connection, while the log is read: nobody may have followed that connection yet.
        self._lasts: dict[str, Logged] = {}
        self._watch: Watch | None = None
        self._lingering: asyncio.TimerHandle | None = None

    def follow(self, connection: Elsewhere, behind: int) -> None:
        """Reads the log for a connection: the last entry behind this sequence number, if any, and all that come."""
        self._following[connection.name] = (connection, behind)
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if self._watch is None:
            self._watch = self._store.watch_log(self)
        elif (last := self._lasts.get(connection.name)) is not None:
            self._tell(last)

    def unfollow(self, connection: Elsewhere) -> None:
        """Reads it no longer."""
        self._following.pop(connection.name, None)
        if not self._following and self._watch is not None and self._lingering is None:
            self._lingering = asyncio.get_running_loop().call_later(LINGER, self.close)

    def close(self) -> None:
        """Reads nothing more."""
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._lasts.clear()

    # What the store calls

    def logged(self, entry: Logged) -> None:
        """An entry."""
        self._lasts[entry.name] = entry
        self._tell(entry)

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as the store has it
        """What is missing comes later: nobody here waits for it to be complete."""

    def gap(self, reason: str) -> None:  # noqa: ARG002 - as the store has it
        """All entries come again. The last one of each connection is enough."""
        self._lasts.clear()
        self._following = {name: (connection, 0) for name, (connection, _) in self._following.items()}

    def _tell(self, entry: Logged) -> None:
        connection, behind = self._following.get(entry.name, (None, 0))
        if connection is None or entry.sequence <= behind:
            return
        for read, tail in readable((entry,)):
            connection.see(read, tail)
