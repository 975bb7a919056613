"""Valves: who holds them, whose is the current one, and what that costs nobody."""

from __future__ import annotations

import threading

import pytest
import reactivex
from reactivex import operators as ops

from rxnodes.rx.backpressure import Valve, current_valve, deliver


class Tap:
    """A valve, and how it was turned."""

    def __init__(self):
        self.turns = []
        self.valve = Valve(self.turns.append, lambda action: action())


def test_it_is_closed_as_long_as_anybody_holds_it():
    tap = Tap()
    for holder in "ab":
        tap.valve.close(holder)
    tap.valve.open("a")
    assert tap.valve.is_closed
    tap.valve.open("b")
    assert not tap.valve.is_closed
    assert tap.turns == [True, False]


def test_holding_and_letting_go_count_once():
    tap = Tap()
    tap.valve.open("a")
    tap.valve.close("a")
    tap.valve.close("a")
    tap.valve.open("a")
    tap.valve.open("a")
    assert tap.turns == [True, False]


def test_it_is_turned_where_its_source_lives():
    turns, handed_over = [], []
    valve = Valve(turns.append, handed_over.append)
    valve.close("a")
    assert turns == []
    assert valve.is_closed, "who asks sees it at once"
    handed_over.pop()()
    assert turns == [True]


def test_a_holder_that_lets_go_in_the_midst_of_another_taking_hold():
    """As in a collection of garbage, which may begin wherever something is made."""
    tap = Tap()

    class Holder:
        def __hash__(self):
            tap.valve.open("old")
            return 1

    tap.valve.close("old")
    new = Holder()
    tap.valve.close(new)
    assert tap.valve.is_closed
    tap.valve.open(new)
    assert not tap.valve.is_closed
    assert tap.turns == [True, False, True, False]


def test_its_source_is_told_what_is_true_by_then():
    turns, handed_over = [], []
    valve = Valve(turns.append, handed_over.append)
    valve.close("a")
    valve.open("a")
    valve.close("b")
    valve.open("b")
    for action in handed_over:
        action()
    assert turns == []


def test_the_current_one_is_that_of_whoever_delivers():
    outer, inner, seen = Tap().valve, Tap().valve, []

    def look(_):
        seen.append(current_valve())

    def nested(_):
        look(_)
        deliver(inner, look, None)
        look(_)

    deliver(outer, nested, None)
    look(None)
    assert seen == [outer, inner, outer, None]


def test_an_exception_leaves_none_behind():
    def fail(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        deliver(Tap().valve, fail, None)
    assert current_valve() is None


def test_another_thread_has_its_own():
    seen = []

    def elsewhere(_):
        thread = threading.Thread(target=lambda: seen.append(current_valve()))
        thread.start()
        thread.join()

    deliver(Tap().valve, elsewhere, None)
    assert seen == [None]


def test_it_is_known_behind_any_operators_that_pass_on_at_once():
    subject, tap, seen = reactivex.Subject(), Tap(), []
    pipeline = subject.pipe(ops.filter(bool), ops.buffer_with_count(2), ops.flat_map(reactivex.of), ops.share())
    pipeline.subscribe(lambda _: seen.append(current_valve()))
    for item in (1, 0, 2):
        deliver(tap.valve, subject.on_next, item)
    assert seen == [tap.valve]
