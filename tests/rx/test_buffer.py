"""What waits for a consumer, and what is dropped."""

from __future__ import annotations

from consumers import Source

from rxnodes.rx.backpressure import PauseControl, deliver
from rxnodes.rx.buffer import Buffer


def test_a_buffer_that_is_closed_keeps_nothing_and_holds_nobody():
    """What another thread is putting at that moment would hold up its source for good."""
    source = Source()
    buffer = Buffer(1, "pause", None)
    buffer.close()
    deliver(source.pause_control, buffer.put, 1)
    deliver(source.pause_control, buffer.put, 2)
    assert len(buffer) == 0
    assert source.turns == []


def test_one_that_lets_go_on_another_thread_while_its_source_fills_it_again():
    """The source's thread is still delivering what one read brought when it hears that it may go on."""
    turns, handed_over = [], []
    is_elsewhere = False
    pause_control = PauseControl(turns.append, lambda action: handed_over.append(action) if is_elsewhere else action())
    buffer = Buffer(2, "pause", None)
    deliver(pause_control, buffer.put, 1)
    deliver(pause_control, buffer.put, 2)
    assert turns == [True]
    is_elsewhere = True
    buffer.pop()
    buffer.resume_source_at_half()
    is_elsewhere = False
    deliver(pause_control, buffer.put, 3)
    for action in handed_over:
        action()
    assert len(buffer) == 2
    assert pause_control.is_paused
    assert turns == [True], "it is full again: nothing more may be read"
