"""What may be called from which thread, and awaited on which loop (docs/threads.md)."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import pytest
from reactivex import operators as ops
from reactivex.scheduler import EventLoopScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler
from virtual import accept

from rxnodes import ConnectionState, Project, RequestTimeout, RxNodesError, Sent, Trigger
from rxnodes.testing import ScriptedTransport, WebSocketServer, echo
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

#: How long anything may take on a busy machine, in seconds.
PATIENCE = 20


def project(script=accept):
    transport = ScriptedTransport(script)
    return Project(websocket={"chat": "ws://chat.test/"}, transport=transport), transport


def at_once(*actions):
    """Runs each action in a thread of its own, all begun together, and gives what they return."""
    barrier = threading.Barrier(len(actions))

    def run(action):
        barrier.wait(PATIENCE)
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return [future.result(PATIENCE) for future in [pool.submit(run, action) for action in actions]]


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


def test_whoever_subscribes_hears_all_from_then_on_whatever_others_do():
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


def test_all_threads_get_the_same_connection():
    it, _ = project()
    with it:
        connections = at_once(*[lambda: it.websocket("chat")] * 8)
    assert len(set(map(id, connections))) == 1


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


def test_scenes_in_several_threads():
    names = [f"c{number}" for number in range(6)]
    it = Project(websocket={name: f"ws://{name}.test/" for name in names}, transport=ScriptedTransport(accept))

    def live(name):
        connection = it.websocket(name)
        with it.scene(name, connections=[connection]):
            connection.start()
            it.call(connection.wait_started)
        return connection.state

    with it:
        assert at_once(*[lambda name=name: live(name) for name in names]) == [ConnectionState.CLOSED] * len(names)


# --- Calls that the end of the project cuts short ---------------------------------------------------------------------


def calling(it, function):
    """A call that waits in another thread, once it has begun to wait."""
    has_begun = threading.Event()

    async def begin():
        has_begun.set()
        return await function()

    pool = ThreadPoolExecutor(1)
    call = pool.submit(it.call, begin)
    assert has_begun.wait(PATIENCE)
    pool.shutdown(wait=False)
    return call


def test_whoever_waits_for_a_start_that_does_not_come_is_told():
    it, _ = project()
    with it:
        call = calling(it, it.websocket("chat").wait_started)
    with pytest.raises(RxNodesError, match="the project closed before the connection was started"):
        call.result(PATIENCE)


def test_a_call_that_would_never_end_is_cancelled():
    it, _ = project()
    with it:
        call = calling(it, asyncio.Event().wait)
    with pytest.raises(CancelledError):
        call.result(PATIENCE)


def test_a_call_is_handed_over_before_the_end_or_refused(monkeypatch):
    """Handed to a loop that has come to its end, it would wait forever."""
    it, _ = project()
    is_handing_over, has_been_left = threading.Event(), threading.Event()
    hand_over = asyncio.run_coroutine_threadsafe

    def slowly(coroutine, loop):
        is_handing_over.set()
        # Until the project has been left, which must not be so before it is handed over.
        has_been_left.wait(0.2)
        return hand_over(coroutine, loop)

    with ThreadPoolExecutor(1) as pool:
        with it:
            monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", slowly)
            call = pool.submit(it.call, asyncio.Event().wait)
            assert is_handing_over.wait(PATIENCE)
        has_been_left.set()
        with pytest.raises(CancelledError):
            call.result(PATIENCE)


# --- Awaiting on another loop than the project's ----------------------------------------------------------------------


def on_another_loop(coroutine):
    """Runs a coroutine on a loop of its own, in a thread that nobody waits for if it hangs."""
    result = Future()

    def run():
        try:
            result.set_result(asyncio.run(coroutine))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test is told
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result.result(PATIENCE)


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


def test_an_error_reaches_who_awaits_on_another_loop():
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


# --- Waiting before the beginning and after the end -------------------------------------------------------------------


@pytest.mark.parametrize("wait", ["wait_started", "wait_stopped"])
def test_who_waited_on_a_loop_of_its_own_before_the_project_was_entered_is_woken(wait):
    it, _ = project()
    chat = it.websocket("chat")
    waits, told = threading.Event(), Future()

    async def elsewhere():
        waiting = asyncio.ensure_future(getattr(chat, wait)())
        # It waits from the next turn on. No timer: that would wake the loop, and hide that nothing else does.
        asyncio.get_running_loop().call_soon(waits.set)
        told.set_result(await waiting)

    threading.Thread(target=lambda: asyncio.run(elsewhere()), daemon=True).start()
    assert waits.wait(PATIENCE)
    with it:
        chat.start()
        it.call(chat.wait_started)
        chat.stop()
        assert told.result(PATIENCE).session == 1


def test_who_asks_for_a_start_and_waits_gets_that_session():
    """What one thread asks for keeps its order: the waiting comes behind the start, which is still to be handed over."""
    it, _ = project()
    may_go_on = threading.Event()

    async def hold_up():
        may_go_on.wait(PATIENCE)

    async def elsewhere(chat):
        it.call(chat.wait_stopped)
        with ThreadPoolExecutor(1) as pool:
            holding_up = pool.submit(it.call, hold_up)
            chat.start()
            chat.stop()
            waiting = asyncio.ensure_future(chat.wait_stopped())
            # Until it waits: then the start can take effect.
            await asyncio.sleep(0)
            may_go_on.set()
            holding_up.result(PATIENCE)
        return await waiting

    with it:
        chat = it.websocket("chat")
        chat.start()
        chat.stop()
        assert on_another_loop(elsewhere(chat)).session == 2


class Ended:
    """A project that was entered with a plain `with`, and whose loop is at some point of its end."""

    def __init__(self, monkeypatch):
        self.is_handing_over = threading.Event()
        self.has_stopped = threading.Event()
        self.may_close = threading.Event()
        outer = self

        class Loop(asyncio.SelectorEventLoop):
            is_slow = False

            def call_soon_threadsafe(self, *args, **kwargs):
                if self.is_slow and not outer.is_handing_over.is_set():
                    outer.is_handing_over.set()
                    # Until the loop has stopped, which must not be so before it is handed over.
                    outer.has_stopped.wait(0.2)
                return super().call_soon_threadsafe(*args, **kwargs)

            def close(self):
                outer.has_stopped.set()
                outer.may_close.wait(PATIENCE)
                super().close()

        monkeypatch.setattr("rxnodes.rx.event_loops.new_event_loop", Loop)
        self.project, self.transport = project()
        self.chat = self.project.websocket("chat")


@pytest.mark.parametrize("loop", ["has stopped", "has closed"])
@pytest.mark.parametrize("was_started", [True, False])
def test_waiting_after_the_end_gives_what_is_known(monkeypatch, loop, was_started):
    ended = Ended(monkeypatch)
    chat = ended.chat
    if loop == "has closed":
        ended.may_close.set()
    with ThreadPoolExecutor(1) as pool:
        ended.project.__enter__()
        if was_started:
            chat.start()
            ended.project.call(chat.wait_started)
        leaving = pool.submit(ended.project.__exit__, None, None, None)
        try:
            assert ended.has_stopped.wait(PATIENCE)
            if loop == "has closed":
                leaving.result(PATIENCE)
            if was_started:
                assert on_another_loop(chat.wait_started()) is chat.last_opened
                assert on_another_loop(chat.wait_stopped()) is chat.last_stopped
            else:
                for wait in (chat.wait_started, chat.wait_stopped):
                    with pytest.raises(RxNodesError, match="closed before the connection was started"):
                        on_another_loop(wait())
        finally:
            ended.may_close.set()
        leaving.result(PATIENCE)


def test_what_is_handed_over_in_the_moment_of_the_end_is_not_lost(monkeypatch):
    ended = Ended(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        ended.project.__enter__()
        ended.project.loop.is_slow = True
        waiting = pool.submit(on_another_loop, ended.chat.wait_stopped())
        assert ended.is_handing_over.wait(PATIENCE)
        ended.may_close.set()
        ended.project.__exit__(None, None, None)
        with pytest.raises(RxNodesError, match="closed before the connection was started"):
            waiting.result(PATIENCE)


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


def test_waiting_where_the_loop_was_closed_and_the_project_not_left():
    async def enter():
        await project.__aenter__()
        chat.start()

    project = Project(websocket={"chat": "ws://chat.test/"}, transport=ScriptedTransport())
    chat = project.websocket("chat")
    asyncio.run(enter())
    with pytest.raises(RxNodesError, match="the event loop was closed, and its project not left"):
        asyncio.run(asyncio.wait_for(chat.wait_stopped(), 10))
