"""Notifications one after the other, in turns of the loop, and where the error of a pipeline is reported."""

from __future__ import annotations

import asyncio
import time

import pytest

from rxnodes.rx.backpressure import PauseControl
from rxnodes.rx.outbox import Outbox, pipeline_reporter
from rxnodes.rx.streams import IsolatedSubject


@pytest.fixture
def stream():
    return IsolatedSubject[int](pytest.fail)


@pytest.fixture
def pause_control():
    return PauseControl(lambda is_paused: None, lambda action: action())


@pytest.fixture
def outbox(pause_control):
    return Outbox(pytest.fail, pause_control)


def test_promise_6_one_notification_is_delivered_to_all_before_the_next(stream, outbox):
    seen = []

    def emits_another(value):
        seen.append(("first", value))
        if value == 1:
            outbox.post(stream.on_next, 2)
            outbox.flush()
            outbox.send(stream.on_next, 3)

    stream.subscribe(emits_another)
    stream.subscribe(lambda value: seen.append(("second", value)))
    outbox.send(stream.on_next, 1)
    assert seen == [("first", 1), ("second", 1), ("first", 2), ("second", 2), ("first", 3), ("second", 3)]
    assert not outbox.is_delivering


def test_what_is_sent_comes_after_what_was_posted(stream, outbox):
    seen = []
    stream.subscribe(seen.append)
    outbox.post(stream.on_next, 1)
    outbox.send(stream.on_next, 2)
    assert seen == [1, 2]


def test_the_error_of_a_pipeline_is_reported_to_the_innermost_that_notifies(pause_control):
    reports = []
    outer, inner = (
        Outbox(lambda error, name=name: reports.append((name, error)), pause_control) for name in ("outer", "inner")
    )

    def fail(error):
        pipeline_reporter()(error)

    def nest(error):
        inner.send(fail, error)
        inner.within(lambda: fail(error))
        fail(error)

    outer.send(nest, 1)
    outer.post(fail, 2)
    outer.flush()
    assert reports == [("inner", 1), ("inner", 1), ("outer", 1), ("outer", 2)]
    assert pipeline_reporter() is None


@pytest.mark.slow
def test_a_long_queue_is_delivered_in_linear_time_and_in_turns(outbox, pause_control):
    """The loop does other work between the turns, and the source is paused until everything is delivered."""
    seen, turns = [], []

    async def main():
        loop = asyncio.get_running_loop()

        def deliver(number):
            seen.append(number)
            assert outbox.is_delivering
            if number == 0:
                for more in range(1, 200_000):
                    outbox.post(deliver, more)

        def turn():
            turns.append((len(seen), pause_control.is_paused))
            if outbox.is_put_off:
                loop.call_soon(turn)

        outbox.send(deliver, 0)
        outbox.send(deliver, 200_000)
        assert seen != list(range(200_001))
        assert not outbox.is_delivering
        turn()
        while outbox.is_put_off:
            await asyncio.sleep(0)

    asyncio.run(main())
    assert seen == list(range(200_001))
    assert len(turns) > 2
    assert all(is_paused for _, is_paused in turns[:-1])
    assert not pause_control.is_paused


def test_a_few_notifications_are_delivered_at_once_however_long_they_take(outbox):
    seen = []

    async def main():
        for number in range(4):
            outbox.post(lambda number: (seen.append(number), time.sleep(0.011)), number)
        outbox.flush()
        assert seen == [0, 1, 2, 3]

    asyncio.run(main())


def test_a_delivery_that_is_interrupted_goes_on_in_the_next_turn(outbox, pause_control):
    seen = []

    async def main():
        def deliver(number):
            seen.append(number)
            if number == 1:
                raise KeyboardInterrupt

        for number in range(4):
            outbox.post(deliver, number)
        with pytest.raises(KeyboardInterrupt):
            outbox.flush()
        assert seen == [0, 1]
        await asyncio.sleep(0)

    asyncio.run(main())
    assert seen == [0, 1, 2, 3]
    assert not pause_control.is_paused
