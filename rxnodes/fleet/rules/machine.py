"""The machine: every transition of a worker's hold on a connection, in one table.

This file is longer than others on purpose, as `rxnodes/lifecycle/machine.py` is: to see why a worker did
something, read the row, its guard and its actions.

Rule 1: one operation on the store is under way at a time, and its answer carries its number. A refusal decides nothing:
what stands there is read, and decides.

Rule 2: a claim raises the epoch in the record and appends `Held` to the log before anything else. So every entry of an
older epoch that is still on its way is refused, because it expects another last sequence.

Rule 3: a session is begun, and its `Stopped` is delivered, only where the log took it in this worker's own epoch. Where
the record or the log shows another holder or a higher epoch, the worker's own session is aborted, and its subscribers
see nothing more of it.

Rule 4: the table alone answers inputs. An answer to an operation that is not the current one is dropped, by `is_stale`.
Any other input that a phase does not list does nothing there, unless it comes from the connection: then `step` raises.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from rxnodes.errors import HolderLost
from rxnodes.fleet.rules.commands import is_wanted
from rxnodes.fleet.rules.inputs import (
    Abort,
    Always,
    Answer,
    Append,
    Appended,
    Begin,
    Claim,
    Cut,
    Deliver,
    Dial,
    Dialling,
    Discard,
    Drain,
    Effect,
    Ended,
    Happened,
    Hold,
    Input,
    Joined,
    LastRead,
    LetGo,
    NotBegun,
    ReadLast,
    ReadRecord,
    RecordRead,
    RecordSeen,
    Release,
    Stop,
    Unsure,
    WriteRecord,
    Written,
)
from rxnodes.fleet.rules.values import ABORT, Entry, Record, Tail
from rxnodes.lifecycle.events import Closing, Connecting, ErrorEvent, Opened, Stopped
from rxnodes.lifecycle.states import CloseCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from rxnodes.lifecycle.events import LifecycleEvent

__all__ = ["HELD", "INDEX", "TABLE", "MachineError", "Phase", "State", "Step", "Transition", "step"]

#: So many entries may wait for the log. Errors beyond them are not logged.
MOST_WAITING = 256

NO_RECORD = Record()
NO_TAIL = Tail()


class MachineError(Exception):
    """An input came that cannot come in this phase: a bug in the caller."""


class Phase(Enum):
    """Where a worker stands towards a connection."""

    AWAY = "the worker has no lease"
    WATCHING = "the worker does not hold the connection"
    CLAIMING = "its claim is being written into the record"
    CHECKING = "whether the claim stands is being read from the record"
    READING = "the claim stands; the last entry of the log is being read"
    TAKING = "`Held` is being appended to the log"
    ENDING = "the `Stopped` of a session that another holder left behind is being appended"
    IDLE = "held, and no session is live"
    RUNNING = "a session is live"
    STOPPING = "the session was told to end"
    LOGGING = "the session is over; its `Stopped` is being appended"
    RELEASING = "let go; that is being written into the record"
    FENCED = "lost while a session was live; it is being aborted"

    # Every step looks a phase up, and Enum's own hash is written in Python.
    __hash__ = object.__hash__


@dataclass(slots=True)
class State:
    """Everything the machine remembers of one connection.

    A step changes its own copy only. The class is not frozen, because a frozen one takes several times as long to copy
    and to change.

    Attributes:
        name: The connection's name.
        phase: Where the worker stands.
        worker: Its id; empty: it has no lease.
        lease: The seconds of its lease.
        record: The newest record that was seen.
        revision: Its revision; 0: there is none.
        read_behind: That revision when the record was last asked for: the answer is not older.
        written: The record that is being written.
        operation: The number of the last operation on the store.
        epoch: The epoch of this worker's last claim.
        tail: The last entry of the log that is known.
        queue: The entries that are being appended, in order; the first is on its way.
        count: How many entries were made in this epoch.
        tries: How often the first of them was tried in vain.
        session: The number of the session that was begun here.
        asked: How that session was told to end: `stop` or `abort`; empty: it was not.
        is_draining: Whether the connection is to be let go.
        is_overtaken: Whether the log has shown a higher epoch.
    """

    name: str
    phase: Phase = Phase.AWAY
    worker: str = ""
    lease: float = 0.0
    record: Record = NO_RECORD
    revision: int = 0
    read_behind: int = 0
    written: Record = NO_RECORD
    operation: int = 0
    epoch: int = 0
    tail: Tail = NO_TAIL
    queue: tuple[Entry, ...] = ()
    count: int = 0
    tries: int = 0
    session: int = 0
    asked: str = ""
    is_draining: bool = False
    is_overtaken: bool = False

    @property
    def ahead(self) -> Tail:
        """How the connection stands once all that waits for the log is in it."""
        return self.queue[-1].after if self.queue else self.tail

    @property
    def is_held(self) -> bool:
        """Whether the worker holds the connection, and the log says so."""
        return self.phase in HELD

    def copy(self) -> State:
        """A copy for one step. It is written out, because a loop over the slots takes twice as long."""
        copy = object.__new__(State)
        copy.name = self.name
        copy.phase = self.phase
        copy.worker = self.worker
        copy.lease = self.lease
        copy.record = self.record
        copy.revision = self.revision
        copy.read_behind = self.read_behind
        copy.written = self.written
        copy.operation = self.operation
        copy.epoch = self.epoch
        copy.tail = self.tail
        copy.queue = self.queue
        copy.count = self.count
        copy.tries = self.tries
        copy.session = self.session
        copy.asked = self.asked
        copy.is_draining = self.is_draining
        copy.is_overtaken = self.is_overtaken
        return copy


class Step(NamedTuple):
    """What an input leads to: the new state, then the effects in order."""

    state: State
    effects: Sequence[Effect] = ()


class Draft:
    """A step in the making, which the actions of rows change one after the other."""

    __slots__ = ("at", "effects", "input", "state")

    def __init__(self, state: State, input_: Input, at: datetime) -> None:
        self.state = state.copy()
        self.input = input_
        self.at = at
        self.effects: list[Effect] = []

    def operate(self) -> int:
        """The number of a new operation. The answer to the one before does not count any more."""
        self.state.operation += 1
        return self.state.operation

    def enqueue(self, event: LifecycleEvent | None, after: Tail, published: int | None = None) -> None:
        """Appends an entry, behind those that wait."""
        state = self.state
        state.count += 1
        entry_id = f"{state.worker}.{state.epoch}.{state.count}"
        after = after._replace(sequence=0, epoch=state.epoch, last_id=entry_id)
        is_first = not state.queue
        state.queue = (*state.queue, Entry(state.worker, event, after, published=published))
        if is_first:
            self.append()

    def append(self) -> None:
        """Appends the first entry that waits."""
        operation = self.operate()
        state = self.state
        expected = state.tail.sequence
        first = state.queue[0]
        entry = Entry(first.worker, first.event, first.after, expected, first.published)
        self.effects.append(Append(operation, entry, expected, state.tries))


# Actions. They run in the row's source phase.


def join(draft: Draft) -> None:
    """Notes the worker's id and its lease."""
    assert isinstance(draft.input, Joined)
    draft.state.worker = draft.input.worker
    draft.state.lease = draft.input.lease


