"""Writes the log and the record of a connection as its holder would, and answers what is asked of that."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from itertools import count

from fleet.memory_store import MemoryEngine

from rxnodes.fleet.asking import (
    ANY_INTEREST,
    NOT_HELD,
    AskForMessages,
    Position,
    ask_of,
    interest_subject,
    messages_subject,
    outcomes_letter,
    position_letter,
    send_subject,
)
from rxnodes.fleet.letters import Batch, batch_letter, entry_letter, entry_of, record_letter, record_of
from rxnodes.fleet.remote.fleet import Fleet
from rxnodes.fleet.rules.values import Entry, Record, Tail
from rxnodes.fleet.store import NobodyThere
from rxnodes.lifecycle.events import Connecting, Dropped, Opened, Stopped
from rxnodes.testing import events
from rxnodes.transport.receipts import Receipt, Sent, SharedOutcome

ids = count()


class Scribe:
    """The holder of a connection, without the rules: it writes what the test says."""

    def __init__(self, store, name="chat", worker="w1"):
        self.store = store
        self.name = name
        self.worker = worker
        self.tail = Tail(epoch=1)
        self.published = 0
        self.sent = []
        #: What to answer to requests to send, besides the outcomes: "silence", "not held".
        self.answers = "outcomes"
        self.is_publishing = False

    # The record

    async def claim(self):
        """Holds the connection from here on, and answers."""
        record, revision = await self.record()
        record = record._replace(holder=self.worker, epoch=record.epoch + 1)
        await self.store.write_record(self.name, record_letter(record), revision)
        return self.store.serve(send_subject(self.worker, self.name), self._answer)

    async def record(self):
        stood = await self.store.read_record(self.name)
        return (Record(), 0) if stood is None else (record_of(stood.value), stood.revision)

    # The log

    async def write(self, event, published=None, *, fulfils="", **changes):
        """Appends an entry behind the last one; the tail follows from the event."""
        before = self.tail
        if event is not None:
            event = replace(event, connection=self.name)
        if isinstance(event, Connecting | Opened):
            changes |= {"session": event.session, "attempt": event.attempt, "is_live": True}
        if isinstance(event, Opened):
            changes["has_opened"] = True
        elif isinstance(event, Stopped):
            changes |= {"is_live": False, "fulfilled": fulfils or before.fulfilled}
        after = before._replace(last_id=f"e{next(ids)}", **changes)
        if isinstance(event, Dropped | Stopped) and published is None:
            published = self.published
        entry = Entry(self.worker, event, after, behind=before.sequence, published=published)
        sequence = await self.store.append(self.name, entry_letter(entry), before.sequence)
        self.tail = entry.at(sequence)
        return event

    async def read_tail(self):
        """How the connection stands behind the last entry that is there."""
        stood = await self.store.last(self.name)
        return entry_of(stood.value).at(stood.revision)

    async def open(self, session=1, attempt=1):
        """An attempt, to its `Opened`."""
        self.published = 0
        await self.write(events.connecting(session=session, attempt=attempt))
        await self.ask_for_interest()
        return await self.write(events.opened(session=session, attempt=attempt, headers={}))

    async def stop(self, session=1, published=None, **fields):
        """The end of a session, which fulfils the wish as it stands."""
        record, _ = await self.record()
        event = events.stopped(session=session, **fields)
        return await self.write(event, published, fulfils=record.wish.id)

    # Messages

    async def ask_for_interest(self):
        try:
            for subject in (ANY_INTEREST, interest_subject(self.name)):
                await self.store.request(subject, b"", timeout=0.5)
        except NobodyThere:
            self.is_publishing = False
        else:
            self.is_publishing = True

    def publish(self, *messages, first=None):
        """Publishes messages, if anybody is interested."""
        if self.is_publishing:
            first = self.published + 1 if first is None else first
            batch = Batch(self.tail.epoch, self.tail.session, self.tail.attempt, first, list(messages))
            self.store.publish(messages_subject(self.name), batch_letter(batch))
            self.published = first + len(messages) - 1

    def _answer(self, request):
        asked = ask_of(request.message.payload)
        if self.answers == "not held":
            request.answer(NOT_HELD)
        elif isinstance(asked, AskForMessages):
            self.is_publishing = True
            request.answer(position_letter(Position(self.tail.session, self.tail.attempt, self.published + 1)))
        else:
            receipts = [Receipt(None, *it, None) for it in zip(asked.payloads, asked.texts, strict=True)]
            self.sent += [it.payload.decode() if it.is_text else it.payload for it in receipts]
            for receipt in receipts:
                tail = self.tail
                receipt.shared_outcome = SharedOutcome(Sent, self.name, tail.session, tail.attempt, events.AT, {})
            if self.answers == "outcomes":
                request.answer(outcomes_letter(receipts))


async def settled(seconds=0.1):
    """Lets everything that is under way arrive. In virtual time."""
    await asyncio.sleep(seconds)


@contextlib.asynccontextmanager
async def from_outside(*, is_held=False):
    """A connection of a fleet from outside, one who writes as its holder, and the engine."""
    engine, scribe = await in_memory()
    if is_held:
        await scribe.claim()
    async with Fleet(engine.store()) as fleet:
        yield fleet.websocket("chat"), scribe, engine


async def in_memory():
    """A fleet's store in memory, and one who writes into it."""
    engine = MemoryEngine()
    store = engine.store()
    await store.open()
    return engine, Scribe(store)
