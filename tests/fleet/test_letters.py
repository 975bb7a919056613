"""What the members of a fleet write to each other comes out as it went in."""

from __future__ import annotations

import json
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import contents, public, sample

from rxnodes import RxNodesError
from rxnodes.fleet.letters import (
    Batch,
    Unreadable,
    batch_letter,
    batch_of,
    dumped,
    entry_letter,
    entry_of,
    lease_letter,
    lease_of,
    loaded,
    name_of,
    record_letter,
    record_of,
    token,
)
from rxnodes.fleet.rules.values import Entry, Lease, Record, Tail, Wish
from rxnodes.lifecycle.events import LifecycleEvent
from rxnodes.lifecycle.plain_values import error_of, plain_error
from rxnodes.testing.events import error_event, opened, stopped

names = st.text(min_size=1)
counts = st.integers(0, 2**53)
wishes = st.builds(Wish, st.booleans(), counts, st.integers(1000, 4999), st.text(), st.text())
tails = st.builds(Tail, sequence=st.just(0), last_id=st.text(), session=counts, is_live=st.booleans(), began_at=counts)


@given(names, names)
def test_a_name_is_one_token_and_comes_back(one, other):
    assert re.fullmatch(r"[A-Za-z0-9_-]+", token(one))
    assert name_of(token(one)) == one
    assert (token(one) == token(other)) == (one == other)


@pytest.mark.parametrize("text", ["_", "a.b", "_2e", "_C3", "a b", "*", ">"])
def test_what_is_no_token_is_told(text):
    with pytest.raises(Unreadable):
        name_of(text)


@given(wishes, st.none() | st.text(), counts, st.floats(1, 1e6))
def test_a_record_comes_back(wish, holder, epoch, lease):
    record = Record(wish, holder, epoch, lease)
    assert record_of(record_letter(record)) == record


@given(st.builds(Lease, worker=st.text(), capacity=st.none() | counts, held=counts, is_draining=st.booleans()))
def test_a_lease_comes_back(lease):
    assert lease_of(lease_letter(lease)) == lease


@pytest.mark.parametrize("kind", [kind for kind in public(LifecycleEvent) if kind is not LifecycleEvent])
def test_every_event_comes_back_without_what_may_be_secret(kind):
    event = sample(kind)
    letter = entry_letter(Entry("worker", event, Tail(epoch=3, last_id="id", session=7, is_live=True)))
    assert b"Set-Cookie" not in letter
    back = entry_of(letter)
    assert (back.worker, back.kind, back.id, back.epoch) == ("worker", kind.__name__, "id", 3)
    assert contents(replaced(back.event)) == contents(replaced(event))
    assert pickle.loads(pickle.dumps(back.event)) is not None  # noqa: S301 - ours


def replaced(event):
    """An event as it looks without headers, and with an exception of which only type and text have travelled."""
    fields = {name: getattr(event, name) for name in event.__dataclass_fields__}
    if "headers" in fields:
        fields["headers"] = None
    if fields.get("error") is not None:
        fields["error"] = (type(fields["error"]), str(fields["error"]))
    return fields


@given(tails)
def test_what_stands_behind_an_entry_comes_back_without_the_sequence(tail):
    tail = tail._replace(began_at=1.5)
    entry = Entry("w", None, tail._replace(sequence=9), behind=8, published=7)
    assert entry_of(entry_letter(entry)) == Entry("w", None, tail, behind=8, published=7)


def test_an_exception_of_another_program_becomes_one_of_ours():
    error = type("TheirsError", (RxNodesError,), {})("what happened")
    assert contents(error_of(plain_error(error))) == contents(RxNodesError("what happened"))
    back = entry_of(entry_letter(Entry("w", error_event(error=error), Tail())))
    assert type(back.event.error) is RxNodesError


def test_what_a_later_version_adds_is_passed_over():
    letter = json.loads(entry_letter(Entry("w", stopped(), Tail(epoch=1))))
    letter["event"]["more"] = letter["after"]["more"] = letter["more"] = 1
    assert entry_of(json.dumps(letter)).event == stopped()


@pytest.mark.parametrize(
    ("read", "letter"),
    [
        (record_of, b""),
        (record_of, b"\xff"),
        (record_of, b"[1]"),
        (record_of, b"{}"),
        (record_of, b'{"v":2,"wish":{},"holder":null,"epoch":1}'),
        (record_of, b'{"v":1,"holder":null}'),
        (record_of, b'{"v":1,"wish":7}'),
        (lease_of, b'{"v":1}'),
        (entry_of, b'{"v":1,"worker":"w","after":7}'),
        (entry_of, b'{"v":1,"worker":"w","kind":"Nothing","event":{},"after":{}}'),
        (entry_of, b'{"v":1,"worker":"w","kind":"Opened","event":{"at":"yesterday"},"after":{}}'),
        (batch_of, b'{"v":1,"lengths":[1],"kind":"text"}\nab'),
        (batch_of, b'{"v":1,"lengths":[3,-1],"kind":"binary"}\nab'),
        (batch_of, b'{"v":1,"lengths":[],"kind":"text"}\n'),
        (batch_of, b'{"v":1,"lengths":[],"epoch":1,"session":1,"attempt":1,"first":1,"kind":"x"}\n'),
    ],
)
def test_what_cannot_be_read_is_told(read, letter):
    with pytest.raises(Unreadable):
        read(letter)


@given(counts, st.lists(st.binary()) | st.lists(st.text()))
def test_a_batch_comes_back(number, messages):
    batch = Batch(number, 2, 3, 4, messages)
    assert batch_of(batch_letter(batch)) == batch


def test_an_opened_has_no_headers_on_the_other_side():
    event = opened(headers={"a": "secret"})
    assert not entry_of(entry_letter(Entry("w", event, Tail()))).event.headers


def test_the_version_stands_in_front():
    assert dumped({"a": 1}) == b'{"v":1,"a":1}'
    assert loaded('{"v":1,"a":1}') == {"v": 1, "a": 1}
