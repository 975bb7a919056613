"""The parser: what is refused as soon as it can be, and what it keeps."""

from __future__ import annotations

import os
import sys
import tracemalloc

import pytest
from parsed import BINARY, PING, TEXT, Parsed, encoded

from rxnodes.testing import RSV1, Frame, deflate

MASKED = "a frame from the server is masked"


@pytest.mark.parametrize(
    ("raw", "code", "complaint"),
    [
        (encoded(Frame(3)), 1002, "a frame with the opcode 3, which is reserved"),
        (encoded(Frame(11)), 1002, "a frame with the opcode 11, which is reserved"),
        (encoded(Frame(TEXT, rsv=RSV1)), 1002, "a frame with a reserved bit"),
        (encoded(Frame(PING, fin=False)), 1002, "a control frame in fragments"),
        (encoded(Frame(PING, bytes(126))), 1002, "a control frame of more than 125 bytes"),
    ],
)
def test_two_bytes_are_enough_to_refuse_a_frame(raw, code, complaint):
    parsed = Parsed()
    parsed.feed(raw[:1])
    assert parsed.violation is None
    parsed.feed(raw[1:2])
    assert (parsed.violation, parsed.complaint) == (code, complaint)


@pytest.mark.parametrize(
    ("frame", "code", "complaint"),
    [
        (Frame(BINARY, bytes(1001)), 1009, "a message of more than max_message_size (1000 bytes)"),
        (Frame(BINARY, bytes(1000), mask=b"mask"), 1002, MASKED),
        (Frame(PING, b"", mask=b"mask"), 1002, MASKED),
    ],
)
def test_a_header_is_enough_to_refuse_a_frame(frame, code, complaint):
    header = 2 if frame.opcode == PING else 4
    parsed = Parsed(limit=1000).feed_cut(frame.encode()[:header], range(header))
    assert (parsed.violation, parsed.complaint) == (code, complaint)


@pytest.mark.parametrize("frame", [Frame(TEXT, b"hello"), Frame(PING), Frame(TEXT, deflate(b"hello"), rsv=RSV1)])
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_a_masked_frame_is_refused_among_others_in_however_many_reads(frame, size):
    parsed = Parsed(limit=1000, compressed=frame.rsv == RSV1)
    parsed.feed_cut(encoded(*[frame] * 5, Frame(TEXT, b"hello", mask=b"mask")), range(0, 1000, size))
    assert (parsed.violation, parsed.complaint) == (1002, MASKED)
    assert len(parsed.messages) + len(parsed.controls) == 5


@pytest.mark.parametrize("rest", [b"", b"\x82", b"\x82\x7f\0\0\0", b"\x82\x03of"])
def test_the_parser_keeps_no_read_alive(rest):
    parsed = Parsed()
    read = encoded(Frame(TEXT, b"first"), Frame(BINARY, bytes(70_000)), Frame(TEXT, b"last")) + rest
    holders = sys.getrefcount(read)
    parsed.feed(read)
    assert len(parsed.messages) == 3
    assert sys.getrefcount(read) == holders


@pytest.mark.slow
def test_a_frame_in_very_many_reads_takes_little_more_memory_than_its_bytes():
    """The parts alone would take ten times as much, because each is an object of its own."""
    size = 200_000
    raw = encoded(Frame(BINARY, os.urandom(size)))
    parsed = Parsed()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for begin in range(0, len(raw), 4):
            parsed.feed(raw[begin : begin + 4])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [len(message) for message in parsed.messages] == [size]
    assert peak - before < 3 * size
