"""Frames, without a socket: what goes out as a peer reads it, and what comes in however it is cut."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from dataclasses import dataclass, field

import pytest
from aiohttp._websocket.reader import WebSocketDataQueue
from hypothesis import example, given, settings
from hypothesis import strategies as st
from receipts import receipt

from rxnodes import ProtocolError
from rxnodes.testing import RSV1, RSV2, Frame, Opcode, close_payload, deflate
from rxnodes.testing.frames import take_frame
from rxnodes.transport.frames import Deflate, FrameEncoder, FrameHandler, FrameParser, parse_deflate_parameters

TEXT, BINARY, MORE, PING, PONG, CLOSE = (
    Opcode.TEXT,
    Opcode.BINARY,
    Opcode.CONTINUATION,
    Opcode.PING,
    Opcode.PONG,
    Opcode.CLOSE,
)
TAIL = b"\x00\x00\xff\xff"


@pytest.fixture(scope="module", autouse=True)
def loop():
    """aiohttp's queue wants a loop, which none of these tests runs."""
    Parsed.loop = asyncio.new_event_loop()
    yield
    Parsed.loop.close()


class Parsed(FrameHandler):
    """What a parser finds."""

    loop: asyncio.AbstractEventLoop

    def __init__(self, *, limit: int | None = None, compressed: bool = False) -> None:
        self.parser = FrameParser(
            self,
            WebSocketDataQueue(None, 2**16, loop=self.loop),
            max_size=limit,
            deflate=parse_deflate_parameters("permessage-deflate") if compressed else None,
        )
        self.messages: list[str | bytes] = []
        self.controls: list[tuple[str, bytes]] = []
        self.closed: tuple[int, str] | None = None
        self.violation: int | None = None

    def on_messages(self, messages, size):
        assert messages, "a batch without messages"
        assert len({type(message) for message in messages}) == 1, "a batch of both kinds"
        assert size == sum(len(message.encode() if isinstance(message, str) else message) for message in messages)
        assert self.closed is self.violation is None, "a message behind the end"
        self.messages += messages

    def on_close(self, code, reason):
        assert self.closed is self.violation is None, "a second end"
        self.closed = (code, reason)

    def on_ping(self, payload):
        self.controls.append(("ping", payload))

    def on_pong(self, payload):
        self.controls.append(("pong", payload))

    def feed(self, data: bytes) -> None:
        try:
            self.parser.feed(data)
        except ProtocolError as error:
            violation = error
        else:
            return
        assert self.closed is self.violation is None, "a second end"
        assert str(violation)
        assert violation.__cause__ is None
        self.violation = violation.code

    def feed_cut(self, data: bytes, cuts) -> Parsed:
        """Feeds the data in reads that end where it is cut."""
        places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
        for begin, end in itertools.pairwise(places):
            self.feed(data[begin:end])
        return self

    @property
    def outcome(self):
        return self.messages, self.closed, self.violation


def encoded(*frames: Frame) -> bytes:
    return b"".join(frame.encode() for frame in frames)


# What comes, cut anywhere


@dataclass
class Wire:
    """Octets that a server may send, and what is to be made of them."""

    octets: bytes = b""
    messages: list[str | bytes] = field(default_factory=list)
    controls: list[tuple[str, bytes]] = field(default_factory=list)
    closed: tuple[int, str] | None = None


controls = st.lists(st.tuples(st.sampled_from(["ping", "pong"]), st.binary(max_size=125)), max_size=2)
#: Around each size at which the length field grows.
sizes = st.sampled_from([0, 1, 125, 126, 127, 1000, 65535, 65536])
payloads = st.one_of(
    st.text(max_size=30),
    st.binary(max_size=30),
    st.builds(lambda size: "x" * size, sizes),
    st.builds(lambda size: b"\xc3" * size, sizes),
)


