"""A world in virtual time: many members of a fleet, the store between them, and the servers that they connect to.

A simulation by discrete events. What decides is the real thing, `Member` and its machines; the store, the network, the
clocks and the sessions are played here, with every fault that a test asks for. The world watches what must never
happen, and `check_log` what must hold of a log in the end.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from heapq import heappop, heappush
from itertools import count
from random import Random

from rxnodes.fleet.rules import commands
from rxnodes.fleet.rules.inputs import (
    Abort,
    Append,
    Appended,
    Begin,
    Deliver,
    Dial,
    Dialling,
    Discard,
    Ended,
    Happened,
    Hold,
    LastRead,
    LetGo,
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
from rxnodes.fleet.rules.machine import Phase
from rxnodes.fleet.rules.member import DeleteLease, Joining, Member, Now, Order, PutLease, ReadLease
from rxnodes.fleet.rules.values import Entry, Record, Tail
from rxnodes.lifecycle.events import Connecting, Stopped
from rxnodes.lifecycle.states import Initiator
from rxnodes.testing import events

LEASE = 1.0
SETTLE = 0.3
TIMEOUT = 0.1
#: The worst that two clocks may differ in rate, less a little: 8/7.
RATES = (0.94, 1.0, 1.06)


@dataclass
class Local:
    """A worker's own session, as its connection would play it."""

    session: int
    attempt: int = 0
    is_open: bool = False
    is_ending: bool = False
    is_aborted: bool = False
    may_act: bool = False
    stopped: Stopped | None = None


@dataclass
class Line:
    """The log of one connection, and what was seen of its sessions."""

    entries: list[tuple[int, Entry]] = field(default_factory=list)
    tails: list[Tail] = field(default_factory=lambda: [Tail()])
    acted: int = 0
    actors: dict[int, str] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)
    holders: set[str] = field(default_factory=set)

    @property
    def tail(self) -> Tail:
        return self.tails[-1]


class Store:
    """Leases, records and the log, as they stand. Every change has a number, and watchers see all in order."""

    def __init__(self) -> None:
        self.leases = {}
        self.records = {}
        self.lease_changes = []
        self.record_changes = []
        self.lines: dict[str, Line] = defaultdict(Line)
        self.sequence = 0
        self.is_up = True

    def write(self, what, key, value, expected) -> int | None:
        """Writes by compare-and-set; `None`: refused."""
        values, changes = getattr(self, what), getattr(self, f"{what[:-1]}_changes")
        if values.get(key, (None, 0))[1] != expected:
            return None
        changes.append((key, value, len(changes) + 1))
        if value is None:
            del values[key]
        else:
            values[key] = (value, len(changes))
        return len(changes)

    def append(self, name, entry, expected) -> int | None:
        line = self.lines[name]
        if line.tail.sequence != expected:
            return None
        self.sequence += 1
        line.entries.append((self.sequence, entry))
        line.tails.append(entry.at(self.sequence))
        return self.sequence


