"""Drives a remote connection: emits log entries and messages in order, and gives commands to the fleet."""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import TYPE_CHECKING, Final

from rxnodes.fleet.letters import Batch
from rxnodes.fleet.remote.arranging import KEPT_PATIENCE, Arranging, Missed
from rxnodes.fleet.remote.chronicle import Chronicle, Read, forgotten_end
from rxnodes.fleet.remote.interest import Interest
from rxnodes.fleet.remote.parts import RemoteParts
from rxnodes.fleet.remote.sends import Sends
from rxnodes.fleet.remote.standing import says_all
from rxnodes.fleet.rules.values import Tail
from rxnodes.lifecycle.events import Opened, Stopped
from rxnodes.lifecycle.inputs import Reported
from rxnodes.websocket.gaps import Gap

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Sequence

    from rxnodes.errors import RxNodesError
    from rxnodes.fleet.asking import Position
    from rxnodes.fleet.remote.arranging import Emission
    from rxnodes.fleet.remote.commander import Command
    from rxnodes.fleet.remote.fleet import Fleet
    from rxnodes.fleet.rules.values import Record
    from rxnodes.fleet.store import Logged, Store

__all__ = ["RemoteDriver"]

#: How many bytes or characters wait for consumers that cannot keep up. Beyond that messages are discarded, which shows
#: as a gap.
MOST_PAUSED: Final = 64 * 1024 * 1024

logger = logging.getLogger("rxnodes")