@st.composite
def wires(draw, *, compressed: bool) -> Wire:
    wire = Wire()
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)

    def add_controls():
        nonlocal wire
        for name, payload in draw(controls):
            wire.octets += encoded(Frame(PING if name == "ping" else PONG, payload))
            wire.controls.append((name, payload))

    for _ in range(draw(st.integers(0, 6))):
        add_controls()
        message = draw(payloads)
        wire.messages.append(message)
        payload = message.encode() if isinstance(message, str) else message
        rsv = 0
        if compressed and draw(st.booleans()):
            rsv = RSV1
            if draw(st.booleans()):
                # A server may begin its context anew whenever it likes.
                compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            payload = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)
        ends = [*sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3))), len(payload)]
        begin = 0
        for number, end in enumerate(ends):
            opcode = (TEXT if isinstance(message, str) else BINARY) if number == 0 else MORE
            wire.octets += encoded(
                Frame(opcode, payload[begin:end], fin=number == len(ends) - 1, rsv=rsv if number == 0 else 0)
            )
            begin = end
            if number < len(ends) - 1:
                add_controls()
    if draw(st.booleans()):
        wire.closed = draw(st.sampled_from([(1000, ""), (4999, "as you wish"), (1005, "")]))
        code, reason = wire.closed
        wire.octets += encoded(Frame(CLOSE, close_payload(None if code == 1005 else code, reason)))
        # Whatever follows is not read.
        wire.octets += draw(st.sampled_from([b"", encoded(Frame(TEXT, b"too late")), b"\xff" * 20]))
    return wire


cuts_within = st.one_of(
    st.just(range(0)),
    st.lists(st.integers(0, 3000), max_size=30),
    # So close together that every header is cut, too.
    st.builds(lambda begin, step: range(begin, begin + 300 * step, step), st.integers(0, 500), st.integers(1, 5)),
)


@pytest.mark.parametrize("compressed", [False, True])
@settings(deadline=None, max_examples=150)
@given(data=st.data(), limit=st.sampled_from([None, 65536]))
def test_frames_give_the_same_messages_wherever_they_are_cut(compressed, data, limit):
    wire = data.draw(wires(compressed=compressed))
    parsed = Parsed(limit=limit, compressed=compressed).feed_cut(wire.octets, data.draw(cuts_within))
    assert parsed.outcome == (wire.messages, wire.closed, None)
    assert parsed.controls == wire.controls


garbage = st.one_of(
    st.binary(max_size=200),
    # Frames of any kind, right or wrong: they lead further than octets by chance.
    st.lists(
        st.builds(
            lambda frame, length: frame.encode() if length is None else frame.encode(length=length, length_bits=64),
            st.builds(
                Frame,
                st.integers(0, 15),
                st.one_of(st.binary(max_size=20), st.just(deflate(b"hello")), st.just(close_payload(1005))),
                st.booleans(),
                st.sampled_from([0, 0, 0, RSV1, RSV2]),
                st.sampled_from([None, None, None, b"mask"]),
            ),
            st.sampled_from([None, None, None, 0, 70, 2**63, 2**64 - 1]),
        ),
        max_size=12,
    ).map(b"".join),
)


@pytest.mark.parametrize("compressed", [False, True])
@settings(deadline=None, max_examples=300)
@given(octets=garbage, limit=st.sampled_from([None, 10, 1000]), cuts=cuts_within)
@example(octets=encoded(Frame(TEXT, b"\xff"), Frame(3)), limit=None, cuts=range(9))
@example(octets=encoded(Frame(TEXT, b"\xff"), Frame(CLOSE, close_payload(999))), limit=None, cuts=range(9))
def test_garbage_is_a_violation_and_nothing_else_wherever_it_is_cut(compressed, octets, limit, cuts):
    whole = Parsed(limit=limit, compressed=compressed).feed_cut(octets, ())
    assert whole.violation in (None, 1002, 1007, 1009)
    # What came before it is delivered, and what is said of it is the same.
    assert Parsed(limit=limit, compressed=compressed).feed_cut(octets, cuts).outcome == whole.outcome


@settings(deadline=None, max_examples=100)
@given(data=st.data(), compressed=st.booleans())
def test_octets_that_were_changed_on_the_way_are_a_violation_at_most(data, compressed):
    wire = data.draw(wires(compressed=compressed))
    octets = bytearray(wire.octets or b"\x00")
    for place in data.draw(st.lists(st.integers(0, min(len(octets), 400) - 1), min_size=1, max_size=5)):
        octets[place] ^= data.draw(st.integers(1, 255))
    cuts = data.draw(cuts_within)
    parsed = Parsed(limit=100_000, compressed=compressed).feed_cut(bytes(octets), cuts)
    assert parsed.violation in (None, 1002, 1007, 1009)
    assert Parsed(limit=100_000, compressed=compressed).feed_cut(bytes(octets), ()).outcome == parsed.outcome


# What comes, case by case


