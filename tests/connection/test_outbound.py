"""The outcome of a message that is sent: receipts, tags, and the bounds while it waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time

import pytest
from reactivex import Subject
from threads import opened_in_a_thread
from virtual import Chat, accept, virtual

from rxnodes import (
    ConnectionState,
    ErrorEvent,
    Opened,
    Project,
    SendDropped,
    Sent,
    Stopped,
    Unsent,
    pulse,
)
from rxnodes.testing import WebSocketServer, echo, never_read
from rxnodes.transport.receipts import SendQueue
from rxnodes.transport.scripted import ScriptedTransport
from rxnodes.websocket import client_send, on_start, request

RECONNECT = {"initial_delay": 1.0, "jitter": False}


def silent(_peer):
    """A peer that does not answer the handshake yet."""


def unread(peer):
    """A peer that accepts, and reads nothing."""
    peer.accept()
    peer.stop_reading()


def watch(chat):
    """The outcomes of sends with a tag, and the lifecycle around them."""
    seen = []
    chat.connection.sends.subscribe(seen.append)
    chat.connection.lifecycle.subscribe(seen.append)
    return seen


def outcomes(seen):
    """Outcomes with their tags, in order."""
    return [(type(it).__name__, it.tag) for it in seen if isinstance(it, Sent | SendDropped | Unsent)]


# Receipts


@virtual
async def test_awaiting_a_receipt_gives_the_outcome():
    chat = await Chat().opened()
    receipt = chat.connection.send("hällo")
    outcome = await receipt
    assert isinstance(outcome, Sent)
    assert (outcome.connection, outcome.session, outcome.attempt) == ("chat", 1, 1)
    assert (outcome.size, outcome.tag) == (6, None)
    assert await receipt == outcome == receipt.outcome
    assert repr(receipt) == "<Receipt for 6 bytes, Sent>"


@virtual
async def test_all_tasks_that_await_a_receipt_get_its_outcome_also_where_one_is_cancelled():
    chat = await Chat(unread).opened()
    receipt = chat.connection.send(b"x")
    assert receipt.outcome is None
    assert repr(receipt) == "<Receipt for 1 bytes, under way>"

    async def wait():
        return await receipt

    waiting = [asyncio.create_task(wait()) for _ in range(3)]
    await asyncio.sleep(1)
    waiting[0].cancel()
    await asyncio.sleep(1)
    assert not waiting[1].done()
    chat.peer.resume_reading()
    assert [type(await task) for task in waiting[1:]] == [Sent, Sent]
    assert waiting[0].cancelled()


@virtual
async def test_waits_that_are_cancelled_again_and_again_leave_nothing_behind():
    chat = await Chat(unread).opened()
    receipt = chat.connection.send("x")
    for _ in range(10):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_awaiting(receipt), 1)
    assert receipt._waiters == []
    assert chat.connection._driver.outbound.watched == 1
    chat.peer.resume_reading()
    assert isinstance(await receipt, Sent)
    assert chat.connection._driver.outbound.watched == 0


@pytest.mark.parametrize("first", ["settled", "cancelled"])
@virtual
async def test_a_wait_is_cancelled_in_the_turn_of_the_loop_that_settles_it(first):
    chat = await Chat(unread).opened()
    waiting = asyncio.create_task(_awaiting(chat.connection.send("x")))
    await asyncio.sleep(1)
    acts = [chat.peer.resume_reading, waiting.cancel]
    for act in acts if first == "settled" else reversed(acts):
        act()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@virtual
async def test_an_ignored_receipt_leaves_nothing_behind():
    chat = await Chat(unread).opened()
    for _ in range(10):
        chat.connection.send("x")
    watched = asyncio.create_task(_awaiting(chat.connection.send("y", tag=1)))
    await asyncio.sleep(1)
    assert chat.connection._driver.outbound.watched == 1
    chat.peer.resume_reading()
    await watched
    assert chat.connection._driver.outbound.watched == 0


async def _awaiting(receipt):
    return await receipt


def test_a_receipt_is_awaited_on_another_loop_than_the_connections():
    with opened_in_a_thread(unread) as (project, chat, transport):
        receipt = chat.send("from another thread")
        assert receipt.size == 19

        async def wait():
            project.loop.call_soon_threadsafe(transport.peer.resume_reading)
            return await receipt, await chat.send("and another")

        outcomes = asyncio.run(asyncio.wait_for(wait(), 10))
    assert [type(outcome) for outcome in outcomes] == [Sent, Sent]
    assert transport.peer.received == ["from another thread", "and another"]


def test_a_receipt_that_is_settled_while_another_thread_begins_to_wait():
    with opened_in_a_thread(unread) as (project, chat, transport):
        receipt = chat.send("x")
        held, going = threading.Event(), threading.Event()

        def hold_up():
            held.set()
            going.wait(10)
            transport.peer.resume_reading()

        async def wait():
            # The connection's loop is held up, and settles the message before it learns that somebody waits.
            project.loop.call_soon_threadsafe(hold_up)
            assert await asyncio.to_thread(held.wait, 10)
            asyncio.get_running_loop().call_later(0.01, going.set)
            return await receipt

        assert isinstance(asyncio.run(asyncio.wait_for(wait(), 10)), Sent)
        assert chat._driver.outbound.watched == 0


def test_a_loop_that_has_closed_waits_for_nothing():
    with opened_in_a_thread(unread, close_timeout=0.1) as (_, chat, _):
        receipt = chat.send("x")
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(_awaiting(receipt), 0.01))
    assert isinstance(receipt.outcome, Unsent)


# Tags


@virtual
async def test_each_send_with_a_tag_has_one_outcome_in_order():
    chat = await Chat().opened()
    seen = watch(chat)
    chat.connection.send("a", tag="first")
    chat.connection.send("nobody asks")
    chat.connection.send("b", tag=2)
    assert outcomes(seen) == [("Sent", "first"), ("Sent", 2)]
    assert seen[0].size == 1


@virtual
async def test_what_was_not_sent_is_told_before_stopped():
    chat = await Chat(unread, close_timeout=1.0).opened()
    seen = watch(chat)
    waiting = chat.connection.send("a", tag="a")
    chat.connection.send("b", tag="b")
    chat.connection.stop()
    stopped = await chat.connection.wait_stopped()
    assert outcomes(seen) == [("Unsent", "a"), ("Unsent", "b")]
    assert isinstance(seen[-1], Stopped)
    assert stopped.unsent == 2
    assert isinstance(await waiting, Unsent)
    assert waiting.outcome.session == 1


@virtual
async def test_a_send_while_nothing_is_open_is_dropped_and_an_error():
    chat = Chat()
    seen = watch(chat)
    outcome = await chat.connection.send("too early", tag="early")
    assert isinstance(outcome, SendDropped)
    assert (outcome.reason, outcome.session, outcome.attempt) == ("not open", 0, 0)
    assert [type(it) for it in seen] == [ErrorEvent, SendDropped]
    await chat.opened()
    chat.connection.stop()
    outcome = await chat.connection.send("too late")
    assert (outcome.reason, outcome.session) == ("not open", 1)
    assert (await chat.connection.wait_stopped()).unsent == 0


@virtual
async def test_a_subscriber_to_outcomes_may_send_and_stop():
    chat = await Chat(close_timeout=1.0).opened()
    seen = watch(chat)

    def go_on(outcome):
        if outcome.tag < 3:
            chat.connection.send("x", tag=outcome.tag + 1)
        else:
            chat.connection.stop()

    chat.connection.sends.subscribe(go_on)
    chat.connection.send("x", tag=0)
    await chat.connection.wait_stopped()
    assert outcomes(seen) == [("Sent", 0), ("Sent", 1), ("Sent", 2), ("Sent", 3)]
    assert chat.peer.received == ["x"] * 4


def send_again(chat, receipts):
    """Sends again what was unsent; not for ever."""

    def again(outcome):
        if isinstance(outcome, Unsent) and len(receipts) < 100:
            receipts.append(chat.send("again", tag="again"))

    chat.sends.subscribe(again)


@virtual
async def test_what_was_unsent_is_sent_again_on_the_next_attempt():
    chat = await Chat(unread, reconnect=RECONNECT, send_queue=SendQueue(while_connecting=True)).opened()
    seen = watch(chat)
    receipts = [chat.connection.send("a", tag="a")]
    send_again(chat.connection, receipts)
    chat.transport.script = accept
    chat.peer.reset()
    await asyncio.sleep(5)
    assert outcomes(seen) == [("Unsent", "a"), ("Sent", "again")]
    assert [(it.session, it.attempt) for it in seen if isinstance(it, Unsent | Sent)] == [(1, 1), (1, 2)]
    assert len(receipts) == 2
    assert chat.peer.received == ["again"]


@pytest.mark.parametrize("end", ["fin", "reset", "silence"])
async def test_what_was_unsent_is_sent_again_once_the_end_is_known(end):
    filled = asyncio.Event()

    async def script(peer):
        await peer.accept()
        await filled.wait()
        if end == "reset":
            peer.reset()
        elif end == "silence":
            await peer.hang()

    settings = {"close_timeout": 0.2, "heartbeat": 0.2 if end == "silence" else None}
    async with (
        WebSocketServer(script, receive_buffer=8192) as server,
        Project(websocket={"chat": {"url": server.url, **settings}}) as project,
    ):
        chat = project.websocket("chat")
        chat.start()
        await chat.wait_started()
        # More than the system takes: the last ones wait, one of them in part.
        receipts = [chat.send(bytes(8_000_000), tag="first") for _ in range(3)]
        send_again(chat, receipts)
        filled.set()
        stopped = await chat.wait_stopped()
    assert stopped.unsent == 3
    outcomes = [type(it.outcome).__name__ for it in receipts]
    assert outcomes == ["Unsent"] * 3 + ["SendDropped"] * 3


# Waiting for the connection to open

WAITING = SendQueue(while_connecting=True)


@virtual
async def test_what_is_sent_while_connecting_goes_out_behind_what_is_sent_on_opening():
    """A login comes first, because a subscriber to `Opened` sends it."""
    chat = Chat(silent, send_queue=WAITING)
    seen = watch(chat)
    on_start(chat.connection).pipe(client_send(chat.connection, "login")).subscribe()
    chat.connection.start()
    chat.connection.send("a", tag="a")
    chat.connection.send(b"b", tag="b")
    await asyncio.sleep(1)
    assert outcomes(seen) == []
    chat.peer.accept()
    assert chat.peer.received == ["login", "a", b"b"]
    assert outcomes(seen) == [("Sent", "a"), ("Sent", "b")]
    chat.connection.stop()
    stopped = await chat.connection.wait_stopped()
    assert (stopped.messages_sent, stopped.unsent) == (3, 0)


@virtual
@pytest.mark.parametrize("end", ["stop", "shutdown"])
async def test_what_waited_goes_out_before_a_stop_by_a_subscriber_to_opened(end):
    chat = Chat(silent, send_queue=WAITING)
    chat.connection.lifecycle.subscribe(lambda it: chat.end(end) if isinstance(it, Opened) else None)
    chat.connection.start()
    receipt = chat.connection.send("a")
    await asyncio.sleep(1)
    chat.peer.accept()
    stopped = await chat.connection.wait_stopped()
    assert chat.peer.received == ["a"]
    assert isinstance(receipt.outcome, Sent)
    assert (stopped.was_clean, stopped.messages_sent, stopped.unsent) == (True, 1, 0)


@virtual
@pytest.mark.parametrize("told", ["states", "lifecycle"])
@pytest.mark.parametrize("end", ["abort", "close", "reset"])
async def test_what_waited_is_unsent_where_the_end_comes_before_every_subscriber_has_seen_opened(end, told):
    chat = Chat(silent, send_queue=WAITING)
    seen = watch(chat)

    def act(_):
        if chat.connection.state is ConnectionState.OPEN:
            chat.connection.abort() if end == "abort" else getattr(chat.peer, end)()

    getattr(chat.connection, told).subscribe(act)
    chat.connection.start()
    receipt = chat.connection.send("a", tag="a")
    await asyncio.sleep(1)
    chat.peer.accept()
    stopped = await chat.connection.wait_stopped()
    assert (stopped.messages_sent, stopped.unsent) == (0, 1)
    assert isinstance(receipt.outcome, Unsent)
    assert outcomes(seen) == [("Unsent", "a")]
    assert chat.peer.received == []


@virtual
async def test_an_observer_of_a_request_that_raises_harms_no_other_sends(caplog):
    chat = await Chat(unread, send_queue=SendQueue(max_messages=2, overflow="drop_oldest")).opened()
    seen, connection = watch(chat), chat.connection
    match = {"match": lambda _: True}
    for message in ("one", "two"):
        request(connection, message, **match).subscribe(on_error=lambda _: 1 / 0)
    connection.send("a", tag="a")
    pulse().pipe(client_send(connection, "b", tag=lambda _: "b")).subscribe()
    assert outcomes(seen) == []
    chat.peer.resume_reading()
    assert outcomes(seen) == [("Sent", "a"), ("Sent", "b")]
    assert [type(it.error.__cause__) for it in seen if isinstance(it, ErrorEvent) and it.phase == "handler"] == [
        ZeroDivisionError
    ] * 2
    assert connection._driver.outbound.watched == 0


@virtual
async def test_what_is_sent_while_reconnecting_waits_for_the_next_attempt():
    chat = await Chat(reconnect=RECONNECT, send_queue=WAITING).opened()
    chat.peer.close(1001)  # dropping, then reconnecting
    chat.connection.send("a")
    await asyncio.sleep(0.5)
    chat.connection.send("b")
    await asyncio.sleep(5)
    assert [peer.received for peer in chat.transport.peers] == [[], ["a", "b"]]


@virtual
@pytest.mark.parametrize("end", ["reset", "abort"])
async def test_a_receipt_has_one_outcome_also_where_the_peer_reads_on_when_all_is_over(end):
    chat = await Chat(unread).opened()
    seen = watch(chat)
    chat.connection.send("a", tag="a")
    peer = chat.peer
    peer.reset() if end == "reset" else chat.connection.abort()
    peer.resume_reading()
    assert (await chat.connection.wait_stopped()).unsent == 1
    peer.resume_reading()
    assert outcomes(seen) == [("Unsent", "a")]
    assert peer.received == []
    assert chat.connection._driver.outbound.watched == 0


@virtual
async def test_a_tagged_message_that_cannot_be_made_is_dropped():
    chat = await Chat().opened()
    seen, values = watch(chat), Subject()
    connection = chat.connection
    pipelines = [
        client_send(connection, lambda _: 7, tag=str),
        client_send(connection, lambda _: "\ud800", tag=str),
        client_send(connection, values, tag=str),
        client_send(connection, lambda _: object(), codec=int, tag=str),
        client_send(connection, lambda _: 7),
    ]
    for number, sending in enumerate(pipelines):
        pulse(number).pipe(sending).subscribe()
    assert outcomes(seen) == [("SendDropped", str(number)) for number in range(4)]
    assert {it.reason for it in seen if isinstance(it, SendDropped)} == {"no message"}
    assert [it.phase for it in seen if isinstance(it, ErrorEvent)] == ["send"] * 5
    assert connection._driver.outbound.watched == 0


@virtual
@pytest.mark.parametrize("end", ["stop", "abort", "shutdown", "refuse"])
async def test_what_waits_when_the_session_ends_is_unsent(end):
    chat = Chat(silent, send_queue=WAITING)
    seen = watch(chat)
    chat.connection.start()
    receipt = chat.connection.send("a", tag="a")
    await asyncio.sleep(1)
    chat.peer.refuse() if end == "refuse" else chat.end(end)
    stopped = await chat.connection.wait_stopped()
    assert stopped.unsent == 1
    assert outcomes(seen) == [("Unsent", "a")]
    assert receipt.outcome.session == 1
    assert [type(it).__name__ for it in seen][-1] == "Stopped"


@virtual
async def test_what_waits_when_a_retry_is_cancelled_is_unsent_and_not_kept_for_the_next_session():
    chat = await Chat(reconnect=RECONNECT, send_queue=WAITING).opened()
    chat.peer.reset()
    chat.connection.send("a", tag="a")
    chat.connection.stop()
    assert (await chat.connection.wait_stopped()).unsent == 1
    await chat.opened()
    assert chat.peer.received == []


@virtual
async def test_a_message_waits_no_longer_than_its_time_to_live():
    chat = Chat(silent, connect_timeout=None, send_queue=SendQueue(while_connecting=True, time_to_live=10.0))
    seen = watch(chat)
    chat.connection.start()
    chat.connection.send("a", tag="a")
    await asyncio.sleep(5)
    chat.connection.send("b", tag="b")
    await asyncio.sleep(6)
    assert outcomes(seen) == [("SendDropped", "a")]
    assert seen[-1].reason == "expired"
    chat.peer.accept()
    assert chat.peer.received == ["b"]
    await asyncio.sleep(20)
    chat.connection.stop()
    assert (await chat.connection.wait_stopped()).unsent == 1
    assert outcomes(seen) == [("SendDropped", "a"), ("Sent", "b")]


@virtual
@pytest.mark.parametrize("end", ["stop", "abort"])
async def test_a_subscriber_to_errors_may_end_the_session_when_the_queue_is_full(end):
    chat = Chat(silent, send_queue=SendQueue(while_connecting=True, time_to_live=10.0, max_messages=1))
    seen = watch(chat)
    chat.connection.errors.subscribe(lambda _: chat.end(end))
    chat.connection.start()
    chat.connection.send("a", tag="a")
    chat.connection.send("b", tag="b")
    assert (await chat.connection.wait_stopped()).unsent == 2
    assert sorted(outcomes(seen)) == [("SendDropped", "b"), ("Unsent", "a")]


@virtual
async def test_every_message_may_expire():
    chat = Chat(silent, connect_timeout=None, send_queue=SendQueue(while_connecting=True, time_to_live=10.0))
    chat.connection.start()
    chat.connection.send("a")
    await asyncio.sleep(20)
    late = chat.connection.send("b")
    await asyncio.sleep(5)
    chat.peer.accept()
    assert isinstance(await late, Sent)
    assert chat.peer.received == ["b"]


# The bounds


@virtual
@pytest.mark.parametrize("before_open", [True, False])
@pytest.mark.parametrize("bounds", [{"max_messages": 3}, {"max_bytes": 3}])
@pytest.mark.parametrize(
    ("overflow", "kept", "dropped"),
    [("error", "abc", "de"), ("drop_newest", "abc", "de"), ("drop_oldest", "cde", "ab")],
)
async def test_what_does_not_fit_into_the_queue(before_open, bounds, overflow, kept, dropped):
    queue = SendQueue(while_connecting=True, overflow=overflow, **bounds)
    chat = Chat(silent if before_open else unread, send_queue=queue)
    seen = watch(chat)
    chat.connection.start()
    await asyncio.sleep(1)
    receipts = {letter: chat.connection.send(letter, tag=letter) for letter in "abcde"}
    assert outcomes(seen) == [("SendDropped", letter) for letter in dropped]
    assert {receipts[letter].outcome.reason for letter in dropped} == {"full"}
    errors = [str(it.error) for it in seen if isinstance(it, ErrorEvent)]
    full = "'chat': the send queue is full, message not sent; send_queue sets its bounds"
    assert errors == [full] * (len(dropped) if overflow == "error" else 0)
    chat.peer.accept() if before_open else chat.peer.resume_reading()
    assert "".join(chat.peer.received) == kept
    chat.connection.stop()
    stopped = await chat.connection.wait_stopped()
    assert (stopped.messages_sent, stopped.unsent) == (3, 2)


@virtual
@pytest.mark.parametrize("before_open", [True, False])
@pytest.mark.parametrize("overflow", ["error", "drop_newest", "drop_oldest"])
async def test_a_message_larger_than_the_queue_never_fits_and_takes_no_others_place(before_open, overflow):
    queue = SendQueue(max_bytes=3, while_connecting=True, overflow=overflow)
    chat = Chat(silent if before_open else unread, send_queue=queue)
    chat.connection.start()
    await asyncio.sleep(1)
    chat.connection.send("ab")
    assert (await chat.connection.send("abcd")).reason == "full"
    chat.connection.send("c")
    chat.peer.accept() if before_open else chat.peer.resume_reading()
    assert chat.peer.received == ["ab", "c"]


@contextlib.contextmanager
def held_up(script=accept, *, is_started=True, is_open=True, **send_queue):
    """A connection of a plain `with`, its transport, and what lets its loop go on, which is held up until then."""
    transport = ScriptedTransport(script)
    settings = {"url": "ws://chat.test/", "close_timeout": 0.2, "send_queue": send_queue}
    with Project(websocket={"chat": settings}, transport=transport) as project:
        chat = project.websocket("chat")
        if is_started:
            chat.start()
        if is_started and is_open:
            project.call(chat.wait_started)
        is_held, goes_on = threading.Event(), threading.Event()

        def hold_up():
            is_held.set()
            assert goes_on.wait(30)

        project.loop.call_soon_threadsafe(hold_up)
        assert is_held.wait(30)
        try:
            yield chat, transport, goes_on
        finally:
            goes_on.set()


def outcomes_of(receipts):
    """The outcomes of the messages, once all are known."""

    async def wait():
        return await asyncio.gather(*map(_awaiting, receipts))

    return asyncio.run(asyncio.wait_for(wait(), 30))


@pytest.mark.parametrize("bounds", [{"max_bytes": 1_000_000}, {"max_messages": 10}])
@pytest.mark.parametrize(
    ("overflow", "sent"), [("drop_oldest", range(90, 100)), ("drop_newest", range(10)), ("error", range(10))]
)
def test_what_other_threads_hand_over_keeps_the_bounds_while_the_loop_is_busy(overflow, sent, bounds):
    """A camera's thread does not wait for the loop, and what it sends must not pile up meanwhile."""
    with held_up(overflow=overflow, **bounds) as (chat, transport, goes_on):
        errors, told = [], []
        chat.errors.subscribe(errors.append)
        chat.sends.subscribe(told.append)
        receipts = []
        for number in range(100):
            receipts.append(chat.send(bytes([number]) * 100_000, tag=number))
            assert sum(len(receipt.payload) for receipt in receipts) <= 1_000_000
        goes_on.set()
        outcomes = outcomes_of(receipts)
        chat.stop()
    assert [message[0] for message in transport.peer.received] == list(sent)
    assert [type(it) for it in outcomes] == [Sent if n in sent else SendDropped for n in range(100)]
    assert {it.reason for it in outcomes if isinstance(it, SendDropped)} == {"full"}
    assert sorted(it.tag for it in told) == list(range(100))
    assert [event.phase for event in errors] == ["send"] * (90 if overflow == "error" else 0)
    assert chat.last_stopped.unsent == 90
    assert chat._driver.outbound.watched == 0


