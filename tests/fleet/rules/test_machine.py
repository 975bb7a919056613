"""Each row of the table, in the words of the design."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rxnodes.errors import HolderLost
from rxnodes.fleet.rules.inputs import (
    Abort,
    Always,
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
    Ended,
    Happened,
    Hold,
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
from rxnodes.fleet.rules.machine import HELD, INDEX, MOST_WAITING, MachineError, Phase, State, step
from rxnodes.fleet.rules.values import ABORT, Record, Tail, Wish
from rxnodes.testing.events import AT, closing, connecting, dropped, error_event, opened, stopped

RUN = Wish(run=True, after=0, id="run")
ENOUGH = Wish(run=False, after=1, code=4000, reason="enough", id="enough")
OTHERS = Record(RUN, "w-2", 7, 15.0)
EMPTY = Tail()
#: Where a holder that is gone has left a session.
LEFT = Tail(30, 4, "w-0.4.9", session=3, is_live=True, attempt=2, has_opened=True, began_at=AT.timestamp() - 60)


ERROR = error_event("send", session=0, attempt=0)


class Passing:
    """A table that notes which phases a step passes: in each of them it is asked what is always done there."""

    def __init__(self, rows):
        self._rows = rows
        self.passed = []

    def get(self, key, otherwise):
        if key[1] is Always:
            self.passed.append(key[0])
            assert len(self.passed) <= len(Phase), "a step that goes round in circles never ends"
        return self._rows.get(key, otherwise)


class Machine:
    """The machine, and what its last step ordered."""

    rows = INDEX

    def __init__(self):
        self.state = State("chat")
        self.effects = []
        self.sequence = 100
        self.revision = 10

    def __call__(self, input_):
        before = replace(self.state)
        rows = Passing(self.rows)
        done = step(self.state, input_, AT, rows)
        assert self.state == before
        assert set(rows.passed[:-1]) <= self.passes(input_)
        self.state, self.effects = done.state, list(done.effects)
        return self

    def passes(self, input_):
        """Which phases a step may only pass: the one it begins in, and those where a session has ended or begins."""
        passes = {self.phase}
        queue = self.state.queue
        is_written = isinstance(input_, LastRead) and queue and input_.tail.last_id == queue[0].id
        if is_written or isinstance(input_, Appended | NotBegun):
            passes.add(Phase.IDLE)
        return passes | {Phase.RUNNING} if Phase.IDLE in passes else passes

    @property
    def phase(self):
        return self.state.phase

    # Answers of the store, to the operation that is under way

    def written(self, *, is_newest=True):
        self.revision += is_newest
        return self(Written(self.state.operation, self.revision))

    def appended(self):
        self.sequence += 1
        return self(Appended(self.state.operation, self.sequence))

    def unsure(self):
        return self(Unsure(self.state.operation))

    def read_last(self, tail):
        return self(LastRead(self.state.operation, tail))

    def read_record(self, record):
        self.revision += 1
        return self(RecordRead(self.state.operation, record, self.revision))

    def sees(self, record):
        self.revision += 1
        return self(RecordSeen(record, self.revision))

    def wished(self, wish):
        """The wish has changed."""
        return self.sees(self.state.record._replace(wish=wish))

    # What it orders

    @property
    def appends(self):
        return [effect.entry for effect in self.effects if isinstance(effect, Append)]

    def is_appending(self, kind, **after):
        """Whether the last step has one thing appended, which leaves the connection like this."""
        (entry,) = self.appends
        (effect,) = (effect for effect in self.effects if isinstance(effect, Append))
        assert entry.kind == kind
        assert entry.behind == effect.expected == self.state.tail.sequence
        assert (entry.worker, entry.epoch) == (self.state.worker, self.state.epoch)
        assert {name: getattr(entry.after, name) for name in after} == after
        return True

    @property
    def others(self):
        """The effects, without what is asked of the store."""
        return [it for it in self.effects if not isinstance(it, Append | ReadLast | ReadRecord | WriteRecord)]

    def is_current(self, kind):
        """Whether the last thing that was asked of the store is that, and its answer is the one that counts."""
        asked = [it for it in self.effects if isinstance(it, Append | ReadLast | ReadRecord | WriteRecord)]
        return len(asked) == 1 and isinstance(asked[0], kind) and asked[0].operation == self.state.operation

    # Ways

    def joined(self, record=None):
        self(Joined("w-1", 15.0))
        return self if record is None else self.sees(record)

    def claiming(self, wish=RUN, record=None):
        self.joined(record)
        return self(Claim(self.state.revision, wish))

    def taking(self, wish=RUN, tail=EMPTY, record=None):
        return self.claiming(wish, record).written().read_last(tail)

    def holding(self, wish=RUN, tail=EMPTY, record=None):
        return self.taking(wish, tail, record).appended()

    def dialled(self):
        return self.holding()(Dialling(connecting())).appended()

    def to(self, phase):
        """Brings a fresh machine to a phase by a short way."""
        ways = {
            Phase.AWAY: lambda: self,
            Phase.WATCHING: self.joined,
            Phase.CLAIMING: self.claiming,
            Phase.CHECKING: lambda: self.claiming().unsure(),
            Phase.READING: lambda: self.claiming().written(),
            Phase.TAKING: self.taking,
            Phase.ENDING: lambda: self.holding(RUN, LEFT, Record(RUN, "w-0", 4, 15.0)),
            Phase.IDLE: lambda: self.holding(None),
            Phase.RUNNING: self.dialled,
            Phase.STOPPING: lambda: self.dialled().wished(ENOUGH),
            Phase.LOGGING: lambda: self.dialled()(Ended(stopped())),
            Phase.RELEASING: lambda: self.holding(None)(Drain()),
            Phase.FENCED: lambda: self.dialled()(Cut()),
        }
        ways[phase]()
        assert self.phase is phase
        return self


def at(phase):
    return Machine().to(phase)


def appending(phase):
    """A machine in that phase, which has something under way to the log."""
    machine = at(phase)
    return machine if machine.state.queue else machine(Happened(ERROR))


def test_a_copy_has_all_that_its_original_has():
    original = State("chat")
    for name in State.__slots__:
        setattr(original, name, object())
    copy = original.copy()
    assert all(getattr(copy, name) is getattr(original, name) for name in State.__slots__)


# Claiming


def test_a_claim_raises_the_epoch_in_the_record():
    machine = Machine().joined(Record(RUN, "w-0", 4, 15.0))
    machine(Claim(machine.state.revision))
    assert machine.phase is Phase.CLAIMING
    (write,) = machine.effects
    assert write == WriteRecord(machine.state.operation, Record(RUN, "w-1", 5, 15.0), machine.revision)


def test_a_claim_of_what_has_changed_meanwhile_does_nothing():
    machine = Machine().joined(OTHERS)
    machine(Claim(machine.state.revision - 1))
    assert (machine.phase, machine.effects) == (Phase.WATCHING, [])


def test_what_was_commanded_before_joining_counts_where_nobody_has_wished_anything():
    machine = Machine().claiming(RUN)
    assert machine.effects[0].record == Record(RUN, "w-1", 1, 15.0)
    assert machine.effects[0].expected == 0
    machine = Machine().claiming(RUN, Record(ENOUGH, None, 4))
    assert machine.effects[0].record.wish == ENOUGH


def test_the_log_is_read_once_the_claim_stands():
    machine = at(Phase.CLAIMING).written()
    assert machine.phase is Phase.READING
    assert machine.is_current(ReadLast)
    assert machine.state.record.holder == "w-1"
    assert machine.state.revision == machine.revision


def test_a_refused_claim_decides_nothing():
    machine = at(Phase.CLAIMING).unsure()
    assert machine.phase is Phase.CHECKING
    assert machine.is_current(ReadRecord)
    machine.read_record(Record(RUN, "w-1", 1, 15.0))
    assert machine.phase is Phase.READING
    assert machine.is_current(ReadLast)
    assert machine.state.record.holder == "w-1"


def test_a_claim_that_does_not_stand_is_given_up():
    machine = at(Phase.CHECKING).read_record(OTHERS)
    assert machine.phase is Phase.WATCHING
    assert machine.state.record == OTHERS
    assert machine.effects == []


@pytest.mark.parametrize("tail", [Tail(9, 2, "w-2.2.1"), Tail(9, 1, "w-2.1.1")])
def test_an_epoch_that_another_has_in_the_log_is_given_up_and_the_next_claim_is_higher(tail):
    machine = at(Phase.READING).read_last(tail)
    assert (machine.phase, machine.effects) == (Phase.WATCHING, [])
    machine(Claim(machine.state.revision))
    assert machine.effects[0].record.epoch == tail.epoch + 1
    machine.written().read_last(tail)
    assert machine.phase is Phase.TAKING


def test_held_goes_to_the_log_before_anything_else():
    machine = at(Phase.READING).read_last(LEFT._replace(epoch=0, last_id="x"))
    assert (machine.phase, machine.others) == (Phase.TAKING, [])
    assert machine.is_current(Append)
    assert machine.is_appending("Held", session=3, is_live=True, attempt=2, fulfilled="", epoch=1)
    assert machine.effects[0].expected == LEFT.sequence


def test_once_the_log_has_held_scopes_are_wired():
    machine = Machine().taking(None).appended()
    assert (machine.phase, machine.effects) == (Phase.IDLE, [Hold()])


def test_what_the_holder_before_wrote_meanwhile_counts():
    machine = Machine().taking(None, LEFT, Record(RUN, "w-0", 4)).unsure()
    assert machine.phase is Phase.TAKING
    assert machine.is_current(ReadLast)
    ended = Tail(31, 4, "w-0.4.10", session=3, fulfilled="run", attempt=2)
    machine.read_last(ended)
    assert machine.phase is Phase.TAKING
    assert machine.is_current(Append)
    assert machine.is_appending("Held", session=3, is_live=False, fulfilled="run")
    assert machine.effects[0].tries == 1
    machine.appended()
    assert machine.phase is Phase.IDLE


def test_another_that_was_faster_is_given_way():
    machine = at(Phase.TAKING).unsure().read_last(Tail(9, 2, "w-2.2.1"))
    assert (machine.phase, machine.effects) == (Phase.WATCHING, [])
    assert machine.state.queue == ()


# Taking over


def test_a_session_that_another_left_behind_is_ended_and_told():
    machine = at(Phase.ENDING)
    assert machine.effects[0] == Hold()
    assert machine.is_appending("Stopped", session=3, is_live=False, fulfilled="")
    (entry,) = machine.appends
    unseen = stopped(1006, session=3, attempt=2, attempts=2, duration=60.0, error=entry.event.error)
    assert entry.event == unseen
    assert isinstance(entry.event.error, HolderLost)
    machine.appended()
    # Nobody has fulfilled the wish, so the next one begins.
    assert (machine.phase, machine.others) == (Phase.RUNNING, [Deliver(entry.event), Begin(4)])


def test_it_is_ended_where_nobody_wants_it_any_more():
    machine = Machine().holding(None, LEFT, Record(ENOUGH._replace(after=3), "w-0", 4)).appended()
    assert [type(effect) for effect in machine.others] == [Deliver]
    assert machine.phase is Phase.IDLE


def test_what_is_told_meanwhile_is_logged_behind_it():
    machine = at(Phase.ENDING)(Happened(ERROR))
    assert (machine.phase, machine.effects) == (Phase.ENDING, [])
    machine.appended()
    assert machine.is_appending("ErrorEvent", session=3, is_live=False)
    machine = at(Phase.ENDING)
    # An entry before it cannot be: the first thing that a holder appends is this.
    machine.state = replace(machine.state, queue=(replace(machine.state.queue[0], event=ERROR), *machine.state.queue))
    machine.appended()
    assert (machine.phase, machine.others) == (Phase.ENDING, [])
    assert machine.is_appending("Stopped")


# Sessions


def test_a_session_that_is_wished_begins():
    machine = Machine().holding(RUN)
    assert (machine.phase, machine.effects) == (Phase.RUNNING, [Hold(), Begin(1)])


def test_a_start_begins_one_where_none_is_live():
    machine = at(Phase.IDLE).wished(RUN)
    assert (machine.phase, machine.effects) == (Phase.RUNNING, [Begin(1)])


def test_a_wish_that_was_fulfilled_begins_none():
    machine = Machine().holding(None, Tail(5, 1, "x", session=1, fulfilled="run"), Record(RUN, None, 1))
    assert (machine.phase, machine.effects) == (Phase.IDLE, [Hold()])


def test_no_dial_before_the_log_has_it():
    machine = Machine().holding()(Dialling(connecting()))
    assert (machine.phase, machine.others) == (Phase.RUNNING, [])
    assert machine.is_appending("Connecting", session=1, is_live=True, attempt=1, has_opened=False)
    assert machine.appends[0].after.began_at == AT.timestamp()
    machine.appended()
    assert (machine.phase, machine.effects) == (Phase.RUNNING, [Dial(1, 1)])


def test_each_attempt_waits_for_the_log():
    machine = at(Phase.RUNNING)(Happened(opened())).appended()
    machine(Happened(dropped(), published=5))
    assert machine.is_appending("Dropped", is_live=True, has_opened=True, attempt=1)
    assert machine.appends[0].published == 5
    machine(Dialling(connecting(attempt=2)))
    assert machine.effects == []
    machine.appended()
    assert machine.others == []
    assert machine.is_appending("Connecting", session=1, attempt=2, has_opened=True)
    machine.appended()
    assert machine.effects == [Dial(1, 2)]


def test_one_entry_after_the_other():
    machine = at(Phase.RUNNING)(Happened(opened()))
    assert machine.is_appending("Opened", has_opened=True, is_live=True)
    machine(Happened(ERROR))
    assert machine.effects == []
    machine.appended()
    assert machine.phase is Phase.RUNNING
    assert machine.is_appending("ErrorEvent", has_opened=True, is_live=True)
    assert machine.others == []
    machine.appended()
    assert machine.effects == []
    assert machine.state.queue == ()


def test_what_ends_by_itself_stays_ended():
    machine = at(Phase.RUNNING)(Happened(closing()))
    assert machine.is_appending("Closing", is_live=True, fulfilled="run")
    machine.appended()(Ended(stopped(), published=7))
    assert (machine.phase, machine.others) == (Phase.LOGGING, [])
    assert machine.is_appending("Stopped", is_live=False, fulfilled="run", session=1)
    assert machine.appends[0].published == 7
    machine.appended()
    assert (machine.phase, machine.effects) == (Phase.IDLE, [Release(stopped())])


def test_what_is_still_to_be_logged_goes_before_stopped():
    machine = at(Phase.RUNNING)(Happened(ERROR))(Ended(stopped()))
    assert machine.effects == []
    machine.appended()
    assert (machine.phase, machine.others) == (Phase.LOGGING, [])
    assert machine.is_appending("Stopped")


def test_no_dial_once_the_session_is_over():
    machine = Machine().holding()(Dialling(connecting()))(Ended(stopped())).appended()
    assert machine.others == []


def test_a_start_while_it_ends_begins_the_next_one():
    machine = at(Phase.LOGGING).wished(Wish(run=True, after=1, id="again")).appended()
    assert (machine.phase, machine.effects) == (Phase.RUNNING, [Release(stopped()), Begin(2)])


def test_a_stop_ends_the_session_with_its_code_and_fulfils_nothing():
    machine = at(Phase.RUNNING).wished(ENOUGH)
    assert (machine.phase, machine.effects) == (Phase.STOPPING, [Stop(4000, "enough")])
    machine(Happened(closing()))
    assert machine.is_appending("Closing", fulfilled="", is_live=True)
    machine.appended()
    assert (machine.phase, machine.effects) == (Phase.STOPPING, [])
    machine(Ended(stopped()))
    assert machine.is_appending("Stopped", fulfilled="", is_live=False)
    machine.appended()
    assert (machine.phase, machine.effects) == (Phase.IDLE, [Release(stopped())])


def test_a_start_that_comes_while_it_is_stopped_is_not_lost():
    machine = at(Phase.STOPPING).wished(Wish(run=True, after=0, id="again"))
    assert machine.effects == []
    machine(Ended(stopped())).appended()
    assert machine.effects == [Release(stopped()), Begin(2)]


def test_no_dial_while_it_is_stopped():
    machine = Machine().holding().wished(ENOUGH)(Dialling(connecting()))
    assert machine.is_appending("Connecting")
    assert (machine.phase, machine.others) == (Phase.STOPPING, [])
    machine.appended()
    assert (machine.phase, machine.effects) == (Phase.STOPPING, [])


def test_an_abort_ends_it_without_ceremony():
    hurry = ENOUGH._replace(code=ABORT, id="hurry")
    assert at(Phase.RUNNING).wished(hurry).effects == [Abort()]
    machine = at(Phase.STOPPING).wished(hurry)
    assert (machine.phase, machine.effects) == (Phase.STOPPING, [Abort()])
    assert machine.wished(hurry._replace(id="once more")).effects == []


def test_an_abort_of_a_session_before_does_not_concern_this_one():
    again = Wish(run=True, after=0, code=ABORT, id="again")
    assert at(Phase.RUNNING).wished(again).effects == []
    machine = Machine().dialled()(Drain()).wished(again)
    assert machine.effects == []


def test_a_session_that_never_begins():
    machine = Machine().holding()(Drain())(NotBegun())
    assert (machine.phase, machine.others) == (Phase.RELEASING, [LetGo()])


# A refusal decides nothing


@pytest.mark.parametrize("phase", [Phase.TAKING, *HELD])
def test_where_the_log_may_not_have_taken_it_its_end_decides(phase):
    machine = appending(phase)
    machine.unsure()
    assert machine.phase is phase
    assert machine.is_current(ReadLast)
    assert machine.others == []


@pytest.mark.parametrize("phase", HELD)
def test_what_stands_last_in_the_log_was_appended(phase):
    machine = appending(phase)
    entry = machine.state.queue[0]
    machine.unsure().read_last(entry.at(200))
    assert machine.state.tail == entry.at(200)
    assert machine.phase is {Phase.ENDING: Phase.RUNNING, Phase.LOGGING: Phase.IDLE}.get(phase, phase)


@pytest.mark.parametrize("phase", HELD)
def test_what_does_not_stand_there_is_appended_again_behind_it(phase):
    machine = appending(phase)
    entry = machine.state.queue[0]
    tail = Tail(77, machine.state.epoch, f"w-1.{machine.state.epoch}.1")
    machine.unsure().read_last(tail)
    assert machine.phase is phase
    assert machine.is_current(Append)
    (append,) = machine.effects
    assert append.entry == replace(entry, behind=77)
    assert (append.expected, append.tries) == (77, 1)
    machine.unsure().read_last(tail)
    assert machine.effects[0].tries == 2
    machine.appended()
    assert machine.state.tries == 0


def lost_by(phase):
    """What a worker orders that loses a connection."""
    if phase in (Phase.RUNNING, Phase.STOPPING):
        return [Abort()]
    return [Discard(), LetGo()] if phase is Phase.LOGGING else [LetGo()]


@pytest.mark.parametrize("phase", HELD)
@pytest.mark.parametrize("tail", [Tail(300, 9, "w-2.9.1"), Tail(300, 5, "w-2.5.1")])
def test_a_higher_epoch_in_the_log_fences(phase, tail):
    machine = appending(phase)
    machine.unsure().read_last(tail._replace(epoch=max(machine.state.epoch, tail.epoch - 4)))
    assert machine.phase is (Phase.FENCED if lost_by(phase) == [Abort()] else Phase.WATCHING)
    assert machine.effects == lost_by(phase)
    assert machine.state.queue == ()


@pytest.mark.parametrize("phase", HELD)
def test_another_holder_in_the_record_fences(phase):
    machine = at(phase).sees(OTHERS)
    assert machine.phase is (Phase.FENCED if lost_by(phase) == [Abort()] else Phase.WATCHING)
    assert machine.effects == lost_by(phase)
    operation = machine.state.operation
    assert machine(Appended(operation - 1, 400)).effects == []


@pytest.mark.parametrize("phase", [Phase.READING, Phase.TAKING, Phase.RELEASING])
def test_another_holder_in_the_record_is_given_way(phase):
    machine = at(phase)
    operation = machine.state.operation
    machine.sees(OTHERS)
    assert (machine.phase, machine.effects) == (Phase.WATCHING, [])
    # An answer that still comes counts no more.
    machine(Unsure(operation))
    assert machine.phase is Phase.WATCHING
    machine(Claim(machine.revision))
    assert machine.phase is Phase.CLAIMING
    machine.written().read_last(Tail(5, 1)).appended()
    assert machine.phase is Phase.RUNNING


@pytest.mark.parametrize("phase", list(Phase))
def test_the_newest_record_counts(phase):
    machine = at(phase)
    record, revision = machine.state.record, machine.state.revision
    newer = record._replace(wish=record.wish._replace(reason="newer"))
    machine.sees(newer)
    assert machine.phase is phase
    assert machine.state.record == newer
    machine(RecordSeen(record, revision - 1))
    assert machine.state.record == newer


def test_what_the_store_has_lost_is_known_no_more():
    machine = at(Phase.IDLE)(RecordSeen(Record(), 0))
    assert machine.phase is Phase.WATCHING
    assert machine.state.revision == 0
    machine = Machine().joined(OTHERS)
    machine(Claim(machine.revision)).unsure()
    machine(RecordRead(machine.state.operation, Record(), 0))
    assert (machine.state.record, machine.state.revision) == (Record(), 0)
    machine(Claim(0))
    assert machine.effects[0].expected == 0


def test_what_was_read_before_something_newer_was_seen_is_old():
    machine = at(Phase.CHECKING)
    operation, revision = machine.state.operation, machine.revision
    machine.sees(OTHERS)
    machine(RecordRead(operation, Record(), revision))
    assert machine.state.record == OTHERS
    assert machine.phase is Phase.WATCHING


def test_a_number_that_was_used_here_is_not_used_again():
    # The log never had the first one.
    machine = Machine().holding()(Cut())(Dialling(connecting()))(Ended(stopped()))(Joined("w-1b", 15.0))
    machine(Claim(machine.state.revision)).written().read_last(EMPTY).appended()
    assert machine.effects == [Hold(), Begin(2)]


def test_an_acknowledgement_of_what_is_older_than_what_was_seen_changes_nothing():
    machine = at(Phase.CLAIMING)
    machine.sees(Record(ENOUGH, "w-1", 1, 15.0))
    machine(Written(machine.state.operation, machine.revision - 1))
    assert machine.state.record.wish == ENOUGH
    assert machine.phase is Phase.READING


# Letting go


def test_letting_go_leaves_the_scopes_first():
    machine = at(Phase.RELEASING)
    assert machine.others == [LetGo()]
    (write,) = (effect for effect in machine.effects if isinstance(effect, WriteRecord))
    assert write == WriteRecord(machine.state.operation, Record(Wish(), None, 1, 0.0), machine.state.revision)
    machine.written()
    assert (machine.phase, machine.effects) == (Phase.WATCHING, [])
    assert machine.state.record.holder is None
    assert not machine.state.is_draining


def test_a_session_ends_in_order_first_and_the_wish_stays():
    machine = at(Phase.RUNNING)(Drain())
    assert (machine.phase, machine.effects) == (Phase.STOPPING, [Stop(1001, "")])
    machine(Happened(closing())).appended()(Ended(stopped()))
    assert machine.is_appending("Stopped", fulfilled="")
    machine.appended()
    assert machine.others == [Release(stopped()), LetGo()]
    assert machine.is_current(WriteRecord)
    assert machine.effects[-1].record == Record(RUN, None, 1, 0.0)
    assert machine.phase is Phase.RELEASING


def test_a_wish_that_ends_the_session_has_its_own_code_while_draining():
    machine = at(Phase.RUNNING)
    machine.state = replace(machine.state, is_draining=True)
    assert machine.wished(ENOUGH).effects == [Stop(4000, "enough")]


@pytest.mark.parametrize("phase", [Phase.CLAIMING, Phase.CHECKING, Phase.READING, Phase.TAKING])
def test_a_claim_under_way_is_let_go_again(phase):
    machine = at(phase)(Drain())
    assert machine.phase is phase
    if machine.phase is Phase.CLAIMING:
        machine.unsure()
    if machine.phase is Phase.CHECKING:
        machine.read_record(Record(RUN, "w-1", 1, 15.0))
    if machine.phase is Phase.READING:
        machine.read_last(Tail())
    machine.appended()
    assert (machine.phase, machine.others) == (Phase.RELEASING, [Hold(), LetGo()])


def test_a_session_left_behind_is_ended_before():
    machine = at(Phase.ENDING)(Drain())
    assert machine.phase is Phase.ENDING
    machine.appended()
    assert machine.phase is Phase.RELEASING
    assert [type(effect) for effect in machine.others] == [Deliver, LetGo]


@pytest.mark.parametrize("phase", [Phase.CHECKING, Phase.READING, Phase.TAKING])
def test_where_the_claim_comes_to_nothing_there_is_nothing_to_let_go(phase):
    machine = at(phase)(Drain())
    if phase is Phase.CHECKING:
        machine.read_record(OTHERS)
    elif phase is Phase.READING:
        machine.read_last(Tail(9, 2, "w-2.2.1"))
    else:
        machine.sees(OTHERS)
    assert machine.phase is Phase.WATCHING
    assert not machine.state.is_draining


@pytest.mark.parametrize("phase", [Phase.STOPPING, Phase.LOGGING])
def test_a_session_that_ends_anyway_is_waited_for(phase):
    machine = at(phase)(Drain())
    assert (machine.phase, machine.effects) == (phase, [])
    if phase is Phase.STOPPING:
        machine(Ended(stopped()))
    machine.appended()
    assert machine.others == [Release(stopped()), LetGo()]


def test_the_log_has_all_before_the_connection_is_let_go():
    machine = at(Phase.IDLE)(Happened(ERROR))(Drain())
    assert (machine.phase, machine.effects) == (Phase.IDLE, [])
    machine(Happened(ERROR)).appended()
    assert (machine.phase, machine.others) == (Phase.IDLE, [])
    machine.appended()
    assert (machine.phase, machine.others) == (Phase.RELEASING, [LetGo()])


def test_a_refused_release_decides_nothing():
    machine = at(Phase.RELEASING).unsure()
    assert machine.phase is Phase.RELEASING
    assert machine.is_current(ReadRecord)
    wished = Record(RUN, "w-1", 1, 15.0)
    machine.read_record(wished)
    assert machine.phase is Phase.RELEASING
    assert machine.effects == [
        WriteRecord(machine.state.operation, wished._replace(holder=None, lease=0.0), machine.revision)
    ]
    machine.unsure().read_record(OTHERS)
    assert machine.phase is Phase.WATCHING
    assert machine.state.record == OTHERS
    assert machine.effects == []
    assert not machine.state.is_draining


def test_a_release_that_is_seen_is_done():
    machine = at(Phase.RELEASING)
    operation = machine.state.operation
    machine.sees(Record(Wish(), None, 1, 0.0))
    assert machine.phase is Phase.WATCHING
    assert machine(Written(operation, machine.revision)).phase is Phase.WATCHING


@pytest.mark.parametrize("phase", [Phase.AWAY, Phase.WATCHING, Phase.RELEASING, Phase.FENCED])
def test_what_is_not_held_need_not_be_let_go(phase):
    machine = at(phase)(Drain())
    assert (machine.phase, machine.effects) == (phase, [])
    assert not machine.state.is_draining or phase is Phase.RELEASING


# Losing the lease


@pytest.mark.parametrize("phase", [it for it in Phase if it is not Phase.AWAY])
def test_without_a_lease_it_holds_nothing(phase):
    machine = at(phase)
    operation = machine.state.operation
    machine(Cut())
    assert machine.state.worker == ""
    assert machine.state.queue == ()
    assert not machine.state.is_held
    if phase in HELD:
        assert machine.effects == lost_by(phase)
    else:
        assert machine.effects == []
    assert machine.phase is (Phase.FENCED if phase in (Phase.RUNNING, Phase.STOPPING, Phase.FENCED) else Phase.AWAY)
    if operation and phase is not Phase.FENCED:
        # An answer that still comes counts no more.
        before = machine.phase
        for late in (Written, Appended):
            assert machine(late(operation, 900)).effects == []
            assert machine.phase is before


def test_its_session_is_aborted_and_told_as_lost():
    machine = at(Phase.FENCED)
    assert machine.effects == [Abort()]
    machine(Happened(closing()))
    assert machine.effects == []
    assert machine(Dialling(connecting(attempt=2))).effects == []
    assert machine.phase is Phase.FENCED
    machine(Ended(stopped()))
    assert (machine.phase, machine.effects) == (Phase.AWAY, [Discard(), LetGo()])


def test_it_waits_for_its_end_before_it_claims_again():
    machine = at(Phase.FENCED)(Joined("w-1b", 15.0))
    assert machine.phase is Phase.FENCED
    assert machine(Claim(machine.state.revision)).effects == []
    machine(Ended(stopped()))
    assert (machine.phase, machine.effects) == (Phase.WATCHING, [Discard(), LetGo()])
    machine(Claim(machine.state.revision))
    assert machine.effects[0].record == Record(RUN, "w-1b", 2, 15.0)


def test_it_may_lose_its_lease_once_more_meanwhile():
    machine = at(Phase.FENCED)(Joined("w-1b", 15.0))(Cut())
    assert machine.phase is Phase.FENCED
    assert machine(Ended(stopped())).phase is Phase.AWAY


@pytest.mark.parametrize("again", [False, True])
def test_a_session_that_never_began_is_not_told_as_lost(again):
    machine = Machine().holding()(Cut())
    if again:
        machine(Joined("w-1b", 15.0))
    machine(NotBegun())
    assert machine.effects == [LetGo()]
    assert machine.phase is (Phase.WATCHING if again else Phase.AWAY)


def test_a_worker_that_comes_back_claims_what_it_held():
    machine = at(Phase.LOGGING)(Cut())(Joined("w-1b", 12.0))
    assert machine.phase is Phase.WATCHING
    machine(Claim(machine.state.revision))
    assert machine.effects[0].record == Record(RUN, "w-1b", 2, 12.0)
    assert not machine.state.is_draining


# What does nothing, and what cannot be


@pytest.mark.parametrize("phase", HELD)
def test_errors_beyond_what_may_wait_are_not_logged(phase):
    machine = at(phase)
    for _ in range(MOST_WAITING + 2):
        machine(Happened(ERROR))
        assert machine.phase is phase
    assert len(machine.state.queue) == MOST_WAITING
    machine(Happened(opened()))
    assert len(machine.state.queue) == MOST_WAITING + 1


@pytest.mark.parametrize("phase", [it for it in Phase if it not in HELD])
def test_what_is_told_while_it_is_not_held_is_not_logged(phase):
    machine = at(phase)(Happened(ERROR))
    assert (machine.phase, machine.effects) == (phase, [])


@pytest.mark.parametrize("phase", list(Phase))
def test_a_late_answer_counts_no_more(phase):
    machine = at(phase)
    before = machine.state
    for late in (Written(-1, 900), Appended(-1, 900), Unsure(-1), RecordRead(-1, OTHERS, 900), LastRead(-1, LEFT)):
        assert machine(late).effects == []
        assert machine.state is before


def test_a_doubled_answer_counts_once():
    machine = Machine().holding(None)(Happened(ERROR))(Happened(ERROR))
    answer = Appended(machine.state.operation, 300)
    machine(answer)
    assert machine.is_appending("ErrorEvent")
    assert machine(answer).effects == []
    assert machine.state.tail.sequence == 300


@pytest.mark.parametrize("input_", [Ended(stopped()), Dialling(connecting())])
@pytest.mark.parametrize("phase", [Phase.AWAY, Phase.WATCHING, Phase.TAKING, Phase.IDLE, Phase.LOGGING])
def test_a_session_that_nobody_began_is_a_bug(phase, input_):
    with pytest.raises(MachineError):
        at(phase)(input_)
