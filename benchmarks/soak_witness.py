"""What `benchmarks.soak` sees and judges: each connection's notifications, logs, and what went wrong."""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from rxnodes import Closing, Connecting, Connection, ConnectionState, Dropped, ErrorEvent, Opened, Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rxnodes import LifecycleEvent

__all__ = ["ROOM", "EndlessError", "Findings", "Totals", "Witness", "complaints"]

#: Seconds by which something may be late on a machine that has this much to do.
ROOM: Final = 3.0

#: Findings that are written out.
SHOWN: Final = 20


class Findings:
    """What is wrong."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, finding: str) -> None:
        """Adds one; the first few are kept."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(finding)

    def expect(self, right: bool, finding: str) -> None:  # noqa: FBT001 - an assertion that goes on
        """Adds one unless all is right."""
        if not right:
            self.add(finding)


class EndlessError(Exception):
    """A session does not end, so that the run cannot go on."""


class Complaints(logging.Handler):
    """Whatever anybody logs as a warning or worse is wrong here."""

    def __init__(self, findings: Findings) -> None:
        super().__init__(logging.WARNING)
        self._findings = findings

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a record."""
        error = record.exc_info[1] if record.exc_info else None
        self._findings.add(f"logged by {record.name}: {record.getMessage()} {error!r:.300}")


@contextlib.contextmanager
def complaints(findings: Findings) -> Iterator[None]:
    """Listens to the loggers of everybody involved, and to what cannot be raised anywhere."""
    handler = Complaints(findings)
    loggers = [logging.getLogger(name) for name in ("rxnodes", "asyncio", "aiohttp")]
    unraisable = sys.unraisablehook
    sys.unraisablehook = lambda what: findings.add(f"unraisable: {what.exc_value!r} in {what.object!r:.200}")
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
            gc.collect()
    finally:
        sys.unraisablehook = unraisable
        for logger in loggers:
            logger.removeHandler(handler)
            logger.propagate = True


@dataclass
class Totals:
    """What happened, over all connections."""

    events: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    messages_received: int = 0
    messages_sent: int = 0
    longest_closing: float = 0.0
    live: int = 0

    @property
    def starts(self) -> int:
        """How many sessions began."""
        return self.events["sessions"]

    @property
    def stops(self) -> int:
        """How many `Stopped` came."""
        return self.events["Stopped"]


class Witness:
    """Sees everything that one connection tells, and holds it to what is promised. It keeps counts only."""

    def __init__(self, connection: Connection, close_timeout: float, findings: Findings, totals: Totals) -> None:
        self.connection = connection
        self.close_timeout = close_timeout
        self._findings = findings
        self._totals = totals
        self._session = 0
        self._attempt = 0
        self._is_live = False
        self._was_open = False
        self._is_closing = False
        self._closing_since = 0.0
        self._messages = 0
        self._sends = 0
        connection.lifecycle.subscribe(self._on_event)
        connection.messages.subscribe(self._on_message)

    def send(self, message: str | bytes) -> None:
        """Sends a message, and remembers to ask what became of it."""
        self.connection.send(self.counted(message))

    def counted(self, message: str | bytes) -> Any:
        """Notes that a message is about to be sent."""
        if self.connection.state is ConnectionState.OPEN:
            self._sends += 1
        return message

    def _wrong(self, what: str) -> None:
        self._findings.add(f"{self.connection!r}, attempt {self._attempt}: {what}")

    def _on_message(self, _message: str | bytes) -> None:
        self._messages += 1
        if not (self._is_live and self._was_open):
            self._wrong("a message outside an open session")

    def _on_event(self, event: LifecycleEvent) -> None:
        self._totals.events[type(event).__name__] += 1
        if isinstance(event, ErrorEvent) and event.session == 0:
            return
        if isinstance(event, Connecting):
            self._on_connecting(event)
        if not self._is_live or (event.session, event.attempt) != (self._session, self._attempt):
            self._wrong(f"{event} in session {self._session}, live: {self._is_live}")
        if self._is_closing and isinstance(event, Opened | Dropped | Closing):
            self._wrong(f"{type(event).__name__} after Closing")
        if isinstance(event, Opened):
            self._was_open = True
        elif isinstance(event, Closing):
            self._is_closing = True
            self._closing_since = time.monotonic()
        elif isinstance(event, Stopped):
            self._on_stopped(event)

    def _on_connecting(self, event: Connecting) -> None:
        if event.attempt == 1:
            if self._is_live:
                self._wrong("a session begins within another")
            if event.session != self._session + 1:
                self._wrong(f"session {event.session} follows {self._session}")
            self._session, self._is_live, self._was_open, self._is_closing = event.session, True, False, False
            self._messages = 0
            self._totals.events["sessions"] += 1
            self._totals.live += 1
        elif event.attempt != self._attempt + 1 or self._is_closing:
            self._wrong(f"attempt {event.attempt} follows {self._attempt}")
        self._attempt = event.attempt

    def _on_stopped(self, event: Stopped) -> None:
        self._is_live = False
        totals = self._totals
        totals.live -= 1
        totals.ends[f"{event.initiator.value}{', clean' if event.was_clean else ''}"] += 1
        totals.messages_received += event.messages_received
        totals.messages_sent += event.messages_sent
        if self.connection.state is not ConnectionState.CLOSED:
            self._wrong(f"the state at Stopped is {self.connection.state.value}")
        if event.opened is not self._was_open:
            self._wrong(f"Stopped says opened={event.opened}")
        if event.messages_received != self._messages:
            self._wrong(f"{self._messages} messages came, Stopped says {event.messages_received}")
        if event.messages_sent + event.unsent != self._sends:
            self._wrong(
                f"{self._sends} messages were sent, Stopped says {event.messages_sent} and {event.unsent} unsent"
            )
        self._sends = 0
        if self._is_closing:
            took = time.monotonic() - self._closing_since
            totals.longest_closing = max(totals.longest_closing, took - self.close_timeout)
            if took > self.close_timeout + ROOM:
                self._wrong(f"closing took {took:.2f} s, with close_timeout {self.close_timeout:g} s")

    def check_rest(self) -> None:
        """Nothing is live any more."""
        connection = self.connection
        if self._is_live or connection.state not in (ConnectionState.IDLE, ConnectionState.CLOSED):
            self._wrong("a session is left")
        if connection.session != self._session:
            self._wrong(f"session {connection.session} was never told of")
