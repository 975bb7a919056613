"""Pulses and triggers."""

from __future__ import annotations

import pytest
import reactivex
from consumers import Seen
from reactivex.scheduler import NewThreadScheduler

from rxnodes import Trigger, pulse


@pytest.mark.parametrize("value", [(), ("hello",)])
def test_a_pulse_is_one_at_once_whatever_the_scheduler(value):
    assert Seen(pulse(*value), scheduler=NewThreadScheduler()) == [*(value or [None]), "|"]


@pytest.mark.parametrize("value", [(), ("hello",)])
def test_a_trigger_fires_by_hand(value):
    trigger = Trigger()
    seen = Seen(trigger)
    trigger.fire(*value)
    assert seen == [*(value or [None])]


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
def test_what_is_meant_for_the_program_is_raised_where_it_fires(error):
    def raises(_):
        raise error

    trigger = Trigger()
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
