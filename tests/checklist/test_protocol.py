"""The checklist's lines 73 to 80: the peer breaks the protocol, or comes close to it."""

from __future__ import annotations

import os
import zlib

import pytest
from faults import LOCAL, REMOTE, clean, run_session

from rxnodes import ConnectionState, ProtocolError
from rxnodes.testing import RSV1, RSV2, RSV3, Frame, Opcode, close_payload, deflate

TEXT, BINARY, MORE = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION
DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
WHOLE = Frame(TEXT, b"whole")
LATE = Frame(TEXT, b"too late")


def sends(*frames, extensions=None):
    """A script that sends frames, and gives our Close and how TCP ended."""

    async def script(peer):
        await peer.accept(extensions=extensions)
        await peer.send_raw(b"".join(frame.encode() for frame in frames))
        heard = await peer.expect_close()
        await peer.half_close()
        return heard, await peer.wait_closed()

    return script


async def violation(code, *frames, messages=(), extensions=None, **settings):
    """The frames break the protocol: we say so to the peer, read no further, and tell."""
    outcome = await run_session(
        sends(WHOLE, *frames, LATE, Frame(Opcode.CLOSE, close_payload(1000)), extensions=extensions),
        initiator=LOCAL,
        error=ProtocolError,
        messages=["whole", *messages],
        **settings,
    )
    assert outcome.heard == [((code, ""), "fin")]
    assert outcome.stopped.error.code == code
    (event,) = outcome.errors
    assert event.phase == "receive"
    assert event.error is outcome.stopped.error
    assert event.message
    assert outcome.journal.kinds == ["Connecting", "Opened", "ErrorEvent", "Closing", "Stopped"]
    assert outcome.journal.states[-3:] == [ConnectionState.OPEN, ConnectionState.CLOSING, ConnectionState.CLOSED]
    return outcome


async def fine(messages, *frames, extensions=None, **settings):
    """The frames are right: the messages are delivered."""
    outcome = await run_session(
        sends(*frames, Frame(Opcode.CLOSE, close_payload(1000)), extensions=extensions),
        **clean(REMOTE),
        messages=messages,
        **settings,
    )
    assert outcome.errors == []
    return outcome


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
async def test_73_a_reserved_opcode(opcode):
    await violation(1002, Frame(opcode, b"?"))


@pytest.mark.slow(but_every=3)
@pytest.mark.parametrize("rsv", [RSV1, RSV2, RSV3, RSV1 | RSV2 | RSV3])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, Opcode.PING, Opcode.PONG, Opcode.CLOSE])
async def test_73_reserved_bits(rsv, opcode):
    await violation(1002, Frame(opcode, b"", rsv=rsv))


@pytest.mark.parametrize("rsv", [RSV2, RSV3])
async def test_73_reserved_bits_that_compression_does_not_define(rsv):
    await violation(1002, Frame(TEXT, b"x", rsv=rsv), extensions=DEFLATE, compression=True)


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG, Opcode.CLOSE])
async def test_73_the_bit_of_compression_on_a_control_frame(opcode):
    await violation(1002, Frame(opcode, b"", rsv=RSV1), extensions=DEFLATE, compression=True)


async def test_73_the_bit_of_compression_on_a_continuation():
    packed = deflate(b"hello")
    await violation(
        1002,
        Frame(TEXT, packed[:2], fin=False, rsv=RSV1),
        Frame(MORE, packed[2:], rsv=RSV1),
        extensions=DEFLATE,
        compression=True,
    )


@pytest.mark.slow(but_every=3)
@pytest.mark.parametrize("opcode", [TEXT, BINARY, Opcode.PING, Opcode.PONG, Opcode.CLOSE])
@pytest.mark.parametrize("mask", [b"\x00\x00\x00\x00", b"\x01\x02\x03\x04"], ids=["of nothing", "mask"])
@pytest.mark.parametrize("payload", [b"", b"ab"], ids=["empty", "payload"])
async def test_73_a_masked_frame_from_the_server(opcode, mask, payload):
    payload = close_payload(1000) if opcode is Opcode.CLOSE and payload else payload
    await violation(1002, Frame(opcode, payload, mask=mask))


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG, Opcode.CLOSE])
async def test_74_a_fragmented_control_frame(opcode):
    await violation(1002, Frame(opcode, close_payload(1000), fin=False))


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG, Opcode.CLOSE])
@pytest.mark.parametrize("length", [126, 70_000])
async def test_74_a_long_control_frame(opcode, length):
    await violation(1002, Frame(opcode, close_payload(1000, b"x" * (length - 2))))


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG])
async def test_74_125_bytes_are_fine(opcode):
    await fine(["whole"], Frame(opcode, b"x" * 125), WHOLE)


@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.parametrize("payload", [b"", b"stray"])
async def test_75_a_stray_continuation(payload, fin):
    await violation(1002, Frame(MORE, payload, fin=fin))


