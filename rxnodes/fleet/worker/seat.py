"""A worker's seat at one connection: it hears events and commands, and carries out what the rules order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from rxnodes.fleet.reading import record_at
from rxnodes.fleet.remote.sends import Sends
from rxnodes.fleet.rules.inputs import (
    Abort,
    Begin,
    Deliver,
    Dial,
    Dialling,
    Discard,
    Ended,
    Happened,
    Hold,
    LetGo,
    NotBegun,
    Release,
    Stop,
)
from rxnodes.fleet.rules.machine import Phase
from rxnodes.fleet.rules.values import ABORT, Wish
from rxnodes.fleet.worker.elsewhere import Elsewhere
from rxnodes.fleet.worker.kept import Kept
from rxnodes.fleet.worker.messages import Published
from rxnodes.fleet.worker.seat_commands import Look, SeatCommand
from rxnodes.lifecycle.events import Dropped, Opened, Stopped
from rxnodes.lifecycle.states import Initiator

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from rxnodes.connection.connection import Connection
    from rxnodes.connection.protocols import Helm
    from rxnodes.errors import RxNodesError
    from rxnodes.fleet.remote.commander import Command
    from rxnodes.fleet.rules.inputs import Effect
    from rxnodes.fleet.rules.machine import State
    from rxnodes.fleet.rules.values import Record, Tail
    from rxnodes.fleet.worker.answering import Publishing
    from rxnodes.fleet.worker.worker import Worker
    from rxnodes.lifecycle.events import Connecting, LifecycleEvent
    from rxnodes.lifecycle.inputs import Reported
    from rxnodes.transport.receipts import Receipt, SharedOutcome

__all__ = ["Seat"]


class Seat:
    """Steers one connection. It is a `Steering`, and `Commanded`.

    Args:
        connection: The connection.
        worker: The worker.

    Attributes:
        name: The connection's name.
        connection: The connection.
        helm: Steers it.
        commands: The commands given here that are not written yet, in order.
        published: Its messages, for observers, while it is held here.
    """

    __slots__ = (
        *("_begun", "_dial", "_elsewhere", "_is_resolving", "_is_stopping", "_is_wiring", "_release", "_sends"),
        *("_stopping", "_stops", "_worker", "commands", "connection", "helm", "name", "published"),
    )

    def __init__(self, connection: Connection, worker: Worker) -> None:
        self.name = connection.name
        self.commands: list[Command] = []
        self.connection = connection
        self.published: Publishing | None = None
        self._worker = worker
        self._is_wiring = False
        self._begun = 0
        self._stops: Callable[[], None] | None = None
        self._dial: tuple[tuple[int, int], Callable[[], None]] | None = None
        self._release: Callable[[Stopped | None], None] | None = None
        # Whether the live session was stopped here; and that stop, until the log has its end, or a start comes.
        self._is_stopping = False
        self._stopping: SeatCommand | None = None
        # How the connection stands where another worker holds it, while somebody here waits for that.
        self._elsewhere: Elsewhere | None = None
        # Whether the outcome of a command is just being noted: nobody is answered halfway through.
        self._is_resolving = False
        self._sends: Sends | None = None
        self.helm: Helm = connection.for_project.steer(self)

    # What the rules order

    def perform(self, effect: Effect) -> None:
        """Carries an effect out."""
        match effect:
            case Hold():
                self._hold()
            case LetGo():
                self._let_go()
            case Begin(session):
                self._begun = 0
                self.helm.begin(session)
            case Dial(session, attempt):
                self._go(session, attempt)
            case Stop(code, reason):
                self._stop(partial(self.helm.stop, code, reason))
            case Abort():
                self._stop(self.helm.abort)
            case Release(stopped):
                self._end(stopped)
            case Discard():
                self._end(None)
            case Deliver(stopped):
                self.helm.tell(stopped)
            case _:
                raise AssertionError(effect)

    def _hold(self) -> None:
        if self._elsewhere is not None:
            self._elsewhere.unfollow()
            if not self._elsewhere.is_live:
                self._elsewhere = None
        worker, epoch = self._worker, self.state.epoch
        if self.name in worker.kept:
            self.published = Kept(self.connection, worker.store, epoch)
        else:
            self.published = Published(self.connection, worker.store, epoch, worker.inquiry)
        self._is_wiring = True
        try:
            self.helm.hold()
        finally:
            self._is_wiring = False

    def _let_go(self) -> None:
        assert self.published is not None
        self.published.close()
        self.published = None
        self.helm.let_go()

    def _stop(self, stop: Callable[[], None]) -> None:
        """Ends the session as soon as it has begun, which may wait for a delivery to end."""
        if self._begun:
            stop()
        else:
            self._stops = stop

    def _go(self, session: int, attempt: int) -> None:
        if self._dial is not None and self._dial[0] == (session, attempt):
            (_, go), self._dial = self._dial, None
            assert self.published is not None
            self.published.prepare(session, attempt, go)

    def _end(self, stopped: Stopped | None) -> None:
        release, self._release = self._release, None
        stopping, self._stopping, self._is_stopping = self._stopping, None, False
        assert release is not None
        release(stopped)
        if stopped is None and stopping is not None:
            # The log may not have this stop. Then the next holder would begin again.
            self._command(stopping)

    # What the connection reports

    def before_dial(self, connecting: Connecting, go: Callable[[], None]) -> None:
        """An attempt begins. It dials once the log has it."""
        self._dial = ((connecting.session, connecting.attempt), go)
        self._begun = connecting.session
        self._worker.feed(self.name, Dialling(connecting))
        stops, self._stops = self._stops, None
        if stops is not None:
            stops()

    def before_stopped(self, stopped: Stopped, release: Callable[[Stopped | None], None]) -> None:
        """The session is over. Subscribers see that once the log has it."""
        self._release = release
        is_ours = stopped.initiator is Initiator.LOCAL and stopped.error is None
        if is_ours and not self._is_stopping and self.state.phase is Phase.RUNNING:
            # It was aborted: a connection that is live here does that without its seat.
            self._stopping = self._stop_of_this(ABORT, "")
        self._dial = None
        ended = partial(self._worker.feed, self.name, Ended(stopped, self._count_published()))
        if self.published is None:
            ended()
        else:
            self.published.when_written(ended)

    def saw(self, event: LifecycleEvent) -> None:
        """Every other lifecycle event."""
        published = self._count_published() if isinstance(event, Dropped) else None
        self._worker.feed(self.name, Happened(event, published))

    def _count_published(self) -> int | None:
        """How many messages of the attempt, which has ended, were published."""
        return None if self.published is None else self.published.finish()

    # Commands that are given here

    @property
    def is_live(self) -> bool:
        """Whether a session is live elsewhere, or the outcome of a command is not known yet."""
        if self.commands or self._is_resolving or self.name in self._worker.wishes:
            return True
        return self._elsewhere is not None and self._elsewhere.is_live

    @property
    def state(self) -> State:
        """Where the worker stands towards the connection."""
        return self._worker.state(self.name)

    def start(self) -> None:
        """Starts the connection, wherever it is held."""
        if not self._worker.has_ever_joined:
            self._wish()
        elif not self._is_wiring or not self.state.record.wish.id:
            # A pipeline that is wired with each holding must not restart what the fleet has stopped.
            self._command(self._start())
            self._stopping = None

    def _start(self) -> SeatCommand:
        """A start; one that begins behind the live session, if that was stopped here."""
        seen = self.state.ahead
        if self._stopping is not None and self._stopping.about is not None:
            seen = seen._replace(fulfilled=self._stopping.about)
        return SeatCommand(seat=self, is_start=True, seen=seen)

    def _wish(self) -> None:
        """Notes a start from before joining. The record may have been seen already."""
        if self._worker.is_running and self.state.revision:
            self.settle_wish(self.state.record)
        else:
            self._worker.wishes[self.name] = Wish(run=True, id=uuid4().hex)

    def stop(self, code: int, reason: str) -> None:
        """Stops the session, wherever it is."""
        if not (self._worker.has_ever_joined or self.commands):
            self._worker.wishes.pop(self.name, None)
        elif self._is_running_here():
            self._is_stopping = True
            self._stopping = self._stop_of_this(code, reason)
            self.helm.stop(code, reason)
        else:
            self._command(SeatCommand(seat=self, is_start=False, code=code, reason=reason))

    def abort(self) -> None:
        """Ends a session that is not here, without a closing handshake."""
        self.stop(ABORT, "")

    def _stop_of_this(self, code: int, reason: str) -> SeatCommand:
        """A stop of the live session, which changes no wish that is newer than it."""
        about = self.state.record.wish.id
        return SeatCommand(seat=self, is_start=False, code=code, reason=reason, about=about)

    def _is_running_here(self) -> bool:
        """Whether a session is live here that nobody has stopped yet. Its stop needs no command: the log will tell."""
        state = self.state
        return not self.commands and state.phase is Phase.RUNNING and self._begun == state.session

    def _command(self, command: Command) -> None:
        if not self._worker.is_running:
            return
        state = self.state
        if state.is_held and not self.commands and command.wish(state.record, state.ahead) is None:
            # The holder knows both, so this changes nothing.
            return
        self.commands.append(command)
        self._worker.commander.give(self)

    def known(self) -> None:
        """Nothing: it has to be read. Commands are rare here."""

    def find_out(self) -> None:
        """Somebody waits here, where it may not be known how the connection stands."""
        if not self._worker.is_running or self.name in self._worker.wishes:
            self._worker.find_out_later(self)
        elif self.state.is_held:
            if not self.state.ahead.is_live:
                self._look_elsewhere().recall_end(self.state.tail)
        elif not (self.commands or self.is_live):
            self._command(Look(seat=self))

    def _look_elsewhere(self) -> Elsewhere:
        if self._elsewhere is None:
            self._elsewhere = Elsewhere(self, self._worker)
        return self._elsewhere

    def resolve(self, command: Command, record: Record, revision: int, tail: Tail) -> None:
        """A command was written, or changes nothing."""
        self._is_resolving = True
        try:
            self._worker.know(self.name, record, revision)
            if not self.state.is_held:
                self._look_elsewhere().learn(command, tail)
        finally:
            self._is_resolving = False
        self.note()

    def settle_wish(self, record: Record) -> None:
        """A record was seen. A start from before joining counts only where nobody had wished anything."""
        if not record.wish.id:
            self._command(self._start())
        self.note()

    def give_up(self, command: Command, error: RxNodesError) -> None:
        """A command cannot be written."""
        self.helm.report("connect" if command.is_start else "close", error)
        self.note()

    def send(self, receipt: Receipt) -> None:
        """Sends a message through the worker that holds the connection."""
        if self._sends is None:
            self._sends = Sends(self, self._worker.store, self._holder)
        self._sends.send(receipt)

    async def _holder(self, looks_again: bool) -> str | None:  # noqa: FBT001 - as `Sends` asks
        """The worker that holds the connection."""
        if not looks_again:
            return self.state.record.holder
        record, _ = record_at(await self._worker.store.read_record(self.name))
        return record.holder

    def settle(self, receipt: Receipt, outcome: SharedOutcome) -> None:
        """Says what became of a message that went to the holder."""
        self.helm.settle(receipt, outcome)

    def feed(self, input_: Reported) -> None:
        """Reports why a message did not go there."""
        self.helm.report(input_.phase, input_.error)

    def now(self) -> datetime:
        """The time of day."""
        return self.connection.for_nodes.now()

    def shutdown(self) -> None:
        """The project is being left, or the connection removed."""
        self._leave_elsewhere()
        if self._sends is not None:
            self._sends.leave()
        self._worker.remove(self.name)
        if not self._begun and self._worker.is_running and self.state.phase in (Phase.STOPPING, Phase.FENCED):
            # The session had to wait for a delivery to end, and now will never begin.
            self._worker.feed(self.name, NotBegun())

    # What happens elsewhere

    def look_at_wish(self) -> None:
        """The wish may have changed. It and the log come by two ways, and the later of them ends the waiting."""
        if self._elsewhere is not None and not self.is_live:
            self.note()

    def note(self, event: Opened | Stopped | None = None) -> None:
        """Takes note of an event elsewhere, or that nothing is live there any more."""
        if not self.is_live:
            self._leave_elsewhere()
        if event is not None or not self.is_live:
            self.helm.note(event)

    def _leave_elsewhere(self) -> None:
        if self._elsewhere is not None:
            self._elsewhere.unfollow()
            self._elsewhere = None
