"""Durations in words, where one unit ends and the next begins."""

from __future__ import annotations

import pytest

from rxnodes.durations import in_words


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (0, "0 ms"),
        (0.0099, "9.9 ms"),
        (0.01, "10 ms"),
        (0.9994, "999 ms"),
        (1, "1 s"),
        (1.44, "1.4 s"),
        (9.96, "10 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h"),
        (3659, "1 h 1 min"),
        (86_400, "24 h"),
    ],
)
def test_each_unit_begins_where_the_one_below_would_grow_long(duration, words):
    assert in_words(duration) == words
