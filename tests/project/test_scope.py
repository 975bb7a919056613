"""Scopes: subscribed early, on time, from any thread."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
import reactivex
from reactivex import operators as ops
from threads import project
from virtual import virtual

from rxnodes import RxNodesError, Trigger, map_async, pulse
from rxnodes.rx.schedulers import LoopScheduler, utc_now
from rxnodes.websocket import client_send, client_start, on_receive, on_start


@virtual
async def test_what_is_subscribed_before_the_project_is_open_lives_until_it_is_left():
    it, transport = project()
    chat = it.websocket("chat")
    go, seen = Trigger(), []
    it.subscribe(
        go.pipe(client_start(chat)),
        on_start(chat).pipe(ops.map(lambda _: "hello"), client_send(chat)),
        on_receive(chat).pipe(ops.do_action(seen.append)),
    )
    async with it:
        go.fire()
        await chat.wait_started()
        transport.peer.send("welcome")
        assert transport.peer.received == ["hello"]
    go.fire()
    assert seen == ["welcome"]
    assert len(transport.peers) == 1


@virtual
async def test_a_scene_of_a_project_that_is_not_open_yet():
    it, _ = project()
    seen, trigger = [], Trigger()
    scene = it.scene("early")
    scene.subscribe(trigger.pipe(ops.do_action(seen.append)))
    async with it, scene:
        trigger.fire(1)
    trigger.fire(2)
    assert seen == [1]


def test_a_plain_scene_of_a_project_that_is_not_open():
    it, _ = project()
    with pytest.raises(RxNodesError, match="not open"), it.scene("early"):
        pass


@virtual
async def test_a_scene_is_entered_once():
    it, _ = project()
    async with it:
        async with it.scene("menu") as scene:
            pass
        with pytest.raises(RxNodesError, match="scene 'menu' has been entered before: a scene is entered once; make"):
            async with scene:
                pass


def test_a_plain_scene_is_entered_once():
    it, _ = project()
    with it:
        with it.scene("menu") as scene:
            pass
        with pytest.raises(RxNodesError, match="scene 'menu' has been entered before"), scene:
            pass


def test_a_plain_scene_that_outlives_its_project_ends_quietly():
    """What went wrong in it is not to be hidden."""
    it, _ = project()
    trigger = Trigger()

    def outlive():
        with ExitStack() as stack:
            stack.enter_context(it)
            chat = it.websocket("chat")
            with it.scene("menu", connections=[chat]) as scene:
                chat.start()
                it.call(chat.wait_started)
                scene.subscribe(trigger)
                stack.close()
                assert trigger.is_observed
                raise ValueError("what went wrong")

    with pytest.raises(ValueError, match="what went wrong"):
        outlive()
    assert not trigger.is_observed
    assert it.websocket("chat").last_stopped.was_clean


def test_a_plain_scene_that_is_left_while_its_project_is_ends_quietly():
    """The project's loop ends, and with it what leaves the scene."""
    it, _ = project()
    is_leaving = threading.Event()

    async def never_ends():
        is_leaving.set()
        await asyncio.Event().wait()

    def leave_scene():
        with it.scene("menu") as scene:
            scene._leave = never_ends

    with ThreadPoolExecutor(1) as pool:
        with it:
            leaving = pool.submit(leave_scene)
            assert is_leaving.wait(10)
        assert leaving.result(10) is None


@virtual
async def test_one_scope_may_be_left_while_another_listens_to_the_same():
    it, transport = project()
    async with it:
        chat = it.websocket("chat")
        inner, outer = [], []
        it.subscribe(on_receive(chat).pipe(ops.do_action(outer.append)), pulse().pipe(client_start(chat)))
        await chat.wait_started()
        async with it.scene("inner") as scene:
            scene.subscribe(on_receive(chat).pipe(ops.do_action(inner.append)))
            transport.peer.send("both")
        transport.peer.send("outer")
    assert (inner, outer) == (["both"], ["both", "outer"])


