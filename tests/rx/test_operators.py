"""Operators that serve any node family, in virtual time."""

from __future__ import annotations

import asyncio
import threading

import pytest
import reactivex
from reactivex import operators as ops
from reactivex.testing import ReactiveTest, TestScheduler
from virtual import accept, virtual

from rxnodes import Project, Trigger
from rxnodes.rx.operators import action, hold_while
from rxnodes.transport.scripted import ScriptedTransport
from rxnodes.websocket import client_send

on_next, on_completed, on_error = ReactiveTest.on_next, ReactiveTest.on_completed, ReactiveTest.on_error
created, subscribed, disposed = ReactiveTest.created, ReactiveTest.subscribed, ReactiveTest.disposed


PULSES = [on_next(210, 1), on_next(220, 2), on_next(230, 3), on_next(240, 4), on_completed(250)]


def source(scheduler):
    return scheduler.create_hot_observable(*PULSES)


@pytest.mark.parametrize(
    ("attributes", "executed", "passed"),
    [
        ({}, [1, 2, 3, 4], PULSES),
        ({"pass_through": True}, [], PULSES),
        ({"enabled": False}, [], PULSES[-1:]),
        ({"enabled": False, "pass_through": True}, [], PULSES[-1:]),
    ],
)
def test_an_action_executes_for_each_pulse_and_passes_it_unless_its_attributes_say_otherwise(
    attributes, executed, passed
):
    scheduler = TestScheduler()
    done = []
    result = scheduler.start(lambda: source(scheduler).pipe(action(done.append, **attributes)))
    assert (done, result.messages) == (executed, passed)


def test_it_executes_before_it_passes():
    order = []
    reactivex.just("pulse").pipe(action(lambda _: order.append("executed"))).subscribe(lambda _: order.append("passed"))
    assert order == ["executed", "passed"]


@pytest.mark.parametrize("value", ["no", 1, None])
@pytest.mark.parametrize("name", ["enabled", "pass_through"])
def test_what_is_no_switch_is_refused(name, value):
    with pytest.raises(
        TypeError, match=f"{name}: expected a bool or an observable of bools, got {type(value).__name__}"
    ):
        action(lambda _: None, **{name: value})


def test_the_latest_value_of_an_observable_switch_counts():
    scheduler = TestScheduler()
    done = []
    enabled = scheduler.create_hot_observable(on_next(215, False), on_next(235, True), on_completed(236))
    passed = scheduler.create_hot_observable(on_next(205, True), on_next(212, False))
    result = scheduler.start(lambda: source(scheduler).pipe(action(done.append, enabled=enabled, pass_through=passed)))
    assert done == [4]
    assert result.messages == [on_next(210, 1), on_next(240, 4), on_completed(250)]


def test_an_error_of_a_switch_is_the_pipelines():
    scheduler = TestScheduler()
    error = ValueError("no")
    enabled = scheduler.create_hot_observable(on_error(225, error))
    result = scheduler.start(lambda: source(scheduler).pipe(action(lambda _: None, enabled=enabled)))
    assert result.messages == [on_next(210, 1), on_next(220, 2), on_error(225, error)]


def test_what_the_action_raises_is_the_pipelines_error():
    scheduler = TestScheduler()
    error = ValueError("no")

    def execute(pulse):
        if pulse == 2:
            raise error

    result = scheduler.start(lambda: source(scheduler).pipe(action(execute)))
    assert result.messages == [on_next(210, 1), on_error(220, error)]


def test_disposing_ends_all_that_an_action_subscribed_to():
    scheduler = TestScheduler()
    pulses, enabled = source(scheduler), scheduler.create_hot_observable(on_next(205, True))
    scheduler.start(lambda: pulses.pipe(action(lambda _: None, enabled=enabled)), disposed=215)
    assert pulses.subscriptions == [ReactiveTest.subscribe(200, 215)]
    assert enabled.subscriptions == [ReactiveTest.subscribe(200, 215)]


