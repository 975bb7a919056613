"""What a member of another version has written is logged, and passed over."""

from __future__ import annotations

import pytest

from rxnodes.fleet.letters import entry_letter, lease_letter, record_letter
from rxnodes.fleet.reading import lease_shown, readable, record_at, record_shown, tail_at
from rxnodes.fleet.rules.values import Entry, Lease, Record, Tail
from rxnodes.fleet.store import Logged, Seen, Stored

ENTRY = Entry("w", None, Tail(epoch=1, last_id="a"))
LATER = b'{"v":2}'


@pytest.mark.parametrize(
    ("read", "letter", "found"),
    [
        (lambda letter: lease_shown("w", letter), lease_letter(Lease(worker="w")), Lease(worker="w")),
        (lambda letter: record_shown(Seen("chat", letter, 1)), record_letter(Record(holder="w")), Record(holder="w")),
        (lambda letter: [*readable([Logged("chat", letter, 7)])], entry_letter(ENTRY), [(ENTRY, ENTRY.at(7))]),
    ],
)
def test_what_a_watch_shows_of_another_version_is_passed_over(read, letter, found, caplog):
    assert read(letter) == found
    assert not caplog.messages
    assert not read(LATER)
    assert ["version 2" in line for line in caplog.messages] == [True]


def test_what_is_not_there_is_empty():
    assert record_shown(Seen("chat", None, 3)) == Record()
    assert (record_at(None), tail_at(None)) == ((Record(), 0), Tail())
    assert record_at(Stored(record_letter(Record(epoch=4)), 3)) == (Record(epoch=4), 3)
    assert tail_at(Stored(entry_letter(ENTRY), 7)) == ENTRY.at(7)
