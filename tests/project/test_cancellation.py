"""Cancelling what is being left changes nothing, however often, and is passed on (design section 4, promise 10)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from concurrent.futures import CancelledError

import anyio
import pytest
from virtual import accept, virtual

from rxnodes import ConnectionState, Initiator, Project
from rxnodes.rx.event_loops import new_event_loop
from rxnodes.testing import CloseReceived, WebSocketServer, never_answer_close
from rxnodes.transport.scripted import ScriptedTransport

#: So long the peer takes to answer our Close.
SLOW = 0.05


async def slow_to_close(peer):
    await peer.accept()
    with contextlib.suppress(CloseReceived):
        await peer.receive_message()
    await asyncio.sleep(SLOW)
    await peer.send_close(1000, "at last")


class Held:
    """A project with one open connection, and what holds it until it is cancelled."""

    def __init__(self, url, **fields):
        self.project = Project(websocket={"chat": {"url": url, **fields}})
        self.chat = self.project.websocket("chat")
        self.is_held = asyncio.Event()
        self.is_leaving = asyncio.Event()
        self.told = []
        self.chat.lifecycle.subscribe(lambda event: self.told.append(type(event).__name__))
        self.chat.states.subscribe(lambda state: self.is_leaving.set() if state == "closing" else None)
        self._stack = contextlib.AsyncExitStack()

    async def open(self, what="project"):
        await self._stack.enter_async_context(self.project)
        if what == "scene":
            await self._stack.enter_async_context(self.project.scene("menu", connections=[self.chat]))
        self.chat.start()
        await self.chat.wait_started()
        return self

    async def hold(self):
        async with self._stack:
            self.is_held.set()
            await asyncio.Event().wait()

    async def leave(self):
        """Is not cancelled before it is being left."""
        await self._stack.aclose()
        self.is_held.set()


# What cancels. Each gives `hold` a moment, cancels it, and lets no more out than its users are used to.


async def move_on_after(_held, hold):
    with anyio.move_on_after(SLOW / 2) as scope:
        await hold()
    assert scope.cancelled_caught


async def task_group(held, hold):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await held.is_held.wait()
        tasks.cancel_scope.cancel()


async def failing_sibling_in_a_task_group_of_anyio(held, hold):
    async def fail():
        await held.is_held.wait()
        raise ValueError("a sibling")

    with pytest.raises(ExceptionGroup, check=lambda group: group.subgroup(ValueError)):  # noqa: PT012
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            tasks.start_soon(fail)


async def nested_scopes(held, hold):
    async def cancel():
        await held.is_held.wait()
        outer.cancel()
        await held.is_leaving.wait()
        inner.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel)
        with anyio.CancelScope() as outer:
            with anyio.CancelScope() as inner, anyio.move_on_after(60):
                await hold()
            raise AssertionError


async def timeout(_held, hold):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60), asyncio.timeout(SLOW / 2):
            await hold()


async def failing_sibling(held, hold):
    async def fail():
        await held.is_held.wait()
        raise ValueError("a sibling")

    with pytest.raises(ExceptionGroup, check=lambda group: group.subgroup(ValueError)):  # noqa: PT012
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(hold())
            tasks.create_task(fail())


async def wait_for(_held, hold):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(hold(), SLOW / 2)


async def cancel_many_times(held, hold):
    task = asyncio.create_task(hold())
    await held.is_held.wait()
    count = 0
    while not task.done():
        count += task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()
    assert task.cancelling() == count > 2


CANCELLERS = [
    move_on_after,
    task_group,
    failing_sibling_in_a_task_group_of_anyio,
    nested_scopes,
    timeout,
    failing_sibling,
    wait_for,
    cancel_many_times,
]


async def can_still_time_out(cancel):
    """What counts this task's cancellations has come out as without any project."""
    assert asyncio.current_task().cancelling() == await asyncio.create_task(count_with_nothing_held(cancel))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()


async def count_with_nothing_held(cancel):
    """Some give 1: those of the standard library, before CPython 3.13."""
    nothing = Nothing()
    await cancel(nothing, nothing.hold)
    return asyncio.current_task().cancelling()


class Nothing:
    def __init__(self):
        self.is_held = asyncio.Event()
        self.is_leaving = asyncio.Event()

    async def hold(self):
        self.is_held.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.is_leaving.set()
            for _ in range(20):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)


@pytest.mark.slow(but_every=5)
@pytest.mark.parametrize("cancel", CANCELLERS)
@pytest.mark.parametrize("what", ["project", "scene"])
async def test_promise_10_it_is_left_in_order_whatever_cancels(cancel, what):
    async with WebSocketServer(slow_to_close) as server:
        held = await Held(server.url).open(what)
        await cancel(held, held.hold)
        stopped = held.chat.last_stopped
        assert held.told == ["Connecting", "Opened", "Closing", "Stopped"]
        assert (stopped.code, stopped.reason, stopped.was_clean) == (1000, "at last", True)
        await can_still_time_out(cancel)


@pytest.mark.parametrize("cancel", [move_on_after, timeout, cancel_many_times])
def test_promise_10_it_is_left_in_order_on_the_loop_that_rxnodes_makes(cancel):
    async def main():
        async with WebSocketServer(slow_to_close) as server:
            held = await Held(server.url).open()
            await cancel(held, held.hold)
            return held.chat.last_stopped

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert runner.run(main()).was_clean


@pytest.mark.parametrize("cancel", [move_on_after, timeout, wait_for])
async def test_promise_10_a_cancellation_while_it_is_left_is_passed_on(cancel):
    async with WebSocketServer(slow_to_close) as server:
        held = await Held(server.url).open()
        await cancel(held, held.leave)
        assert not held.is_held.is_set()
        assert held.chat.last_stopped.was_clean
        await can_still_time_out(cancel)


