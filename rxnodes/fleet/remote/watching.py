"""Watches the log of all connections, and once they are needed the records, for a fleet seen from outside."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from rxnodes.fleet.reading import record_at, record_shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rxnodes.fleet.remote.driver import RemoteDriver
    from rxnodes.fleet.rules.values import Record
    from rxnodes.fleet.store import Logged, Seen, Store, Watch

__all__ = ["Histories", "Log", "Records"]

#: How many histories are read at once.
AT_ONCE: Final = 50

logger = logging.getLogger("rxnodes")


class Log:
    """The log of all connections, from the last entry of each. It keeps the last one of those that nobody uses yet.

    Args:
        connections: Those in use, by name. It may change.

    Attributes:
        is_read: Set when all entries that there were have come.
        use: Called with the name of each connection that is not in use yet, which then is; `None`: they stay unused.
    """

    def __init__(self, connections: Mapping[str, RemoteDriver]) -> None:
        self._connections = connections
        self._lasts: dict[str, Logged] = {}
        self.is_read = asyncio.Event()
        self.use: Callable[[str], object] | None = None

    def begin(self, name: str) -> None:
        """A connection is in use from here on."""
        if self.is_read.is_set():
            self._connections[name].begin(self._lasts.pop(name, None))

    @property
    def names(self) -> set[str]:
        """The connections that have entries."""
        return {*self._lasts, *self._connections}

    def use_all(self) -> None:
        """Has every connection used that there is."""
        if self.use is not None and self.is_read.is_set():
            for name in list(self._lasts):
                self.use(name)

    # What the store calls

    def logged(self, entry: Logged) -> None:
        """An entry."""
        if self.use is not None and self.is_read.is_set() and entry.name not in self._connections:
            self.use(entry.name)
        connection = self._connections.get(entry.name)
        if connection is None or not self.is_read.is_set():
            self._lasts[entry.name] = entry
        else:
            connection.take(entry)

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as the store has it
        """Whether all that there is has come."""
        if not current:
            return
        if self.is_read.is_set():
            for connection in list(self._connections.values()):
                connection.note_current()
            return
        self.is_read.set()
        for name in list(self._connections):
            self.begin(name)
        self.use_all()

    def gap(self, reason: str) -> None:
        """The log has gone back, or is another. All entries come again."""
        logger.warning("the fleet's log is read again: %s", reason)
        self._lasts.clear()
        if self.is_read.is_set():
            for connection in list(self._connections.values()):
                connection.go_back()


class Histories:
    """Reads the entries that are kept, of some connections at once.

    Args:
        store: The fleet's store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[tuple[str, Callable[[list[Logged]], None]]] = deque()
        self._reading: set[History] = set()

    def read(self, name: str, tell: Callable[[list[Logged]], None]) -> None:
        """Reads the entries of a connection, and calls `tell` with them."""
        self._waiting.append((name, tell))
        self._read_next()

    def close(self) -> None:
        """Reads nothing more."""
        self._waiting.clear()
        for history in self._reading:
            history.close()

    def _read_next(self) -> None:
        while self._waiting and len(self._reading) < AT_ONCE:
            name, tell = self._waiting.popleft()
            history = History(partial(self._on_read, tell))
            self._reading.add(history)
            history.read(self._store, name)

    def _on_read(self, tell: Callable[[list[Logged]], None], history: History, entries: list[Logged]) -> None:
        self._reading.discard(history)
        tell(entries)
        self._read_next()


class History:
    """The entries of one connection that are kept.

    Args:
        tell: Called once, with this and all of them.
    """

    def __init__(self, tell: Callable[[History, list[Logged]], None]) -> None:
        self._tell = tell
        self._entries: list[Logged] = []
        self._watch: Watch | None = None
        self._is_done = False

    def read(self, store: Store, name: str) -> None:
        """Begins to read them."""
        self._watch = store.watch_log(self, since="oldest", name=name)
        if self._is_done:
            self._watch.close()

    def close(self) -> None:
        """Reads no further."""
        self._is_done = True
        if self._watch is not None:
            self._watch.close()

    def logged(self, entry: Logged) -> None:
        """An entry."""
        if not self._is_done:
            self._entries.append(entry)

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as the store has it
        """Whether all that there is has come."""
        if current and not self._is_done:
            self.close()
            self._tell(self, self._entries)

    def gap(self, reason: str) -> None:  # noqa: ARG002 - as the store has it
        """All entries come again."""
        self._entries = []


class Records:
    """The records of all connections, from when they are needed.

    Args:
        store: The fleet's store.
        connections: Those in use, by name. It may change.

    Attributes:
        are_current: Whether all that there are have been shown, as far as is known.
    """

    def __init__(self, store: Store, connections: Mapping[str, RemoteDriver]) -> None:
        self._store = store
        self._connections = connections
        self._known: dict[str, tuple[Record, int]] = {}
        self._watch: Watch | None = None
        self.are_current = False

    def need(self) -> None:
        """Begins to watch them, unless they are watched already."""
        if self._watch is None:
            self._watch = self._store.watch_records(self)

    def close(self) -> None:
        """Watches them no longer."""
        if self._watch is not None:
            self._watch.close()

    def begin(self, name: str) -> None:
        """A connection is in use from here on."""
        if name in self._known:
            self._connections[name].know(*self._known[name])

    async def holder(self, name: str, looks_again: bool) -> str | None:  # noqa: FBT001 - as `Sends` asks
        """The worker that holds a connection; `None`: none does.

        Raises:
            Unknown: If the engine cannot be asked.
        """
        self.need()
        if looks_again or not self.are_current:
            # The watch may come back minutes later. A read says by itself when there is no answer.
            record, _ = record_at(await self._store.read_record(name))
            return record.holder
        return self._known[name][0].holder if name in self._known else None

    # What the store calls

    def seen(self, seen: Seen) -> None:
        """A record."""
        record = record_shown(seen)
        if record is None:
            return
        self._known[seen.name] = (record, seen.revision)
        if (connection := self._connections.get(seen.name)) is not None:
            connection.know(record, seen.revision)

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as the store has it
        """Whether all that there is has been shown."""
        self.are_current = current
