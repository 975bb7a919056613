"""A whole connection, driven by any sequence of commands and faults, keeps the promises."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import Journal
from virtual import Chat

from rxnodes import ConnectionState, ErrorEvent, GiveUp, RxNodesError, SendDropped, Sent
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
MOMENT = ("wait", 0.001)
waits = st.tuples(st.just("wait"), st.sampled_from([0.0, 0.001, 0.4, 2.0, 20.0]))
#: Most scripts begin where something can happen.
READ = [("message", "text"), ("message", b"binary"), ("message", "text")]
BEGINNINGS = [
    [],
    ["start", MOMENT],
    ["start", MOMENT, ("message", "text"), MOMENT],
    ["start", MOMENT, *READ, MOMENT],
    ["start", MOMENT, *READ, ("close", 1012)],
    ["start", MOMENT, *READ, "end"],
]
reactions = st.dictionaries(
    st.sampled_from(["Connecting", "Opened", "Dropped", "Closing", "Stopped", "ErrorEvent", "message", "states"]),
    st.one_of(commands, st.just("raise")),
    max_size=3,
)


LOGIN = "log me in"


async def logs_in_at_once(_greeting):
    pass


async def logs_in_and_is_answered(greeting):
    await greeting.send(LOGIN)
    await greeting.receive()


async def logs_in_with_one_kind_of_answer(greeting):
    await greeting.receive(lambda message: message == b"binary", codec=None)


async def gives_up(greeting):
    await greeting.receive()
    raise GiveUp("no")


async def fails(_greeting):
    raise RxNodesError("no")


async def waits_for_something_else(greeting):
    await greeting.send(LOGIN)
    await asyncio.sleep(1)


class Stubborn:
    """Goes on although it is cancelled."""

    async def __call__(self, greeting):
        ends = asyncio.get_running_loop().time() + 30
        while asyncio.get_running_loop().time() < ends:
            with contextlib.suppress(asyncio.CancelledError, RxNodesError):
                await asyncio.sleep(5)
                await greeting.receive()


LOGINS = [
    None,
    logs_in_at_once,
    logs_in_and_is_answered,
    logs_in_with_one_kind_of_answer,
    gives_up,
    fails,
    waits_for_something_else,
    Stubborn(),
]


class Play:
    """Plays a script on a connection, and watches it from several places."""

    def __init__(self, *, retries, reaction, accepts, queue, login):
        self.chat = Chat(
            self.meet if accepts else None,
            reconnect=retries,
            close_timeout=CLOSE_TIMEOUT,
            send_queue=queue,
            after_connect=login,
        )
        self.leaves_tasks = isinstance(login, Stubborn)
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
        if not self.leaves_tasks:
            assert [task for task in asyncio.all_tasks() if "after_connect" in task.get_name()] == []
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


@settings(max_examples=400)
@given(
    begin=st.sampled_from(BEGINNINGS),
    script=st.lists(st.one_of(commands, faults, waits), max_size=25),
    reaction=reactions,
    retries=st.one_of(st.none(), st.just({"initial_delay": 0.5}), st.just({"initial_delay": 0.5, "max_attempts": 2})),
    accepts=st.sampled_from([True, True, False]),
    queue=st.sampled_from(QUEUES),
    login=st.sampled_from(LOGINS),
)
def test_any_sequence_keeps_the_promises(  # noqa: PLR0913, PLR0917 - each is drawn by itself
    begin, script, reaction, retries, accepts, queue, login
):
    failures = []

    async def play():
        # What is raised into the loop would only be logged.
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        it = Play(retries=retries, reaction=reaction, accepts=accepts, queue=queue, login=login)
        for what in [*begin, *script]:
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
    # What a login has sent and taken counts nowhere.
    sent = sum(message != LOGIN for peer in it.chat.transport.peers for message in peer.received)
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
