"""Projects and scenes: opened and closed as one."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from concurrent.futures import Future

import pytest
import reactivex
from multidict import CIMultiDict
from reactivex import operators as ops
from virtual import accept, virtual

from rxnodes import (
    ConnectionState,
    Initiator,
    PluginDisabled,
    Project,
    RxNodesError,
    Sent,
    SettingsError,
    Trigger,
    UnknownConfiguration,
    pulse,
)
from rxnodes.lifecycle.events import Traffic
from rxnodes.rx.event_loops import new_event_loop
from rxnodes.testing import WebSocketServer, echo
from rxnodes.transport.scripted import ScriptedTransport
from rxnodes.websocket import all_stopped, client_start, client_stop, on_receive, on_start, on_stop


def project(script=accept, names=("chat",), **fields):
    transport = ScriptedTransport(script)
    return Project(
        websocket={name: {"url": f"ws://{name}.test/", **fields} for name in names}, transport=transport
    ), transport


def test_connections_by_name():
    it, _ = project(names=("chat", "feed"))
    assert it.websocket("chat") is it.websocket("chat")
    assert it.websocket("feed").name == "feed"
    assert it.configurations == ("chat", "feed")
    with pytest.raises(
        UnknownConfiguration, match=r"no connection named 'caht' is configured.*'chat', 'feed'.*did you mean 'chat'"
    ) as raised:
        it.websocket("caht")
    assert isinstance(raised.value, LookupError)

    with pytest.raises(TypeError, match="expected the name of a connection, a str, got int"):
        it.websocket(5)


def test_a_certificate_that_is_not_verified_is_a_warning(caplog):
    transport = ScriptedTransport()
    it = Project(websocket={"chat": {"url": "wss://chat.test/", "tls": {"verify": False}}}, transport=transport)
    it.websocket("chat")
    it.websocket("chat")
    assert [record.message for record in caplog.records] == [
        "chat: the server's certificate is not verified (tls.verify is false)"
    ]


def test_a_disabled_plugin_has_nothing():
    it = Project(plugins={"websocket": False})
    with pytest.raises(PluginDisabled, match="websocket"):
        it.websocket("chat")
    assert len(it.toolbox) == 0
    assert it.configurations == ()


def test_load_from_a_folder(tmp_path):
    (tmp_path / "websocket.toml").write_text('[connections.chat]\nurl = "ws://127.0.0.1:1/"\n')
    it = Project.load(tmp_path, transport=ScriptedTransport())
    assert it.websocket("chat").name == "chat"
    assert len(it.toolbox) == 7


@virtual
async def test_promise_10_leaving_stops_everything_and_delivers_every_stopped():
    it, transport = project(names=("a", "b"))
    seen = []
    async with it:
        for name in ("a", "b"):
            it.subscribe(
                on_stop(it.websocket(name)).pipe(ops.do_action(lambda stopped: seen.append(stopped.connection)))
            )
            it.websocket(name).states.subscribe(on_completed=lambda: seen.append("completed"))
            it.websocket(name).start()
        await asyncio.gather(*(it.websocket(name).wait_started() for name in ("a", "b")))
    assert seen[:2] in (["a", "b"], ["b", "a"])
    assert seen[2:] == ["completed", "completed"]
    assert all(peer.close_frame == (1000, "") for peer in transport.peers)


@virtual
async def test_nothing_can_be_subscribed_in_a_scope_that_was_left():
    it, _ = project()
    async with it:
        scene = it.scene("menu")
        async with scene:
            pass
        with pytest.raises(RxNodesError, match="scene 'menu' has been left"):
            scene.subscribe(pulse())
    with pytest.raises(RxNodesError, match="the project has been left"):
        it.subscribe(pulse())


@virtual
async def test_pipelines_are_isolated(caplog):
    it, transport = project()
    async with it:
        chat = it.websocket("chat")
        numbers, texts, errors = [], [], []
        chat.errors.subscribe(errors.append)
        it.subscribe(
            on_receive(chat).pipe(ops.map(int), ops.do_action(numbers.append)),
            on_receive(chat).pipe(ops.do_action(texts.append)),
            pulse().pipe(client_start(chat)),
        )
        await chat.wait_started()
        for message in ("1", "x", "2"):
            transport.peer.send(message)
        assert texts == ["1", "x", "2"]
    # An exception inside an operator ends that pipeline, as in Rx, and is reported once.
    assert numbers == [1]
    (event,) = errors
    assert (event.phase, type(event.error.__cause__)) == ("handler", ValueError)
    assert event.message.startswith("a pipeline ended with ValueError: invalid literal")
    assert [record.getMessage() for record in caplog.records] == ["chat: a pipeline ended with an error"]
    assert "ValueError" in caplog.text


@virtual
async def test_an_error_outside_a_notification_is_logged(caplog):
    it, _ = project()
    async with it:
        trigger = Trigger()
        it.subscribe(reactivex.throw(ValueError("outside")), trigger.pipe(ops.map(lambda _: 1 / 0)))
        trigger.fire()
        await asyncio.sleep(0)
    assert "the project: a pipeline ended with an error" in caplog.text
    assert "ValueError: outside" in caplog.text
    assert "ZeroDivisionError" in caplog.text


@virtual
async def test_timed_operators_run_on_the_projects_loop():
    it, _ = project()
    threads = []
    async with it:
        done = asyncio.Event()
        it.subscribe(
            pulse().pipe(
                ops.delay(3600.0),
                ops.do_action(lambda _: (threads.append(threading.current_thread()), done.set())),
            )
        )
        await done.wait()
    assert threads == [threading.current_thread()]


@virtual
async def test_a_scene_ends_while_the_project_runs_on():
    it, _ = project(names=("menu", "game"))
    async with it:
        menu, game = it.websocket("menu"), it.websocket("game")
        trigger = Trigger()
        seen = []
        async with it.scene("menu", connections=[menu]) as scene:
            scene.subscribe(trigger.pipe(ops.do_action(seen.append)))
            menu.start()
            game.start()
            await asyncio.gather(menu.wait_started(), game.wait_started())
            trigger.fire("in the scene")
        trigger.fire("after it")
        assert seen == ["in the scene"]
        assert (menu.state, game.state) == (ConnectionState.CLOSED, ConnectionState.OPEN)
        menu.start()
        await menu.wait_started()


@virtual
async def test_a_connection_that_is_first_used_while_the_project_is_left_does_not_start():
    it, transport = project(names=("a", "b"))
    async with it:
        it.subscribe(on_stop(it.websocket("a")).pipe(ops.do_action(lambda _: it.websocket("b").start())))
        it.websocket("a").start()
        await it.websocket("a").wait_started()
    assert len(transport.peers) == 1


# Without asyncio


def test_a_plain_with_runs_a_loop_in_a_thread_of_its_own():
    it, _ = project()
    states = []
    with it:
        chat = it.websocket("chat")
        chat.states.subscribe(states.append)
        it.subscribe(on_start(chat).pipe(client_stop(chat)))
        chat.start()
        assert it.call(chat.wait_stopped).was_clean
        assert all_stopped(chat).run()[0].was_clean
    assert states == [
        ConnectionState.IDLE,
        ConnectionState.CONNECTING,
        ConnectionState.OPEN,
        ConnectionState.CLOSING,
        ConnectionState.CLOSED,
    ]
    assert not any(thread.name == "rxnodes" for thread in threading.enumerate())


def test_call_is_for_other_threads():
    it, _ = project()
    with pytest.raises(RxNodesError, match="not open"):
        it.call(asyncio.sleep, 0)

    async def calls_itself():
        with pytest.raises(RxNodesError, match="other threads"):
            it.call(asyncio.sleep, 0)
        return "called"

    with it:
        assert it.call(calls_itself) == "called"
    with pytest.raises(RxNodesError, match="the project has been left: nothing can be called on its loop any more"):
        it.call(asyncio.sleep, 0)


def test_call_takes_whatever_gives_something_to_await():
    it, transport = project()
    with it:
        chat = it.websocket("chat")
        chat.start()
        assert it.call(chat.wait_started).session == 1
        assert isinstance(it.call(chat.send, "hello", tag=7), Sent)
        assert it.call(all_stopped) == ()
    assert transport.peer.received == ["hello"]


def test_call_refuses_what_it_cannot_await():
    it, _ = project()
    with it:
        # Were the coroutine not closed, it would warn that it was never awaited.
        with pytest.raises(TypeError, match="not a coroutine: leave out the parentheses behind its name"):
            it.call(it.websocket("chat").wait_stopped())
        with pytest.raises(TypeError, match="takes a function and its arguments, not int"):
            it.call(7)
        with pytest.raises(TypeError, match="it gave int"):
            it.call(lambda: 7)


@pytest.mark.parametrize("given", ["ws://127.0.0.1:1/", "", 0, (), False])
def test_connections_that_are_no_dict_are_refused(given):
    kind = type(given).__name__
    with pytest.raises(
        TypeError, match=rf'must be a dict of connections by name, such as {{"chat": "ws://..."}}, not {kind}'
    ):
        Project(websocket=given)


@pytest.mark.parametrize("given", ["websocket", "", 0, ()])
def test_switches_that_are_no_dict_are_one_problem(given):
    with pytest.raises(SettingsError) as raised:
        Project(plugins=given)
    assert raised.value.problems == ("the argument 'plugins': must be a mapping",)


@virtual
async def test_a_second_async_with_that_is_refused_leaves_the_first_one_alone():
    it, transport = project()
    async with it:
        chat = it.websocket("chat")
        chat.start()
        await chat.wait_started()
        with pytest.raises(RxNodesError, match="opened once"):
            async with it:
                raise AssertionError
        assert chat.state is ConnectionState.OPEN
    assert transport.peer.close_frame == (1000, "")
    with pytest.raises(RxNodesError, match="opened once"):
        async with it:
            raise AssertionError


def test_a_second_plain_with_that_is_refused_leaves_the_first_one_alone():
    """The thread of the refused one was left in the place of the first one's, whose connections were never closed."""
    it, transport = project()
    with it:
        chat = it.websocket("chat")
        chat.start()
        it.call(chat.wait_started)
        with pytest.raises(RxNodesError, match="opened once"), it:
            raise AssertionError
        assert chat.state is ConnectionState.OPEN
    assert transport.peer.close_frame == (1000, "")
    with pytest.raises(RxNodesError, match="opened once"), it:
        raise AssertionError
    assert not any(thread.name == "rxnodes" for thread in threading.enumerate())


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_subscriber_that_ends_the_program_ends_the_project_first(error):
    it, _ = project()
    ended = threading.Event()

    def raises(_):
        raise error

    def enter_and_wait():
        with it:
            chat = it.websocket("chat")
            on_start(chat).subscribe(raises)
            on_stop(chat).subscribe(lambda _: ended.set())
            chat.start()
            assert ended.wait(10)

    with pytest.raises(error):
        enter_and_wait()
    assert it.websocket("chat").last_stopped.was_clean