@pytest.mark.parametrize("overflow", ["error", "drop_newest", "drop_oldest"])
def test_a_message_that_nothing_waits_before_is_handed_over_whatever_its_size(overflow):
    """On the loop's own thread it would be sent as well, where the network takes it."""
    with held_up(overflow=overflow, max_bytes=3) as (chat, transport, goes_on):
        receipts = [chat.send(text) for text in ("large", "a", "larger")]
        goes_on.set()
        outcomes = outcomes_of(receipts)
    # One that would not fit into the empty queue takes no other's place.
    assert transport.peer.received == (["a"] if overflow == "drop_oldest" else ["large"])
    assert [type(it) for it in outcomes].count(Sent) == 1


def test_the_loop_is_woken_once_for_a_batch(monkeypatch):
    with held_up() as (chat, transport, goes_on):
        calls = []
        own_loop = chat._driver.loop
        hand_over = own_loop.loop.call_soon_threadsafe
        monkeypatch.setattr(
            own_loop, "loop", _Loop(own_loop.loop, lambda *args: calls.append(args) or hand_over(*args)), raising=True
        )
        receipts = [chat.send(str(number)) for number in range(1000)]
        assert len(calls) == 1
        monkeypatch.undo()
        goes_on.set()
        assert {type(it) for it in outcomes_of(receipts)} == {Sent}
    assert transport.peer.received == [str(number) for number in range(1000)]


