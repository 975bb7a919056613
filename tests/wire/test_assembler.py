"""Messages, without a socket: what comes, however it is cut."""

from __future__ import annotations

import random
import tracemalloc
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from parsed import BINARY, CLOSE, MORE, PING, PONG, TEXT, Parsed, cuts_within, encoded, garbage, wires

from rxnodes.testing import RSV1, Frame, close_payload, deflate
from rxnodes.wire.deflate import Deflate

# What comes, cut anywhere


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [False, True])
@settings(max_examples=150)
@given(data=st.data(), limit=st.sampled_from([None, 65536]))
def test_frames_give_the_same_messages_wherever_they_are_cut(compressed, data, limit):
    wire = data.draw(wires(compressed=compressed))
    parsed = Parsed(limit=limit, compressed=compressed).feed_cut(wire.raw, data.draw(cuts_within))
    assert parsed.outcome == (wire.messages, wire.closed, None)
    assert parsed.controls == wire.controls


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [False, True])
@settings(max_examples=300)
@given(raw=garbage, limit=st.sampled_from([None, 10, 1000]), cuts=cuts_within)
@example(raw=encoded(Frame(TEXT, b"\xff"), Frame(3)), limit=None, cuts=range(9))
@example(raw=encoded(Frame(TEXT, b"\xff"), Frame(CLOSE, close_payload(999))), limit=None, cuts=range(9))
def test_garbage_is_a_violation_and_nothing_else_wherever_it_is_cut(compressed, raw, limit, cuts):
    whole = Parsed(limit=limit, compressed=compressed).feed_cut(raw, ())
    assert whole.violation in (None, 1002, 1007, 1009)
    # The cuts change neither the messages before it nor its code.
    assert Parsed(limit=limit, compressed=compressed).feed_cut(raw, cuts).outcome == whole.outcome


@pytest.mark.slow
@settings(max_examples=100)
@given(data=st.data(), compressed=st.booleans())
def test_bytes_that_were_changed_on_the_way_are_a_violation_at_most(data, compressed):
    wire = data.draw(wires(compressed=compressed))
    raw = bytearray(wire.raw or b"\x00")
    for place in data.draw(st.lists(st.integers(0, min(len(raw), 400) - 1), min_size=1, max_size=5)):
        raw[place] ^= data.draw(st.integers(1, 255))
    cuts = data.draw(cuts_within)
    parsed = Parsed(limit=100_000, compressed=compressed).feed_cut(bytes(raw), cuts)
    assert parsed.violation in (None, 1002, 1007, 1009)
    assert Parsed(limit=100_000, compressed=compressed).feed_cut(bytes(raw), ()).outcome == parsed.outcome


# What comes, case by case


def test_a_control_frame_with_the_bit_of_compression_is_found_after_any_length_of_frame():
    bad = encoded(Frame(PING, b"?", rsv=RSV1))
    for size in (0, 125, 126, 65535, 65536):
        for bits in (16, 64):
            if size < 1 << bits:
                raw = Frame(BINARY, bytes(size)).encode(length_bits=bits)
                for cuts in ((), (1,), range(12), (len(raw),), (len(raw) - 1, len(raw) + 1)):
                    parsed = Parsed(compressed=True).feed_cut(raw + bad, cuts)
                    assert parsed.outcome == ([bytes(size)], None, 1002)
                    assert parsed.controls == []


def test_nothing_is_read_after_a_violation():
    parsed = Parsed()
    parsed.feed(encoded(Frame(TEXT, b"before"), Frame(3), Frame(TEXT, b"after")))
    parsed.feed(encoded(Frame(TEXT, b"later")))
    assert parsed.outcome == (["before"], None, 1002)


def test_nothing_is_read_after_finish():
    parsed = Parsed()
    parsed.on_ping = lambda _payload: parsed.parser.finish()
    parsed.feed(encoded(Frame(TEXT, b"in the run"), Frame(PING), Frame(TEXT, b"after"), Frame(PONG), Frame(3)))
    parsed.feed(encoded(Frame(TEXT, b"later")))
    assert parsed.outcome == ([], None, None)
    assert parsed.controls == []


@pytest.mark.parametrize("limit", [None, 3072])
def test_frames_that_come_byte_by_byte(limit):
    message = bytes(range(256)) * 12
    raw = encoded(Frame(BINARY, message), Frame(BINARY, message[::-1]))
    parsed = Parsed(limit=limit).feed_cut(raw, range(len(raw)))
    assert parsed.outcome == ([message, message[::-1]], None, None)


