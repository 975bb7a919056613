"""What is wired for each of many connections: always on one machine, and in a fleet while it is held."""

from __future__ import annotations

import asyncio

import pytest
import reactivex
from reactivex import operators as ops
from steering import Steering
from virtual import accept, virtual

from rxnodes import HandlerError, PluginDisabled, Project, RxNodesError, UnknownConfiguration, holding, pulse
from rxnodes.testing import ScriptedTransport
from rxnodes.websocket import client_send, client_start, on_receive

NAMES = ("a", "b", "c")


def project(**more):
    return Project(
        websocket={name: f"ws://{name}.test/" for name in NAMES}, transport=ScriptedTransport(accept), **more
    )


class Fleet:
    """A project whose connections are steered, each by one of these."""

    def __init__(self):
        self.project = project()
        self.by_name = {}
        self.project.steer(self._take)

    def _take(self, connection):
        self.by_name[connection.name] = steering = Steering(at_once=True)
        steering.take(connection)

    def hold(self, name):
        self.project.websocket(name)
        self.by_name[name].helm.hold()
        return self.by_name[name].helm


class Wired:
    """A wiring that keeps what it was given."""

    def __init__(self):
        self.scopes = []
        self.names = []

    def __call__(self, scope, connection):
        self.scopes.append(scope)
        self.names.append(connection.name)
        scope.subscribe(connection.states)


@virtual
async def test_on_one_machine_all_are_wired_at_once_until_the_project_is_left():
    it, wired = project(), Wired()
    it.for_each(["a", "b"], wired)
    assert wired.names == ["a", "b"]
    async with it:
        it.for_each(iter(["c"]), wired)
        assert wired.names == ["a", "b", "c"]
        await it.remove_websocket("b")
        assert [scope.has_ended for scope in wired.scopes] == [False, True, False]
    assert all(scope.has_ended for scope in wired.scopes)
    with pytest.raises(RxNodesError, match="what was wired for 'a' has been left"):
        wired.scopes[0].subscribe(reactivex.never())


@virtual
async def test_in_a_fleet_each_is_wired_while_it_is_held():
    fleet, wired = Fleet(), Wired()
    fleet.project.for_each(NAMES, wired)
    # A million connections do not fit into every worker.
    assert len(fleet.project.connections) == 0
    async with fleet.project:
        helm = fleet.hold("b")
        fleet.hold("c")
        assert wired.names == ["b", "c"]
        helm.let_go()
        assert [scope.has_ended for scope in wired.scopes] == [True, False]
        helm.hold()
        assert wired.names == ["b", "c", "b"]
        late = Wired()
        fleet.project.for_each(NAMES, late)
        assert late.names == ["b", "c"]
    assert all(scope.has_ended for scope in wired.scopes + late.scopes)


@virtual
async def test_what_is_wired_begins_anew_with_each_holding():
    fleet, counts = Fleet(), []

    def wire(scope, connection):
        scope.subscribe(
            on_receive(connection).pipe(ops.scan(lambda n, _: n + 1, 0), ops.do_action(counts.append)),
        )

    fleet.project.for_each(["a"], wire)
    async with fleet.project:
        for session in (1, 2):
            helm = fleet.hold("a")
            helm.begin(session)
            chat = fleet.project.websocket("a")
            await chat.wait_started()
            for _ in range(2):
                fleet.project._transport.peer.send("x")
            await asyncio.sleep(1)
            helm.stop(1000, "")
            await chat.wait_stopped()
            helm.let_go()
    assert counts == [1, 2, 1, 2]


@pytest.mark.parametrize("is_fleet", [False, True])
@virtual
async def test_what_a_wiring_raises_is_reported_and_undone_and_harms_no_other(is_fleet):
    fleet = Fleet() if is_fleet else None
    it = project() if fleet is None else fleet.project
    begun, seen, errors = Wired(), [], []

    def wire(scope, connection):
        begun(scope, connection)
        if connection.name == "a":
            raise ValueError("no such luck")
        seen.append(connection.name)

    async with it:
        a = it.websocket("a")
        a.errors.subscribe(errors.append)
        it.for_each(["a", "b"], wire)
        if fleet is not None:
            fleet.hold("a")
            fleet.hold("b")
        assert seen == ["b"]
        [error] = errors
        assert (error.connection, error.phase) == ("a", "handler")
        assert isinstance(error.error, HandlerError)
        assert "no such luck" in error.message
        assert [scope.has_ended for scope in begun.scopes] == [True, False]


@virtual
async def test_a_connection_that_is_added_later_stays_as_it_is():
    it, wired = project(), Wired()
    it.steer(lambda _: None)
    async with it:
        guest = it.add_websocket("guest", "ws://guest.test/")
        it.for_each(["guest"], wired)
        assert wired.names == ["guest"]
        guest.start()
        await guest.wait_started()


@virtual
async def test_holding_says_whether_it_is_held_here_and_fits_a_switch():
    fleet = Fleet()
    a, seen, sent = fleet.project.websocket("a"), [], []
    holding(a).subscribe(seen.append, on_completed=lambda: seen.append("end"))
    tick = reactivex.interval(1).pipe(client_send(a, str, enabled=holding(a)), ops.do_action(sent.append))
    async with fleet.project as it:
        it.subscribe(tick)
        helm = fleet.by_name["a"].helm
        await asyncio.sleep(2.5)
        assert sent == []
        helm.hold()
        await asyncio.sleep(2)
        helm.let_go()
        await asyncio.sleep(2)
        assert sent == [2, 3]
        late = []
        holding(a).subscribe(late.append)
        assert late == [False]
    assert seen == [False, True, False, "end"]


@virtual
async def test_on_one_machine_it_always_is():
    it, seen = project(), []
    holding(it.websocket("a")).subscribe(seen.append, on_completed=lambda: seen.append("end"))
    async with it:
        it.subscribe(pulse().pipe(client_start(it.websocket("a"), enabled=holding(it.websocket("a")))))
        assert it.websocket("a").is_live
    assert seen == [True, "end"]


def test_what_cannot_be_wired_is_refused():
    it = project()

    async def wire(scope, connection):
        """Nobody would await it."""

    with pytest.raises(TypeError, match="wire: expected a plain function"):
        it.for_each(["a"], wire)
    with pytest.raises(TypeError, match=r"such as \['a'\], got one name"):
        it.for_each("a", print)
    for one in (it, Fleet().project):
        with pytest.raises(UnknownConfiguration, match="'d'"):
            one.for_each(["d"], print)
    with pytest.raises(PluginDisabled):
        project(plugins={"websocket": False}).for_each(["a"], print)
