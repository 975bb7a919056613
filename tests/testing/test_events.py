"""Events made for tests are such as connections tell."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import reactivex
from promises import Journal
from reactivex import operators as ops

from rxnodes import CloseTimeout, ConnectionLost, ConnectionState, HandlerError, Initiator, Project
from rxnodes.testing import closing, connecting, dropped, error_event, gap, in_virtual_time, opened, stopped


@pytest.mark.parametrize("make", [connecting, opened, dropped, closing, stopped, error_event])
def test_the_defaults_are_those_of_a_first_attempt(make):
    event = make()
    assert (event.connection, event.session, event.attempt) == ("chat", 1, 1)
    assert event.at.utcoffset().total_seconds() == 0
    assert make(connection="feed", session=7, attempt=3).connection == "feed"
    with pytest.raises(TypeError):
        make(nonsense=1)


def test_they_make_a_session_that_keeps_the_promises():
    journal = Journal()
    journal.event(connecting())
    journal.event(opened())
    error = error_event()
    journal.event(error)
    journal.event(dropped())
    journal.event(connecting(attempt=2))
    journal.event(opened(attempt=2, is_reconnect=True))
    journal.event(closing(Initiator.REMOTE, attempt=2))
    journal.state(ConnectionState.CONNECTING)
    journal.state(ConnectionState.CLOSED)
    journal.event(stopped(1012, attempt=2, attempts=2))
    assert journal.live is None


@pytest.mark.parametrize(
    ("event", "was_clean", "initiator", "error"),
    [
        (stopped(), True, Initiator.LOCAL, type(None)),
        (stopped(1000, initiator=Initiator.REMOTE), True, Initiator.REMOTE, type(None)),
        (stopped(1012, "restarting"), True, Initiator.REMOTE, type(None)),
        (stopped(4711), True, Initiator.REMOTE, type(None)),
        (stopped(1006), False, Initiator.NETWORK, ConnectionLost),
        (stopped(1006, initiator=Initiator.TIMEOUT), False, Initiator.TIMEOUT, CloseTimeout),
        (stopped(1006, initiator=Initiator.LOCAL), False, Initiator.LOCAL, type(None)),
        (stopped(1006, error=None), False, Initiator.NETWORK, type(None)),
    ],
)
def test_the_words_of_a_stopped_go_together(event, was_clean, initiator, error):
    assert (event.was_clean, event.initiator) == (was_clean, initiator)
    assert isinstance(event.error, error)


def test_any_other_field_can_be_given():
    assert stopped(unsent=3, opened=False).unsent == 3
    assert dropped(1012, "again", retry_in=2.5) == dropped(1012, "again", was_clean=True, retry_in=2.5)
    assert opened(subprotocol="chat.v2").subprotocol == "chat.v2"
    assert connecting(url="ws://x/").url == "ws://x/"
    error = HandlerError("no")
    assert (error_event("handler", error).message, error_event("handler", error).error) == ("no", error)


def test_a_gap_is_a_second_long():
    assert (gap().attempt, gap().until - gap().since, gap().missed) == (2, timedelta(seconds=1), None)
    assert gap(range(3, 5), attempt=1).missed == range(3, 5)


@in_virtual_time
async def test_a_handler_alone():
    seen = []
    events = reactivex.from_marbles("--o--s--|", lookup={"o": opened(), "s": stopped(1012)})
    async with Project() as project:
        project.subscribe(events.pipe(ops.do_action(seen.append)))
        await asyncio.sleep(0.4)
        assert seen == [opened()]
        await asyncio.sleep(0.4)
    assert seen == [opened(), stopped(1012)]