def test_state_is_kept_per_subscription():
    switch = reactivex.Subject[bool]()
    pulses = reactivex.Subject[int]()
    pipeline = pulses.pipe(action(lambda _: None, enabled=switch))
    first, second = [], []
    pipeline.subscribe(first.append)
    switch.on_next(False)
    pipeline.subscribe(second.append)
    pulses.on_next(1)
    assert (first, second) == ([], [1])


class Gate:
    def __init__(self, scheduler, opens):
        self.is_held = True
        self.released = scheduler.create_hot_observable(on_next(opens, None))

    def __call__(self):
        return hold_while(lambda: self.is_held, self.released, lambda act: act())


@pytest.mark.parametrize(("opens", "times"), [(235, [235, 235, 235, 240, 250]), (300, [300] * 5)])
def test_pulses_and_the_completion_are_held_back_and_then_come_in_order(opens, times):
    scheduler = TestScheduler()
    gate = Gate(scheduler, opens)
    scheduler.schedule_absolute(opens - 1, lambda *_: setattr(gate, "is_held", False))
    result = scheduler.start(lambda: source(scheduler).pipe(gate()))
    assert [message.time for message in result.messages] == times
    assert [message.value for message in result.messages] == [message.value for message in PULSES]


def test_nothing_is_emitted_if_it_is_held_again_at_once():
    scheduler = TestScheduler()
    gate = Gate(scheduler, 225)
    result = scheduler.start(lambda: source(scheduler).pipe(gate()))
    assert result.messages == []


def test_an_error_passes_at_once():
    scheduler = TestScheduler()
    error = ValueError("no")
    gate = Gate(scheduler, 300)
    failing = scheduler.create_hot_observable(on_next(210, 1), on_error(220, error))
    result = scheduler.start(lambda: failing.pipe(gate()))
    assert result.messages == [on_error(220, error)]


@pytest.mark.parametrize("operator", [action(print), hold_while(lambda: False, reactivex.never(), lambda act: act())])
def test_the_subscriptions_scheduler_is_handed_on(operator):
    scheduler = TestScheduler()
    seen = []
    reactivex.timer(50.0).pipe(operator).subscribe(seen.append, scheduler=scheduler)
    scheduler.advance_to(49.0)
    assert seen == []
    scheduler.advance_to(50.0)
    assert seen == [0]


# A switch uses its pipeline's scheduler


def at(time, value):
    return reactivex.timer(time).pipe(ops.map(lambda _: value))


@pytest.mark.parametrize(("name", "first", "then"), [("enabled", True, False), ("pass_through", False, True)])
def test_a_timed_switch_keeps_the_pipelines_time(name, first, then):
    scheduler = TestScheduler()
    done = []
    # Subscribed at 200.
    switch = reactivex.concat(reactivex.just(first), at(25, then))
    scheduler.start(lambda: source(scheduler).pipe(action(done.append, **{name: switch})))
    assert done == [1, 2]


def test_the_first_values_of_a_switch_count_at_once():
    scheduler = TestScheduler()
    trigger, done = Trigger(), []
    trigger.pipe(action(done.append, enabled=reactivex.of(True, False))).subscribe(scheduler=scheduler)
    trigger.fire(1)
    assert done == []


@pytest.mark.parametrize("late", [False, True])
@virtual
async def test_attributes_in_virtual_time(late):
    loop = asyncio.get_running_loop()
    transport = ScriptedTransport(accept)
    project = Project(websocket={"chat": "ws://chat.test/"}, transport=transport)
    chat = project.websocket("chat")
    began, threads = loop.time(), set()

    def subscribe():
        note = ops.do_action(lambda _: threads.add(threading.get_ident()))
        project.subscribe(
            reactivex.interval(10).pipe(
                client_send(
                    chat,
                    reactivex.interval(10).pipe(ops.delay(1), ops.map(str), note),
                    enabled=at(35, False).pipe(ops.start_with(True), note),
                    pass_through=at(15, False).pipe(ops.start_with(True), note),
                )
            )
        )

    if late:
        subscribe()
    async with project:
        chat.start()
        await chat.wait_started()
        if not late:
            subscribe()
        await asyncio.sleep(100)
        assert transport.peer.received == ["0", "1"]
        assert loop.time() - began == pytest.approx(100)
        assert threads == {threading.get_ident()}
