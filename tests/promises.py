"""What the design promises of every stream of notifications, as one check.

A `Journal` is told whatever a connection tells, in order, and refuses what must not be. It serves the machine's tests,
the connection's and those over real sockets alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rxnodes.errors import ConnectError
from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, LifecycleEvent, Opened, Stopped
from rxnodes.lifecycle.states import ConnectionState, Initiator

#: Which state may follow which, for those who watch.
NEXT_STATES = {
    ConnectionState.IDLE: {ConnectionState.CONNECTING},
    ConnectionState.CONNECTING: {
        ConnectionState.OPEN,
        ConnectionState.RECONNECTING,
        ConnectionState.CLOSING,
        ConnectionState.CLOSED,
    },
    ConnectionState.OPEN: {ConnectionState.RECONNECTING, ConnectionState.CLOSING, ConnectionState.CLOSED},
    ConnectionState.RECONNECTING: {ConnectionState.CONNECTING, ConnectionState.CLOSING},
    ConnectionState.CLOSING: {ConnectionState.CLOSED},
    ConnectionState.CLOSED: {ConnectionState.CONNECTING},
}


@dataclass
class Session:
    number: int
    attempt: int = 0
    is_open: bool = False
    has_opened: bool = False
    closing: Closing | None = None
    errors: list[ErrorEvent] = field(default_factory=list)
    stopped: Stopped | None = None
    messages: int = 0


class Journal:
    """Keeps what was told, and asserts the promises as it grows."""

    def __init__(self) -> None:
        self.events: list[LifecycleEvent] = []
        self.states: list[ConnectionState] = [ConnectionState.IDLE]
        self.sessions: list[Session] = []
        self.messages: list[str | bytes] = []

    @property
    def live(self) -> Session | None:
        return self.sessions[-1] if self.sessions and self.sessions[-1].stopped is None else None

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def state(self, state: ConnectionState) -> None:
        assert state in NEXT_STATES[self.states[-1]], f"{state} after {self.states[-1]}"
        self.states.append(state)

    def message(self, message: str | bytes) -> None:
        assert self.live is not None, "a message outside a session"
        assert self.live.has_opened, "a message before Opened"
        self.live.messages += 1
        self.messages.append(message)

    def event(self, event: LifecycleEvent) -> None:
        self.events.append(event)
        if isinstance(event, Connecting):
            self._connecting(event)
        elif isinstance(event, ErrorEvent) and event.session == 0:
            assert event.attempt == 0
        else:
            session = self.live
            assert session is not None, f"{event} outside a live session"
            assert (event.session, event.attempt) == (session.number, session.attempt), f"{event} in {session}"
            self._within(session, event)

    def _connecting(self, event: Connecting) -> None:
        if self.live is None:
            # Promise 6: Stopped comes before the next Connecting; sessions and attempts are numbered 1, 2, 3.
            assert (event.session, event.attempt) == (len(self.sessions) + 1, 1)
            self.sessions.append(Session(event.session))
        session = self.sessions[-1]
        assert (event.session, event.attempt) == (session.number, session.attempt + 1)
        assert session.closing is None, "an attempt after Closing"
        assert not session.is_open
        session.attempt += 1

    def _within(self, session: Session, event: LifecycleEvent) -> None:
        match event:
            case Opened():
                assert session.closing is None
                assert not session.is_open
                assert event.is_reconnect is session.has_opened
                session.is_open = session.has_opened = True
            case Dropped():
                assert session.closing is None, "Closing belongs to the session: an attempt ends in Dropped alone"
                assert event.retry_in >= 0
                assert not (event.was_clean and event.code == 1006)
                session.is_open = False
            case Closing():
                assert session.closing is None, "Closing twice"
                session.closing = event
            case ErrorEvent():
                session.errors.append(event)
            case Stopped():
                self._stopped(session, event)
            case _:
                raise AssertionError(event)

    def _stopped(self, session: Session, event: Stopped) -> None:
        session.stopped = event
        assert self.states[-1] is ConnectionState.CLOSED, "the state is CLOSED when Stopped is delivered"
        assert event.opened is session.has_opened
        assert event.attempts == session.attempt
        assert event.duration >= 0
        assert event.unsent >= 0
        if event.was_clean:
            assert event.code != 1006
            # A login that failed is an error, however well the closing went.
            assert event.error is None or (isinstance(event.error, ConnectError) and not session.is_open)
            assert event.initiator in (Initiator.LOCAL, Initiator.REMOTE)
        if event.initiator is Initiator.TIMEOUT:
            assert event.code == 1006
        if event.initiator in (Initiator.LOCAL, Initiator.REMOTE, Initiator.TIMEOUT):
            assert session.closing is not None, (
                "a session that is stopped, or that the peer closes, passes through Closing"
            )
        if event.initiator in (Initiator.LOCAL, Initiator.REMOTE):
            assert session.closing is not None
            assert session.closing.initiator is event.initiator or event.error is not None
        if event.error is not None:
            assert any(error.error is event.error for error in session.errors), "an end that is not clean is announced"
        if not event.was_clean and event.error is None:
            # Only what was asked for may end without an announcement.
            assert event.initiator in (Initiator.LOCAL, Initiator.REMOTE)
