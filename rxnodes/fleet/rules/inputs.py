"""What can happen to a worker's hold on a connection, and what it asks to be done.

An answer of the store carries the number of the operation that it answers, so that the machine recognizes one that
comes too late. The shell performs the effects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rxnodes.fleet.rules.values import Entry, Record, Tail, Wish
    from rxnodes.lifecycle.events import Connecting, LifecycleEvent, Stopped

__all__ = [
    "Abort",
    "Always",
    "Answer",
    "Append",
    "Appended",
    "Begin",
    "Claim",
    "Cut",
    "Deliver",
    "Dial",
    "Dialling",
    "Discard",
    "Drain",
    "Effect",
    "Ended",
    "Happened",
    "Hold",
    "Input",
    "Joined",
    "LastRead",
    "LetGo",
    "NotBegun",
    "ReadLast",
    "ReadRecord",
    "RecordRead",
    "RecordSeen",
    "Release",
    "Stop",
    "Unsure",
    "WriteRecord",
    "Written",
]

# From the worker


@dataclass(frozen=True, slots=True)
class Joined:
    """The worker has a lease of so many seconds, under this id."""

    worker: str
    lease: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The worker's lease has passed, or is in danger: it holds nothing any more."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The connection is free, by the record of this revision (0: there is none), and the share is this worker's.

    `wish` is what the application commanded before it had joined. It counts where nobody has commanded anything.
    """

    revision: int
    wish: Wish | None = None


@dataclass(frozen=True, slots=True)
class Drain:
    """End the session in order, and let the connection go."""


@dataclass(frozen=True, slots=True)
class RecordSeen:
    """The record stands like this, as the watch or a read shows."""

    record: Record
    revision: int


# From the store


@dataclass(frozen=True, slots=True)
class Answer:
    """What all answers have: the number of the operation."""

    operation: int


@dataclass(frozen=True, slots=True)
class Written(Answer):
    """The record was written, and has this revision."""

    revision: int


@dataclass(frozen=True, slots=True)
class Appended(Answer):
    """The entry was appended, with this sequence number."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Unsure(Answer):
    """A refusal, or no answer in time. It decides nothing: what was to be written may be there, or may still come."""


@dataclass(frozen=True, slots=True)
class RecordRead(Answer):
    """The record stands like this; revision 0: there is none."""

    record: Record
    revision: int


@dataclass(frozen=True, slots=True)
class LastRead(Answer):
    """This is behind the last entry of the connection's log."""

    tail: Tail


# From the connection


@dataclass(frozen=True, slots=True)
class Dialling:
    """An attempt is to be dialled, once `Dial` says so."""

    event: Connecting


@dataclass(frozen=True, slots=True)
class Happened:
    """Any other event. With a `Dropped`, `published` is how many messages of the attempt went to observers."""

    event: LifecycleEvent
    published: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over. Subscribers see that by `Release` or `Discard`. `published` is as with `Happened`."""

    event: Stopped
    published: int | None = None


@dataclass(frozen=True, slots=True)
class NotBegun:
    """The session that was to begin never will: the project is being left, or the connection removed."""


# From the machine itself


@dataclass(frozen=True, slots=True)
class Always:
    """Nothing has to happen: where such a row applies, it is taken at once, behind every other."""


Input = (
    Joined
    | Cut
    | Claim
    | Drain
    | RecordSeen
    | Written
    | Appended
    | Unsure
    | RecordRead
    | LastRead
    | Dialling
    | Happened
    | Ended
    | NotBegun
    | Always
)


# Effects on the store


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """Write the record behind this revision (0: only where there is none)."""

    operation: int
    record: Record
    expected: int


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """Read the record, until an answer comes."""

    operation: int


@dataclass(frozen=True, slots=True)
class Append:
    """Append the entry behind this sequence number. `tries` says how often it was tried in vain: wait accordingly."""

    operation: int
    entry: Entry
    expected: int
    tries: int = 0


@dataclass(frozen=True, slots=True)
class ReadLast:
    """Read the last entry of the connection's log, until an answer comes."""

    operation: int


# Effects on the connection


@dataclass(frozen=True, slots=True)
class Hold:
    """The worker holds the connection: its event nodes fire here, its scopes are wired."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """The worker does not hold it any more: leave its scopes."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin a session with this number."""

    session: int


@dataclass(frozen=True, slots=True)
class Dial:
    """The log has taken the `Connecting` of this attempt: dial."""

    session: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End the session with a closing handshake."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Abort:
    """End the session without one."""


@dataclass(frozen=True, slots=True)
class Release:
    """The log has taken the session's `Stopped`: emit it."""

    event: Stopped


@dataclass(frozen=True, slots=True)
class Discard:
    """Emit a `HolderLost` in place of the session's `Stopped`: the connection is another worker's."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Emit the `Stopped` of a session that another worker had begun and could not end."""

    event: Stopped


Effect = (
    WriteRecord
    | ReadRecord
    | Append
    | ReadLast
    | Hold
    | LetGo
    | Begin
    | Dial
    | Stop
    | Abort
    | Release
    | Discard
    | Deliver
)