@pytest.mark.parametrize("first", [b"", b"a"], ids=["empty", "first"])
@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_75_data_within_a_fragmented_message(opcode, fin, first):
    await violation(1002, Frame(TEXT, first, fin=False), Frame(opcode, b"b", fin=fin), Frame(MORE, b"c"))


@pytest.mark.parametrize("first", [b"", b"a"], ids=["empty", "first"])
async def test_75_a_continuation_after_the_end(first):
    await violation(
        1002, Frame(TEXT, first, fin=False), Frame(MORE, b"b"), Frame(MORE, b"c"), messages=[(first + b"b").decode()]
    )


async def test_75_control_frames_within_a_fragmented_message_are_fine():
    outcome = await fine(
        ["abc", b""],
        Frame(TEXT, b"a", fin=False),
        Frame(Opcode.PING, b"1"),
        Frame(MORE, b"b", fin=False),
        Frame(Opcode.PONG, b"2"),
        Frame(MORE, b"c"),
        Frame(BINARY, b"", fin=False),
        Frame(MORE, b"", fin=False),
        Frame(MORE, b""),
    )
    assert (outcome.stopped.messages_received, outcome.stopped.bytes_received) == (2, 3)


@pytest.mark.parametrize(
    "payload",
    [b"\xff", b"ok \xc3", b"\xc3(", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"],
    ids=["byte", "cut", "pair", "surrogate", "overlong", "beyond"],
)
async def test_76_invalid_utf_8(payload):
    await violation(1007, Frame(TEXT, payload))


async def test_76_invalid_utf_8_in_a_fragment():
    await violation(1007, Frame(TEXT, b"ok ", fin=False), Frame(MORE, b"\xff"))


async def test_76_invalid_utf_8_in_a_compressed_message():
    await violation(1007, Frame(TEXT, deflate(b"\xff\xfe"), rsv=RSV1), extensions=DEFLATE, compression=True)


async def test_76_a_character_across_fragments_is_fine():
    euro = "€".encode()
    await fine(["€"], Frame(TEXT, euro[:1], fin=False), Frame(MORE, euro[1:2], fin=False), Frame(MORE, euro[2:]))


LIMIT = 1000


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_77_exactly_the_limit_is_fine(opcode):
    payload = b"x" * LIMIT
    message = payload.decode() if opcode is TEXT else payload
    await fine(
        [message, message],
        Frame(opcode, payload),
        Frame(opcode, payload[:600], fin=False),
        Frame(MORE, payload[600:]),
        max_message_size=LIMIT,
    )


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [LIMIT + 1, 70_000])
async def test_77_too_large(opcode, size):
    await violation(1009, Frame(opcode, b"x" * size), max_message_size=LIMIT)


@pytest.mark.parametrize("declared", [LIMIT + 1, 1 << 20, 1 << 40, (1 << 63) - 1])
async def test_77_too_large_by_its_declared_length_alone(declared):
    async def declares(peer):
        await peer.accept()
        await peer.send_frame(Frame(BINARY), length=declared)
        heard = await peer.expect_close()
        await peer.half_close()
        return heard, await peer.wait_closed()

    outcome = await run_session(declares, initiator=LOCAL, error=ProtocolError, max_message_size=LIMIT, messages=[])
    assert outcome.heard == [((1009, ""), "fin")]


async def test_77_too_large_in_fragments():
    await violation(
        1009, Frame(BINARY, bytes(600), fin=False), Frame(MORE, bytes(401), fin=False), max_message_size=LIMIT
    )


@pytest.mark.parametrize("split", [False, True])
async def test_77_too_large_when_inflated(split):
    packed = deflate(bytes(10_000_000))
    frames = (
        [Frame(BINARY, packed[:500], fin=False, rsv=RSV1), Frame(MORE, packed[500:])]
        if split
        else [Frame(BINARY, packed, rsv=RSV1)]
    )
    await violation(1009, *frames, extensions=DEFLATE, compression=True, max_message_size=20_000)


@pytest.mark.parametrize("excess", [0, 1])
async def test_77_the_limit_counts_inflated_bytes(excess):
    payload = os.urandom(LIMIT + excess)
    frame = Frame(BINARY, deflate(payload), rsv=RSV1)
    if excess:
        await violation(1009, frame, extensions=DEFLATE, compression=True, max_message_size=LIMIT)
    else:
        await fine([payload], frame, extensions=DEFLATE, compression=True, max_message_size=LIMIT)


async def test_77_the_default_limit_is_one_mebibyte():
    await violation(1009, Frame(BINARY, bytes(2**20 + 1)))


async def test_77_without_a_limit():
    size = 5_000_000
    await fine([bytes(size)], Frame(BINARY, bytes(size)), max_message_size=None)


