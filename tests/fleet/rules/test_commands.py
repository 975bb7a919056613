"""What a command makes of a wish."""

from __future__ import annotations

import pytest

from rxnodes.fleet.rules import commands
from rxnodes.fleet.rules.values import Tail, Wish

NOBODY = Wish()
RUN = Wish(run=True, after=3, id="run")
ENOUGH = Wish(run=False, after=4, code=4000, reason="enough", id="enough")

NEVER = Tail()
LIVE = Tail(session=4, is_live=True)
CLOSING = Tail(session=4, is_live=True, fulfilled="run")
ENDED = Tail(session=4, fulfilled="run")
LOST = Tail(session=4)


@pytest.mark.parametrize(
    ("wish", "tail", "started", "stopped"),
    [
        (NOBODY, NEVER, (True, 0), None),
        (RUN, Tail(session=3), None, (False, 3)),
        (RUN, LIVE, None, (False, 4)),
        # It ends by itself, or has: then the next one follows, and there is nothing to stop.
        (RUN, CLOSING, (True, 4), None),
        (RUN, ENDED, (True, 4), None),
        # It was lost with its holder: the next one is wanted already.
        (RUN, LOST, None, (False, 4)),
        (ENOUGH, LIVE, (True, 4), None),
        (ENOUGH, Tail(session=4), (True, 4), None),
        # A look at the log that is older than the wish.
        (ENOUGH, Tail(session=3), (True, 4), None),
        (RUN._replace(after=5), LIVE, None, (False, 5)),
    ],
)
def test_a_start_and_a_stop(wish, tail, started, stopped):
    start = commands.start(wish, tail, "new")
    stop = commands.stop(wish, tail, "new", code=4001, reason="bye")
    assert (start and (start.run, start.after)) == started
    assert (stop and (stop.run, stop.after)) == stopped
    if start is not None:
        # The session that is being closed keeps its words.
        assert (start.code, start.reason, start.id) == (wish.code, wish.reason, "new")
        assert commands.is_wanted(start, tail)
    if stop is not None:
        assert (stop.code, stop.reason, stop.id) == (4001, "bye", "new")
        assert not commands.is_wanted(stop, tail)


@pytest.mark.parametrize(
    ("wish", "tail", "is_live"),
    [
        (NOBODY, NEVER, False),
        (RUN, Tail(session=3), True),
        (RUN, LIVE, True),
        (RUN, CLOSING, True),
        (RUN, ENDED, False),
        (RUN, LOST, True),
        (ENOUGH, LIVE, True),
        (ENOUGH, ENDED, False),
    ],
)
def test_until_its_outcome_is_in_the_log_a_command_counts_as_live(wish, tail, is_live):
    assert commands.is_live(wish, tail) is is_live