def leave(draft: Draft) -> None:
    """Notes that the worker has no lease any more."""
    draft.state.worker = ""


def note_record(draft: Draft) -> None:
    """Notes the newest record; an older one, or none, only where the store has lost the newer one."""
    assert isinstance(draft.input, RecordSeen | RecordRead)
    state, revision = draft.state, draft.input.revision
    is_lost = revision == 0 if isinstance(draft.input, RecordSeen) else state.revision == state.read_behind
    if revision >= state.revision or is_lost:
        state.record = draft.input.record
        state.revision = revision


def claim(draft: Draft) -> None:
    """Writes into the record that this worker holds the connection, in a new epoch."""
    assert isinstance(draft.input, Claim)
    state = draft.state
    wish = state.record.wish
    if draft.input.wish is not None and not wish.id:
        wish = draft.input.wish
    epoch = max(state.record.epoch, state.tail.epoch) + 1
    draft.state.epoch = epoch
    draft.state.count = 0
    draft.state.is_draining = False
    draft.state.is_overtaken = False
    _write(draft, Record(wish, state.worker, epoch, state.lease))


def let_go(draft: Draft) -> None:
    """Leaves the worker's scopes, and writes into the record that nobody holds the connection."""
    draft.effects.append(LetGo())
    write_release(draft)


