"""What the metrics count, and when."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from projects import closed, opened, project_of
from steering import Steering
from virtual import accept

from rxnodes import ConnectionState, Project
from rxnodes.telemetry import instrument, metrics
from rxnodes.testing import WebSocketServer, attempts, echo, in_virtual_time, peer_script, stopped

NAME = "rxnodes.connection.name"
DIRECTION = "network.io.direction"


def traffic(observed):
    """Messages and bytes, received and transmitted."""
    return [
        observed.points(metric, DIRECTION).get((direction,))
        for metric in ("rxnodes.message.count", "rxnodes.message.io")
        for direction in ("receive", "transmit")
    ]


@pytest.mark.parametrize(
    ("diagram", "attempt", "session", "errors"),
    [
        pytest.param("o", ("opened", None), ("local", 1000, True), set(), id="stopped"),
        pytest.param("", ("stopped", None), ("local", 1006, False), set(), id="stopped while connecting"),
        pytest.param("oX", ("opened", None), ("remote", 1000, True), set(), id="closed by the peer"),
        pytest.param(
            *("r", ("failed", "ConnectError"), ("network", 1006, False)), {("connect", "ConnectError")}, id="refused"
        ),
        pytest.param(*("o#", ("opened", None), ("network", 1006, False)), {("receive", "ConnectionLost")}, id="broken"),
    ],
)
@in_virtual_time
async def test_an_attempt_and_its_session_are_counted_once(observed, diagram, attempt, session, errors):
    async with project_of(peer_script(diagram)) as project:
        instrument(project, **observed.providers)
        project.websocket("chat").start()
        await asyncio.sleep(1)
    assert observed.points("rxnodes.attempt.count", "rxnodes.outcome", "error.type", NAME) == {(*attempt, "chat"): 1}
    ends = ("rxnodes.initiator", "rxnodes.close.code", "rxnodes.close.clean", NAME)
    assert observed.points("rxnodes.session.count", *ends) == {(*session, "chat"): 1}
    assert observed.points("rxnodes.error.count", "rxnodes.phase", "error.type") == dict.fromkeys(errors, 1)


@in_virtual_time
async def test_every_attempt_of_a_session_is_counted(observed):
    reconnect = {"enabled": True, "initial_delay": 1, "jitter": False}
    async with project_of(attempts("r", "o#", "o"), reconnect=reconnect) as project:
        instrument(project, **observed.providers)
        project.websocket("chat").start()
        await asyncio.sleep(60)
        counted = observed.points("rxnodes.attempt.count", "rxnodes.outcome", "error.type")
        assert counted == {("failed", "ConnectError"): 1, ("opened", None): 2}
        assert observed.points("rxnodes.session.count", "rxnodes.initiator") == {}
    assert observed.points("rxnodes.session.count", "rxnodes.initiator") == {("local",): 1}


@in_virtual_time
async def test_messages_are_counted_while_a_session_runs_and_over_sessions(observed):
    peers = []
    async with project_of(lambda peer: (peers.append(peer), peer.accept())) as project:
        chat = project.websocket("chat")
        instrument(project, **observed.providers)
        assert traffic(observed) == [0, 0, 0, 0]
        await opened(chat)
        peers[0].send("äh")
        chat.send(b"12345")
        assert traffic(observed) == [1, 1, 3, 5]
        await closed(chat)
        assert traffic(observed) == [1, 1, 3, 5]
        await opened(chat)
        chat.send("x")
        assert traffic(observed) == [1, 2, 3, 6]
    assert traffic(observed) == [1, 2, 3, 6], "the last export of a program comes when its project has been left"


@in_virtual_time
async def test_what_was_carried_without_telemetry_is_not_counted(observed):
    async with project_of() as project:
        chat = await opened(project.websocket("chat"))
        for is_counted in (False, True, False, True):
            disposable = instrument(project, **observed.providers) if is_counted else None
            chat.send("x")
            if disposable is not None and traffic(observed) == [0, 1, 0, 1]:
                disposable.dispose()
        assert traffic(observed) == [0, 2, 0, 2]


@in_virtual_time
async def test_a_login_is_in_no_metric(observed):

    async def log_in(greeting):
        await greeting.send("token")
        await greeting.receive()
        during.append(traffic(observed))

    def script(peer):
        peer.accept()
        peer.expect(lambda _: (peer.send("welcome"), peer.send("news")))

    during = []
    async with project_of(script, after_connect=log_in) as project:
        instrument(project, **observed.providers)
        await opened(project.websocket("chat"))
        assert during == [[0, 0, 0, 0]]
        assert traffic(observed) == [1, 0, 4, 0]
    assert traffic(observed) == [1, 0, 4, 0]


@in_virtual_time
async def test_durations(observed):
    async with project_of(peer_script("--o-----p", answers_close=False), close_timeout=2) as project:
        instrument(project, **observed.providers)
        chat = project.websocket("chat")
        chat.start()
        await asyncio.sleep(5)
    took = {
        name: observed.histogram(f"rxnodes.{name}.duration").get("chat", (0, 0))
        for name in ("connect", "ping", "close")
    }
    assert took == {name: (1, pytest.approx(it)) for name, it in {"connect": 0.2, "ping": 0.1, "close": 2}.items()}
    metric = observed.metrics()["rxnodes.ping.duration"]
    assert metric.unit == "s"
    assert metric.data.data_points[0].explicit_bounds[:2] == (0.001, 0.005), "not OpenTelemetry's own, for milliseconds"


@in_virtual_time
async def test_every_state_is_told_of_every_connection(observed):
    async with project_of(accept, "a", "b") as project:
        instrument(project, **observed.providers)
        first, _ = project.websocket("a"), project.websocket("b")
        await opened(first)
        shown = observed.points("rxnodes.connection.count", NAME, "rxnodes.connection.state")
        assert {key for key, count in shown.items() if count} == {("a", "open"), ("b", "idle")}
        assert len(shown) == 2 * len(ConnectionState)
        await project.remove_websocket("b")
        assert {name for name, _ in observed.points("rxnodes.connection.count", NAME, "state")} == {"a"}
    assert observed.points("rxnodes.connection.count", NAME) == {}


@in_virtual_time
async def test_without_names_connections_are_counted_together(observed):
    async with project_of(accept, "a", "b") as project:
        instrument(project, by_connection=False, **observed.providers)
        for name in ("a", "b"):
            await opened(project.websocket(name))
            project.websocket(name).send(name)
        assert observed.points("rxnodes.connection.count", NAME, "rxnodes.connection.state")[None, "open"] == 2
        assert observed.points("rxnodes.message.count", NAME, DIRECTION)[None, "transmit"] == 2
        assert observed.histogram("rxnodes.connect.duration")[None][0] == 2


@in_virtual_time
async def test_beyond_so_many_connections_the_names_are_left_out_and_nothing_is_lost(observed, monkeypatch):
    # The SDK has room for 2,000 sets of attributes, and would show the last ones together.
    monkeypatch.setattr(metrics, "MOST_NAMES", 3)
    async with project_of() as project:
        instrument(project, **observed.providers)
        chat = await opened(project.websocket("chat"))
        chat.send("before")
        for number in range(2):
            project.add_websocket(f"guest {number}", "ws://guest.test/")
        assert len(observed.points("rxnodes.message.count", NAME, DIRECTION)) == 6
        project.add_websocket("one more", "ws://guest.test/")
        chat.send("after")
        shown = observed.points("rxnodes.message.count", NAME, DIRECTION)
        assert shown == {(None, "receive"): 0, (None, "transmit"): 2}
        assert observed.points("rxnodes.attempt.count", NAME) == {(None,): 1}
        await project.remove_websocket("one more")
        states = observed.points("rxnodes.connection.count", NAME, "rxnodes.connection.state")
        assert (states[None, "open"], states[None, "idle"]) == (1, 2)


@pytest.mark.slow
def test_names_are_told_of_almost_a_thousand_connections(observed):
    """The SDK has room for 2,000 sets of attributes: for two of each name, and for two without one behind them."""
    project = project_of(None)
    instrument(project, **observed.providers)
    for number in range(999):
        project.add_websocket(f"guest {number}", "ws://guest.test/")
    assert len(observed.points("rxnodes.message.count", NAME)) == 999
    project.add_websocket("one more", "ws://guest.test/")
    shown = observed.points("rxnodes.message.count", NAME, DIRECTION)
    assert shown == {(None, "receive"): 0, (None, "transmit"): 0}


@pytest.mark.slow
@pytest.mark.parametrize("count", [200, 1_100])
@in_virtual_time
async def test_the_sdk_shows_every_state_however_many_connections_there_are(observed, count):
    """It has room for 2,000 sets of attributes, and a connection has six states: an alarm must find "open"."""
    async with project_of(accept, *(f"feed-{1 + it}" for it in range(count))) as project:
        instrument(project, **observed.providers)
        seen, named = {}, {}
        for number in range(1, count + 1):
            connection = project.websocket(f"feed-{number}")
            connection.start()
            if number in {100, 199, 200, 900, 1_000, 1_100}:
                await connection.wait_started()
                states = observed.points("rxnodes.connection.count", NAME, "rxnodes.connection.state")
                assert None not in {state for _, state in states}
                seen[number] = sum(value for (_, state), value in states.items() if state == "open")
                named[number] = Counter(state for name, state in states if name is not None)
        assert seen == {number: number for number in named}
        assert set(named[199].values()) == {199}
        assert named[200] == {"open": 200}
        assert named.get(1_000, {}) == {}, "from here on no metric has names"


@in_virtual_time
async def test_every_kind_of_end_is_told_however_many_there_are(observed, monkeypatch):
    """A name has a set of attributes for each, and of too many the SDK would tell no attribute at all."""
    monkeypatch.setattr(metrics, "MOST_SETS", 3)
    codes = iter((4000, 4000, 4001, 4001))

    def script(peer):
        peer.accept()
        peer.close(next(codes))

    async with project_of(script, "a", "b") as project:
        instrument(project, **observed.providers)
        for sessions, shown in (
            (("a", "b", "a"), {("a", 4000): 1, ("b", 4000): 1, ("a", 4001): 1}),
            (("b",), {(None, 4000): 2, (None, 4001): 2}),
        ):
            for name in sessions:
                project.websocket(name).start()
                await project.websocket(name).wait_stopped()
            assert observed.points("rxnodes.session.count", NAME, "rxnodes.close.code") == shown
        assert observed.points("rxnodes.attempt.count", NAME) == {("a",): 2, ("b",): 2}, "it has few sets"


@in_virtual_time
async def test_a_name_that_comes_again_goes_on_counting(observed):
    async with project_of() as project:
        instrument(project, **observed.providers)
        for count in (1, 2):
            guest = project.add_websocket("guest", "ws://guest.test/")
            await opened(guest)
            guest.send("x")
            await project.remove_websocket("guest")
            assert observed.points("rxnodes.message.count", NAME, DIRECTION)["guest", "transmit"] == count


@pytest.mark.slow
async def test_no_collection_from_another_thread_counts_too_much_or_goes_back(observed):
    """Sessions come and go over a real network, while another thread collects all the time."""
    reconnect = {"enabled": True, "initial_delay": 0.001, "jitter": False}
    async with WebSocketServer(echo) as server:
        settings = {"url": server.url, "reconnect": reconnect}
        async with Project(websocket={"chat": settings}) as project:
            instrument(project, **observed.providers)
            chat = project.websocket("chat")
            seen = []
            is_over = False

            def collect():
                while not is_over:
                    seen.append(traffic(observed)[1] or 0)

            collecting = asyncio.get_running_loop().run_in_executor(None, collect)
            for _ in range(30):
                await opened(chat)
                for _ in range(10):
                    chat.send("x")
                await closed(chat)
            is_over = True
            await collecting
    assert seen == sorted(seen)
    assert traffic(observed)[1] == 300


def test_the_metrics_are_those_of_the_page():
    page = (Path(__file__).parents[2] / "docs/telemetry.md").read_text()
    shown = {}
    for names, kind, unit in re.findall(r"^\| (`rxnodes\..*?) \| ([\w -]+), `(.*?)` \|", page, re.MULTILINE):
        shown |= dict.fromkeys(re.findall("`(.*?)`", names), (kind, unit))
    made = {}

    class Meters:
        def get_meter(self, *_):
            return self

        def __getattr__(self, method):
            kind = method.removeprefix("create_").removeprefix("observable_").replace("up_down", "up-down")

            def create(name, *callbacks_and_unit, **_):
                made[name] = (kind.replace("_", " "), callbacks_and_unit[-2])

            return create

    instrument(project_of(None), meter_provider=Meters())
    assert made == shown


@in_virtual_time
async def test_how_long_closing_took_does_not_follow_a_clock_that_is_set(observed, monkeypatch):
    loop = asyncio.get_running_loop()

    def script(peer):
        peer.accept()
        peer.expect_close(lambda: loop.call_later(0.25, peer.close))

    async with project_of(script) as project:
        instrument(project, **observed.providers)
        chat = await opened(project.websocket("chat"))
        chat.stop()
        monkeypatch.setattr(loop, "_began_at", loop._began_at + timedelta(hours=1))
        await chat.wait_stopped()
    assert observed.histogram("rxnodes.close.duration") == {"chat": (1, pytest.approx(0.25))}


@in_virtual_time
async def test_what_a_session_carried_that_another_ends_is_counted_and_its_end_is_not(observed):
    steering = Steering(at_once=True)
    async with project_of() as project:
        project.steer(steering.take)
        instrument(project, **observed.providers)
        chat = project.websocket("chat")
        for session in (4, 9):
            steering.at_once = True
            steering.helm.begin(session)
            await chat.wait_started()
            steering.helm.hold()
            await chat.send("hello")
            steering.at_once = False
            steering.helm.abort()
            await asyncio.sleep(1)
            steering.release(is_lost=True)
        assert traffic(observed) == [0, 2, 0, 10]
        assert observed.points("rxnodes.session.count", NAME) == {}
        assert observed.points("rxnodes.error.count", "error.type") == {("HolderLost",): 2}
        # Of a session that another had begun, it is not known when it began to close.
        steering.helm.tell(stopped(connection="chat", session=10))
    assert observed.histogram("rxnodes.close.duration") == {}