@pytest.mark.parametrize("cancel", [move_on_after, timeout])
async def test_promise_10_a_peer_that_never_answers_is_given_up_within_close_timeout(cancel):
    async with WebSocketServer(never_answer_close) as server:
        held = await Held(server.url, close_timeout=SLOW).open()
        await cancel(held, held.hold)
        assert held.told == ["Connecting", "Opened", "Closing", "ErrorEvent", "Stopped"]
        assert held.chat.last_stopped.initiator is Initiator.TIMEOUT


async def test_who_leaves_is_not_woken_by_what_cancels_again_and_again():
    """anyio itself goes round and round until the scope is left; we do not."""
    async with WebSocketServer(slow_to_close) as server:
        held = await Held(server.url).open()
        steps = Steps(held.hold())
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: steps)
                await held.is_held.wait()
                scope.cancel()
                before = steps.count
    assert held.chat.last_stopped.was_clean
    assert steps.count - before < 10


class Steps(Coroutine):
    """Counts how often a coroutine is resumed."""

    def __init__(self, coroutine):
        self._coroutine = coroutine
        self.count = 0

    def send(self, value):
        self.count += 1
        return self._coroutine.send(value)

    def throw(self, *error):
        self.count += 1
        return self._coroutine.throw(*error)

    def close(self):
        self._coroutine.close()

    def __await__(self):
        return self._coroutine.__await__()


def test_a_loop_that_is_shut_down_while_a_project_is_left():
    """What shuts it down cancels all of its tasks, those included that others made to wait."""
    with WebSocketServer(slow_to_close) as server:
        holds = []

        async def main():
            held = await Held(server.url).open()
            holds.append((held, asyncio.create_task(held.leave())))
            await held.is_leaving.wait()

        asyncio.run(main())
        ((held, task),) = holds
        assert task.cancelled()
        assert held.told == ["Connecting", "Opened", "Closing", "Stopped"]
        assert held.chat.last_stopped.was_clean


def test_a_plain_scene_whose_call_is_cancelled_again_and_again():
    with WebSocketServer(slow_to_close) as server, Project(websocket={"chat": server.url}) as project:
        chat = project.websocket("chat")

        def cancel_calls():
            if chat.state is ConnectionState.CLOSING:
                for task in asyncio.all_tasks():
                    if task.get_coro().__qualname__ == "ProjectLoop.call.<locals>.run":
                        task.cancel()
                asyncio.get_running_loop().call_soon(cancel_calls)

        chat.states.subscribe(lambda _: cancel_calls())
        with pytest.raises(CancelledError), project.scene("menu", connections=[chat]):  # noqa: PT012
            chat.start()
            project.call(chat.wait_started)
        assert chat.last_stopped.was_clean


# What else is awaited


class SlowTransport(ScriptedTransport):
    """Takes a while to release what its links share."""

    was_released = False

    async def aclose(self):
        await asyncio.sleep(1)
        await asyncio.sleep(1)
        self.was_released = True
        await super().aclose()


@pytest.mark.parametrize("cancellations", [1, 7])
@virtual
async def test_what_the_transport_has_to_release_is_released_to_its_end(cancellations):
    transport = SlowTransport(accept)

    async def hold():
        async with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
            project.websocket("chat").start()
            await project.websocket("chat").wait_started()

    task = asyncio.create_task(hold())
    await asyncio.sleep(0.5)
    for _ in range(cancellations):
        task.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert transport.was_released
    assert asyncio.get_running_loop().time() == pytest.approx(2)


@virtual
async def test_what_went_wrong_in_a_script_is_not_lost_in_a_cancellation():
    def fails(peer):
        peer.accept()
        raise ValueError("in the script")

    async def hold():
        transport = ScriptedTransport(fails)
        async with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
            project.websocket("chat").start()
            await asyncio.sleep(3600)

    task = asyncio.create_task(hold())
    await asyncio.sleep(1)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(BaseExceptionGroup, check=lambda group: group.subgroup(ValueError)):
        await task


# What cuts it short


@pytest.mark.parametrize("cancellations", [0, 4])
@virtual
async def test_promise_10_abort_cuts_it_short(cancellations):
    transport = ScriptedTransport(accept)
    project = Project(websocket={"chat": {"url": "ws://chat.test/", "close_timeout": 60}}, transport=transport)
    chat = project.websocket("chat")
    is_open = asyncio.Event()

    async def hold():
        async with project:
            chat.start()
            await chat.wait_started()
            transport.peer.answers_close = False
            is_open.set()
            if cancellations:
                await asyncio.sleep(3600)

    task = asyncio.create_task(hold())
    await is_open.wait()
    for _ in range(cancellations):
        task.cancel()
        await asyncio.sleep(1)
    assert not task.done()
    before = asyncio.get_running_loop().time()
    project.abort()
    await asyncio.wait([task])
    assert asyncio.get_running_loop().time() == before
    assert task.cancelled() is (cancellations > 0)
    assert (chat.last_stopped.initiator, chat.last_stopped.code) == (Initiator.LOCAL, 1006)
    assert transport.peer.was_aborted


def test_abort_may_be_called_by_any_thread_at_any_time():
    transport = ScriptedTransport(accept)
    project = Project(websocket={"chat": "ws://chat.test/", "other": "ws://other.test/"}, transport=transport)
    chat = project.websocket("chat")
    project.websocket("other")
    project.abort()
    with project:
        chat.start()
        project.call(chat.wait_started)
        project.abort()
        assert project.call(chat.wait_stopped).code == 1006
        chat.start()
        project.call(chat.wait_started)
        assert chat.state is ConnectionState.OPEN
    project.abort()
    assert chat.last_stopped.was_clean