class _Loop:
    """A loop, of which one method is another."""

    def __init__(self, loop, call_soon_threadsafe):
        self._its = loop
        self.call_soon_threadsafe = call_soon_threadsafe

    def __getattr__(self, name):
        return getattr(self._its, name)


def test_what_a_thread_asks_for_keeps_its_order_also_while_the_loop_is_busy():
    """A message that follows another command does not join those that came before it."""
    with held_up(is_started=False, while_connecting=True) as (chat, transport, goes_on):
        receipts = [chat.send("too early")]
        chat.start()
        receipts += [chat.send("one"), chat.send("two")]
        goes_on.set()
        outcomes = outcomes_of(receipts)
    assert transport.peer.received == ["one", "two"]
    assert [type(it) for it in outcomes] == [SendDropped, Sent, Sent]


def test_what_is_sent_before_a_stop_goes_out_before_it_and_what_behind_does_not():
    with held_up() as (chat, transport, goes_on):
        receipts = [chat.send("one"), chat.send("two")]
        chat.stop()
        receipts.append(chat.send("three"))
        goes_on.set()
        outcomes = outcomes_of(receipts)
    assert transport.peer.received == ["one", "two"]
    assert [type(it) for it in outcomes] == [Sent, Sent, SendDropped]


def test_what_is_handed_over_when_the_project_is_left_has_an_outcome():
    with held_up() as (chat, transport, _):
        receipts = [chat.send("one")]
    assert transport.peer.received == ["one"]
    late = [chat.send("late"), chat.send("later")]
    assert [type(receipt.outcome) for receipt in (*receipts, *late)] == [Sent, SendDropped, SendDropped]


