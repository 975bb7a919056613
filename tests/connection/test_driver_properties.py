"""A whole connection, driven by any sequence of commands and faults, keeps the promises."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import Journal
from virtual import Chat

from rxnodes import ConnectionState, ErrorEvent, SendDropped, Sent
from rxnodes.testing.virtual_time import run_in_virtual_time
from rxnodes.transport.receipts import SendQueue
from rxnodes.websocket import on_stop

pytestmark = pytest.mark.slow

CLOSE_TIMEOUT = 3.0

QUEUES = [
    None,
    SendQueue(max_messages=2),
    SendQueue(max_messages=2, overflow="drop_oldest", while_connecting=True),
    SendQueue(while_connecting=True, time_to_live=1.0),
]

commands = st.sampled_from(["start", "stop", "abort", "send", "pause", "resume"])
faults = st.one_of(
    st.sampled_from(["accept", "refuse", "end", "reset", "violate", "pong", "stop_reading", "resume_reading"]),
    st.tuples(st.just("close"), st.sampled_from([1000, 1001, 1005, 1012, 4000])),
    st.tuples(st.just("message"), st.sampled_from(["text", b"binary", b"\xff"])),
    st.tuples(st.just("manners"), st.booleans(), st.booleans()),
)
waits = st.tuples(st.just("wait"), st.sampled_from([0.0, 0.001, 0.4, 2.0, 20.0]))
reactions = st.dictionaries(
    st.sampled_from(["Connecting", "Opened", "Dropped", "Closing", "Stopped", "ErrorEvent", "message", "states"]),
    st.one_of(commands, st.just("raise")),
    max_size=3,
)


class Play:
    """Plays a script on a connection, and watches it from several places."""

    def __init__(self, *, retries, reaction, accepts, queue):
        self.chat = Chat(
            self.meet if accepts else None, reconnect=retries, close_timeout=CLOSE_TIMEOUT, send_queue=queue
        )
        self.connection = self.chat.connection
        self.tags = itertools.count()
        self.receipts = {}
        self.outcomes = []
        self.unsettled_at_stopped = []
        self.connection.sends.subscribe(self.outcomes.append)
        self.reaction = reaction
        self.reactions_left = 0
        self.order = [[], []]
        self.closing_at: dict[int, float] = {}
        self.took: list[float] = []
        for order in self.order:
            self.connection.lifecycle.subscribe(lambda event, order=order: order.append(event))
            self.connection.messages.subscribe(lambda message, order=order: order.append(message))
            if order is self.order[0]:
                self.connection.lifecycle.subscribe(lambda event: self.react(type(event).__name__))
                self.connection.messages.subscribe(lambda _: self.react("message"))
                self.connection.states.subscribe(lambda _: self.react("states"))
        self.connection.lifecycle.subscribe(self.clock)
        on_stop(self.connection).subscribe(self.look)
        self.reactions_left = 6

    def meet(self, peer):
        peer.accept()

    def clock(self, event):
        now = asyncio.get_running_loop().time()
        if type(event).__name__ == "Closing":
            self.closing_at[event.session] = now
        elif type(event).__name__ == "Stopped" and event.session in self.closing_at:
            self.took.append(now - self.closing_at[event.session])

    def look(self, stopped):
        """Promise 2: when Stopped is delivered it is over."""
        assert self.connection.state is ConnectionState.CLOSED
        assert self.connection.session == stopped.session
        assert all(peer.is_lost for peer in self.chat.transport.peers)
        assert self.connection._driver.timer is None
        assert self.connection._driver.outbound.expiry is None
        self.unsettled_at_stopped += [receipt for receipt in self.receipts.values() if receipt.outcome is None]

    def react(self, what):
        act = self.reaction.get(what)
        if act is None or self.reactions_left == 0:
            return
        self.reactions_left -= 1
        if act == "raise":
            raise ZeroDivisionError(what)
        self.command(act)

    def command(self, name):
        if name == "send":
            # Numbered before: a subscriber may send while this is being sent.
            tag = next(self.tags)
            self.receipts[tag] = self.connection.send("hello", tag=tag)
        elif name == "pause":
            self.connection._driver.pause_control.pause(self)
        elif name == "resume":
            self.connection._driver.pause_control.resume(self)
        else:
            getattr(self.connection, name)()

    async def step(self, what):
        peer = self.chat.transport.peers[-1] if self.chat.transport.peers else None
        match what:
            case "start" | "stop" | "abort" | "send" | "pause" | "resume":
                self.command(what)
            case ("wait", seconds):
                await asyncio.sleep(seconds)
            case _ if peer is None:
                pass
            case "accept":
                if not peer._is_open:
                    peer.accept()
            case ("message", message):
                if peer._is_open:
                    peer.send(message)
            case ("close", code):
                if peer._is_open:
                    peer.close(code, "" if code == 1005 else "because")
            case "violate" | "pong":
                if peer._is_open:
                    peer.violate() if what == "violate" else peer.pong(0.1)
            case ("manners", answers, ends):
                peer.answers_close, peer.ends_tcp = answers, ends
            case str():
                getattr(peer, what)()


@settings(max_examples=300)
@given(
    script=st.lists(st.one_of(commands, faults, waits), max_size=25),
    reaction=reactions,
    retries=st.one_of(st.none(), st.just({"initial_delay": 0.5}), st.just({"initial_delay": 0.5, "max_attempts": 2})),
    accepts=st.booleans(),
    queue=st.sampled_from(QUEUES),
)
def test_any_sequence_keeps_the_promises(script, reaction, retries, accepts, queue):
    failures = []

    async def play():
        # What is raised into the loop would only be logged.
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        it = Play(retries=retries, reaction=reaction, accepts=accepts, queue=queue)
        for what in script:
            await it.step(what)
        began = asyncio.get_running_loop().time()
        it.connection.for_project.shutdown()
        if it.connection.is_live:
            await it.connection.wait_stopped()
        took = asyncio.get_running_loop().time() - began
        await asyncio.sleep(100)
        return it, took

    it, took = run_in_virtual_time(play())
    journal: Journal = it.chat.journal
    broken = [error.__cause__ for error in it.chat.handler_errors if isinstance(error.__cause__, AssertionError)]
    assert broken == []
    assert failures == []
    # 1: one Stopped for each start that began a session.
    assert all(session.stopped is not None for session in journal.sessions)
    assert journal.kinds.count("Stopped") == len(journal.sessions) == it.connection.session
    # 5: closing is bounded.
    assert took <= CLOSE_TIMEOUT + 1e-6
    assert all(seconds <= CLOSE_TIMEOUT + 1e-6 for seconds in it.took)
    # 6: the same order for everybody, whoever acts within a notification.
    assert it.order[0] == it.order[1]
    # 7: who raises is reported, and harms nobody.
    raised = sum(event.phase == "handler" for event in journal.events if isinstance(event, ErrorEvent))
    assert raised <= 6
    # 3 and 4: what was counted is what went over.
    for session in journal.sessions:
        assert session.stopped.messages_received == session.messages
    sent = sum(len(peer.received) for peer in it.chat.transport.peers)
    assert sum(session.stopped.messages_sent for session in journal.sessions) == sent
    # 4: each send has one outcome, before the Stopped of its session, and is counted so.
    assert it.unsettled_at_stopped == []
    assert sorted(outcome.tag for outcome in it.outcomes) == sorted(it.receipts)
    assert all(it.receipts[outcome.tag].outcome == outcome for outcome in it.outcomes)
    assert it.connection._driver.outbound.watched == 0
    assert it.connection._driver.outbound.backlog is None
    for number, session in enumerate(journal.sessions, 1):
        fates = [outcome for outcome in it.outcomes if outcome.session == number]
        refused = [one for one in fates if isinstance(one, SendDropped) and one.reason == "not open"]
        sent = [one for one in fates if isinstance(one, Sent)]
        assert session.stopped.messages_sent == len(sent)
        assert session.stopped.unsent == len(fates) - len(sent) - len(refused)
    # 10: nothing started after the project began to be left.
    assert it.connection.state in (ConnectionState.IDLE, ConnectionState.CLOSED)
