"""Worker: a project as one of many in a fleet.

`Member` decides. The worker is its shell: it asks the store, watches leases and records, steers the connections, and
calls the clock. Nothing here runs for a connection to which nothing happens.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self
from uuid import uuid4

from rxnodes.fleet.remote.commander import Commander
from rxnodes.fleet.remote.watching import Histories
from rxnodes.fleet.rules.inputs import (
    Append,
    Begin,
    Drain,
    NotBegun,
    ReadLast,
    ReadRecord,
    RecordSeen,
    WriteRecord,
)
from rxnodes.fleet.rules.member import Joining, Member, Now, Order
from rxnodes.fleet.worker.answering import Answering, Held
from rxnodes.fleet.worker.inquiry import Inquiry
from rxnodes.fleet.worker.lease_guard import LeaseGuard
from rxnodes.fleet.worker.log_follower import LogFollower
from rxnodes.fleet.worker.operations import Operations
from rxnodes.fleet.worker.orders import take_orders
from rxnodes.fleet.worker.seat import Seat
from rxnodes.fleet.worker.watchers import LeaseWatcher, RecordWatcher
from rxnodes.project.scope import run_to_end

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from rxnodes.connection.connection import Connection
    from rxnodes.errors import RxNodesError
    from rxnodes.fleet.rules.inputs import Effect, Input
    from rxnodes.fleet.rules.machine import State
    from rxnodes.fleet.rules.member import Duty
    from rxnodes.fleet.rules.values import Record, Wish
    from rxnodes.fleet.store import Store, Watch
    from rxnodes.project.project import Project

__all__ = ["Worker"]

logger = logging.getLogger("rxnodes")

#: How often the worker looks at the clock while a lease lasts, and the bounds of the seconds between.
TICKS: Final = 64
SHORTEST_TICK: Final = 0.02
LONGEST_TICK: Final = 0.25


class Worker:
    """A project as one of many in a fleet. Which of its connections it holds it decides together with the others.

    It is made on the project's loop, before the project is wired, and entered behind that:

        worker = Worker(project, store, guard)
        build(project)
        async with worker:
            ...

    Leaving it drains: its sessions end in order, others take over, and it returns. Cancelled while it drains, it goes
    on; `Project.abort` cuts the sessions short. It never takes longer than the sessions' own deadlines and one lease.

    Args:
        project: The project, open on this loop.
        store: The fleet's store.
        guard: What the project's transport asks before it reads and writes.
        lease: The seconds of its lease.
        capacity: How many connections it may hold; `None`: any number.
        settle: For how many seconds after joining it claims nothing, so that workers that join together share.
        kept: The names of connections whose messages are kept, in order and without loss.
    """

    def __init__(  # noqa: PLR0913 - one for each setting
        self,
        project: Project,
        store: Store,
        guard: LeaseGuard | None = None,
        *,
        lease: float = 15.0,
        capacity: int | None = None,
        settle: float = 2.0,
        kept: Collection[str] = (),
    ) -> None:
        self._project = project
        self.store = store
        self.inquiry = Inquiry(store)
        self._guard = LeaseGuard() if guard is None else guard
        self._lease = lease
        self._capacity = capacity
        self._settle = settle
        self.kept = kept
        self._seats: dict[str, Seat] = {}
        self._member: Member | None = None
        self.commander = Commander(store)
        self.follower = LogFollower(store)
        self.histories = Histories(store)
        self._watches: list[Watch] = []
        self._tick: asyncio.TimerHandle | None = None
        self._is_pumping = False
        self._answering: tuple[Watch, ...] = ()
        self._left = asyncio.Event()
        self.wishes: dict[str, Wish] = {}
        self.has_ever_joined = False
        # Seats where somebody has waited since before the worker was entered, or the record was seen.
        self._asked: set[Seat] = set()
        project.steer(self._take)

    def _take(self, connection: Connection) -> None:
        """Steers a connection that is made, unless it was added after joining: then it stays local."""
        if self._member is None or self._member.may_hold(connection.name):
            self._seats[connection.name] = Seat(connection, self)

    # What it is

    @property
    def id(self) -> str:
        """Its id in the fleet, another one each time that it joins; empty before the first time."""
        return "" if self._member is None else self._member.id

    @property
    def is_joined(self) -> bool:
        """Whether it has a lease."""
        return self._member is not None and self._member.has_joined

    @property
    def is_running(self) -> bool:
        """Whether it has been entered, and has not left yet."""
        return self._member is not None and not self._member.has_left

    @property
    def held(self) -> tuple[str, ...]:
        """The connections that it holds."""
        rules = self._member
        return () if rules is None else tuple(name for name in rules.names if rules.state(name).is_held)

    @property
    def _rules(self) -> Member:
        assert self._member is not None
        return self._member

    # Its life

    async def __aenter__(self) -> Self:
        await self.store.open()
        self._member = Member(
            f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}",
            self._project.configurations,
            seconds=self._lease,
            capacity=self._capacity,
            settle=self._settle,
            host=socket.gethostname(),
            wishes=self.wishes,
        )
        self._operations = Operations(self.store, self._rules, self._lease, self.now, self._pump, self._tell_full)
        self._watches = [
            self.store.watch_leases(LeaseWatcher(self._rules, self.now)),
            self.store.watch_records(RecordWatcher(self._rules, self.know)),
        ]
        self._on_tick()
        for seat in tuple(self._asked):
            self._find_out(seat)
        return self

    async def __aexit__(self, *_: object) -> None:
        await run_to_end(self._leave())

    def drain(self) -> None:
        """Ends its sessions in order, lets everything go, and leaves the fleet. `left` waits for that."""
        self._rules.drain(self.now())
        self._pump()

    async def left(self) -> None:
        """Waits until it has left the fleet, after `drain` or an order to leave."""
        await self._left.wait()

    def let_go(self, names: Iterable[str]) -> None:
        """Ends the sessions of these connections in order, and lets them go. Anybody may claim them."""
        for name in names:
            self._rules.feed(name, Drain(), self.now())
        self._pump()

    async def _leave(self) -> None:
        self.drain()
        try:
            await self._left.wait()
        finally:
            if self._tick is not None:
                self._tick.cancel()
            await self.commander.finish(0.0)
            await self._operations.end()
            self.follower.close()
            self.histories.close()
            for watch in self._watches:
                watch.close()
            await self.store.close()

    # The clock

    def now(self) -> Now:
        """What time it is."""
        return Now(datetime.now(UTC), self._guard.clock())

    def _on_tick(self) -> None:
        if self._left.is_set():
            return
        seconds = min(max(self._lease / TICKS, SHORTEST_TICK), LONGEST_TICK)
        self._tick = asyncio.get_running_loop().call_later(seconds, self._on_tick)
        self._rules.tick(self.now())
        self._pump()

    # What the rules order

    def _pump(self) -> None:
        """Carries out what the rules order, and then what that leads to."""
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            while (duty := self._rules.taken()) is not None:
                self._perform(duty)
        finally:
            self._is_pumping = False
        self._guard.until = self._rules.own.until if self._rules.has_joined else float("-inf")
        if self._rules.has_left and self._operations.is_lease_gone:
            self._left.set()

    def _perform(self, duty: Duty) -> None:
        match duty:
            case Order(name, Append() | WriteRecord() | ReadLast() | ReadRecord() as effect):
                self._operations.on_connection(name, effect)
            case Order(name, effect):
                self._steer(name, effect)
            case Joining(worker, has_joined):
                self._note_joining(worker, has_joined=has_joined)
            case _:
                self._operations.on_lease(duty)

    def _note_joining(self, worker: str, *, has_joined: bool) -> None:
        for watch in self._answering:
            watch.close()
        self._answering = ()
        if has_joined:
            self.has_ever_joined = True
            self._answering = (
                Answering(self.store, worker, self._held_here),
                take_orders(self.store, worker, self.drain, self.let_go),
            )
            logger.info("worker %s has joined its fleet", worker)
        elif self._rules.has_left:
            logger.info("worker %s has left its fleet", worker)
        else:
            logger.warning("worker %s has lost its lease, and holds nothing any more", worker)

    def _held_here(self, name: str) -> Held | None:
        """A connection that is held here, while this worker may act."""
        seat = self._seats.get(name)
        if seat is None or seat.published is None or not self._guard.is_allowed():
            return None
        return Held(seat.connection, seat.published)

    def _steer(self, name: str, effect: Effect) -> None:
        try:
            if name not in self._seats:
                self._project.websocket(name)
            seat = self._seats[name]
        except LookupError:
            # It was removed before anybody had asked for it.
            self._rules.remove(name, self.now())
            if isinstance(effect, Begin):
                self._rules.feed(name, NotBegun(), self.now())
            return
        try:
            seat.perform(effect)
        except Exception:
            # Effects on other connections are carried out all the same.
            logger.exception("%s: %s could not be carried out", name, type(effect).__name__)

    def _tell_full(self, name: str, error: RxNodesError) -> None:
        logger.error("%s", error)
        if name in self._seats:
            self._seats[name].helm.report("handler", error)

    # What its seats need

    def state(self, name: str) -> State:
        """Where it stands towards a connection."""
        return self._rules.state(name)

    def feed(self, name: str, input_: Input) -> None:
        """Something has happened to a connection."""
        self._rules.feed(name, input_, self.now())
        self._pump()

    def know(self, name: str, record: Record, revision: int) -> None:
        """Takes note of a record."""
        self._rules.feed(name, RecordSeen(record, revision), self.now())
        self._pump()
        seat = self._seats.get(name)
        if revision and self.wishes.pop(name, None) is not None and seat is not None:
            self._find_out(seat)
            seat.settle_wish(record)
        elif seat is not None:
            seat.look_at_wish()

    def find_out_later(self, seat: Seat) -> None:
        """Lets a seat find out how its connection stands, once its record may be read, or has been seen."""
        self._asked.add(seat)

    def _find_out(self, seat: Seat) -> None:
        if seat in self._asked:
            self._asked.remove(seat)
            seat.find_out()

    def remove(self, name: str) -> None:
        """Lets a connection go, and claims it no more."""
        if self.is_running:
            self._rules.remove(name, self.now())
            self._pump()