def write_release(draft: Draft) -> None:
    """Writes into the record that nobody holds the connection."""
    _write(draft, draft.state.record._replace(holder=None, lease=0.0))


def _write(draft: Draft, record: Record) -> None:
    operation = draft.operate()
    draft.effects.append(WriteRecord(operation, record, draft.state.revision))
    draft.state.written = record


def note_written(draft: Draft) -> None:
    """Notes the record as it was written, unless a newer one was seen."""
    assert isinstance(draft.input, Written)
    if draft.input.revision > draft.state.revision:
        draft.state.record = draft.state.written
        draft.state.revision = draft.input.revision


def read_record(draft: Draft) -> None:
    """Reads the record, which decides."""
    draft.state.read_behind = draft.state.revision
    draft.effects.append(ReadRecord(draft.operate()))


def read_last(draft: Draft) -> None:
    """Reads the end of the log, which decides."""
    draft.effects.append(ReadLast(draft.operate()))


def note_tail(draft: Draft) -> None:
    """Notes the end of the log."""
    assert isinstance(draft.input, LastRead)
    draft.state.tail = draft.input.tail


def note_overtaken(draft: Draft) -> None:
    """Notes that another worker has claimed the connection, and has written into the log."""
    note_tail(draft)
    draft.state.is_overtaken = True


def take(draft: Draft) -> None:
    """Appends `Held` to the log."""
    draft.enqueue(None, draft.state.tail)


def take_again(draft: Draft) -> None:
    """Appends `Held` behind what the holder before has written meanwhile, and as that has left the connection."""
    note_tail(draft)
    draft.state.queue = ()
    draft.state.tries += 1
    take(draft)


def append_again(draft: Draft) -> None:
    """Appends the entry once more: it is not there, and nobody else holds the connection."""
    note_tail(draft)
    draft.state.tries += 1
    draft.append()


def wrote(draft: Draft) -> None:
    """Notes that the log has taken the entry, and appends the next one that waits."""
    assert isinstance(draft.input, Appended)
    entry, *rest = draft.state.queue
    draft.state.tail = entry.at(draft.input.sequence)
    draft.state.queue = tuple(rest)
    draft.state.tries = 0
    if rest:
        draft.append()


def hold(draft: Draft) -> None:
    """Wires the worker's scopes."""
    draft.effects.append(Hold())


def end_other(draft: Draft) -> None:
    """Appends the `Stopped` of a session that another holder left behind."""
    tail = draft.state.tail
    lost = HolderLost("the worker that held the connection is gone")
    draft.enqueue(tail.unseen_end(draft.state.name, draft.at, lost), tail._replace(is_live=False))


def deliver(draft: Draft) -> None:
    """Lets subscribers on this worker see how the other's session ended."""
    event = _written_event(draft)
    assert isinstance(event, Stopped)
    draft.effects.append(Deliver(event))


def begin(draft: Draft) -> None:
    """Begins the next session. A number that was used here is not used again, even if the log never had it."""
    session = max(draft.state.ahead.session, draft.state.session) + 1
    draft.state.session = session
    draft.state.asked = ""
    draft.effects.append(Begin(session))


def dial(draft: Draft) -> None:
    """Lets the attempt dial: the log has its `Connecting`."""
    event = _written_event(draft)
    assert isinstance(event, Connecting)
    draft.effects.append(Dial(event.session, event.attempt))


def log(draft: Draft) -> None:
    """Appends what happened to the log."""
    assert isinstance(draft.input, Dialling | Happened | Ended)
    event = draft.input.event
    published = None if isinstance(draft.input, Dialling) else draft.input.published
    draft.enqueue(event, _behind(draft.state, event), published)


def _behind(state: State, event: LifecycleEvent) -> Tail:
    """How the connection stands behind what happened."""
    ahead = state.ahead
    if isinstance(event, Connecting):
        if event.session != ahead.session:
            ahead = ahead._replace(session=event.session, has_opened=False, began_at=event.at.timestamp())
        return ahead._replace(is_live=True, attempt=event.attempt)
    if isinstance(event, Opened):
        return ahead._replace(has_opened=True)
    if isinstance(event, Closing | Stopped):
        # What ends unasked stays ended: it fulfils the wish.
        fulfilled = ahead.fulfilled if state.asked else state.record.wish.id
        return ahead._replace(fulfilled=fulfilled, is_live=isinstance(event, Closing))
    return ahead


