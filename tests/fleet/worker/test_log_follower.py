"""The log, as a worker reads it for connections that are held elsewhere."""

from __future__ import annotations

import pytest
from fleet.memory_store import MemoryEngine
from fleet.remote.scribe import settled

from rxnodes.fleet.letters import entry_letter
from rxnodes.fleet.rules.values import Entry, Tail
from rxnodes.fleet.worker.log_follower import LogFollower
from rxnodes.testing import events, in_virtual_time


class Following:
    name = "chat"

    def __init__(self):
        self.seen = []

    def see(self, _entry, tail):
        self.seen.append(tail.sequence)


@pytest.mark.parametrize("is_read_already", [True, False])
@in_virtual_time
async def test_a_log_that_lags_behind_what_was_read_tells_nothing_older(is_read_already):
    engine = MemoryEngine()
    store = engine.store()
    await store.open()
    follower, following = LogFollower(store), Following()
    if is_read_already:
        follower.follow(following, 0)
        follower.unfollow(following)
        await settled()
    letter = entry_letter(Entry("w", events.stopped(), Tail(session=1)))
    at = 0
    for _ in range(4):
        at = await store.append("chat", letter, at)
    follower.follow(following, 4)
    await settled()
    await store.append("chat", letter, at)
    await settled()
    assert following.seen == [5]
    # What is written anew has lower numbers.
    engine.lose(4)
    await store.append("chat", letter, 1)
    await settled()
    assert following.seen == [5, 1, 2]
    follower.close()
