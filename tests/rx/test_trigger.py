"""Pulses and triggers."""

from __future__ import annotations

import pytest
import reactivex
from consumers import Seen
from reactivex.scheduler import NewThreadScheduler

from rxnodes import Trigger, pulse


def test_a_pulse_is_one_at_once_whatever_the_scheduler():
    seen = []
    pulse().subscribe(seen.append, on_completed=lambda: seen.append("completed"), scheduler=NewThreadScheduler())
    assert seen == [None, "completed"]


def test_any_value_may_be_a_pulse():
    seen = []
    pulse("hello").subscribe(seen.append)
    assert seen == ["hello"]


def test_a_trigger_fires_by_hand():
    trigger = Trigger()
    seen = []
    trigger.subscribe(seen.append)
    trigger.fire()
    trigger.fire("value")
    assert seen == [None, "value"]


def test_subscribers_of_a_trigger_are_isolated(caplog):
    trigger = Trigger()
    seen = []
    trigger.subscribe(lambda _: 1 / 0)
    trigger.subscribe(seen.append)
    trigger.fire(1)
    trigger.fire(2)
    assert seen == [1, 2]
    assert caplog.text.count("ZeroDivisionError") == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_meant_for_the_program_reaches_who_fires(error):
    trigger = Trigger()

    def raises(_):
        raise error

    trigger.subscribe(raises)
    with pytest.raises(error):
        trigger.fire()


def test_a_source_feeds_a_trigger_and_ends_it():
    trigger, source = Trigger(), reactivex.Subject()
    seen, error = Seen(trigger), ValueError("no")
    source.subscribe(trigger)
    trigger.fire(1)
    source.on_next(2)
    source.on_error(error)
    trigger.fire(3)
    assert seen == [1, 2, ("error", error)]
    assert Seen(trigger) == [("error", error)]


def test_a_trigger_outlives_a_source_that_only_fires_it():
    trigger = Trigger()
    seen = Seen(trigger)
    reactivex.of(1, 2).subscribe(trigger.fire)
    trigger.fire(3)
    assert seen == [1, 2, 3]


def test_an_error_that_no_subscriber_handles_is_logged(caplog):
    trigger = Trigger()
    trigger.subscribe()
    reactivex.throw(ZeroDivisionError()).subscribe(trigger)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]