def test_a_handed_over_message_lives_from_when_it_was_sent():
    with held_up(silent, is_open=False, while_connecting=True, time_to_live=0.05) as (chat, _, goes_on):
        receipt = chat.send("late", tag="late")
        time.sleep(0.1)
        goes_on.set()
        [outcome] = outcomes_of([receipt])
        assert (type(outcome), outcome.reason) == (SendDropped, "expired")
        chat.stop()
    assert chat.last_stopped.unsent == 1
    assert chat._driver.outbound.watched == 0


@virtual
async def test_what_waits_expires_while_a_subscriber_to_opened_takes_long():
    """The timer has had no turn meanwhile."""
    chat = Chat(silent, send_queue=SendQueue(while_connecting=True, time_to_live=0.2))
    seen = watch(chat)

    def compute(_):
        chat.connection.send("login")
        asyncio.get_running_loop()._jumping.now += 1

    on_start(chat.connection).subscribe(compute)
    chat.connection.start()
    receipt = chat.connection.send("old", tag="old")
    await asyncio.sleep(0.1)
    chat.peer.accept()
    assert chat.peer.received == ["login"]
    assert outcomes(seen) == [("SendDropped", "old")]
    assert receipt.outcome.reason == "expired"
    chat.connection.stop()
    assert (await chat.connection.wait_stopped()).unsent == 1


