"""Collects what the live page shows: a row for each connection, and the latest lifecycle events of all connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import secrets
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from reactivex.disposable import CompositeDisposable, Disposable

from rxnodes.inspector.rows import Row, event_as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rxnodes.inspector.rows import Shown
    from rxnodes.lifecycle.events import LifecycleEvent

__all__ = ["Collector", "Cursor", "HasConnections"]

#: How many lifecycle events are kept, of all connections together.
EVENTS: Final = 5000

#: How many digits the number of an event may have. Python refuses to read numbers that are much longer.
_LONGEST_NUMBER: Final = 18

#: Seconds between two counts of a connection's messages.
SAMPLE_EVERY: Final = 1.0


class HasConnections(Protocol):
    """A project, or a fleet that is seen from outside."""

    @property
    def configurations(self) -> Collection[str]:
        """The names of its connections."""
        ...

    def websocket(self, name: str) -> object:
        """The connection of that name. It is made if it is not there yet."""
        ...

    def follow_connections(self, tell: Callable[[Shown], object], /) -> Callable[[], None]:
        """Calls `tell` with each connection, now and when one is made; returns a function that ends it."""
        ...


@dataclass(slots=True)
class Cursor:
    """How far a reader has come.

    Attributes:
        version: The latest change of a row that it has seen.
        event: The number of the latest event that it has seen.
        has_rows: Whether it has all rows, as they were at that version.
    """

    version: int
    event: int
    has_rows: bool = True


class Collector:
    """Follows the connections of a project, also those that are added and removed.

    Lifecycle events are kept as they come. Messages are not: the connections count them, and the counts are read once a
    second while there are readers. A reader has its own `Cursor` and nothing else, so that a slow one costs nothing: it
    gets one update for all that it missed, or a snapshot if its events are no longer kept.

    Enter it on the loop that reads it. The project may be open on that loop, on another one, or not yet.

    Args:
        project: The project, or a fleet that is seen from outside.
    """

    def __init__(self, project: HasConnections) -> None:
        self._project = project
        # Part of each id, so that an id of another run is not taken for one of this run.
        self._run = secrets.token_hex(4)
        self._rows: dict[str, Row] = {}
        # By name, at which version a row, or its numbers alone, last changed; the latest change is last.
        self._changed: dict[str, int] = {}
        self._counted: dict[str, int] = {}
        self._version = 0
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS)
        self._last_event = 0
        # The rows, those first that were counted longest ago.
        self._to_count: deque[Row] = deque()
        self._looked_at = float("-inf")
        self._subscriptions = CompositeDisposable()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    def __enter__(self) -> Self:
        self._loop, self._thread = asyncio.get_running_loop(), get_ident()
        self._subscriptions = CompositeDisposable()
        for name in self._project.configurations:
            # The program may not have used it yet. Once it is made it can be seen and started.
            self._project.websocket(name)
        self._subscriptions.add(Disposable(self._project.follow_connections(self._follow)))
        return self

    def __exit__(self, *_: object) -> None:
        self._subscriptions.dispose()

    # Called by connections, in any thread

    def _follow(self, connection: Shown) -> None:
        row = Row(connection)
        self._here(self._add, row)
        following = CompositeDisposable()
        following.add(
            connection.lifecycle.subscribe(
                partial(self._here, self._take, row), on_completed=partial(self._on_completed, row, following)
            )
        )
        following.add(connection.latency.subscribe(partial(self._here, self._take_latency, row)))
        self._subscriptions.add(following)

    def _on_completed(self, row: Row, following: CompositeDisposable) -> None:
        """The connection was removed, or its project was left. In the latter case its row stays.

        A later turn decides that: now the project may be within `follow_connections`, where it must not be asked.
        """
        self._subscriptions.remove(following)
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._remove_if_gone, row)

    def _remove_if_gone(self, row: Row) -> None:
        if row.connection.name not in self._project.configurations:
            self._remove(row)

    def _here(self, act: Callable[..., None], *args: object) -> None:
        """Calls a function on the loop's thread."""
        if get_ident() == self._thread:
            act(*args)
            return
        assert self._loop is not None
        # A loop that has closed has no readers.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(act, *args)

    # Called on the loop's thread

    def _add(self, row: Row) -> None:
        name = row.connection.name
        if name in self._rows:
            # It was removed a moment ago, and its name is used again.
            self._remove(self._rows[name])
        self._rows[name] = row
        self._to_count.appendleft(row)
        self._note(self._changed, row)

    def _remove(self, row: Row) -> None:
        name = row.connection.name
        if self._rows.get(name) is row:
            for by_name in (self._rows, self._changed, self._counted):
                by_name.pop(name, None)
            self._to_count.remove(row)
            self._keep({"event": "Removed", "connection": name, "at": time.time()})

    def _take(self, row: Row, event: LifecycleEvent) -> None:
        row.take(event)
        self._note(self._changed, row)
        self._keep(event_as_json(event))

    def _take_latency(self, row: Row, round_trip: float) -> None:
        row.take_latency(round_trip)
        self._note(self._changed, row)

    def _note(self, changes: dict[str, int], row: Row) -> None:
        """Notes that a row has changed, as the latest of all."""
        self._version += 1
        changes.pop(row.connection.name, None)
        changes[row.connection.name] = self._version

    def _keep(self, event: dict[str, Any]) -> None:
        self._last_event += 1
        self._events.append({"id": self._last_event, **event})

    def _sample(self) -> None:
        """Counts the messages of the rows that are due.

        Each look counts a share of the rows, by the time since the last look, so that very many rows never hold up the
        program all at once.
        """
        assert self._loop is not None
        now = self._loop.time()
        share = min(1, (now - self._looked_at) / SAMPLE_EVERY)
        self._looked_at = now
        for _ in range(math.ceil(share * len(self._to_count))):
            row = self._to_count[0]
            if now - row.counted_at < SAMPLE_EVERY:
                break
            self._to_count.rotate(-1)
            if row.sample(now):
                self._note(self._counted, row)

    # For readers

    def row(self, name: str) -> Row | None:
        """The row of a connection; `None`: no connection has that name."""
        return self._rows.get(name)

    def rows(self) -> list[dict[str, Any]]:
        """All rows, in the order in which the connections were made."""
        self._sample()
        return [row.as_json() for row in self._rows.values()]

    def id_at(self, cursor: Cursor) -> str:
        """The id by which a reader can go on later from here."""
        return f"{self._run}.{cursor.event}"

    def cursor_at(self, event_id: str) -> Cursor | None:
        """Where a reader with that id goes on.

        `None`: it needs a snapshot, because the events behind that id are no longer kept, or another run gave the id.
        """
        run, _, number = event_id.partition(".")
        if run != self._run or not (number.isascii() and number.isdecimal() and len(number) <= _LONGEST_NUMBER):
            return None
        cursor = Cursor(version=0, event=int(number), has_rows=False)
        return cursor if self._keeps_events_after(cursor) else None

    def _keeps_events_after(self, cursor: Cursor) -> bool:
        return self._last_event - len(self._events) <= cursor.event <= self._last_event

    def snapshot(self) -> tuple[Cursor, str]:
        """Everything, as JSON, and where a reader goes on behind it."""
        rows = self.rows()
        cursor = Cursor(self._version, self._last_event)
        return cursor, _encoded({"now": time.time(), "rows": rows, "events": list(self._events)})

    def update(self, cursor: Cursor) -> str | None:
        """The changes since the cursor, as JSON, and moves the cursor on; `None`: there are none.

        Raises:
            LookupError: If the reader needs a snapshot, because events behind its cursor are no longer kept.
        """
        self._sample()
        if not self._keeps_events_after(cursor):
            raise LookupError
        if cursor.has_rows and (cursor.version, cursor.event) == (self._version, self._last_event):
            return None
        changed = self._names_after(self._changed, cursor.version) if cursor.has_rows else list(self._rows)
        counted = self._names_after(self._counted, cursor.version) if cursor.has_rows else ()
        news = {
            "now": time.time(),
            "rows": [self._rows[name].as_json() for name in changed],
            "numbers": {name: self._rows[name].numbers for name in counted},
            "events": [*takewhile(lambda event: event["id"] > cursor.event, reversed(self._events))][::-1],
        }
        cursor.version, cursor.event, cursor.has_rows = self._version, self._last_event, True
        return _encoded(news)

    @staticmethod
    def _names_after(changes: dict[str, int], version: int) -> list[str]:
        """The names of the rows that changed after a version, the earliest change first."""
        return [*takewhile(lambda name: changes[name] > version, reversed(changes))][::-1]


def _encoded(value: object) -> str:
    """JSON in ASCII: it has no line separator of Unicode, and halves of surrogate pairs can be sent."""
    return json.dumps(value, separators=(",", ":"))
