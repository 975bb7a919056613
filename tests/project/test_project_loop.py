"""How other threads reach the loop of a project, and what its end cuts short."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
from threads import PATIENCE, at_once, calling, project
from virtual import accept

from rxnodes import ConnectionState, Project
from rxnodes.testing import ScriptedTransport


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


def test_all_threads_get_the_same_connection():
    it, _ = project()
    with it:
        connections = at_once(*[lambda: it.websocket("chat")] * 8)
    assert len(set(map(id, connections))) == 1


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
