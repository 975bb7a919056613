"""What the members of a fleet share: the record and the log of each connection, and the lease of each worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rxnodes.lifecycle.events import Stopped
from rxnodes.lifecycle.states import CloseCode, Initiator

if TYPE_CHECKING:
    from datetime import datetime

    from rxnodes.errors import RxNodesError
    from rxnodes.lifecycle.events import LifecycleEvent

__all__ = ["ABORT", "Entry", "Lease", "Record", "Tail", "Wish"]

#: The code of a wish whose session is to end without a closing handshake. No Close frame can carry it.
ABORT = 1006


class Wish(NamedTuple):
    """What the fleet is to do with a connection: the last command that changed anything.

    It does not ask for sessions up to `after`: a live one of them is to end. Where `run` is set, one behind them
    is to begin, unless one has ended by itself since: then the wish is fulfilled, see `Tail.fulfilled`.

    Attributes:
        run: Whether a session is wanted.
        after: The number of the last session that is not meant.
        code: With what a session that is not wanted is to be closed; `ABORT`: without a closing handshake.
        reason: Likewise.
        id: The command's id; empty: nobody has commanded anything yet.
    """

    run: bool = False
    after: int = 0
    code: int = 1000
    reason: str = ""
    id: str = ""

    def allows(self, session: int) -> bool:
        """Whether a live session of this number may go on."""
        return self.run and session > self.after


class Record(NamedTuple):
    """Who holds a connection, and what is wished of it. It is changed by compare-and-set alone.

    Attributes:
        wish: What is wished.
        holder: The id of the worker that holds the connection; `None`: nobody does.
        epoch: How often it has been claimed.
        lease: The seconds of the holder's lease, for those who never see the lease itself.
    """

    wish: Wish = Wish()
    holder: str | None = None
    epoch: int = 0
    lease: float = 0.0


class Tail(NamedTuple):
    """How a connection stands behind the last entry of its log. The empty one stands behind none.

    Attributes:
        sequence: The stream's sequence number of that entry.
        epoch: The epoch in which it was written.
        last_id: Its id.
        session: The number of the live or last session.
        is_live: Whether that session is under way.
        fulfilled: The id of the wish whose session has ended, or begun to end, by itself or by a stop on its holder.
            What ends by another wish, by draining or with its holder fulfils nothing.
        attempt: The number of that session's last attempt.
        has_opened: Whether that session was ever open.
        began_at: When that session began, in seconds since 1970.
    """

    sequence: int = 0
    epoch: int = 0
    last_id: str = ""
    session: int = 0
    is_live: bool = False
    fulfilled: str = ""
    attempt: int = 0
    has_opened: bool = False
    began_at: float = 0.0

    def unseen_end(self, connection: str, at: datetime, error: RxNodesError) -> Stopped:
        """The `Stopped` of its session, where nobody knows how that ended, nor what it had carried.

        Args:
            connection: The connection's name.
            at: When it was found to have ended.
            error: Why nothing more is known.
        """
        return Stopped(
            connection=connection,
            session=self.session,
            attempt=self.attempt,
            at=at,
            code=int(CloseCode.ABNORMAL_CLOSURE),
            reason="",
            was_clean=False,
            initiator=Initiator.NETWORK,
            opened=self.has_opened,
            duration=max(0.0, at.timestamp() - self.began_at),
            attempts=self.attempt,
            messages_received=0,
            bytes_received=0,
            messages_sent=0,
            bytes_sent=0,
            unsent=0,
            undelivered=0,
            error=error,
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a connection's log: something that happened, and how the connection stands behind it.

    Attributes:
        worker: The id of the worker that wrote it.
        event: What happened; `None`: the worker has begun to hold the connection.
        after: How the connection stands behind it, with the entry's own epoch and id. Its sequence number is not known
            before it is written.
        behind: The sequence number of the connection's entry before this one, so that a reader of the log sees
            whether one is missing; 0: it is the first. It is set when the entry is appended; `None`: not yet.
        published: For `Dropped` and `Stopped`: how many messages of the attempt were published for observers; `None`:
            its writer does not know, because another worker held the connection.
    """

    worker: str
    event: LifecycleEvent | None
    after: Tail
    behind: int | None = None
    published: int | None = None

    @property
    def id(self) -> str:
        """What no other entry has."""
        return self.after.last_id

    @property
    def epoch(self) -> int:
        """The epoch in which it is written."""
        return self.after.epoch

    @property
    def kind(self) -> str:
        """The name of the event's class, or `Held`."""
        return "Held" if self.event is None else type(self.event).__name__

    def at(self, sequence: int) -> Tail:
        """How the connection stands once the entry has been written with this sequence number."""
        return self.after._replace(sequence=sequence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What a worker says of itself with each renewal.

    Attributes:
        worker: Its id. A worker that was cut off comes back with another one.
        number: How many renewals it has made, so that no two are alike.
        seconds: For how long the lease holds, from when the renewal was sent.
        names: A digest of the names it has settings for; workers with the same one can hold the same connections.
        capacity: How many connections it may hold; `None`: any number.
        held: How many it holds.
        is_draining: Whether it is leaving, and claims nothing any more.
        host: Where it runs, for people.
        at: When it said so, by its own clock, in seconds since 1970, for people.
    """

    worker: str
    number: int = 0
    seconds: float = 15.0
    names: str = ""
    capacity: int | None = None
    held: int = 0
    is_draining: bool = False
    host: str = ""
    at: float = 0.0