def release(draft: Draft) -> None:
    """Lets subscribers see the `Stopped`: the log has it."""
    event = _written_event(draft)
    assert isinstance(event, Stopped)
    draft.effects.append(Release(event))


def _written_event(draft: Draft) -> LifecycleEvent | None:
    """The event that was just written. Actions that use it come before `wrote`, which forgets it."""
    return draft.state.queue[0].event


def stop(draft: Draft) -> None:
    """Ends the session: it is not wished any more, or the connection is to be let go."""
    wish = draft.state.record.wish
    if wish.allows(draft.state.session):
        draft.state.asked = "stop"
        draft.effects.append(Stop(int(CloseCode.GOING_AWAY), ""))
    elif wish.code == ABORT:
        abort(draft)
    else:
        draft.state.asked = "stop"
        draft.effects.append(Stop(wish.code, wish.reason))


def abort(draft: Draft) -> None:
    """Ends the session without a closing handshake."""
    draft.state.asked = "abort"
    draft.effects.append(Abort())


def drain(draft: Draft) -> None:
    """Notes that the connection is to be let go once no session is live."""
    draft.state.is_draining = True


def leave_scopes(draft: Draft) -> None:
    """Leaves the worker's scopes."""
    draft.effects.append(LetGo())


def discard(draft: Draft) -> None:
    """Lets subscribers on this worker see a `HolderLost` in place of `Stopped`."""
    draft.effects.append(Discard())


def forget(draft: Draft) -> None:
    """Gives up what was to be written. An answer that still comes does not count."""
    draft.operate()
    draft.state.queue = ()
    draft.state.tries = 0
    draft.state.is_draining = False


# Guards


def is_as_seen(state: State, input_: Input) -> bool:
    assert isinstance(input_, Claim)
    return input_.revision == state.revision


def is_ours(state: State, input_: Input) -> bool:
    assert isinstance(input_, RecordRead)
    return (input_.record.holder, input_.record.epoch) == (state.worker, state.epoch)


def is_others(state: State, input_: Input) -> bool:
    """Whether the log's last entry is another worker's, of this epoch or a higher one."""
    assert isinstance(input_, LastRead)
    tail = input_.tail
    return tail.epoch > state.epoch or (
        tail.epoch == state.epoch and not tail.last_id.startswith(f"{state.worker}.{state.epoch}.")
    )


def is_overtaken(state: State, _: Input) -> bool:
    return state.is_overtaken or (state.record.holder, state.record.epoch) != (state.worker, state.epoch)


def is_left_behind(state: State, _: Input) -> bool:
    """Whether the log has a live session, though none is live here."""
    return state.ahead.is_live


def may_go(state: State, _: Input) -> bool:
    """Whether the connection is to be let go, and the log has all that happened."""
    return state.is_draining and not state.queue


def may_begin(state: State, _: Input) -> bool:
    return not state.is_draining and is_wanted(state.record.wish, state.ahead)


def must_end(state: State, _: Input) -> bool:
    return state.is_draining or not state.record.wish.allows(state.session)


def must_hurry(state: State, _: Input) -> bool:
    wish = state.record.wish
    return state.asked != "abort" and wish.code == ABORT and not wish.allows(state.session)


def has_stopped(state: State, _: Input) -> bool:
    """Whether the entry that was written is a `Stopped`."""
    return isinstance(state.queue[0].event, Stopped)


def may_dial(state: State, _: Input) -> bool:
    return isinstance(state.queue[0].event, Connecting)


def is_flooded(state: State, input_: Input) -> bool:
    """Whether too many entries wait for another error: errors can come faster than the log takes them."""
    assert isinstance(input_, Happened)
    return isinstance(input_.event, ErrorEvent) and len(state.queue) >= MOST_WAITING


def is_away(state: State, _: Input) -> bool:
    return not state.worker


@dataclass(frozen=True, slots=True)
class Transition:
    """A row of the table: in this phase, on this input, do these actions and go there.

    Of the rows for a phase and an input the first whose guard holds counts.
    """

    source: Phase
    on: type[Input]
    target: Phase
    actions: tuple[Callable[[Draft], None], ...] = ()
    when: Callable[[State, Input], bool] | None = None