def test_without_a_limit_fragments_are_bounded_in_number_only():
    parsed = Parsed()
    large = bytes(70_000)
    parts = [Frame(BINARY, large, fin=False), *(Frame(MORE, large, fin=False) for _ in range(30)), Frame(MORE, large)]
    parsed.feed(encoded(*parts))
    assert parsed.messages == [large * 32]


@pytest.mark.parametrize("limit", [None, 100])
def test_compressed_fragments_under_a_limit_and_without_one(limit):
    packed = deflate(b"a" * 100)
    parsed = Parsed(limit=limit, compressed=True)
    parsed.feed(encoded(Frame(TEXT, packed[:2], fin=False, rsv=RSV1), Frame(MORE, packed[2:])))
    assert parsed.messages == ["a" * 100]


def test_fragments_may_have_the_limit_together():
    parsed = Parsed(limit=10)
    parsed.feed(encoded(Frame(TEXT, bytes(6), fin=False), Frame(MORE, bytes(4), fin=False), Frame(MORE, b"")))
    assert parsed.outcome == (["\0" * 10], None, None)
    parsed.feed(encoded(Frame(TEXT, bytes(6), fin=False), Frame(MORE, bytes(5), fin=False)))
    assert parsed.violation == 1009


def test_what_is_not_compressed_is_held_to_the_limit_where_it_could_be():
    """A compressed message may be a little longer than it is unpacked, so its length alone does not decide."""
    for size, violation in ((1000, None), (1001, 1009), (1065, 1009), (1066, 1009)):
        text = "x" * size
        parsed = Parsed(limit=1000, compressed=True)
        parsed.feed(encoded(Frame(TEXT, b"first"), Frame(TEXT, text.encode())))
        assert parsed.outcome == (["first", *([text] if violation is None else [])], None, violation)
        assert violation is None or parsed.complaint == "a message of more than max_message_size (1000 bytes)"


def test_deflate_may_make_a_message_longer():
    noise = random.Random(1).randbytes(1000)
    packed = deflate(noise)
    assert len(packed) > 1000
    parsed = Parsed(limit=1000, compressed=True)
    parsed.feed(encoded(Frame(BINARY, packed, rsv=RSV1)))
    assert parsed.outcome == ([noise], None, None)


@pytest.mark.parametrize("limit", [10, 1000, 70_000])
def test_the_limit_holds_for_the_first_message_and_for_later_ones(limit):
    for before in (0, 1, 2):
        parsed = Parsed(limit=limit)
        parsed.feed(encoded(*[Frame(BINARY, bytes(limit))] * before, Frame(BINARY, bytes(limit + 1))))
        assert parsed.outcome == ([bytes(limit)] * before, None, 1009)


@pytest.mark.parametrize("compressed", [False, True])
def test_the_longest_length_there_is(compressed):
    """The most significant bit of a length must be 0 (RFC 6455 section 5.2)."""
    parsed = Parsed(compressed=compressed)
    parsed.feed(Frame(BINARY).encode(length=2**63 - 1))
    assert parsed.violation is None
    parsed = Parsed(compressed=compressed)
    parsed.feed(Frame(BINARY).encode(length=2**63))
    assert (parsed.violation, parsed.complaint) == (1009, "a frame that is larger than any memory")


