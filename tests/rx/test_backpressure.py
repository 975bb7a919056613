"""Pause controls: who holds one, which is the current one, and what that costs nobody."""

from __future__ import annotations

import threading

import pytest
import reactivex
from reactivex import operators as ops

from rxnodes.rx.backpressure import PauseControl, current_pause_control, deliver


class Source:
    """A source that can be paused, and what it was called with."""

    def __init__(self):
        self.turns = []
        self.pause_control = PauseControl(self.turns.append, lambda action: action())


def test_it_is_paused_as_long_as_anybody_holds_it():
    source = Source()
    for holder in "ab":
        source.pause_control.pause(holder)
    source.pause_control.resume("a")
    assert source.pause_control.is_paused
    source.pause_control.resume("b")
    assert not source.pause_control.is_paused
    assert source.turns == [True, False]


def test_holding_and_letting_go_count_once():
    source = Source()
    source.pause_control.resume("a")
    source.pause_control.pause("a")
    source.pause_control.pause("a")
    source.pause_control.resume("a")
    source.pause_control.resume("a")
    assert source.turns == [True, False]


def test_its_source_is_called_on_its_own_thread():
    turns, handed_over = [], []
    pause_control = PauseControl(turns.append, handed_over.append)
    pause_control.pause("a")
    assert turns == []
    assert pause_control.is_paused, "who asks sees it at once"
    handed_over.pop()()
    assert turns == [True]


def test_a_holder_that_lets_go_in_the_midst_of_another_taking_hold():
    """As in a collection of garbage, which may begin wherever something is made."""
    source = Source()

    class Holder:
        def __hash__(self):
            source.pause_control.resume("old")
            return 1

    source.pause_control.pause("old")
    new = Holder()
    source.pause_control.pause(new)
    assert source.pause_control.is_paused
    source.pause_control.resume(new)
    assert not source.pause_control.is_paused
    assert source.turns == [True, False, True, False]


def test_its_source_is_told_what_is_true_by_then():
    turns, handed_over = [], []
    pause_control = PauseControl(turns.append, handed_over.append)
    pause_control.pause("a")
    pause_control.resume("a")
    pause_control.pause("b")
    pause_control.resume("b")
    for action in handed_over:
        action()
    assert turns == []


def test_the_current_one_is_that_of_whoever_delivers():
    outer, inner, seen = Source().pause_control, Source().pause_control, []

    def look(_):
        seen.append(current_pause_control())

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
        deliver(Source().pause_control, fail, None)
    assert current_pause_control() is None


def test_another_thread_has_its_own():
    seen = []

    def elsewhere(_):
        thread = threading.Thread(target=lambda: seen.append(current_pause_control()))
        thread.start()
        thread.join()

    deliver(Source().pause_control, elsewhere, None)
    assert seen == [None]


def test_it_is_known_behind_any_operators_that_pass_on_at_once():
    subject, source, seen = reactivex.Subject(), Source(), []
    pipeline = subject.pipe(ops.filter(bool), ops.buffer_with_count(2), ops.flat_map(reactivex.of), ops.share())
    pipeline.subscribe(lambda _: seen.append(current_pause_control()))
    for item in (1, 0, 2):
        deliver(source.pause_control, subject.on_next, item)
    assert seen == [source.pause_control]