async def test_77_a_length_field_that_is_longer_than_needed():
    """RFC 6455 section 5.2: the minimal number of bytes must be used. Most take it; whichever it is, it is bounded."""

    async def long_field(peer):
        await peer.accept()
        await peer.send_frame(Frame(TEXT, b"short"), length_bits=64)
        await peer.send_close(1000)

    await run_session(long_field, **clean(REMOTE), messages=["short"])


@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "one byte"])
async def test_78_too_many_fragments(payload):
    fragments = [Frame(MORE, payload, fin=False)] * 20_000
    await violation(1009, Frame(BINARY, payload, fin=False), *fragments)


async def test_78_many_fragments_are_fine():
    count = 1_000
    await fine(
        [b"x" * (count + 1)],
        Frame(BINARY, b"x", fin=False),
        *[Frame(MORE, b"x", fin=False)] * (count - 1),
        Frame(MORE, b"x"),
    )


@pytest.mark.parametrize("compression", [False, True])
async def test_79_compressed_though_not_negotiated(compression):
    await violation(1002, Frame(TEXT, deflate(b"hello"), rsv=RSV1), compression=compression)


@pytest.mark.parametrize("extensions", ["permessage-deflate", DEFLATE])
async def test_79_compressed_as_negotiated(extensions):
    packed = deflate(b"hello hello hello")
    await fine(
        ["hello hello hello", "plain", "hello hello hello", ""],
        Frame(TEXT, packed, rsv=RSV1),
        Frame(TEXT, b"plain"),
        Frame(TEXT, packed[:3], fin=False, rsv=RSV1),
        Frame(MORE, packed[3:]),
        Frame(TEXT, deflate(b""), rsv=RSV1),
        extensions=extensions,
        compression=True,
    )


async def test_79_context_takeover():
    compressor = zlib.compressobj(wbits=-15)

    def pack(text):
        return (compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]

    texts = [b"the same words again and again"] * 5
    await fine(
        [text.decode() for text in texts],
        *(Frame(TEXT, pack(text), rsv=RSV1) for text in texts),
        extensions="permessage-deflate",
        compression=True,
    )


@pytest.mark.parametrize("octets", [b"\xff\xff\xff\xff", b"\x07 nonsense", b"hello"])
async def test_79_compressed_nonsense(octets):
    outcome = await run_session(
        sends(Frame(TEXT, octets, rsv=RSV1), LATE, extensions=DEFLATE),
        initiator=LOCAL,
        error=ProtocolError,
        messages=[],
        compression=True,
    )
    assert outcome.heard[0][0].code in (1002, 1007)


@pytest.mark.parametrize("text", ["", "hello", "x" * 200_000])
async def test_79_what_we_send_is_compressed_as_negotiated(text):
    async def script(peer):
        await peer.accept(extensions="permessage-deflate")
        inflate = zlib.decompressobj(wbits=-15)
        heard = []
        for _ in range(3):
            frame = await peer.receive()
            assert frame.rsv == RSV1
            heard.append(inflate.decompress(frame.payload + b"\x00\x00\xff\xff").decode())
        await peer.send_close(1000)
        return heard

    async def act(connection, _watch):
        await connection.wait_started()
        for _ in range(3):
            connection.send(text)

    outcome = await run_session(script, act=act, **clean(REMOTE), compression=True)
    assert outcome.heard == [[text] * 3]


async def test_80_several_pings_are_all_answered():
    payloads = [b"", b"x" * 125, *(str(number).encode() for number in range(200))]

    async def pings(peer):
        await peer.accept()
        for payload in payloads:
            await peer.ping(payload)
        answers = [await peer.receive() for _ in payloads]
        assert all(answer.opcode == Opcode.PONG and answer.masked for answer in answers)
        await peer.send_close(1000)
        return [answer.payload for answer in answers]

    outcome = await run_session(pings, **clean(REMOTE))
    assert outcome.heard == [payloads]


async def test_80_pings_after_our_violation_verdict_are_not_answered():
    outcome = await violation(1002, Frame(3), Frame(Opcode.PING, b"?"))
    assert outcome.heard == [((1002, ""), "fin")]


@pytest.mark.slow
async def test_80_a_flood_of_pings_at_a_client_that_cannot_write_costs_no_memory():
    async def floods(peer):
        await peer.accept()
        await peer.receive()
        for _ in range(20_000):
            await peer.ping(b"x" * 125)
        pongs = 0
        while (frame := await peer.receive()).opcode != Opcode.CLOSE:
            pongs += frame.opcode == Opcode.PONG
        await peer.send_close(1000)
        return pongs

    async def act(connection, _watch):
        await connection.wait_started()
        connection.send("begin")
        connection.send(bytes(8_000_000))
        connection.stop()

    outcome = await run_session(floods, act=act, **clean(LOCAL), receive_buffer=4096, close_timeout=10)
    assert outcome.heard[0] < 20_000