class Worker:
    """A member, its clock, its way to the store, and its sessions."""

    def __init__(self, world: World, identity: str, rate: float, capacity: int | None, wishes) -> None:
        self.world = world
        self.rate = rate
        self.offset = world.random.uniform(0, 1000)
        self.member = Member(identity, world.names, seconds=LEASE, settle=SETTLE, capacity=capacity, wishes=wishes)
        self.locals: dict[str, Local] = {}
        self.held: set[str] = set()
        self.is_dead = False
        self.is_stopped = False
        self.is_cut = False
        self.is_connected = False
        self.is_blind = False
        self.backlog = []
        self.shown = {"lease": None, "record": None}

    # Its clock and its turns

    @property
    def now(self) -> Now:
        return Now(self.world.wall, self.offset + self.world.time * self.rate)

    def later(self, delay, act, *args) -> None:
        """Does it in a turn of this worker's own; none comes while it is stopped."""
        self.world.at(delay, self.turn, partial(act, *args))

    def turn(self, act) -> None:
        if self.is_dead:
            return
        if self.is_stopped:
            self.backlog.append(act)
            return
        act()
        while (order := self.member.taken()) is not None:
            self.perform(order)

    def go_on(self) -> None:
        self.is_stopped = False
        backlog, self.backlog = self.backlog, []
        for act in backlog:
            self.turn(act)

    def tick(self) -> None:
        self.member.tick(self.now)
        if not self.member.has_left:
            self.later(LEASE / 32, self.tick)

    # The store

    def reach(self) -> bool:
        return self.world.store.is_up and not self.is_cut and not self.is_dead

    def connection_changed(self) -> None:
        if self.reach() == self.is_connected:
            return
        self.is_connected = self.reach()
        self.shown = {"lease": None, "record": None}
        self.later(0, self.told_current, False)
        self.news()

    def told_current(self, current) -> None:
        self.member.sees_leases = self.member.sees_records = current

    def news(self) -> None:
        if self.is_connected:
            self.world.at(self.world.latency(), self.catch_up)

    def catch_up(self) -> None:
        if not self.is_connected or self.is_blind:
            return
        store = self.world.store
        for what in ("lease", "record"):
            changes = getattr(store, f"{what}_changes")
            if self.shown[what] is None:
                values = getattr(store, f"{what}s")
                seen = sorted(((key, *value) for key, value in values.items()), key=lambda it: it[2])
            else:
                seen = list(changes[self.shown[what] :])
            was_shown, self.shown[what] = self.shown[what], len(changes)
            self.later(0, self.see, what, seen, was_shown is None)

    def see(self, what, seen, is_first) -> None:
        for key, value, revision in seen:
            if what == "record":
                self.feed(key, RecordSeen(value, revision))
            elif value is None:
                self.member.others.gone(key, self.now.clock)
            else:
                self.member.lease_seen(value, revision, self.now)
        if is_first and self.is_connected:
            self.told_current(True)

    def go_blind(self, seconds) -> None:
        """Its watches show nothing for some time, and it is not told."""
        self.is_blind = True
        self.world.at(seconds, self.see_again)

    def see_again(self) -> None:
        self.is_blind = False
        self.news()

    def write(self, write, done, unsure) -> None:
        """A write, with whatever goes wrong with it."""
        world = self.world
        fault = world.fault() if self.reach() else "lost request"
        if fault != "lost request":
            delay = world.random.uniform(0, 2.0) if fault == "late request" else world.latency()
            world.at(delay, self.arrive, write, done, unsure, fault)
        if fault in ("lost request", "lost answer", "late request"):
            self.later(TIMEOUT, unsure)

    def arrive(self, write, done, unsure, fault) -> None:
        world = self.world
        if not world.store.is_up:
            if fault not in ("lost answer", "late request"):
                self.later(TIMEOUT, unsure)
            return
        result = None if fault == "refused for nothing" else write()
        world.tell_news()
        if fault in ("lost answer", "late request"):
            return
        is_good = result is not None and fault != "refused though done"
        for _ in range(2 if fault == "doubled" else 1):
            self.later(world.latency(), partial(done, result) if is_good else unsure)
        if fault == "doubled":
            write()

    def read(self, read, done) -> None:
        """A read, again and again until it is answered."""
        if self.reach():
            self.world.at(self.world.latency(), lambda: self.later(self.world.latency(), done, read()))
        else:
            self.later(TIMEOUT, self.read, read, done)

    # What the rules order

    def perform(self, order) -> None:
        member, store = self.member, self.world.store
        match order:
            case Order(name, effect):
                self.perform_on(name, effect)
            case PutLease(lease, expected):
                self.write(
                    partial(store.write, "leases", lease.worker, lease, expected),
                    lambda revision: member.lease_written(lease, revision, self.now),
                    lambda: member.lease_unsure(lease),
                )
            case ReadLease(worker):
                self.read(
                    lambda: store.leases.get(worker, (None, 0)),
                    lambda found: member.lease_read(worker, *found, self.now),
                )
            case DeleteLease(worker, revision):
                self.write(partial(store.write, "leases", worker, None, revision), lambda _: None, lambda: None)
            case Joining():
                pass

    def feed(self, name, input_) -> None:
        self.member.feed(name, input_, self.now)

    def perform_on(self, name, effect) -> None:
        store, feed = self.world.store, partial(self.feed, name)
        line = store.lines[name]
        match effect:
            case WriteRecord(operation, record, expected):
                self.write(
                    partial(store.write, "records", name, record, expected),
                    lambda revision: feed(Written(operation, revision)),
                    lambda: feed(Unsure(operation)),
                )
            case ReadRecord(operation):
                self.read(lambda: store.records.get(name, (Record(), 0)), lambda it: feed(RecordRead(operation, *it)))
            case Append(operation, entry, expected, tries):
                self.later(
                    0.01 * tries,
                    self.write,
                    partial(store.append, name, entry, expected),
                    lambda sequence: feed(Appended(operation, sequence)),
                    lambda: feed(Unsure(operation)),
                )
            case ReadLast(operation):
                self.read(lambda: line.tail, lambda tail: feed(LastRead(operation, tail)))
            case Hold():
                assert name not in self.held
                self.held.add(name)
                line.holders.add(self.member.id)
            case LetGo():
                self.held.remove(name)
            case Deliver(stopped):
                self.tell(line, stopped)
            case _:
                self.steer(name, effect)

    # Its sessions

    def steer(self, name, effect) -> None:
        local = self.locals.get(name)
        match effect:
            case Begin(session):
                assert local is None, "one session at a time"
                assert name in self.held
                self.locals[name] = local = Local(session)
                self.dialling(name, local)
            case Dial(session, attempt):
                assert local is not None
                if (local.session, local.attempt) == (session, attempt) and not local.is_ending:
                    local.may_act = True
                    self.act(name, local)
                    self.later(self.world.random.uniform(0, 0.1), self.dialled, name, local, attempt)
            case Stop():
                assert local is not None
                self.close(name, local, Initiator.LOCAL)
            case Abort():
                assert local is not None
                local.is_aborted = local.is_ending = True
                local.may_act = False
                self.later(self.world.random.uniform(0, 0.02), self.over, name, local)
            case Release(stopped):
                assert local is not None
                assert stopped == local.stopped
                del self.locals[name]
                self.tell(self.world.store.lines[name], stopped)
            case Discard():
                del self.locals[name]

    def dialling(self, name, local) -> None:
        local.attempt += 1
        self.feed(name, Dialling(events.connecting(**self.numbers(name, local))))

    def numbers(self, name, local) -> dict:
        return {"connection": name, "session": local.session, "attempt": local.attempt, "at": self.world.wall}

    def dialled(self, name, local, attempt) -> None:
        if local.is_ending or local.attempt != attempt or self.locals.get(name) is not local:
            return
        luck = self.world.random.random()
        if luck < self.world.refusing / 2:
            local.may_act = False
            self.dialling(name, local)
        elif luck < self.world.refusing:
            local.is_ending = True
            self.over(name, local)
        else:
            local.is_open = True
            self.feed(name, Happened(events.opened(**self.numbers(name, local))))

    def close(self, name, local, initiator) -> None:
        """The session begins to end: closed by the peer, or by a stop."""
        if local.is_ending or local.stopped is not None:
            return
        local.is_ending = True
        self.feed(name, Happened(events.closing(initiator, **self.numbers(name, local))))
        self.later(self.world.random.uniform(0, 0.3), self.over, name, local)

    def over(self, name, local) -> None:
        if self.locals.get(name) is not local or local.stopped is not None:
            return
        local.is_open = local.may_act = False
        local.stopped = events.stopped(attempts=local.attempt, **self.numbers(name, local))
        self.feed(name, Ended(local.stopped))

    def act(self, name, local) -> None:
        """What a session does on the wire, in true time, as far as its permit goes."""
        if not local.may_act or self.locals.get(name) is not local:
            return
        if not self.member.own.is_over(self.now.clock):
            self.world.acts(name, self.member, local)
        self.later(LEASE / 20, self.act, name, local)

    def tell(self, line, event) -> None:
        """On Stop fires in this worker."""
        logged = [entry.event for _, entry in line.entries]
        assert event in logged, "On Stop fires where the log took it"
        assert event.session not in line.told, "On Stop fires once in the fleet"
        line.told.add(event.session)


