"""Buffers, where two threads meet. tests/rx/test_async_operators.py tests their policies."""

from __future__ import annotations

from consumers import Source

from rxnodes.rx.backpressure import PauseControl, deliver
from rxnodes.rx.buffer import Buffer


def test_a_closed_buffer_keeps_nothing_and_pauses_nothing():
    """Otherwise an item that another thread puts at that moment would pause its source for good."""
    source = Source()
    buffer = Buffer(1, "pause", None)
    buffer.close()
    deliver(source.pause_control, buffer.put, 1)
    deliver(source.pause_control, buffer.put, 2)
    assert len(buffer) == 0
    assert source.turns == []


def test_a_buffer_is_filled_again_before_its_source_hears_that_it_is_resumed():
    """The source's thread still delivers the items of one read when the consumer, on another thread, resumes it."""
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
