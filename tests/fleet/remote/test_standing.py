"""How a connection stands for an observer, where the record is seen before the log."""

from __future__ import annotations

import pytest

from rxnodes.fleet.remote.standing import Standing
from rxnodes.fleet.rules.values import Entry, Record, Tail, Wish
from rxnodes.lifecycle.states import ConnectionState
from rxnodes.testing import events


def behind(event, **after):
    tail = Tail(sequence=9, **after)
    return Entry("w", event, tail), tail


def test_a_session_that_began_before_its_start_was_taken_back_is_waited_for():
    standing = Standing()
    standing.commands = standing.starts = 1
    assert (standing.session(0), standing.is_live(0)) == (1, True)
    standing.know(Record(Wish(run=True, after=0, id="a")))
    standing.resolve(Tail(), is_start=True)
    standing.know(Record(Wish(run=False, after=1, id="b")))
    assert (standing.session(0), standing.is_live(0)) == (1, True)
    standing.follow(*behind(events.stopped(), session=1))
    assert standing.is_live(0)
    assert not standing.is_live(1)


def test_a_stop_waits_for_a_session_of_which_the_log_has_not_told_yet():
    standing = Standing()
    standing.commands = 1
    standing.resolve(Tail(session=4), is_start=False)
    assert standing.is_live(3)
    assert not standing.is_live(4)


def test_a_session_whose_holder_was_lost_has_ended_though_the_next_one_is_wished():
    standing = Standing()
    standing.know(Record(Wish(run=True, after=0, id="a")))
    standing.follow(*behind(events.stopped(1006), session=1))
    assert not standing.is_live(1)
    standing.follow(*behind(events.connecting(session=2), session=2, is_live=True))
    assert standing.is_live(1)


def test_a_start_between_a_session_whose_holder_was_lost_and_the_next_one_waits_for_that():
    standing = Standing()
    standing.know(Record(Wish(run=True, after=0, id="a")))
    standing.follow(*behind(events.stopped(1006), session=1))
    standing.commands = standing.starts = 1
    standing.resolve(Tail(session=1), is_start=True)
    assert (standing.session(1), standing.is_live(1)) == (2, True)
    standing.know(Record(Wish(run=False, after=1, id="b")))
    assert not standing.is_live(1)


@pytest.mark.parametrize("is_record_first", [True, False])
def test_a_session_that_only_a_holder_who_is_lost_knew_of_is_not_waited_for(is_record_first):
    standing = Standing()
    standing.know(Record(Wish(run=True, after=0, id="a"), epoch=1))
    held = behind(None, epoch=2)
    stop = Record(Wish(run=False, after=1, id="b"), epoch=1)
    steps = [lambda: standing.know(stop), lambda: standing.follow(*held)]
    for step in steps if is_record_first else reversed(steps):
        assert standing.is_live(0)
        step()
    assert not standing.is_live(0)


def test_a_log_that_has_gone_back_is_not_waited_for():
    standing = Standing()
    standing.commands = 1
    standing.resolve(Tail(session=4), is_start=False)
    standing.go_back()
    assert not standing.is_live(3)


def test_entries_that_are_not_kept_any_more_are_guessed_from_what_stands_behind_the_last():
    standing = Standing()
    standing.recall([behind(events.error_event(), session=3, is_live=True, has_opened=True)])
    assert (standing.state, standing.is_live(0)) == (ConnectionState.OPEN, True)
    standing.recall([behind(None, session=3)])
    assert (standing.state, standing.is_live(0)) == (ConnectionState.CLOSED, False)
