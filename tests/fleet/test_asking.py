"""What is asked of a holder, and what it answers, comes out as it went in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxnodes import SendDropped, Sent, Unsent
from rxnodes.fleet.asking import (
    NOT_HELD,
    AskForMessages,
    AskToSend,
    Position,
    ask_of,
    outcomes_letter,
    outcomes_of,
    position_letter,
    position_of,
    send_subject,
)
from rxnodes.fleet.letters import Unreadable
from rxnodes.testing import events
from rxnodes.transport.receipts import Receipt, SharedOutcome


@given(st.lists(st.text() | st.binary()))
def test_messages_to_send_come_back(messages):
    texts = [isinstance(it, str) for it in messages]
    asked = AskToSend("id", texts, [it.encode() if isinstance(it, str) else it for it in messages])
    assert ask_of(asked.letter()) == asked
    assert asked.messages == messages


@given(st.builds(Position, st.integers(0), st.integers(0), st.integers(1), st.none() | st.integers(0)))
def test_where_messages_are_comes_back(position):
    assert ask_of(AskForMessages().letter()) == AskForMessages()
    assert position_of(position_letter(position)) == position


def test_outcomes_come_back():
    kinds = [(Sent, {}), (SendDropped, {"reason": "full"}), (Unsent, {})]
    receipts = []
    for kind, more in kinds:
        receipts.append(Receipt(None, b"", True, None))
        receipts[-1].shared_outcome = SharedOutcome(kind, "chat", 3, 2, events.AT, more)
    assert outcomes_of(outcomes_letter(receipts), "chat") == [it.shared_outcome for it in receipts]


def test_who_does_not_hold_it_says_so():
    assert position_of(NOT_HELD) is None
    assert outcomes_of(NOT_HELD, "chat") is None


@pytest.mark.parametrize(
    ("read", "letter"),
    [
        (ask_of, b""),
        (ask_of, b'{"v":1}'),
        (ask_of, b'{"v":1,"ask":"everything"}'),
        (ask_of, b'{"v":1,"ask":"send","id":"i","texts":[true],"lengths":[2]}\na'),
        (ask_of, b'{"v":1,"ask":"send","id":"i","texts":[],"lengths":[1]}\na'),
        (ask_of, b'{"v":1,"ask":"send","id":"i","texts":[true,true],"lengths":[3,-2]}\na'),
        (ask_of, b'{"v":1,"ask":"send","texts":[true],"lengths":[1]}\na'),
        (lambda letter: ask_of(letter).messages, b'{"v":1,"ask":"send","id":"i","texts":[true],"lengths":[1]}\n\xff'),
        (position_of, b'{"v":1}'),
        (position_of, b'{"v":1,"held":true}'),
        (lambda letter: outcomes_of(letter, "chat"), b'{"v":1,"held":true,"outcomes":[["Lost",1,1,"now",{}]]}'),
    ],
)
def test_what_cannot_be_read_is_told(read, letter):
    with pytest.raises(Unreadable):
        read(letter)


def test_a_subject_has_one_token_for_each_name():
    assert send_subject("host.1", "a b") == "send.host_2E1.a_20b"