@pytest.mark.parametrize("end", ["stop", "shutdown"])
@virtual
async def test_what_expired_does_not_go_out_before_a_stop_either(end):
    chat = Chat(silent, send_queue=SendQueue(while_connecting=True, time_to_live=0.2))
    loop = asyncio.get_running_loop()

    def compute(_):
        loop._jumping.now += 0.15
        chat.connection.send("fresh")
        chat.end(end)

    on_start(chat.connection).subscribe(compute)
    chat.connection.start()
    old = chat.connection.send("old")
    await asyncio.sleep(0.1)
    young = chat.connection.send("young")
    chat.peer.accept()
    stopped = await chat.connection.wait_stopped()
    assert chat.peer.received == ["fresh", "young"]
    assert (old.outcome.reason, type(young.outcome)) == ("expired", Sent)
    assert (stopped.messages_sent, stopped.unsent) == (2, 1)


async def test_a_burst_larger_than_the_queue_is_sent_where_the_network_takes_it(monkeypatch):
    # However long a send takes on this machine, these are one burst.
    monkeypatch.setattr("rxnodes.transport.aiohttp.writer.BURST", 60.0)
    async with (
        WebSocketServer(echo) as server,
        Project(websocket={"chat": {"url": server.url, "send_queue": {"max_messages": 10}}}) as project,
    ):
        chat = project.websocket("chat")
        received = []
        chat.messages.subscribe(received.append)
        chat.start()
        await chat.wait_started()
        outcomes = [chat.send(f"{number}") for number in range(1000)]
        chat.stop()
        stopped = await chat.wait_stopped()
    assert received == [f"{number}" for number in range(1000)]
    assert {type(it.outcome) for it in outcomes} == {Sent}
    assert stopped.unsent == 0


