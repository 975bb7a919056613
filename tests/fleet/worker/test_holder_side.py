"""What the holder of a connection publishes and answers, on a store in memory."""

from __future__ import annotations

import asyncio

import pytest
from fleet.memory_store import MemoryEngine

from rxnodes import Project, Sent, Unsent
from rxnodes.fleet.asking import (
    ANY_INTEREST,
    AskForMessages,
    AskToSend,
    Position,
    interest_subject,
    messages_subject,
    outcomes_of,
    position_of,
    send_subject,
)
from rxnodes.fleet.letters import batch_of
from rxnodes.fleet.ordering import order_subject
from rxnodes.fleet.store import NobodyThere, Unknown
from rxnodes.fleet.worker import messages
from rxnodes.fleet.worker.answering import Answering, Held
from rxnodes.fleet.worker.inquiry import Inquiry
from rxnodes.fleet.worker.messages import Published
from rxnodes.fleet.worker.orders import take_orders
from rxnodes.testing import ScriptedPeer, ScriptedTransport, in_virtual_time

AMOUNT = 3
#: Where those are asked who are interested in its messages.
INTEREST = (ANY_INTEREST, interest_subject("chat"))


class Bench:
    """A held connection, and an observer's store. The connection is not steered: the test says when it is dialled."""

    async def __aenter__(self):
        self.engine = MemoryEngine()
        self.store, self.observer = self.engine.store(), self.engine.store()
        await self.store.open()
        await self.observer.open()
        self.transport = ScriptedTransport(ScriptedPeer.accept)
        self.project = Project(websocket={"chat": "ws://chat.test/"}, transport=self.transport)
        await self.project.__aenter__()
        self.chat = self.project.websocket("chat")
        self.published = Published(self.chat, self.store, 5, Inquiry(self.store))
        self.held = {"chat": Held(self.chat, self.published)}
        self.answering = Answering(self.store, "w.1", self.held.get)
        self.batches = []
        return self

    async def __aexit__(self, *_):
        self.published.close()
        self.answering.close()
        await self.project.__aexit__()

    def listen(self):
        def take(message):
            self.batches.append(batch_of(message.payload))

        watches = (
            self.observer.subscribe(messages_subject("chat"), take),
            *(self.observer.serve(it, lambda request: request.answer(b"")) for it in INTEREST),
        )
        return lambda: [watch.close() for watch in watches]

    async def dial(self, session=1):
        gone = asyncio.Event()
        self.published.prepare(session, 1, gone.set)
        await gone.wait()
        self.chat.start()
        await self.chat.wait_started()

    async def ask(self, asked):
        return await self.observer.request(send_subject("w.1", "chat"), asked.letter(), timeout=60)

    @property
    def told(self):
        return [(it.epoch, it.session, it.attempt, it.first, it.messages) for it in self.batches]


@in_virtual_time
async def test_messages_are_published_to_those_who_were_there_before_the_dial():
    async with Bench() as bench:
        bench.listen()
        await bench.dial()
        for message in ("at once", "a", "b", b"c"):
            bench.transport.peer.send(message)
        await asyncio.sleep(0.1)
        assert bench.told == [(5, 1, 1, 1, ["at once"]), (5, 1, 1, 2, ["a", "b"]), (5, 1, 1, 4, [b"c"])]
        assert bench.published.finish() == 4


@in_virtual_time
async def test_who_comes_later_is_published_to_from_there_on():
    async with Bench() as bench:
        await bench.dial()
        bench.transport.peer.send("a")
        assert not bench.chat.messages.is_observed
        bench.listen()
        assert position_of(await bench.ask(AskForMessages())) == Position(1, 1, 1)
        bench.transport.peer.send("b")
        await asyncio.sleep(0.1)
        assert position_of(await bench.ask(AskForMessages())) == Position(1, 1, 2)
        assert bench.told == [(5, 1, 1, 1, ["b"])]


@in_virtual_time
async def test_nobody_is_published_to_who_has_gone():
    async with Bench() as bench:
        leave = bench.listen()
        await bench.dial()
        bench.transport.peer.send("a")
        leave()
        await asyncio.sleep(2 * messages.ASK_EVERY)
        bench.transport.peer.send("b")
        assert bench.published.finish() == 1