@pytest.mark.parametrize("operator", ["delay", "throttle_first", "timestamp"])
@virtual
async def test_what_is_awaited_keeps_the_loops_time_with_the_scopes_scheduler(operator):
    """reactivex gives it one that asks the wall clock: it would take real seconds."""
    it, transport = project()
    loop = asyncio.get_running_loop()
    async with it, it.scene("menu") as scene:
        chat = it.websocket("chat")
        chat.start()
        await chat.wait_started()
        scheduler = scene.scheduler
        timed = {
            "delay": ops.delay(3600, scheduler=scheduler),
            "throttle_first": ops.throttle_first(3600, scheduler=scheduler),
            "timestamp": ops.compose(ops.timestamp(scheduler=scheduler), ops.map(lambda it: it.timestamp)),
        }[operator]
        before = loop.time()
        loop.call_later(1, transport.peer.send, "first")
        loop.call_later(2, transport.peer.send, "second")
        loop.call_later(7200, transport.peer.send, "third")
        seen = await on_receive(chat).pipe(timed, ops.take(2), ops.to_list())
        took = round(loop.time() - before, 3)
        if operator == "delay":
            assert (took, seen) == (3602, ["first", "second"])
        elif operator == "throttle_first":
            assert (took, seen) == (7200, ["first", "third"])
        else:
            assert abs(seen[0] - utc_now(loop) + timedelta(seconds=1)) < timedelta(milliseconds=1)


def test_the_scheduler_of_a_plain_with_runs_on_the_projects_thread():
    it, _ = project()
    names = []
    with it:
        pulse().pipe(
            ops.delay(0.01, scheduler=it.scheduler),
            ops.do_action(lambda _: names.append(threading.current_thread().name)),
        ).run()
    assert names == ["rxnodes"]


def test_a_project_that_is_not_open_has_no_scheduler():
    it, _ = project()
    with pytest.raises(RxNodesError, match="not open: enter it"):
        it.scheduler  # noqa: B018 - that it raises is the point
    with it:
        scene = it.scene("menu")
    with pytest.raises(RxNodesError, match="the project has been left"):
        scene.scheduler  # noqa: B018


@virtual
async def test_a_time_of_the_wall_clock_is_kept_on_the_loops_clock():
    seen = []
    loop = asyncio.get_running_loop()
    scheduler = LoopScheduler(loop)
    due = datetime.now(UTC) + timedelta(hours=1)
    scheduler.schedule_absolute(due, lambda *_: seen.append(loop.time()))
    await asyncio.sleep(3590)
    assert seen == []
    await asyncio.sleep(20)
    assert len(seen) == 1
    assert abs(seen[0] - 3600) < 5


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (client_start, r"got function; an operator goes into the \.pipe\(\.\.\.\)"),
        (lambda chat: [on_start(chat)], "got list$"),
    ],
)
def test_what_is_no_observable_is_refused_before_anything_is_subscribed(wrong, what):
    it, _ = project()
    seen = []
    with pytest.raises(TypeError, match=what):
        it.subscribe(pulse().pipe(ops.do_action(seen.append)), wrong(it.websocket("chat")))
    assert seen == []


@virtual
async def test_what_is_over_is_not_kept():
    """A program may subscribe in the same scope as long as it runs."""
    it, _ = project()
    trigger = Trigger()
    async with it:
        for _ in range(3):
            it.subscribe(pulse())
            it.subscribe(trigger).dispose()
            it.subscribe(pulse().pipe(ops.map(lambda _: 1 / 0)))
        assert not trigger.is_observed
        assert len(it._kept) == 0


@virtual
async def test_something_of_ones_own_is_disposed_with_the_scope():
    it, _ = project()
    trigger = Trigger()
    async with it:
        early, late = trigger.subscribe(), trigger.subscribe()
        lifetime = it.add(late)
        it.add(early).dispose()
        assert trigger.is_observed
    assert not trigger.is_observed
    lifetime.dispose()
    with pytest.raises(RxNodesError, match="the project has been left"):
        it.add(trigger.subscribe())
    with pytest.raises(TypeError, match="add: expected a disposable, such as a subscription, got function"):
        project()[0].add(lambda: None)


