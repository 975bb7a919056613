"""Whose share a connection is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from rxnodes.fleet.rules.sharing import digest, first, may_take
from rxnodes.fleet.rules.values import Lease

NAMES = [f"chat{number}" for number in range(2000)]


@pytest.mark.parametrize("host", ["w", "a" * 64], ids=["short", "as long as the name of a host can be"])
def test_shares_are_even_and_only_those_of_a_worker_that_left_move(host):
    workers = [f"{host}-{number}" for number in range(1, 5)]
    shares = {name: first(name, workers) for name in NAMES}
    assert all(400 < count < 600 for count in Counter(shares.values()).values())
    without = {name: first(name, workers[:3]) for name in NAMES}
    assert {shares[name] for name in NAMES if without[name] != shares[name]} == {workers[3]}
    assert first("chat", []) is None


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
