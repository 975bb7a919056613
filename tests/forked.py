"""A program that forks while it is connected: `forked.py plain|async asyncio|uvloop`. tests/rx/test_forking.py runs it.

It ends with 0 if parent and child have found all as it should be.
"""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import sys
import threading
from contextlib import ExitStack

import pytest
import trustme

from rxnodes import Project, RxNodesError, pulse
from rxnodes.rx.event_loops import new_event_loop
from rxnodes.testing import WebSocketServer, echo

way, kind = sys.argv[1:]
if kind == "asyncio":
    sys.modules["uvloop"] = None

PATIENCE = 20
PARENT = os.getpid()

may_answer = threading.Event()
peer_saw_the_end = threading.Event()


async def late(peer):
    """The fork comes while it is being dialled."""
    await peer.read_request()
    while not may_answer.is_set():
        await asyncio.sleep(0.01)
    await echo(peer)


async def watched(peer):
    try:
        await echo(peer)
    finally:
        peer_saw_the_end.set()


def servers(stack):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return {
        "plain": stack.enter_context(WebSocketServer(echo)).url,
        "secure": {
            "url": stack.enter_context(WebSocketServer(echo, tls=context)).url,
            "tls": {"verify": False},
        },
        "late": stack.enter_context(WebSocketServer(late)).url,
        "dialling": {
            "url": stack.enter_context(WebSocketServer(late, tls=context)).url,
            "tls": {"verify": False},
        },
        "aborted": stack.enter_context(WebSocketServer(watched)).url,
    }


OPEN = ("plain", "secure", "aborted")
DIALLING = ("late", "dialling")
told = []


def use(project, websocket):
    for name in websocket:
        connection = project.websocket(name)
        connection.lifecycle.subscribe(lambda event: told.append((os.getpid(), type(event).__name__)))
        connection.start()


# What the child finds


def child_finds_nothing_to_use(project, scene):
    chat = project.websocket_before_the_fork
    for use_it in (
        chat.start,
        chat.stop,
        chat.abort,
        lambda: chat.send("from the child"),
        lambda: project.call(chat.wait_stopped),
        lambda: project.websocket("plain"),
        lambda: project.subscribe(pulse()),
        lambda: scene.subscribe(pulse()),
        project.__enter__,
        lambda: project.scheduler,
    ):
        refused(use_it)
    for wait in (chat.wait_started, chat.wait_stopped):
        with asyncio.Runner() as runner:
            refused(lambda wait=wait, runner=runner: runner.run(wait()))
    project.abort()
    assert project.loop is None


def refused(use_it):
    with pytest.raises(RxNodesError, match="was opened by the process that this one was forked from"):
        use_it()


def child_can_have_a_project_of_its_own(websocket):
    with Project(websocket={"plain": websocket["plain"]}) as project:
        own = project.websocket("plain")
        own.start()
        project.call(own.wait_started)
    assert own.last_stopped.was_clean


def end_child(code, let_me_go):
    gc.collect()
    assert {process for process, _ in told} == {PARENT}
    # The peer of what the parent aborts meanwhile has to see it although this process lives.
    os.read(let_me_go, 1)
    # As multiprocessing ends its children. Where uvloop has looked names up, libuv takes no other end of a child well.
    os._exit(code)


# What the parent finds


def parent_aborts_while_the_child_lives(project, pid, child_may_go):
    project.websocket("aborted").abort()
    assert peer_saw_the_end.wait(PATIENCE)
    os.write(child_may_go, b".")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 7, status
    may_answer.set()


async def parent_goes_on(project):
    async with asyncio.timeout(PATIENCE):
        for name in ("plain", "secure", *DIALLING):
            connection = project.websocket(name)
            await connection.wait_started()
            assert connection.session == connection.attempt == 1
            answer = asyncio.get_running_loop().create_future()
            with connection.messages.subscribe(answer.set_result):
                connection.send("still there")
                assert await answer == "still there"


def all_has_ended_well(project):
    for name in ("plain", "secure", *DIALLING):
        assert project.websocket(name).last_stopped.was_clean, project.websocket(name).last_stopped


def main_plain(stack):
    websocket = servers(stack)
    let_me_go, child_may_go = os.pipe()
    code = 0
    with Project(websocket=websocket) as project:
        use(project, websocket)
        for name in OPEN:
            project.call(project.websocket(name).wait_started)
        project.websocket_before_the_fork = project.websocket("plain")
        with project.scene("menu", connections=[project.websocket("plain")]) as scene:
            pid = os.fork()
            if not pid:
                child_finds_nothing_to_use(project, scene)
                code = 7
            else:
                parent_aborts_while_the_child_lives(project, pid, child_may_go)
                project.call(parent_goes_on, project)
    if not pid:
        del project, scene
        child_can_have_a_project_of_its_own(websocket)
        stack.close()
        end_child(code, let_me_go)
    all_has_ended_well(project)


async def main_async(websocket, let_me_go, child_may_go):
    async with Project(websocket=websocket) as project:
        use(project, websocket)
        for name in OPEN:
            await project.websocket(name).wait_started()
        project.websocket_before_the_fork = project.websocket("plain")
        waits = asyncio.create_task(project.websocket("plain").wait_stopped())
        await asyncio.sleep(0)
        async with project.scene("menu", connections=[project.websocket("plain")]) as scene:
            pid = os.fork()
            if not pid:
                child_finds_nothing_to_use(project, scene)
            else:
                # In a thread, and back: where the loop is deaf, it never comes back.
                await asyncio.to_thread(parent_aborts_while_the_child_lives, project, pid, child_may_go)
                await parent_goes_on(project)
    if pid:
        assert (await waits).was_clean
        all_has_ended_well(project)
    return pid


def run_async(stack):
    websocket = servers(stack)
    let_me_go, child_may_go = os.pipe()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        pid = runner.run(main_async(websocket, let_me_go, child_may_go))
    if not pid:
        child_can_have_a_project_of_its_own(websocket)
        stack.close()
        end_child(7, let_me_go)


with ExitStack() as everything:
    try:
        main_plain(everything) if way == "plain" else run_async(everything)
    except BaseException:
        if os.getpid() != PARENT:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
            os._exit(1)
        raise
