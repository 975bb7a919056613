"""Whose share a connection is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from fleet.rules.world import LEASE, World

from rxnodes.fleet.rules import member
from rxnodes.fleet.rules.sharing import Candidates, digest, may_take
from rxnodes.fleet.rules.values import Lease

NAMES = [f"chat{number}" for number in range(2000)]


@pytest.mark.parametrize("host", ["w", "a" * 64], ids=["short", "as long as the name of a host can be"])
def test_shares_are_even_and_only_those_of_a_worker_that_left_move(host):
    workers = Candidates([f"{host}-{number}" for number in range(1, 5)])
    shares = {name: workers.first(name) for name in NAMES}
    assert all(400 < count < 600 for count in Counter(shares.values()).values())
    left = Candidates(workers.ids[:3])
    without = {name: left.first(name) for name in NAMES}
    assert {shares[name] for name in NAMES if without[name] != shares[name]} == {workers.ids[3]}
    # What it held is shared out evenly, too.
    assert all(
        count > 100 for count in Counter(without[name] for name in NAMES if without[name] != shares[name]).values()
    )
    assert Candidates([]).first("chat") is None


@pytest.mark.parametrize(
    ("changes", "takes"),
    [
        ({}, True),
        ({"held": 9, "capacity": 10}, True),
        ({"held": 10, "capacity": 10}, False),
        ({"is_draining": True}, False),
        ({"names": digest(["a"])}, False),
    ],
)
def test_who_can_take_one_more(changes, takes):
    names = digest(NAMES)
    assert may_take(replace(Lease(worker="w-1", names=names), **changes), names) is takes


def test_not_all_is_weighed_in_one_look(monkeypatch):
    monkeypatch.setattr(member, "MOST_WEIGHED", 3)
    weighed = Counter()
    first = Candidates.first

    def counted(self, name):
        weighed[world.time, self] += len(self.ids)
        return first(self, name)

    monkeypatch.setattr(Candidates, "first", counted)
    world = World(names=NAMES[:20])
    workers = [world.join() for _ in range(2)]
    world.run(3 * LEASE)
    assert sum(worker.member.held for worker in workers) == 20
    assert all(worker.member.held for worker in workers)
    assert max(weighed.values()) <= 3 + 1
