"""Waiting for a session to open or to end: before it begins and when all is over, on any loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from threads import PATIENCE, on_another_loop, project
from virtual import Chat, virtual

from rxnodes import ConnectError, Project, RxNodesError, Stopped
from rxnodes.testing import ScriptedTransport


async def turn(count=3):
    """Lets the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


@virtual
async def test_wait_started_gives_the_opened_or_raises():
    chat = Chat()
    waiting = asyncio.ensure_future(chat.connection.wait_started())
    await turn()
    assert not waiting.done()
    chat.connection.start()
    opened = await waiting
    assert await chat.connection.wait_started() is opened
    chat.connection.stop()
    await chat.connection.wait_stopped()
    assert await chat.connection.wait_started() is opened


@virtual
async def test_wait_started_raises_when_the_session_ends_without_opening():
    chat = Chat(lambda peer: peer.refuse("the server answered 503", status=503, retry_after=1.0))
    chat.connection.start()
    for _ in range(2):
        with pytest.raises(ConnectError, match="503") as raised:
            await chat.connection.wait_started()
        error = chat.connection.last_stopped.error
        assert raised.value is not error
        assert vars(raised.value) == vars(error)


@virtual
async def test_wait_started_raises_when_it_is_stopped_before_it_is_open():
    chat = Chat(None)
    chat.connection.start()
    waiting = asyncio.ensure_future(chat.connection.wait_started())
    await turn()
    chat.connection.stop()
    with pytest.raises(ConnectError, match="'chat' stopped before it was open"):
        await waiting


@virtual
async def test_wait_stopped_waits_before_the_first_start_and_then_gives_the_last():
    chat = Chat()
    waiting = asyncio.ensure_future(chat.connection.wait_stopped())
    await turn()
    assert not waiting.done()
    await chat.opened()
    chat.connection.stop()
    stopped = await waiting
    assert isinstance(stopped, Stopped)
    assert await chat.connection.wait_stopped() is stopped


@virtual
async def test_a_wait_ends_when_the_project_closes():
    chat = Chat()
    waiting = asyncio.ensure_future(chat.connection.wait_stopped())
    await turn()
    chat.connection.for_project.detach()
    for wait in (waiting, chat.connection.wait_started(), chat.connection.wait_stopped()):
        with pytest.raises(RxNodesError, match="closed before the connection was started"):
            await wait


# On a loop of its own: before the beginning and after the end


@pytest.mark.parametrize("wait", ["wait_started", "wait_stopped"])
def test_a_wait_on_another_loop_that_began_before_the_project_was_entered_ends(wait):
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


def test_a_wait_behind_a_start_in_another_thread_gets_that_session():
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


def test_waiting_where_the_loop_was_closed_and_the_project_not_left():
    async def enter():
        await project.__aenter__()
        chat.start()

    project = Project(websocket={"chat": "ws://chat.test/"}, transport=ScriptedTransport())
    chat = project.websocket("chat")
    asyncio.run(enter())
    with pytest.raises(RxNodesError, match="the event loop was closed, and its project not left"):
        asyncio.run(asyncio.wait_for(chat.wait_stopped(), 10))
