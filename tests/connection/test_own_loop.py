"""What may be called from which thread, and awaited on which loop (docs/threads.md)."""

from __future__ import annotations

import asyncio
import threading

import pytest
from reactivex import operators as ops
from reactivex.scheduler import EventLoopScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler
from threads import PATIENCE, at_once, on_another_loop, project

from rxnodes import ConnectionState, Project, RequestTimeout, Sent, Trigger
from rxnodes.testing import WebSocketServer, echo
from rxnodes.websocket import (
    all_stopped,
    client_send,
    client_start,
    client_stop,
    on_receive,
    on_start,
    on_stop,
    request,
    until_stopped,
)

# --- Several threads at once ------------------------------------------------------------------------------------------


def test_each_threads_messages_leave_in_its_order():
    threads, each = 4, 200
    with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as it:
        chat = it.websocket("chat")
        heard = []
        on_receive(chat).subscribe(heard.append)
        chat.start()
        it.call(chat.wait_started)
        at_once(*[lambda name=name: [chat.send(f"{name} {n}") for n in range(each)] for name in range(threads)])
        chat.stop()
        assert it.call(chat.wait_stopped).messages_sent == threads * each
    for name in range(threads):
        assert [text for text in heard if text.startswith(f"{name} ")] == [f"{name} {n}" for n in range(each)]


def test_a_subscriber_hears_all_from_then_on_while_others_come_and_go():
    it, transport = project()
    is_over = threading.Event()
    states = []

    def come_and_go():
        while not is_over.is_set():
            subscription = it.subscribe(on_receive(chat).pipe(ops.map(str.upper)), chat.states, on_start(chat))
            states.append(chat.state)
            subscription.dispose()

    async def play():
        for number in range(500):
            transport.peer.send(str(number))
            await asyncio.sleep(0)

    def play_and_end():
        try:
            it.call(play)
        finally:
            is_over.set()

    with it:
        chat = it.websocket("chat")
        heard = []
        chat.messages.subscribe(heard.append)
        chat.start()
        it.call(chat.wait_started)
        at_once(play_and_end, come_and_go, come_and_go)
        chat.stop()
        assert it.call(chat.wait_stopped).messages_received == 500
    assert heard == [str(number) for number in range(500)]
    assert set(states) == {ConnectionState.OPEN}


def test_subscribers_are_called_on_the_projects_thread_and_triggers_on_that_which_fires():
    it, transport = project()
    names = []
    trigger = Trigger()
    trigger.subscribe(lambda _: names.append(threading.current_thread()))

    async def greet():
        transport.peer.send("hello")

    with it:
        chat = it.websocket("chat")
        on_receive(chat).subscribe(lambda _: names.append(threading.current_thread().name))
        chat.start()
        it.call(chat.wait_started)
        it.call(greet)
        trigger.fire()
    assert names == ["rxnodes", threading.current_thread()]


# --- Awaiting on another loop than the project's ----------------------------------------------------------------------


def ask(chat):
    # No timeout: its timer would wake the coroutine, and hide that nothing else does.
    return request(chat, "ask", match=bool, timeout=None)


#: What a coroutine awaits, given the connection; and what it gets.
AWAITED = {
    "a command's outcome": (lambda chat: chat.send("hello"), lambda it: isinstance(it, Sent)),
    "the start": (lambda chat: chat.wait_started(), lambda it: it.session == 1),
    "a request": (ask, lambda it: it == "ask"),
    "a request behind operators": (
        lambda chat: ask(chat).pipe(ops.map(str.upper)),
        lambda it: it == "ASK",
    ),
    "a message": (lambda chat: said(chat, on_receive(chat).pipe(ops.first())), lambda it: it == "said"),
    "a list of messages": (
        lambda chat: said(chat, on_receive(chat).pipe(ops.take(1), ops.to_list())),
        lambda it: it == ["said"],
    ),
    "a state": (lambda chat: chat.states.pipe(ops.first()), lambda it: it is ConnectionState.OPEN),
    "an end": (lambda chat: stopping(chat, on_stop(chat).pipe(ops.first())), lambda it: it.was_clean),
    "all ends": (lambda chat: stopping(chat, all_stopped(chat)), lambda it: it[0].was_clean),
    "a pulse held back": (
        lambda chat: stopping(chat, on_stop(chat).pipe(until_stopped(chat), ops.first())),
        lambda it: it.was_clean,
    ),
}


def said(chat, observable):
    asyncio.get_running_loop().call_later(0.01, chat.send, "said")
    return observable


def stopping(chat, observable):
    asyncio.get_running_loop().call_later(0.01, chat.stop)
    return observable


@pytest.mark.parametrize("what", AWAITED)
def test_awaiting_works_on_any_loop(what):
    awaited, is_right = AWAITED[what]

    async def elsewhere(chat):
        return await awaited(chat)

    with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as it:
        chat = it.websocket("chat")
        chat.start()
        it.call(chat.wait_started)
        assert is_right(on_another_loop(elsewhere(chat)))


def test_an_error_reaches_a_coroutine_on_another_loop():
    async def elsewhere(chat):
        return await request(chat, "ask", match=lambda _: False, timeout=0.05)

    with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as it:
        chat = it.websocket("chat")
        chat.start()
        it.call(chat.wait_started)
        with pytest.raises(RequestTimeout, match="no answer within"):
            on_another_loop(elsewhere(chat))


def test_a_loop_that_has_closed_holds_nobody_up():
    """Its coroutine was left behind while it waited."""
    it, transport = project()
    heard = []

    async def greet():
        transport.peer.send("hello")

    with it:
        chat = it.websocket("chat")
        chat.start()
        it.call(chat.wait_started)
        loop = asyncio.new_event_loop()
        on_receive(chat).subscribe(heard.append, scheduler=AsyncIOScheduler(loop))
        loop.close()
        on_receive(chat).subscribe(heard.append)
        it.call(greet)
    assert heard == ["hello"]
    assert chat.last_stopped.was_clean


# --- Pipelines of nodes, subscribed elsewhere -------------------------------------------------------------------------


def test_a_pipeline_subscribed_in_another_thread_is_in_force_when_that_returns():
    it, transport = project()
    with it:
        chat = it.websocket("chat")
        go = Trigger()
        at_once(
            lambda: it.subscribe(
                on_start(chat).pipe(client_send(chat, "hello"), client_stop(chat)),
                go.pipe(client_start(chat)),
            )
        )
        go.fire()
        assert it.call(chat.wait_stopped).messages_sent == 1
    assert transport.peer.received == ["hello"]


def test_a_pipeline_goes_on_in_another_thread_in_order():
    it, transport = project()
    seen, done = [], threading.Event()
    elsewhere = EventLoopScheduler()

    def see(text):
        seen.append((text, threading.current_thread().name == "rxnodes"))
        if text == "3":
            done.set()

    async def play():
        for text in ("1", "2", "3"):
            transport.peer.send(text)

    with it:
        chat = it.websocket("chat")
        it.subscribe(on_receive(chat).pipe(ops.observe_on(elsewhere), ops.do_action(see)))
        chat.start()
        it.call(chat.wait_started)
        it.call(play)
        assert done.wait(PATIENCE)
        elsewhere.dispose()
    assert seen == [("1", False), ("2", False), ("3", False)]