@in_virtual_time
async def test_where_no_answer_comes_somebody_is_taken_to_be_interested():
    async with Bench() as bench:
        for subject in INTEREST:
            bench.observer.serve(subject, lambda _: None)
        await bench.dial()
        bench.transport.peer.send("a")
        assert bench.published.finish() == 1


@in_virtual_time
async def test_those_who_ask_while_a_question_is_under_way_share_the_next_one():
    async with Bench() as bench:
        questions = asyncio.Queue()
        watch = bench.observer.serve(ANY_INTEREST, questions.put_nowait)
        inquiry = Inquiry(bench.store)

        def ask():
            return asyncio.gather(*(inquiry.is_anybody_there() for _ in range(10)))

        first = ask()
        question = await questions.get()
        meanwhile = ask()
        question.answer(b"")
        assert await first == [True] * 10
        assert not meanwhile.done()
        (await questions.get()).answer(b"")
        assert await meanwhile == [True] * 10
        watch.close()
        assert await ask() == [False] * 10
        assert questions.empty()


@in_virtual_time
async def test_what_is_too_large_goes_in_pieces_and_one_that_is_too_large_by_itself_is_skipped():
    async with Bench() as bench:
        bench.listen()
        await bench.dial()
        bench.engine.max_payload = 1000
        large, small = "x" * 600, "y" * 100
        bench.published._take([large, large, small])
        bench.published._take(["z" * 1000])
        await asyncio.sleep(0.1)
        assert bench.told == [(5, 1, 1, 1, [large]), (5, 1, 1, 2, [large, small]), (5, 1, 1, 5, [])]


@in_virtual_time
async def test_messages_are_sent_in_order_and_the_answer_says_what_became_of_each():
    async with Bench() as bench:
        await bench.dial()
        asked = AskToSend("id", [True, False, True], [b"a", b"\0", "ß".encode()])
        outcomes = outcomes_of(await bench.ask(asked), "chat")
        assert [(it.kind, it.session, it.attempt) for it in outcomes] == [(Sent, 1, 1)] * AMOUNT
        assert bench.transport.peer.received == ["a", b"\0", "ß"]


@pytest.mark.parametrize("subject", [send_subject("w.1", "chat"), order_subject("w.1")])
@in_virtual_time
async def test_what_another_version_asks_is_logged_and_not_answered(subject, caplog):
    async with Bench() as bench:
        orders = take_orders(bench.store, "w.1", lambda: pytest.fail("no order"), lambda _: pytest.fail("no order"))
        with pytest.raises(Unknown):
            await bench.observer.request(subject, b'{"v":2}', timeout=1)
        assert ["version 2" in line for line in caplog.messages] == [True]
        orders.close()


@in_virtual_time
async def test_a_request_is_carried_out_once():
    async with Bench() as bench:
        await bench.dial()
        asked = AskToSend("id", [True], [b"a"])
        await bench.ask(asked)
        with pytest.raises(Unknown):
            await bench.ask(asked)
        assert bench.transport.peer.received == ["a"]


@in_virtual_time
async def test_the_answer_waits_for_what_becomes_of_the_message():
    async with Bench() as bench:
        await bench.dial()
        bench.transport.peer.stop_reading()
        answer = asyncio.ensure_future(bench.ask(AskToSend("id", [True], [b"a"])))
        await asyncio.sleep(1)
        assert not answer.done()
        bench.transport.peer.reset()
        assert [it.kind for it in outcomes_of(await answer, "chat")] == [Unsent]


@in_virtual_time
async def test_who_does_not_hold_it_says_so_and_does_nothing():
    async with Bench() as bench:
        await bench.dial()
        bench.held.clear()
        assert position_of(await bench.ask(AskForMessages())) is None
        assert outcomes_of(await bench.ask(AskToSend("id", [True], [b"a"])), "chat") is None
        assert bench.transport.peer.received == []
        bench.answering.close()
        with pytest.raises(NobodyThere):
            await bench.ask(AskForMessages())