P = Phase
T = Transition

#: Where the worker holds the connection, and the log says so.
HELD = (P.ENDING, P.IDLE, P.RUNNING, P.STOPPING, P.LOGGING)

TABLE: tuple[Transition, ...] = (
    # The worker has no lease
    T(P.AWAY, Joined, P.WATCHING, (join,)),
    # The worker does not hold the connection
    T(P.WATCHING, Claim, P.CLAIMING, (claim,), is_as_seen),
    T(P.WATCHING, Cut, P.AWAY, (leave,)),
    # Its claim is being written into the record
    T(P.CLAIMING, Written, P.READING, (note_written, read_last)),
    T(P.CLAIMING, Unsure, P.CHECKING, (read_record,)),
    T(P.CLAIMING, Cut, P.AWAY, (forget, leave)),
    T(P.CHECKING, RecordRead, P.READING, (note_record, read_last), is_ours),
    T(P.CHECKING, RecordRead, P.WATCHING, (note_record, forget)),
    T(P.CHECKING, Cut, P.AWAY, (forget, leave)),
    # The claim stands, and the log is to say so
    T(P.READING, LastRead, P.READING, (note_overtaken,), is_others),
    T(P.READING, LastRead, P.TAKING, (note_tail, take)),
    T(P.READING, Always, P.WATCHING, (forget,), is_overtaken),
    T(P.READING, Cut, P.AWAY, (forget, leave)),
    T(P.TAKING, Appended, P.IDLE, (wrote, hold)),
    T(P.TAKING, LastRead, P.TAKING, (note_overtaken,), is_others),
    T(P.TAKING, LastRead, P.TAKING, (take_again,)),
    T(P.TAKING, Always, P.WATCHING, (forget,), is_overtaken),
    T(P.TAKING, Cut, P.AWAY, (forget, leave)),
    # Held, and no session is live
    T(P.IDLE, Appended, P.IDLE, (wrote,)),
    T(P.IDLE, Always, P.WATCHING, (forget, leave_scopes), is_overtaken),
    T(P.IDLE, Always, P.ENDING, (end_other,), is_left_behind),
    T(P.IDLE, Always, P.RELEASING, (let_go,), may_go),
    T(P.IDLE, Always, P.RUNNING, (begin,), may_begin),
    T(P.IDLE, Cut, P.AWAY, (forget, leave, leave_scopes)),
    # Another holder left a session behind
    T(P.ENDING, Appended, P.IDLE, (deliver, wrote), has_stopped),
    T(P.ENDING, Appended, P.ENDING, (wrote,)),
    T(P.ENDING, Always, P.WATCHING, (forget, leave_scopes), is_overtaken),
    T(P.ENDING, Cut, P.AWAY, (forget, leave, leave_scopes)),
    # A session is live
    T(P.RUNNING, Dialling, P.RUNNING, (log,)),
    T(P.RUNNING, Appended, P.RUNNING, (dial, wrote), may_dial),
    T(P.RUNNING, Appended, P.RUNNING, (wrote,)),
    T(P.RUNNING, Ended, P.LOGGING, (log,)),
    T(P.RUNNING, Always, P.FENCED, (forget, abort), is_overtaken),
    T(P.RUNNING, Always, P.STOPPING, (stop,), must_end),
    T(P.RUNNING, Cut, P.FENCED, (forget, leave, abort)),
    # It was told to end
    T(P.STOPPING, Dialling, P.STOPPING, (log,)),
    T(P.STOPPING, Appended, P.STOPPING, (wrote,)),
    T(P.STOPPING, Ended, P.LOGGING, (log,)),
    T(P.STOPPING, NotBegun, P.IDLE),
    T(P.STOPPING, Always, P.FENCED, (forget, abort), is_overtaken),
    T(P.STOPPING, Always, P.STOPPING, (abort,), must_hurry),
    T(P.STOPPING, Cut, P.FENCED, (forget, leave, abort)),
    # It is over, and the log is to have that first
    T(P.LOGGING, Appended, P.IDLE, (release, wrote), has_stopped),
    T(P.LOGGING, Appended, P.LOGGING, (wrote,)),
    T(P.LOGGING, Always, P.WATCHING, (forget, discard, leave_scopes), is_overtaken),
    T(P.LOGGING, Cut, P.AWAY, (forget, leave, discard, leave_scopes)),
    # Where the log may not have taken an entry, its end decides
    *(T(phase, Unsure, phase, (read_last,)) for phase in (P.TAKING, *HELD)),
    *(
        row
        for phase in HELD
        for row in (T(phase, LastRead, phase, (note_overtaken,), is_others), T(phase, LastRead, phase, (append_again,)))
    ),
    # All other events go to the log, too
    *(row for phase in HELD for row in (T(phase, Happened, phase, (), is_flooded), T(phase, Happened, phase, (log,)))),
    # Letting go
    *(T(phase, Drain, phase, (drain,)) for phase in (P.CLAIMING, P.CHECKING, P.READING, P.TAKING, *HELD)),
    T(P.RELEASING, Written, P.RELEASING, (note_written,)),
    T(P.RELEASING, Unsure, P.RELEASING, (read_record,)),
    T(P.RELEASING, RecordRead, P.RELEASING, (note_record, write_release), is_ours),
    T(P.RELEASING, RecordRead, P.RELEASING, (note_record,)),
    T(P.RELEASING, Always, P.WATCHING, (forget,), is_overtaken),
    T(P.RELEASING, Cut, P.AWAY, (forget, leave)),
    # Lost while a session was live
    T(P.FENCED, Ended, P.AWAY, (discard, leave_scopes), is_away),
    T(P.FENCED, Ended, P.WATCHING, (discard, leave_scopes)),
    T(P.FENCED, NotBegun, P.AWAY, (leave_scopes,), is_away),
    T(P.FENCED, NotBegun, P.WATCHING, (leave_scopes,)),
    T(P.FENCED, Dialling, P.FENCED),
    T(P.FENCED, Joined, P.FENCED, (join,)),
    T(P.FENCED, Cut, P.FENCED, (leave,)),
    # Anywhere
    *(T(phase, RecordSeen, phase, (note_record,)) for phase in P),
)


