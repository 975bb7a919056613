"""What the parser makes of bytes, and bytes to try it on."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass, field

from hypothesis import strategies as st

from rxnodes import ProtocolError
from rxnodes.testing import RSV1, RSV2, Frame, Opcode, close_payload, deflate
from rxnodes.wire.handshake import parse_deflate_parameters
from rxnodes.wire.parser import FrameParser
from rxnodes.wire.protocols import FrameHandler

TEXT, BINARY, MORE, PING, PONG, CLOSE = (
    Opcode.TEXT,
    Opcode.BINARY,
    Opcode.CONTINUATION,
    Opcode.PING,
    Opcode.PONG,
    Opcode.CLOSE,
)
TAIL = b"\x00\x00\xff\xff"


class Parsed(FrameHandler):
    """What the parser finds."""

    def __init__(self, *, limit: int | None = None, compressed: bool = False) -> None:
        self.parser = FrameParser(
            self,
            max_size=limit,
            deflate=parse_deflate_parameters("permessage-deflate") if compressed else None,
        )
        self.messages: list[str | bytes] = []
        self.controls: list[tuple[str, bytes]] = []
        self.closed: tuple[int, str] | None = None
        self.violation: int | None = None
        self.complaint = ""

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
        assert violation.__cause__ is violation.__context__ is None
        self.violation = violation.code
        self.complaint = str(violation)

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


@dataclass
class Wire:
    """Bytes that a server may send, and what the parser makes of them."""

    raw: bytes = b""
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
            wire.raw += encoded(Frame(PING if name == "ping" else PONG, payload))
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
            wire.raw += encoded(
                Frame(opcode, payload[begin:end], fin=number == len(ends) - 1, rsv=rsv if number == 0 else 0)
            )
            begin = end
            if number < len(ends) - 1:
                add_controls()
    if draw(st.booleans()):
        wire.closed = draw(st.sampled_from([(1000, ""), (4999, "as you wish"), (1005, "")]))
        code, reason = wire.closed
        wire.raw += encoded(Frame(CLOSE, close_payload(None if code == 1005 else code, reason)))
        # Whatever follows is not read.
        wire.raw += draw(st.sampled_from([b"", encoded(Frame(TEXT, b"too late")), b"\xff" * 20]))
    return wire


cuts_within = st.one_of(
    st.just(range(0)),
    st.lists(st.integers(0, 3000), max_size=30),
    # So close together that every header is cut, too.
    st.builds(lambda begin, step: range(begin, begin + 300 * step, step), st.integers(0, 500), st.integers(1, 5)),
)


garbage = st.one_of(
    st.binary(max_size=200),
    # Frames of any kind, right or wrong: they lead further than random bytes.
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
            st.sampled_from([None, None, None, 0, 70, 2**63 - 1, 2**63, 2**64 - 1]),
        ),
        max_size=12,
    ).map(b"".join),
)