@pytest.mark.slow
@pytest.mark.parametrize("compression", [False, True])
@pytest.mark.parametrize("overflow", ["error", "drop_newest", "drop_oldest"])
async def test_a_peer_that_does_not_read_fills_the_queue_and_no_more(overflow, compression):
    size, limit = 64 * 1024, 1024 * 1024
    settings = {
        "close_timeout": 0.2,
        "compression": compression,
        "send_queue": {"max_bytes": limit, "overflow": overflow},
    }
    async with (
        WebSocketServer(never_read) as server,
        Project(websocket={"chat": {"url": server.url, **settings}}) as project,
    ):
        chat = project.websocket("chat")
        chat.start()
        await chat.wait_started()
        receipts = []
        # More than the system's own buffers take, too; random, so that compression does not make it small.
        payload = [os.urandom(size) for _ in range(16)]
        for number in range(400):
            receipts.append(chat.send(payload[number % 16]))
            if number % 10 == 0:
                await asyncio.sleep(0)
        waiting = [it for it in receipts if it.outcome is None]
        assert 0 < sum(it.size for it in waiting if it.payload) <= limit + 2 * 256 * 1024
        chat.stop()
        stopped = await chat.wait_stopped()
    outcomes = [type(it.outcome).__name__ for it in receipts]
    assert outcomes.count("Sent") == stopped.messages_sent
    assert outcomes.count("Unsent") + outcomes.count("SendDropped") == stopped.unsent
    assert outcomes.count("SendDropped") > 0
    assert len(outcomes) == stopped.messages_sent + stopped.unsent
    newest_is_kept = outcomes[-1] == "Unsent"
    assert newest_is_kept is (overflow == "drop_oldest")