def test_a_control_frame_with_the_bit_of_compression_is_found_behind_any_length_of_frame():
    """aiohttp's parser lets it pass, so that we look for it ourselves."""
    bad = encoded(Frame(PING, b"?", rsv=RSV1))
    for size in (0, 125, 126, 65535, 65536):
        for bits in (16, 64):
            if size < 1 << bits:
                octets = Frame(BINARY, bytes(size)).encode(length_bits=bits)
                for cuts in ((), (1,), range(12), (len(octets),), (len(octets) - 1, len(octets) + 1)):
                    parsed = Parsed(compressed=True).feed_cut(octets + bad, cuts)
                    assert parsed.outcome == ([bytes(size)], None, 1002)
                    assert parsed.controls == []


def test_nothing_is_read_behind_a_violation():
    parsed = Parsed()
    parsed.feed(encoded(Frame(TEXT, b"before"), Frame(3), Frame(TEXT, b"behind")))
    parsed.feed(encoded(Frame(TEXT, b"later")))
    assert parsed.outcome == (["before"], None, 1002)


def test_a_frame_that_comes_octet_by_octet_is_no_masked_one():
    """aiohttp folds very many reads into a `bytearray`, which is what it also gives for a masked frame."""
    message = bytes(range(256)) * 12
    for limit in (None, len(message)):
        octets = encoded(Frame(BINARY, message), Frame(BINARY, message, mask=b"mask"))
        parsed = Parsed(limit=limit)
        parsed.feed_cut(octets[: len(message) + 4], range(len(message) + 4))
        assert parsed.outcome == ([message], None, None)
        parsed.feed(octets[len(message) + 4 :])
        assert parsed.violation == 1002


def test_without_a_limit_fragments_are_bounded_in_number_only():
    parsed = Parsed()
    large = bytes(70_000)
    parts = [Frame(BINARY, large, fin=False), *(Frame(MORE, large, fin=False) for _ in range(30)), Frame(MORE, large)]
    parsed.feed(encoded(*parts))
    assert parsed.messages == [large * 32]
    parsed.feed(encoded(Frame(TEXT, b"", fin=False), *(Frame(MORE, b"", fin=False) for _ in range(2000))))
    assert parsed.violation == 1009


@pytest.mark.parametrize("limit", [None, 100])
def test_compressed_fragments_under_a_limit_and_without_one(limit):
    packed = deflate(b"a" * 100)
    parsed = Parsed(limit=limit, compressed=True)
    parsed.feed(encoded(Frame(TEXT, packed[:2], fin=False, rsv=RSV1), Frame(MORE, packed[2:])))
    assert parsed.messages == ["a" * 100]


def final(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(payload) + compressor.flush()


def test_a_message_of_final_blocks_only_does_not_hold_up_the_loop():
    parsed = Parsed(limit=2**20, compressed=True)
    parsed.feed(Frame(TEXT, b"\x03\x00" * 500_000, rsv=RSV1).encode())
    assert (parsed.messages, parsed.violation) == ([], 1009)


def test_a_final_block_ends_no_message():
    """RFC 7692 section 7.2.3.4 allows one, with or without an empty block behind it, and blocks behind it, too."""
    parsed = Parsed(limit=10, compressed=True)
    for packed in (final(b"Hello") + b"\x00", final(b"Hello"), final(b"Hel") + deflate(b"lo"), deflate(b"Hello")):
        parsed.feed(encoded(Frame(TEXT, packed, rsv=RSV1)))
    assert parsed.outcome == (["Hello"] * 4, None, None)
    parsed.feed(encoded(Frame(TEXT, final(b"Hello") + deflate(b"Hello!"), rsv=RSV1)))
    assert parsed.violation == 1009


def test_a_small_read_that_becomes_much_is_delivered_bit_by_bit():
    """Or else a read of a few kilobytes would be held as gigabytes."""
    batches = []
    parsed = Parsed(compressed=True)
    parsed.on_messages = lambda messages, _size: batches.append([len(message) for message in messages])
    parsed.feed(encoded(*[Frame(BINARY, deflate(bytes(600_000)), rsv=RSV1)] * 5))
    assert batches == [[600_000] * 2, [600_000] * 2, [600_000]]


def test_what_fails_within_the_parser_is_told_as_a_violation():
    """A parser that stands in the midst of a frame cannot go on, whatever it was that failed."""
    parsed = Parsed()

    def fails(_payload):
        raise MemoryError

    parsed.on_ping = fails
    parsed.feed(encoded(Frame(TEXT, b"before"), Frame(PING), Frame(TEXT, b"behind")))
    assert parsed.outcome == (["before"], None, 1002)


# What goes


def unmasked(octets: bytes) -> Frame:
    """The one frame that these octets are."""
    buffer = bytearray(octets)
    frame = take_frame(buffer)
    assert frame is not None
    assert not buffer
    assert frame.masked
    return frame


def frame_of(encoder: FrameEncoder, payload: bytes, *, is_text: bool = True) -> bytes:
    (frame,) = encoder.messages([receipt(payload, is_text=is_text)])
    return frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 100_000])