def index(table: Iterable[Transition]) -> Mapping[tuple[Phase, type[Input]], Sequence[Transition]]:
    """The table by phase and input, each entry in the table's order."""
    rows: defaultdict[tuple[Phase, type[Input]], list[Transition]] = defaultdict(list)
    for row in table:
        rows[row.source, row.on].append(row)
    return dict(rows)


INDEX = index(TABLE)


def is_stale(state: State, input_: Input) -> bool:
    """Whether the input answers an operation that is not the current one."""
    return isinstance(input_, Answer) and input_.operation != state.operation


def in_effect(state: State, input_: Input) -> Input:
    """The input, or `Appended` where the log ends with our entry, whatever was answered before."""
    if isinstance(input_, LastRead) and state.queue and input_.tail.last_id == state.queue[0].id:
        return Appended(input_.operation, input_.tail.sequence)
    return input_


def step(
    state: State,
    input_: Input,
    at: datetime,
    rows: Mapping[tuple[Phase, type[Input]], Sequence[Transition]] = INDEX,
) -> Step:
    """What `input_` leads to in `state`.

    Args:
        state: Where the worker stands towards the connection.
        input_: What happens.
        at: The time, in UTC.
        rows: The table, indexed; there to be varied by tests.

    Returns:
        The new state, with effects in order.

    Raises:
        MachineError: If the input cannot come in this phase.
    """
    if is_stale(state, input_):
        return Step(state)
    draft = Draft(state, in_effect(state, input_), at)
    if isinstance(input_, Answer):
        # Doubled, it counts once.
        draft.operate()
    if not take_row(draft, rows):
        if isinstance(input_, Answer | Dialling | Ended):
            raise MachineError(f"{type(input_).__name__} cannot come while {state.phase.name}")
        return Step(state)
    draft.input = Always()
    while take_row(draft, rows):
        pass
    return Step(draft.state, draft.effects)


def take_row(draft: Draft, rows: Mapping[tuple[Phase, type[Input]], Sequence[Transition]]) -> bool:
    """Takes the first row that applies, if one does."""
    for row in rows.get((draft.state.phase, type(draft.input)), ()):
        if row.when is None or row.when(draft.state, draft.input):
            for action in row.actions:
                action(draft)
            draft.state.phase = row.target
            return True
    return False