class RemoteDriver(RemoteParts):
    """Emits the log entries and the messages of a connection, and gives its commands to the fleet.

    Args:
        name: The connection's name.
        fleet: The fleet, which reads histories and writes commands.
        store: The fleet's store.
        tells_history: Whether it emits the entries that are kept, too.

    Attributes:
        commands: Those that are not written yet, in the order in which they were given.
        arranging: The order of events and messages.
    """

    def __init__(self, name: str, fleet: Fleet, store: Store, *, tells_history: bool) -> None:
        super().__init__(name)
        self._fleet = fleet
        self._tells_history = tells_history
        self._chronicle = Chronicle()
        # Entries that come while the history is being read.
        self._waiting: list[Logged] | None = []
        self._timer: asyncio.TimerHandle | None = None
        # Messages that came while consumers wanted no more.
        self._paused: list[Batch] | None = None
        self._paused_size = 0
        # Of the record that is known.
        self._revision = 0
        self._heard_at = self.loop.now()
        self.arranging = Arranging()
        self.commands: list[Command] = []
        holder = partial(fleet.records.holder, name)
        self._interest = Interest(self, store, fleet.presence, holder)
        self.helm = self._sends = Sends(self, store, holder, self._interest.until_heard)

    def leave(self) -> None:
        """Completes all streams: the fleet has been left."""
        self._interest.leave()
        self._sends.leave()
        if self._timer is not None:
            self._timer.cancel()
        super().leave()

    # The log

    def begin(self, last: Logged | None) -> None:
        """The end of the log is known: the last entry is this one."""
        self.look_at_interest()
        chronicle = Chronicle()
        read = [] if last is None else chronicle.begin([last])
        if last is None or (not self._tells_history and read and says_all(read[0].entry)):
            self._chronicle = chronicle
            self._begin_behind(read)
        else:
            self._fleet.histories.read(self.name, self._on_first_history)

    def _on_first_history(self, entries: list[Logged]) -> None:
        read = self._chronicle.begin(entries)
        if self._tells_history:
            self._begin_behind([])
            if read:
                self.standing.pass_over(read[0].ended_before)
            self._tell_all(read)
            self._look_at_end()
        else:
            self._begin_behind(read)

    def _begin_behind(self, read: Sequence[Read]) -> None:
        """These entries say how the connection stands. From here on it emits what follows."""
        self.standing.recall((entry, tail) for entry, tail, _ in read)
        for entry, _, _ in read:
            if entry.event is not None:
                self.arranging.recall(entry.event)
            if isinstance(entry.event, Opened):
                self.waiters.last_opened = entry.event
            elif isinstance(entry.event, Stopped):
                self.waiters.last_stopped = entry.event
        self.is_known = True
        self._fleet.note_known(self.name)
        self.outbox.post(self.publisher.publish, self.standing.state)
        self._take_waiting()
        self._look_at_end()
        self.waiters.wake()

    def take(self, logged: Logged) -> None:
        """An entry of the log has come."""
        if self._chronicle.is_astray:
            self._chronicle.is_astray = False
            if not self._chronicle.is_last(logged):
                self._waiting = []
                self._fleet.histories.read(self.name, self._on_history_again)
        elif self._waiting is not None:
            self._waiting.append(logged)
        elif (read := self._chronicle.follow(logged)) is not None:
            self._tell_all([read])

    def go_back(self) -> None:
        """The log has gone back, or is another. All entries come again, the last one first."""
        if self.is_known:
            self._chronicle.is_astray = True
            self.standing.go_back()

    def note_current(self) -> None:
        """All entries that there are have come."""
        if self._chronicle.is_astray:
            # Nothing is left of this connection's log.
            self._chronicle = Chronicle()
            self._tell_gap(None)
            self.outbox.flush()
            self._look_at_end()

    def _on_history_again(self, entries: list[Logged]) -> None:
        read = self._chronicle.go_on(entries)
        if read:
            self._tell_all(read)
        else:
            self._tell_gap(None)
        self._take_waiting()
        self._look_at_end()

    def _take_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        for logged in waiting or ():
            self.take(logged)
        self.outbox.flush()

    def _tell_all(self, read: Iterable[Read]) -> None:
        for one in read:
            self._tell(self.arranging.add_entry(one, self._time()))

    # Messages

    def look_at_interest(self) -> None:
        """Somebody has subscribed to the messages, or nobody does any more."""
        self._interest.note(is_wanted=self.inbound.is_observed)

    def want(self) -> None:
        """Messages are listened to from here on."""
        self.arranging.want()

    def owe(self, position: Position) -> None:
        """The holder publishes from here on."""
        self.arranging.owe(position.session, position.attempt, position.first, is_kept=position.kept is not None)

    def note_kept(self) -> None:
        """The messages are kept: an end may wait for them."""
        self.arranging.patience = KEPT_PATIENCE

    def want_no_more(self) -> None:
        """Messages are not listened to any more."""
        if self.loop.loop is not None:
            self._tell(self.arranging.want_no_more(self._time()))

    def take_batch(self, batch: Batch) -> None:
        """Messages have come."""
        if self._paused is None:
            self._tell(self.arranging.add_batch(batch, self._time()))
        elif (size := self._paused_size + sum(map(len, batch.messages))) <= MOST_PAUSED:
            self._paused.append(batch)
            self._paused_size = size
        else:
            self.arranging.discarded += len(batch.messages)

    def on_pause(self, is_paused: bool) -> None:  # noqa: FBT001 - what a pause control calls
        """A consumer wants no more for now, or all want more again. That does not hold up the holder."""
        if is_paused:
            self._paused = []
        elif self._paused is not None:
            batches, self._paused, self._paused_size = self._paused, None, 0
            self.arranging.postpone()
            for batch in batches:
                self.take_batch(batch)
            self._elapse()
        self._wait_for_messages()

    # What it emits

    def _tell(self, told: Iterable[Emission]) -> None:
        for one in told:
            if isinstance(one, Batch):
                self.inbound.post(one.messages)
            elif isinstance(one, Missed):
                self._tell_gap(one)
            else:
                self._tell_entry(one)
        self._wait_for_messages()
        self.outbox.flush()

    def _tell_entry(self, read: Read) -> None:
        standing, event = self.standing, read.entry.event
        before = standing.state
        is_old = event is not None and event.session > 0 and standing.has_ended(event.session, self._ended)
        if read.is_behind_gap:
            self._tell_gap(None)
            self.outbox.post(self._pass_over, read.ended_before)
        standing.follow(read.entry, read.tail)
        if standing.state is not before:
            self.outbox.post(self.publisher.publish, standing.state)
        if event is not None and not is_old:
            logger.debug("%s: %s", self.name, event)
            self.outbox.post(self.publisher.publish, event)
            self._heard_at = self.loop.now()
        else:
            self.outbox.post(self._look_at_end, None)

    def _pass_over(self, session: int) -> None:
        self.standing.pass_over(session)
        self._look_at_end()

    def _tell_gap(self, missed: Missed | None) -> None:
        """Something is missing: of the log, or messages."""
        tail, now = self.standing.tail, self.loop.now()
        gap = Gap(
            connection=self.name,
            session=tail.session if missed is None else missed.session,
            attempt=tail.attempt if missed is None else missed.attempt,
            at=now,
            since=min(self._heard_at, now),
            until=now,
            missed=None if missed is None else missed.numbers,
        )
        self._heard_at = now
        self.outbox.post(self.publisher.publish_gap, gap)

    def _wait_for_messages(self) -> None:
        """Wakes up when an end has waited long enough for its messages."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.arranging.deadline
        if deadline is not None and deadline < math.inf and self.loop.loop is not None and self._paused is None:
            self._timer = self.loop.loop.call_at(deadline, self._elapse)

    def _elapse(self) -> None:
        self._tell(self.arranging.elapse(self._time()))

    def _time(self) -> float:
        assert self.loop.loop is not None
        return self.loop.loop.time()

    # Commands

    def order(self, command: Command) -> None:
        """Gives a command, from any thread.

        Raises:
            RxNodesError: If nobody can carry it out.
        """
        self.loop.check()
        self.loop.run(partial(self._give, command))

    def _give(self, command: Command) -> None:
        if self.loop.is_left or self.loop.why_closed():
            return
        self.standing.commands += 1
        self.standing.starts += command.is_start
        self._fleet.give(self, command)

    def known(self) -> tuple[Record, int, Tail] | None:
        """The record, its revision and the end of the log, where they are watched."""
        is_behind = self.arranging.deadline is not None
        if not self.is_known or is_behind or not self._fleet.records.are_current:
            return None
        return self.standing.record, self._revision, self.standing.tail

    def resolve(self, command: Command, record: Record, revision: int, tail: Tail) -> None:
        """A command was written, or changes nothing. The record and the log stand like this."""
        self.know(record, revision)
        self.standing.resolve(tail, is_start=command.is_start)
        self._look_at_end()

    def give_up(self, command: Command, error: RxNodesError) -> None:
        """A command cannot be written."""
        self.standing.resolve(Tail(), is_start=command.is_start)
        self.feed(Reported("connect" if command.is_start else "close", error))
        self._look_at_end()

    def know(self, record: Record, revision: int) -> None:
        """The record, as it stands."""
        if revision > self._revision:
            self._revision = revision
            self.standing.know(record)
            self._look_at_end()

    def _look_at_end(self, _: object = None) -> None:
        """Answers those who wait for an end, if no session is live."""
        if not self.is_live:
            if self.standing.tail.session > self._ended:
                self.waiters.last_stopped = forgotten_end(self.name, self.standing.tail, self.loop.now())
            self.outbox.send(self.publisher.answer_waiting, self.waiters.last_stopped)