@pytest.mark.parametrize("is_text", [False, True])
def test_a_message_of_any_length_is_one_masked_frame(size, is_text):
    payload = b"x" * size
    octets = frame_of(FrameEncoder(), payload, is_text=is_text)
    frame = unmasked(octets)
    assert (frame.opcode, frame.payload, frame.fin, frame.rsv) == (TEXT if is_text else BINARY, payload, True, 0)
    # The shortest length field that will do (RFC 6455 section 5.2).
    assert len(octets) == size + 4 + (2 if size < 126 else 4 if size < 65536 else 10)


def test_control_frames():
    encoder = FrameEncoder()
    assert unmasked(encoder.ping(b"1234")).opcode == PING
    assert unmasked(encoder.pong(b"x" * 125)).payload == b"x" * 125
    assert unmasked(encoder.close(4000, "tschüß")).payload == close_payload(4000, "tschüß")
    assert unmasked(encoder.close(1005, "")).payload == b""


def test_messages_of_a_burst_are_frames_of_their_own_in_order():
    encoder = FrameEncoder()
    burst = [receipt(b"%d" % number, is_text=number % 2 == 0) for number in range(1000)]
    frames = [unmasked(frame) for frame in encoder.messages(burst)]
    assert [(frame.payload, frame.opcode == TEXT) for frame in frames] == [(it.payload, it.is_text) for it in burst]
    assert len({frame.mask for frame in frames}) >= 997
    # What was drawn for it is not kept, and a mask is not used twice.
    assert unmasked(encoder.ping(b"")).mask not in {frame.mask for frame in frames[:3]}


def test_no_two_masks_are_alike():
    encoder = FrameEncoder()
    masks = [unmasked(frame_of(encoder, b"x")).mask for _ in range(3000)]
    # Four octets by chance: two in three thousand agree once in a thousand runs.
    assert len(set(masks)) >= 2997


@pytest.mark.parametrize("bits", [9, 12, 15])
@pytest.mark.parametrize("takeover", [True, False])
def test_what_a_server_asked_of_our_compression_is_kept(bits, takeover):
    parameters = f"permessage-deflate; client_max_window_bits={bits}"
    encoder = FrameEncoder(parse_deflate_parameters(parameters + ("" if takeover else "; client_no_context_takeover")))
    # Fits into the smallest window, so that a second one like it is short wherever the context is kept.
    message = bytes(range(200))
    inflate = zlib.decompressobj(wbits=-bits)
    sizes_sent = []
    for _ in range(3):
        frame = unmasked(frame_of(encoder, message, is_text=False))
        assert frame.rsv == RSV1
        if not takeover:
            inflate = zlib.decompressobj(wbits=-bits)
        assert inflate.decompress(frame.payload + TAIL) == message
        sizes_sent.append(len(frame.payload))
    assert (sizes_sent[1] < sizes_sent[0]) is takeover


def test_what_is_compressed_can_be_read_by_our_own_side():
    sent, received = Deflate(no_context_takeover=True), Deflate()
    for message in (b"hello", b"", b"hello" * 1000):
        assert received.decompress(sent.compress(message), None) == message


@pytest.mark.parametrize(
    "parameter",
    [
        "client_max_window_bits",
        "client_max_window_bits=8",
        "client_max_window_bits=16",
        "client_max_window_bits=+9",
        "server_max_window_bits=7",
        "client_no_context_takeover=1",
        "unknown",
    ],
)
def test_parameters_that_cannot_be_kept_are_refused(parameter):
    with pytest.raises(ValueError, match="permessage-deflate a parameter that cannot be"):
        parse_deflate_parameters(f"permessage-deflate; {parameter}")
    parse_deflate_parameters('permessage-deflate; server_max_window_bits="8"; server_no_context_takeover')