def final(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(payload) + compressor.flush()


def test_a_message_of_final_blocks_only_does_not_hold_up_the_loop():
    parsed = Parsed(limit=2**20, compressed=True)
    parsed.feed(Frame(TEXT, b"\x03\x00" * 500_000, rsv=RSV1).encode())
    assert (parsed.messages, parsed.violation) == ([], 1009)


def test_a_final_block_ends_no_message():
    """RFC 7692 section 7.2.3.4 allows one, with or without an empty block after it, and other blocks after it, too."""
    parsed = Parsed(limit=10, compressed=True)
    for packed in (final(b"Hello") + b"\x00", final(b"Hello"), final(b"Hel") + deflate(b"lo"), deflate(b"Hello")):
        parsed.feed(encoded(Frame(TEXT, packed, rsv=RSV1)))
    assert parsed.outcome == (["Hello"] * 4, None, None)
    parsed.feed(encoded(Frame(TEXT, final(b"Hello") + deflate(b"Hello!"), rsv=RSV1)))
    assert parsed.violation == 1009


def test_a_small_read_that_becomes_much_is_delivered_bit_by_bit():
    """Otherwise a read of a few kilobytes might take gigabytes."""
    batches = []
    parsed = Parsed(compressed=True)
    parsed.on_messages = lambda messages, _size: batches.append([len(message) for message in messages])
    parsed.feed(encoded(*[Frame(BINARY, deflate(bytes(600_000)), rsv=RSV1)] * 5))
    assert batches == [[600_000] * 2, [600_000] * 2, [600_000]]


def test_compressed_messages_after_the_end_are_not_unpacked(monkeypatch):
    """They might take gigabytes, and nobody reads them."""
    parsed, unpacked, decompress = Parsed(compressed=True), [], Deflate.decompress
    monkeypatch.setattr(Deflate, "decompress", lambda *given: (unpacked.append(given), decompress(*given))[1])
    parsed.on_messages = lambda _messages, _size: parsed.parser.finish()
    parsed.feed(encoded(*[Frame(BINARY, deflate(bytes(600_000)), rsv=RSV1)] * 5))
    assert len(unpacked) == 2


@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("size", [30, 300, 70_000])
def test_messages_with_and_without_compression_by_turns(kind, size):
    bodies = [bytes(random.choices(range(97, 123), k=size)) for _ in range(9)]
    frames = [
        Frame(kind, body) if at % 4 == 0 else Frame(kind, deflate(body), rsv=RSV1) for at, body in enumerate(bodies)
    ]
    parsed, sizes = Parsed(compressed=True), []
    parsed.on_messages = lambda messages, size: (parsed.messages.extend(messages), sizes.append(size))
    parsed.feed(encoded(*frames))
    assert parsed.messages == [body.decode() if kind == TEXT else body for body in bodies]
    assert sizes == [9 * size]


def test_an_exception_within_the_parser_is_reported_as_a_violation():
    """After any exception nobody knows where the next frame begins."""
    parsed = Parsed()

    def fails(_payload):
        raise MemoryError

    parsed.on_ping = fails
    parsed.feed(encoded(Frame(TEXT, b"before"), Frame(PING), Frame(TEXT, b"after")))
    assert parsed.outcome == (["before"], None, 1002)


# How many fragments


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(0, 3), max_size=20),
    repeats=st.sampled_from([1, 60, 1000]),
    limits=st.tuples(st.integers(0, 200_000), st.integers(0, 200_000) | st.none()),
)
def test_a_larger_limit_refuses_nothing_that_a_smaller_one_took(sizes, repeats, limits):
    smaller, larger = limits if limits[1] is None else sorted(limits)
    fragments = [Frame(MORE, b"x" * size, fin=False) for size in sizes * repeats]
    raw = encoded(Frame(TEXT, b"", fin=False), *fragments, Frame(MORE, b""))
    whole = Parsed(limit=smaller).feed_cut(raw, [])
    if whole.violation is None:
        assert Parsed(limit=larger).feed_cut(raw, []).outcome == whole.outcome


@pytest.mark.slow
def test_without_a_limit_very_many_fragments_make_a_message():
    parsed = Parsed()
    count = 100_000
    parsed.feed(encoded(Frame(TEXT, b"x", fin=False)) + encoded(Frame(MORE, b"x", fin=False)) * count)
    parsed.feed(encoded(Frame(MORE, b"x")))
    assert parsed.messages == ["x" * (count + 2)]


@pytest.mark.parametrize("limit", [None, 2**20, 2**30])
def test_fragments_that_hold_nothing_have_a_bound_of_their_own(limit):
    parsed = Parsed(limit=limit)
    parsed.feed(encoded(Frame(TEXT, b"", fin=False)) + encoded(Frame(MORE, b"", fin=False)) * 1024)
    assert parsed.violation == 1009
    assert parsed.complaint == "a message in more than 1024 empty fragments"


@pytest.mark.slow
def test_what_is_kept_of_very_many_fragments_is_about_what_they_hold():
    parsed = Parsed()
    raw = encoded(*[Frame(MORE, b"x", fin=False)] * 1000)
    parsed.feed(encoded(Frame(BINARY, b"x", fin=False)))
    tracemalloc.start()
    try:
        for _ in range(50):
            parsed.feed(raw)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2 * 50_000
