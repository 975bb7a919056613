from __future__ import annotations

import pytest

from rxnodes.rx.filtered import Filtered
from rxnodes.rx.streams import IsolatedSubject


@pytest.fixture
def source():
    return IsolatedSubject(pytest.fail)


def test_values_of_the_type_are_shown_within_their_notification_in_the_order_of_subscription(source):
    seen = []
    source.subscribe(lambda value: seen.append(("first", value)))
    Filtered(source, int).subscribe(lambda value: seen.append(("int", value)))
    source.subscribe(lambda value: seen.append(("last", value)))
    for value in ("one", 1):
        source.on_next(value)
    assert seen == [("first", "one"), ("last", "one"), ("first", 1), ("int", 1), ("last", 1)]


def test_who_is_disposed_is_gone_from_the_source(source):
    seen = []
    subscription = Filtered(source, int).subscribe(seen.append)
    source.on_next(1)
    subscription.dispose()
    source.on_next(2)
    assert seen == [1]
    assert not source.is_observed


def test_it_is_observed_by_all_that_see_values_of_its_type(source):
    numbers = Filtered(source, int)
    assert not numbers.is_observed
    with Filtered(source, str).subscribe():
        assert not numbers.is_observed
    for observed in (source, Filtered(source, object), Filtered(source, int)):
        with observed.subscribe():
            assert numbers.is_observed
    assert not numbers.is_observed