class Interrupted:
    """Interrupts the main thread, as Ctrl+C does, while it waits for the project to close."""

    def __init__(self):
        self._threads = []

    def soon(self):
        # A moment, so that the main thread has come to where it waits.
        thread = threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        self._threads.append(thread)
        thread.start()

    def join(self):
        for thread in self._threads:
            thread.join()


@pytest.fixture
def interrupted():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    it = Interrupted()
    yield it
    it.join()
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("interrupts", [1, 2])
def test_an_interrupt_while_a_plain_with_is_left_aborts_and_waits_for_the_end(interrupted, interrupts):
    it, transport = project(close_timeout=60)
    told, ended = [], threading.Event()

    def begins_to_close(state):
        if state is ConnectionState.CLOSING:
            interrupted.soon()

    def says_goodbye(stopped):
        if interrupts > 1:
            interrupted.soon()
        # As slow as a subscriber may be: it is waited for.
        threading.Event().wait(0.15)
        told.append((stopped.initiator, stopped.code))
        ended.set()

    def enter_and_leave():
        with it:
            chat = it.websocket("chat")
            chat.states.subscribe(begins_to_close)
            on_stop(chat).subscribe(says_goodbye)
            chat.start()
            it.call(chat.wait_started)
            transport.peer.answers_close = False

    with pytest.raises(KeyboardInterrupt):
        enter_and_leave()
    assert told == [(Initiator.LOCAL, 1006)]
    assert ended.wait(10)
    assert transport.peer.was_aborted


