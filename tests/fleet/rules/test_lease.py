"""Who is alive, by one's own clock and by what one has seen."""

from __future__ import annotations

import pytest

from rxnodes.fleet.rules.lease import REMEMBERED, Others, OwnLease
from rxnodes.fleet.rules.values import Lease


def lease(worker="w-1", number=1, seconds=16.0):
    return Lease(worker=worker, number=number, seconds=seconds)


def test_a_worker_acts_for_seven_eighths_from_when_it_sent():
    own = OwnLease(16.0)
    assert own.is_over(100.0)
    assert own.renewed(100.0, 101.0)
    assert own.until == 100.0 + 14.0
    assert not own.is_over(113.9)
    assert own.is_over(114.0)


def test_what_has_passed_has_passed():
    own = OwnLease(16.0)
    own.renewed(100.0, 101.0)
    assert not own.renewed(113.0, 114.0)
    assert own.until == 114.0
    # An answer that took too long is none from the beginning.
    assert not OwnLease(16.0).renewed(100.0, 114.0)


def test_a_lease_is_over_once_a_renewal_of_our_own_proves_it():
    others = Others()
    others.saw(lease(), 7, 100.0)
    assert not others.seems_expired("w-1", 16.0, 115.9)
    assert others.seems_expired("w-1", 16.0, 116.0)
    assert not others.is_expired("w-1", 16.0, 200.0)
    # Sent before that, it proves nothing, whenever it comes back.
    others.came_back(115.9)
    assert not others.is_expired("w-1", 16.0, 200.0)
    others.came_back(116.0)
    assert others.is_expired("w-1", 16.0, 200.0)


@pytest.mark.parametrize("renewal", [(lease(number=2), 8), (lease(number=2), 7)])
def test_any_renewal_counts(renewal):
    others = Others()
    others.saw(lease(), 7, 100.0)
    others.saw(*renewal, 110.0)
    others.saw(*renewal, 120.0)
    others.came_back(125.9)
    assert not others.is_expired("w-1", 16.0, 130.0)
    others.came_back(126.0)
    assert others.is_expired("w-1", 16.0, 130.0)


def test_who_is_silent_for_long_is_forgotten_unless_its_connections_are_still_to_be_claimed():
    others = Others()
    for worker in ("gone", "needed", "alive"):
        others.saw(lease(worker), 7, 100.0)
    others.saw(lease("alive", number=2), 8, 200.0)
    others.came_back(116.0)
    others.forget(100.0 + REMEMBERED, {"needed"})
    assert {*others.leases} == {"needed", "alive"}
    assert others.is_expired("needed", 16.0, 100.0 + REMEMBERED)
    # Whoever is needed later after all is waited for anew.
    assert not others.seems_expired("gone", 16.0, 100.0 + REMEMBERED)


def test_the_longer_of_what_record_and_lease_say_counts():
    others = Others()
    others.saw(lease(seconds=20.0), 7, 100.0)
    others.came_back(116.0)
    assert not others.is_expired("w-1", 16.0, 120.0)
    others.came_back(120.0)
    assert others.is_expired("w-1", 16.0, 120.0)


def test_a_lease_that_was_never_seen_is_waited_for_from_when_it_was_missed():
    others = Others()
    assert not others.seems_expired("w-9", 16.0, 100.0)
    others.came_back(116.0)
    assert others.is_expired("w-9", 16.0, 116.0)


def test_that_a_lease_is_gone_says_nothing():
    others = Others()
    others.saw(lease(), 7, 100.0)
    others.gone("w-1", 110.0)
    others.gone("w-1", 120.0)
    assert others.leases == {}
    others.came_back(125.0)
    assert not others.is_expired("w-1", 16.0, 125.0)
    others.came_back(126.0)
    assert others.is_expired("w-1", 16.0, 126.0)