def is_reached(wish, tail) -> bool:
    """Whether the log shows that the wish was carried out."""
    if commands.is_wanted(wish, tail):
        return tail.is_live and wish.allows(tail.session)
    return not tail.is_live


class World:
    """All of it, and true time."""

    def __init__(self, seed: int = 0, names=("a", "b")) -> None:
        self.random = Random(seed)
        self.time = 0.0
        self.names = tuple(names)
        self.store = Store()
        self.workers: list[Worker] = []
        self.faults = 0.0
        self.refusing = 0.0
        self._events = []
        self._order = count()
        self._identity = count(1)
        self._command = count(1)
        self.starts: dict[str, int] = {}

    @property
    def wall(self) -> datetime:
        return datetime.fromtimestamp(1e9 + self.time, UTC)

    # Time

    def at(self, delay, act, *args) -> None:
        heappush(self._events, (self.time + delay, next(self._order), act, args))

    def run(self, seconds: float) -> None:
        until = self.time + seconds
        while self._events and self._events[0][0] <= until:
            self.time, _, act, args = heappop(self._events)
            act(*args)
        self.time = until

    def run_until(self, holds, limit: float) -> float:
        """Runs until it holds; gives how long that took."""
        began = self.time
        while not holds():
            assert self.time - began < limit, f"not within {limit} s"
            self.run(0.05)
        return self.time - began

    def latency(self) -> float:
        return self.random.uniform(0.0005, 0.004)

    def fault(self) -> str:
        if self.random.random() >= self.faults:
            return "well"
        return self.random.choice(
            ["lost request", "lost answer", "late request", "doubled", "refused for nothing", "refused though done"]
        )

    def tell_news(self) -> None:
        for worker in self.workers:
            worker.news()

    def connections_changed(self) -> None:
        for worker in self.workers:
            worker.connection_changed()

    # What tests do

    def join(self, rate: float = 1.0, capacity: int | None = None, wishes=None) -> Worker:
        worker = Worker(self, f"w{next(self._identity)}", rate, capacity, wishes)
        self.workers.append(worker)
        worker.connection_changed()
        worker.later(0, worker.tick)
        return worker

    def command(self, name: str, what: str, looks_back: int = 0) -> None:
        """A start or a stop from anywhere, made from a look at the log that may be old, and written at once."""
        record, revision = self.store.records.get(name, (Record(), 0))
        decide = getattr(commands, what)
        tails = self.store.lines[name].tails
        command = f"c{next(self._command)}"
        wish = decide(record.wish, tails[max(0, len(tails) - 1 - looks_back)], command)
        wish = wish or decide(record.wish, tails[-1], command)
        if wish is None:
            return
        assert self.store.write("records", name, record._replace(wish=wish), revision) is not None
        self.tell_news()
        self.starts.pop(name, None)
        if what == "start" and not tails[-1].is_live:
            self.starts[name] = tails[-1].session

    def heal(self) -> None:
        """Faults end."""
        self.faults = self.refusing = 0.0
        self.store.is_up = True
        for worker in self.workers:
            worker.is_cut = False
            if worker.is_stopped:
                worker.go_on()
            worker.see_again()
        self.connections_changed()

    # What must hold

    def acts(self, name: str, member: Member, local: Local) -> None:
        line = self.store.lines[name]
        epoch = member.state(name).epoch
        assert epoch >= line.acted, f"{member.id} acts in epoch {epoch}, behind {line.acted}"
        line.acted = epoch
        assert line.actors.setdefault(epoch, member.id) == member.id, "two act in one epoch"
        assert any(
            isinstance(entry.event, Connecting) and entry.event.session == local.session
            for _, entry in line.entries
            if entry.epoch == epoch
        ), "a session begins in the log first"

    def is_settled(self) -> bool:
        """Whether every wish is reached, every connection is held by one that is there, and nothing is under way."""
        members = [worker.member for worker in self.workers if not worker.is_dead]
        for name in self.names:
            record, _ = self.store.records.get(name, (Record(), 0))
            if not is_reached(record.wish, self.store.lines[name].tail):
                return False
            states = [member.state(name) for member in members]
            if any(state.phase not in (Phase.WATCHING, Phase.AWAY, Phase.IDLE, Phase.RUNNING) for state in states):
                return False
            holding = [state for state in states if state.is_held]
            if len(holding) != 1 or holding[0].worker != record.holder or holding[0].queue:
                return False
        return True

    def check_log(self) -> None:
        """Every session begins once and ends once, in its turn, and every entry says how things stand."""
        for name in self.names:
            check_line(self.store.lines[name], is_live=self.store.lines[name].tail.is_live)
            session = self.starts.get(name)
            if session is not None:
                assert self.store.lines[name].tail.session > session, "a start was lost"


def check_line(line: Line, *, is_live: bool) -> None:
    before = Tail()
    begun, ended = [], []
    ids = set()
    for sequence, entry in line.entries:
        after = entry.after
        assert entry.id not in ids, "an entry stands there twice"
        ids.add(entry.id)
        assert after.epoch >= before.epoch, "an epoch that was over"
        assert entry.id.startswith(f"{entry.worker}.{entry.epoch}.")
        if after.epoch > before.epoch:
            assert entry.kind == "Held", "an epoch begins with Held"
        match entry.event:
            case None:
                assert after.session == before.session
                assert after.is_live == before.is_live
            case Connecting(session=number):
                if not before.is_live:
                    assert number > before.session, "sessions are numbered in order"
                    begun.append(number)
                assert after.is_live
                assert (after.session, after.attempt) == (number, entry.event.attempt)
            case Stopped(session=number):
                assert before.is_live
                assert number == before.session
                assert not after.is_live
                ended.append(number)
            case event:
                assert before.is_live
                assert event.session == before.session
                assert after.is_live
        before = after._replace(sequence=sequence)
    assert ended == (begun[:-1] if is_live else begun), "every session has its one Stopped"