def test_an_interrupted_call_is_cancelled(interrupted):
    it, _ = project()
    ended = threading.Event()

    async def work():
        interrupted.soon()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with it:
        with pytest.raises(KeyboardInterrupt):
            it.call(work)
        assert ended.wait(10)


def test_a_plain_with_cannot_be_left_from_its_own_thread():
    """It would wait for itself."""
    it, _ = project()
    told = Future()

    def leaves(_):
        try:
            told.set_result(it.__exit__(None, None, None))
        except RxNodesError as error:
            told.set_exception(error)

    it.__enter__()
    chat = it.websocket("chat")
    on_start(chat).subscribe(leaves)
    chat.start()
    with pytest.raises(RxNodesError, match="cannot be left in the thread that it runs"):
        told.result(10)
    it.__exit__(None, None, None)
    assert chat.last_stopped.was_clean


def test_a_plain_with_whose_loop_was_ended_by_a_subscriber_can_be_left():
    """The loop is closed by the time that it is told to leave."""
    it, _ = project()
    ended = threading.Event()

    def enter_and_wait():
        with it:
            chat = it.websocket("chat")
            chat.states.subscribe(on_completed=ended.set)
            on_start(chat).subscribe(lambda _: (_ for _ in ()).throw(SystemExit(3)))
            chat.start()
            assert ended.wait(10)
            it._background._thread.join()

    with pytest.raises(SystemExit) as raised:
        enter_and_wait()
    assert raised.value.code == 3


# What a connection of a project does