@pytest.mark.parametrize("is_scene", [False, True])
@virtual
async def test_a_pipeline_whose_cleanup_raises_holds_up_nothing(is_scene, caplog):
    """Neither the other pipelines, nor the connections, nor what is left behind the scope."""
    it, _ = project()
    chat = it.websocket("chat")
    before, behind = Trigger(), Trigger()
    async with it:
        async with it.scene("menu", connections=[chat]) as scene:
            scope = scene if is_scene else it
            scope.subscribe(
                before,
                Trigger().pipe(ops.finally_action(lambda: 1 / 0)),
                behind.pipe(ops.finally_action(lambda: 1 / 0)),
            )
            chat.start()
            await chat.wait_started()
        assert chat.last_stopped.was_clean
    assert not before.is_observed
    assert not behind.is_observed
    where = "scene 'menu'" if is_scene else "the project"
    assert [record.getMessage() for record in caplog.records] == [f"{where}: a pipeline ended with an error"] * 2


@virtual
async def test_what_a_scene_cannot_be_given_and_where_a_plain_one_cannot_be_entered():
    it, _ = project()
    async with it:
        with pytest.raises(TypeError, match=r"expected a list of connections, such as \[chat\], got Connection"):
            it.scene("menu", connections=it.websocket("chat"))
        with pytest.raises(TypeError, match="expected a Connection, got str"):
            it.scene("menu", connections=["chat"])
        with pytest.raises(RxNodesError, match="use 'async with'"), it.scene("menu"):
            """It would wait for its own thread."""


# What is subscribed before the project is open


TIMED = {
    "timer": lambda: reactivex.timer(3),
    "interval": lambda: reactivex.interval(3),
    "delay": lambda: pulse().pipe(ops.delay(3)),
    "delay_subscription": lambda: pulse().pipe(ops.delay_subscription(3)),
    "timeout": lambda: reactivex.never().pipe(ops.timeout(3, pulse())),
    "debounce": lambda: reactivex.concat(pulse(), reactivex.never()).pipe(ops.debounce(3)),
    "map_async": lambda: pulse().pipe(ops.delay(1), map_async(lambda _: asyncio.sleep(2))),
}


@pytest.mark.parametrize("scene", [False, True])
@pytest.mark.parametrize("operator", TIMED)
@virtual
async def test_timed_operators_wait_for_the_projects_loop_and_count_from_then_on(operator, scene):
    it, _ = project()
    loop = asyncio.get_running_loop()
    seen = []

    def note(_):
        seen.append((threading.get_ident(), loop.time()))

    scope = it.scene("early") if scene else it
    scope.subscribe(TIMED[operator]().pipe(ops.take(1), ops.do_action(note)))
    await asyncio.sleep(100)
    assert seen == []
    async with it:
        began = loop.time()
        await asyncio.sleep(4)
    assert [thread for thread, _ in seen] == [threading.get_ident()]
    assert seen[0][1] == pytest.approx(began + 3, abs=0.01)


def test_timed_operators_wait_for_the_loop_of_a_plain_with():
    it, _ = project()
    seen, has_come = [], threading.Event()

    def note(_):
        seen.append(threading.current_thread().name)
        has_come.set()

    it.subscribe(reactivex.timer(0.01).pipe(ops.do_action(note)))
    disposed = it.subscribe(reactivex.timer(0.001).pipe(ops.do_action(seen.append)))
    disposed.dispose()
    with it:
        assert has_come.wait(10)
    assert seen == ["rxnodes"]


@virtual
async def test_a_time_of_day_is_kept_or_has_passed():
    it, _ = project()
    loop = asyncio.get_running_loop()
    seen = []
    for seconds in (50, 150):
        due = utc_now(loop) + timedelta(seconds=seconds)
        it.subscribe(reactivex.timer(due).pipe(ops.do_action(lambda _: seen.append(round(loop.time() - began)))))
    began = loop.time()
    await asyncio.sleep(100)
    async with it:
        await asyncio.sleep(100)
    assert seen == [100, 150]


@virtual
async def test_the_time_of_day_of_an_early_pipeline_is_the_loops():
    it, _ = project()
    loop = asyncio.get_running_loop()
    trigger, seen = Trigger(), []
    it.subscribe(trigger.pipe(ops.timestamp(), ops.do_action(lambda it: seen.append(it.timestamp - utc_now(loop)))))
    await asyncio.sleep(1000)
    trigger.fire()
    assert len(seen) == 1, "what is not timed does not wait"
    async with it:
        await asyncio.sleep(1000)
        trigger.fire()
    assert all(abs(difference) < timedelta(seconds=1) for difference in seen)
    assert len(seen) == 2
