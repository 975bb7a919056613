"""Connections that come and go (design section 8): `add_websocket` and `remove_websocket`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
from eager import an_eager_factory
from reactivex import operators as ops
from virtual import accept, virtual

from rxnodes import (
    ConnectionState,
    PluginDisabled,
    Project,
    RxNodesError,
    SendDropped,
    SettingsError,
    Stopped,
    UnknownConfiguration,
    map_async,
    pulse,
)
from rxnodes.transport.scripted import ScriptedTransport
from rxnodes.websocket import client_start, on_receive, on_stop, until_stopped

PATIENCE = 10
URL = "ws://chat.test/"


def empty(script=accept):
    return Project(transport=ScriptedTransport(script))


class Told:
    """What a connection told, its completion last."""

    def __init__(self, connection):
        self.events = []
        connection.lifecycle.subscribe(
            lambda event: self.events.append(type(event).__name__),
            on_completed=lambda: self.events.append("completed"),
        )

    @property
    def stopped(self):
        return self.events.count("Stopped")


async def opened(project, fields=URL):
    """A connection that was added, and is open."""
    chat = project.add_websocket("chat", fields)
    chat.start()
    await chat.wait_started()
    return chat


def never_answers_close(peer):
    peer.accept()
    peer.answers_close = False


def known(project, name="chat"):
    try:
        return project.websocket(name)
    except UnknownConfiguration:
        return None


# --- Adding -----------------------------------------------------------------------------------------------------------


@virtual
async def test_a_connection_is_added_before_the_project_is_open_and_while_it_runs():
    project = Project(websocket={"first": "ws://first.test/"}, transport=ScriptedTransport(accept))
    early = project.add_websocket("early", "ws://early.test/")
    async with project:
        late = project.add_websocket("late", {"url": "ws://late.test/", "close_timeout": 2, "codec": "json"})
        assert project.configurations == ("first", "early", "late")
        for connection in (early, late):
            assert project.websocket(connection.name) is connection
            connection.start()
            assert (await connection.wait_started()).session == 1
        assert late.codec is not None
    assert (early.state, late.state) == (ConnectionState.CLOSED, ConnectionState.CLOSED)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("http://chat.test/", "connections.chat.url: must begin with ws:// or wss://"),
        ({"url": URL, "heartbeet": 3}, "connections.chat.heartbeet: unknown name; did you mean heartbeat?"),
        ({"url": URL, "heartbeat": "3"}, "connections.chat.heartbeat: must be a number of seconds"),
        ({}, "connections.chat.url: is missing"),
        (0, "connections.chat"),
    ],
)
def test_its_settings_are_checked_as_those_of_a_project_are(fields, problem):
    project = empty()
    with pytest.raises(SettingsError) as added:
        project.add_websocket("chat", fields)
    with pytest.raises(SettingsError) as given:
        Project(websocket={"chat": fields})
    elsewhere = [problem.removeprefix("the argument 'websocket'") for problem in given.value.problems]
    assert [problem.removeprefix("add_websocket") for problem in added.value.problems] == elsewhere
    assert f"add_websocket: {problem}" in str(added.value)
    assert project.configurations == ()


@pytest.mark.parametrize("name", ["", " chat", "a\nb"])
def test_its_name_is_checked_too(name):
    with pytest.raises(SettingsError, match="must be a name of printable characters"):
        empty().add_websocket(name, URL)
    with pytest.raises(TypeError, match="expected the name of a connection, a str, got int"):
        empty().add_websocket(5, URL)


def test_a_name_that_is_taken_is_refused_and_the_one_that_has_it_stays():
    project = empty()
    chat = project.add_websocket("chat", URL)
    with pytest.raises(SettingsError, match="there is a connection named 'chat' already"):
        project.add_websocket("chat", "ws://another.test/")
    assert project.websocket("chat") is chat


@virtual
async def test_a_project_that_is_being_left_takes_none():
    project = empty()
    refused = []

    def add(_stopped):
        try:
            project.add_websocket("another", URL)
        except RxNodesError as error:
            refused.append(str(error))

    async with project:
        chat = await opened(project)
        on_stop(chat).subscribe(add)
    add(None)
    assert refused == ["the project is being left, or was: no connection can be added any more"] * 2


@virtual
async def test_a_disabled_plugin_has_none():
    project = Project(plugins={"websocket": False})
    with pytest.raises(PluginDisabled):
        project.add_websocket("chat", URL)
    with pytest.raises(PluginDisabled):
        await project.remove_websocket("chat")


def test_threads_add_and_remove_at_once_in_a_plain_with():
    with empty() as project, ThreadPoolExecutor(8) as pool:
        chats = list(pool.map(lambda n: project.add_websocket(f"chat {n}", URL), range(40)))
        for chat in chats:
            chat.start()
        opened = list(pool.map(lambda chat: project.call(chat.wait_started), chats))
        assert len(opened) == len(chats)
        list(pool.map(lambda chat: project.call(project.remove_websocket, chat.name), chats))
        assert project.configurations == ()
        assert all(chat.last_stopped.was_clean for chat in chats)


# --- Removing ---------------------------------------------------------------------------------------------------------


def closes_late(peer):
    peer.accept()
    peer.answers_close = False
    asyncio.get_running_loop().call_later(0.2, peer.close, 1000, "at last")


#: What the peer does, and what is done before the removal.
MOMENTS = {
    "never used": (accept, None),
    "idle": (accept, lambda chat: None),
    "connecting": (None, lambda chat: chat.start()),
    "open": (accept, lambda chat: chat.start()),
    "closing": (accept, lambda chat: (chat.start(), chat.stop())),
    "will start again": (accept, lambda chat: (chat.start(), chat.stop(), chat.start())),
    "retrying": (lambda peer: peer.refuse(), lambda chat: chat.start()),
    "closed": (accept, lambda chat: (chat.start(), chat.abort())),
}


@pytest.mark.parametrize("moment", MOMENTS)
@virtual
async def test_a_connection_is_removed_at_any_moment(moment):
    script, prepare = MOMENTS[moment]
    fields = {"url": URL, "close_timeout": 1, "reconnect": {"enabled": moment == "retrying", "initial_delay": 20}}
    project = Project(websocket={"chat": fields}, transport=ScriptedTransport(script))
    async with project:
        if prepare is not None:
            chat = project.websocket("chat")
            told = Told(chat)
            prepare(chat)
            await asyncio.sleep(0.001)
            sessions = chat.session
        await asyncio.wait_for(project.remove_websocket("chat"), 2)
        assert project.configurations == ()
        with pytest.raises(UnknownConfiguration, match="no connection named 'chat' is configured"):
            project.websocket("chat")
        with pytest.raises(UnknownConfiguration):
            await project.remove_websocket("chat")
        if prepare is not None:
            assert told.stopped == sessions
            assert told.events[-1] == "completed"
            chat.start()
            await asyncio.sleep(1)
            assert chat.session == sessions
            assert chat.state in {ConnectionState.IDLE, ConnectionState.CLOSED}
            # All that is still asked of it is answered at once, and does nothing.
            chat.stop()
            chat.abort()
            with contextlib.suppress(RxNodesError):
                await chat.wait_stopped()


@virtual
async def test_before_the_project_is_open_and_when_it_has_been_left():
    project = empty()
    early = Told(project.add_websocket("early", URL))
    project.add_websocket("late", URL)
    await project.remove_websocket("early")
    assert early.events == ["completed"]
    async with project:
        assert project.configurations == ("late",)
    await project.remove_websocket("late")
    assert project.configurations == ()


@pytest.mark.parametrize("how", ["removed before the project is open", "asked for when it has been left"])
@virtual
async def test_a_connection_that_never_has_a_loop_does_nothing(how):
    project = Project(websocket={"chat": URL}, transport=ScriptedTransport())
    if how.startswith("removed"):
        chat = project.websocket("chat")
        await project.remove_websocket("chat")
    else:
        async with project:
            pass
        chat = project.websocket("chat")
    chat.start()
    chat.stop()
    chat.abort()
    assert isinstance(await chat.send("hello"), SendDropped)
    assert Told(chat).events == ["completed"]
    for wait in (chat.wait_started, chat.wait_stopped):
        with pytest.raises(RxNodesError, match="'chat' was removed, or the project closed"):
            await wait()


@virtual
async def test_who_waits_for_a_first_start_learns_that_it_was_removed():
    async with empty() as project:
        chat = project.add_websocket("chat", URL)
        waiting = asyncio.gather(chat.wait_started(), chat.wait_stopped(), return_exceptions=True)
        await asyncio.sleep(0)
        await project.remove_websocket("chat")
        assert [str(error) for error in await waiting] == [
            "'chat' was removed, or the project closed before the connection was started"
        ] * 2


@virtual
async def test_the_same_name_again_is_a_new_connection():
    async with empty() as project:
        first = await opened(project)
        await project.remove_websocket("chat")
        second = await opened(project, "ws://another.test/")
        assert second is not first
        assert second.session == 1
        assert (first.state, second.state) == (ConnectionState.CLOSED, ConnectionState.OPEN)


@virtual
async def test_two_who_remove_it_at_once_both_wait_and_the_name_is_free_behind_them():
    async with empty(never_answers_close) as project:
        chat = await opened(project, {"url": URL, "close_timeout": 3})
        told = Told(chat)
        removals = [asyncio.ensure_future(project.remove_websocket("chat")) for _ in range(2)]
        done, _ = await asyncio.wait(removals, timeout=2)
        assert not done
        assert known(project) is None
        with pytest.raises(SettingsError, match="'chat' is still being removed"):
            project.add_websocket("chat", URL)
        await asyncio.gather(*removals)
        assert told.events[-2:] == ["Stopped", "completed"]
        assert project.add_websocket("chat", URL).state is ConnectionState.IDLE


@pytest.mark.parametrize("cancellations", [1, 5])
@virtual
async def test_a_cancellation_meanwhile_is_passed_on_behind_the_end(cancellations):
    async with empty(never_answers_close) as project:
        chat = await opened(project, {"url": URL, "close_timeout": 3})
        told = Told(chat)
        removal = asyncio.ensure_future(project.remove_websocket("chat"))
        for _ in range(cancellations):
            await asyncio.sleep(0.1)
            removal.cancel()
        with pytest.raises(asyncio.CancelledError):
            await removal
        assert told.events[-2:] == ["Stopped", "completed"]
        assert chat.last_stopped.duration == 3
        assert known(project) is None
        project.add_websocket("chat", URL)


@virtual
async def test_what_cancels_again_and_again_changes_nothing_either():
    """anyio does so in every turn of the loop."""
    scope = anyio.CancelScope()

    def closes_many_turns_later(peer):
        peer.accept()
        peer.expect_close(lambda: (scope.cancel(), in_turns(20, lambda: peer.close(1000, "at last"))))

    async with empty(closes_many_turns_later) as project:
        chat = await opened(project)
        with scope:
            await project.remove_websocket("chat")
        assert scope.cancelled_caught
        assert chat.last_stopped.reason == "at last"


def in_turns(turns, act):
    """Does something after so many turns of the loop."""
    asyncio.get_running_loop().call_soon(*((in_turns, turns - 1, act) if turns else (act,)))


# --- From within ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held_back", [False, True])
@pytest.mark.parametrize("eager", [False, True])
@virtual
async def test_a_handler_of_its_own_end_removes_it(eager, held_back):
    if eager:
        asyncio.get_running_loop().set_task_factory(an_eager_factory())
    async with empty() as project:
        chat = await opened(project)
        behind = []
        project.subscribe(
            on_stop(chat).pipe(
                until_stopped(chat) if held_back else ops.map(lambda it: it),
                map_async(lambda _: project.remove_websocket("chat")),
                ops.do_action(
                    on_next=lambda _: behind.append("removed"), on_completed=lambda: behind.append("completed")
                ),
            ),
        )
        # One that is told behind the handler, and of the end before the completion.
        seen = []
        chat.for_nodes.ended.subscribe(lambda it: seen.append(type(it)), on_completed=lambda: seen.append("completed"))
        chat.stop()
        await chat.wait_stopped()
        await asyncio.sleep(1)
        assert behind == ["removed", "completed"]
        assert seen == [Stopped, "completed"]
        assert known(project) is None


@virtual
async def test_a_handler_of_a_message_removes_it_and_all_that_came_is_delivered():
    def script(peer):
        peer.accept()
        for word in ("one", "two", "three"):
            peer.send(word)

    async with empty(script) as project:
        chat = project.add_websocket("chat", URL)
        seen = []
        project.subscribe(
            on_receive(chat).pipe(ops.do_action(seen.append)),
            on_receive(chat).pipe(ops.take(1), map_async(lambda _: project.remove_websocket("chat"))),
        )
        chat.start()
        await chat.wait_stopped()
        assert seen == ["one", "two", "three"]
        assert chat.last_stopped.was_clean


@virtual
async def test_on_stop_client_start_cannot_hold_it_up():
    async with empty() as project:
        chat = project.add_websocket("chat", URL)
        project.subscribe(on_stop(chat).pipe(client_start(chat)), pulse().pipe(client_start(chat)))
        await chat.wait_started()
        await project.remove_websocket("chat")
        await asyncio.sleep(1)
        assert chat.session == 1


# --- From elsewhere, and while the project is left --------------------------------------------------------------------


@pytest.mark.parametrize("cancelled", [False, True])
def test_it_is_removed_from_another_loop(cancelled):
    peers, is_closing = [], threading.Event()

    def closes_when_told(peer):
        peer.accept()
        peers.append(peer)
        peer.expect_close(is_closing.set)

    with empty(closes_when_told) as project:
        chat = project.add_websocket("chat", URL)
        told = Told(chat)
        threads = []
        chat.lifecycle.subscribe(on_completed=lambda: threads.append(threading.current_thread().name))
        chat.start()
        project.call(chat.wait_started)

        async def remove():
            removal = asyncio.ensure_future(project.remove_websocket("chat"))
            assert await asyncio.to_thread(is_closing.wait, PATIENCE)
            if cancelled:
                removal.cancel()
                await asyncio.sleep(0)
            assert not removal.done()
            project.loop.call_soon_threadsafe(peers[0].close, 1000, "at last")
            await removal

        with pytest.raises(asyncio.CancelledError) if cancelled else contextlib.nullcontext():
            asyncio.run(remove())
        assert told.events[-2:] == ["Stopped", "completed"]
        assert threads == ["rxnodes"]
        assert chat.last_stopped.reason == "at last"


@virtual
async def test_the_project_is_left_meanwhile():
    async with contextlib.AsyncExitStack() as stack:
        project = await stack.enter_async_context(empty(closes_late))
        chat = await opened(project)
        told = Told(chat)
        removal = asyncio.ensure_future(project.remove_websocket("chat"))
        await asyncio.sleep(0)
        await stack.aclose()
        assert told.events[-2:] == ["Stopped", "completed"]
        await removal
    assert told.stopped == 1


def test_a_plain_with_is_left_meanwhile():
    with ThreadPoolExecutor(1) as pool:
        with empty(closes_late) as project:
            chat = project.add_websocket("chat", URL)
            told = Told(chat)
            is_closing = threading.Event()
            chat.states.subscribe(lambda state: is_closing.set() if state == "closing" else None)
            chat.start()
            project.call(chat.wait_started)
            removal = pool.submit(asyncio.run, project.remove_websocket("chat"))
            assert is_closing.wait(PATIENCE)
        removal.result(PATIENCE)
    assert told.events[-2:] == ["Stopped", "completed"]


def test_the_projects_loop_is_shut_down_meanwhile():
    """It cancels the removal in the moment before it is done, and who waits for that elsewhere is told of the end."""
    project, is_removed, removed = empty(closes_late), threading.Event(), []

    async def main():
        async with project:
            chat = await opened(project)
            on_stop(chat).subscribe(lambda _: asyncio.get_running_loop().call_soon(cancel_all))
            threading.Thread(target=remove, daemon=True).start()
            await chat.wait_stopped()

    def cancel_all():
        for task in asyncio.all_tasks():
            if "Connections.end" in task.get_coro().__qualname__:
                task.cancel()

    def remove():
        asyncio.run(project.remove_websocket("chat"))
        removed.append(known(project))
        is_removed.set()

    asyncio.run(main())
    assert is_removed.wait(PATIENCE)
    assert removed == [None]


@virtual
async def test_aborting_the_project_cuts_a_removal_short():
    async with empty(never_answers_close) as project:
        chat = await opened(project)
        asyncio.get_running_loop().call_later(0.5, project.abort)
        await project.remove_websocket("chat")
        assert chat.last_stopped.duration == 0.5


def test_where_the_loop_was_closed_under_the_project():
    project = empty()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(project.__aenter__())
    told = Told(loop.run_until_complete(opened(project)))
    loop.close()
    with pytest.raises(RxNodesError, match="the event loop was closed"):
        asyncio.run(project.remove_websocket("chat"))
    assert told.events[-1] == "completed"


# --- What is left of it -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@virtual
async def test_nothing_of_it_is_left_in_the_project_nor_in_a_scene():
    async with empty() as project, project.scene("menu") as menu:
        chat = await opened(project, {"url": URL, "codec": "json"})
        for scope in (project, menu):
            scope.subscribe(on_stop(chat).pipe(until_stopped(chat)), on_receive(chat), chat.states, chat.errors)
        await project.remove_websocket("chat")
        left = weakref.ref(chat)
        del chat
        await asyncio.sleep(0)
        gc.collect()
        assert left() is None


@pytest.mark.slow
@virtual
async def test_a_thousand_that_came_and_went_leave_nothing_behind():
    async with empty() as project:

        async def one(n):
            chat = project.add_websocket(f"chat {n}", URL)
            project.subscribe(on_stop(chat), chat.errors)
            chat.start()
            await chat.wait_started()
            await project.remove_websocket(chat.name)

        def ours():
            gc.collect()
            return sum(str(type(it).__module__).startswith("rxnodes.") for it in gc.get_objects())

        await one("first")
        before = ours()
        for n in range(1_000):
            await one(n)
        project._transport.peers.clear()
        assert ours() <= before + 10