@virtual
async def test_the_round_trips_of_the_heartbeat():
    it, transport = project()
    trips = []
    async with it:
        chat = it.websocket("chat")
        chat.latency.subscribe(trips.append, on_completed=lambda: trips.append("completed"))
        chat.start()
        await chat.wait_started()
        transport.peer.pong(0.25)
        transport.peer.pong(0.5)
    assert trips == [0.25, 0.5, "completed"]


@pytest.mark.parametrize(
    ("wait", "end"), [("wait_started", "accept"), ("wait_started", "refuse"), ("wait_stopped", "refuse")]
)
@virtual
async def test_who_no_longer_waits_holds_nobody_up(wait, end):
    it, transport = project(script=None)
    async with it:
        chat = it.websocket("chat")
        chat.start()
        gone, patient = (asyncio.create_task(getattr(chat, wait)()) for _ in range(2))
        await asyncio.sleep(0.001)
        gone.cancel()
        getattr(transport.peer, end)()
        await asyncio.wait([gone, patient])
        assert gone.cancelled()
        assert (patient.exception() is None) is (end == "accept" or wait == "wait_stopped")


class AtOnce:
    """A transport that may end its link within a call of its owner: nothing in the rules forbids it."""

    def __init__(self):
        self.sink = None
        self.calls = []

    def dial(self, target, sink):
        self.sink = sink
        asyncio.get_running_loop().call_soon(sink.opened, None, CIMultiDict())
        return self

    def send(self, payload, is_text, /):
        self.calls.append("send")

    def close(self, code, reason):
        self.calls.append("close")
        self.sink.close_sent()
        self.sink.close_received(code, reason)
        self.sink.lost(None, Traffic())

    def close_now(self, code, reason):
        self.calls.append("close_now")

    def abort(self):
        self.calls.append("abort")

    async def aclose(self):
        self.calls.append("aclose")


@virtual
async def test_a_transport_that_ends_its_link_at_once():
    transport = AtOnce()
    async with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as it:
        chat = it.websocket("chat")
        for number in (1, 2):
            chat.start()
            await chat.wait_started()
            chat.stop(code=4000)
            stopped = await chat.wait_stopped()
            assert (stopped.session, stopped.was_clean, stopped.code) == (number, True, 4000)
    assert transport.calls == ["close", "close", "aclose"]


def test_a_loop_that_was_closed_under_a_connection_still_tells_the_last_state():
    """A program that ended its loop without leaving the project is no reason to raise into a subscriber's thread."""
    it, _ = project()
    loop = asyncio.new_event_loop()
    chat = it.websocket("chat")
    chat.for_project.attach(loop, threading.get_ident())
    loop.close()
    seen = []
    thread = threading.Thread(target=lambda: chat.states.subscribe(seen.append))
    thread.start()
    thread.join()
    assert seen == [ConnectionState.IDLE]


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, new_event_loop])
def test_commands_on_a_loop_that_was_closed_under_the_project(factory):
    """They raised a bare RuntimeError, and a stop left the state CLOSING for ever."""
    it, _ = project()
    chat = it.websocket("chat")
    loop = factory()

    async def enter():
        await it.__aenter__()
        chat.start()
        await chat.wait_started()

    loop.run_until_complete(enter())
    loop.close()
    for command in (chat.start, chat.stop, chat.abort):
        with pytest.raises(RxNodesError, match="'chat': the event loop was closed, and its project not left"):
            command()
    assert chat.state is ConnectionState.OPEN
    completed = []
    chat.lifecycle.subscribe(on_completed=lambda: completed.append(True))
    it.abort()
    with pytest.raises(RxNodesError, match="the event loop was closed"):
        asyncio.run(it.__aexit__(None, None, None))
    assert completed == [True]
    chat.stop()


@pytest.mark.slow
@pytest.mark.parametrize("factory", [asyncio.new_event_loop, new_event_loop])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sending_on_a_loop_that_was_closed_under_the_project(factory):
    """What the network still takes is sent; what it does not is no bare RuntimeError."""

    async def enter(it):
        await it.__aenter__()
        it.websocket("chat").start()
        await it.websocket("chat").wait_started()

    def send_on_a_closed_loop(url):
        it = Project(websocket={"chat": url})
        loop = factory()
        loop.run_until_complete(enter(it))
        loop.close()
        # More than a socket takes, so that something has to wait for the loop.
        with pytest.raises(RxNodesError, match="the event loop was closed, and its project not left"):  # noqa: PT012
            for _ in range(3):
                it.websocket("chat").send(bytes(2**23))
        # Leaving it releases what still can be.
        with pytest.raises(RxNodesError, match="the event loop was closed"):
            asyncio.run(it.__aexit__(None, None, None))

    with WebSocketServer(echo) as server:
        send_on_a_closed_loop(server.url)
        # Now, and not within another test, which would be warned of it.
        gc.collect()
