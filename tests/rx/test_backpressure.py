"""Pause controls: who holds one, and which one is current."""

from __future__ import annotations

import pytest
import reactivex
from consumers import Source, in_thread
from reactivex import operators as ops

from rxnodes.rx.backpressure import PauseControl, current_pause_control, deliver


def test_a_source_is_paused_while_anybody_holds_it_however_often_that_is_repeated():
    source = Source()
    source.pause_control.resume("a")
    for holder in "aab":
        source.pause_control.pause(holder)
    source.pause_control.resume("a")
    assert source.is_paused
    for _ in range(2):
        source.pause_control.resume("b")
    assert not source.is_paused
    assert source.turns == [True, False]


def test_its_source_is_called_on_its_own_thread():
    turns, handed_over = [], []
    pause_control = PauseControl(turns.append, handed_over.append)
    pause_control.pause("a")
    assert turns == []
    assert pause_control.is_paused, "it counts at once"
    handed_over.pop()()
    assert turns == [True]


def test_one_holder_resumes_while_another_pauses():
    """A garbage collection may do so, which may begin wherever an object is made."""
    source = Source()

    class Holder:
        def __hash__(self):
            source.pause_control.resume("old")
            return 1

    source.pause_control.pause("old")
    new = Holder()
    source.pause_control.pause(new)
    assert source.is_paused
    source.pause_control.resume(new)
    assert not source.is_paused
    assert source.turns == [True, False, True, False]


def test_its_source_is_called_with_what_is_true_by_then():
    turns, handed_over = [], []
    pause_control = PauseControl(turns.append, handed_over.append)
    pause_control.pause("a")
    pause_control.resume("a")
    pause_control.pause("b")
    pause_control.resume("b")
    for action in handed_over:
        action()
    assert turns == []


def test_the_current_one_belongs_to_the_source_that_delivers():
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
    deliver(Source().pause_control, lambda _: in_thread(lambda: seen.append(current_pause_control())), None)
    assert seen == [None]


def test_it_is_known_after_any_operators_that_pass_on_at_once():
    subject, source, seen = reactivex.Subject(), Source(), []
    pipeline = subject.pipe(ops.filter(bool), ops.buffer_with_count(2), ops.flat_map(reactivex.of), ops.share())
    pipeline.subscribe(lambda _: seen.append(current_pause_control()))
    for item in (1, 0, 2):
        deliver(source.pause_control, subject.on_next, item)
    assert seen == [source.pause_control]
