"""Threads, and loops in them, for the tests of what may be called and awaited where."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from virtual import accept

from rxnodes import Project
from rxnodes.testing import ScriptedTransport

#: How long anything may take on a busy machine, in seconds.
PATIENCE = 20


def project(script=accept):
    transport = ScriptedTransport(script)
    return Project(websocket={"chat": "ws://chat.test/"}, transport=transport), transport


@contextlib.contextmanager
def opened_in_a_thread(script=accept, **fields):
    """A project in a thread of its own whose connection is open, that connection, and its transport."""
    transport = ScriptedTransport(script)
    with Project(websocket={"chat": {"url": "ws://chat.test/", **fields}}, transport=transport) as project:
        chat = project.websocket("chat")
        chat.start()
        project.call(chat.wait_started)
        yield project, chat, transport


def at_once(*actions):
    """Runs each action in a thread of its own, all begun together, and gives what they return."""
    barrier = threading.Barrier(len(actions))

    def run(action):
        barrier.wait(PATIENCE)
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return [future.result(PATIENCE) for future in [pool.submit(run, action) for action in actions]]


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
