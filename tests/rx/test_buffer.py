"""What waits for a consumer, and what is dropped."""

from __future__ import annotations

import pytest
from consumers import Source

from rxnodes import Drops
from rxnodes.rx.backpressure import Valve, deliver
from rxnodes.rx.buffer import Buffer


def test_a_buffer_that_is_closed_keeps_nothing_and_holds_nobody():
    """What another thread is putting at that moment would hold up its source for good."""
    tap = Source()
    buffer = Buffer(1, "pause", None)
    buffer.close()
    deliver(tap.valve, buffer.put, 1)
    deliver(tap.valve, buffer.put, 2)
    assert len(buffer) == 0
    assert tap.turns == []


def test_one_that_lets_go_on_another_thread_while_its_source_fills_it_again():
    """The source's thread is still delivering what one read brought when it hears that it may go on."""
    turns, handed_over = [], []
    is_elsewhere = False
    valve = Valve(turns.append, lambda action: handed_over.append(action) if is_elsewhere else action())
    buffer = Buffer(2, "pause", None)
    deliver(valve, buffer.put, 1)
    deliver(valve, buffer.put, 2)
    assert turns == [True]
    is_elsewhere = True
    buffer.pop()
    buffer.reopen()
    is_elsewhere = False
    deliver(valve, buffer.put, 3)
    for action in handed_over:
        action()
    assert len(buffer) == 2
    assert valve.is_closed
    assert turns == [True], "it is full again: nothing more may be read"


def test_a_subscriber_of_drops_that_raises_is_logged(caplog):
    drops, seen = Drops(), []
    drops.subscribe(lambda item: 1 / item)
    drops.subscribe(seen.append)
    drops.note(0)
    assert (seen, drops.total) == ([0], 1)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_an_interrupt_in_a_subscriber_of_drops_reaches_the_program():
    drops = Drops()

    def interrupt(_item):
        raise KeyboardInterrupt

    drops.subscribe(interrupt)
    with pytest.raises(KeyboardInterrupt):
        drops.note(0)
