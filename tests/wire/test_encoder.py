"""Frames, without a socket: what goes out, as a peer reads it."""

from __future__ import annotations

import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsed import BINARY, PING, TAIL, TEXT
from receipts import receipt
from zlib_ng import zlib_ng

from rxnodes.testing import RSV1, Frame, close_payload
from rxnodes.testing.server.frames import take_frame
from rxnodes.transport.aiohttp.transport import compiled_mask
from rxnodes.wire import deflate
from rxnodes.wire.deflate import Deflate
from rxnodes.wire.encoder import FrameEncoder
from rxnodes.wire.handshake import parse_deflate_parameters
from rxnodes.wire.masking import Masks, mask


def unmasked(raw: bytes) -> Frame:
    """The one frame that these bytes are."""
    buffer = bytearray(raw)
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
    raw = frame_of(FrameEncoder(), payload, is_text=is_text)
    frame = unmasked(raw)
    assert (frame.opcode, frame.payload, frame.fin, frame.rsv) == (TEXT if is_text else BINARY, payload, True, 0)
    # The shortest length field that will do (RFC 6455 section 5.2).
    assert len(raw) == size + 4 + (2 if size < 126 else 4 if size < 65536 else 10)


@given(payload=st.one_of(st.binary(max_size=40), st.binary(min_size=1000, max_size=1100)), is_text=st.booleans())
def test_whatever_is_masked_can_be_unmasked(payload, is_text):
    encoder = FrameEncoder(None, Masks(compiled_mask()))
    assert unmasked(frame_of(encoder, payload, is_text=is_text)).payload == payload


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
    # Four random bytes: two in a thousand agree once in ten thousand runs.
    assert len({frame.mask for frame in frames}) >= 998
    assert unmasked(encoder.ping(b"")).mask not in {frame.mask for frame in frames[:3]}


def test_no_two_masks_are_alike():
    encoder = FrameEncoder()
    masks = [unmasked(frame_of(encoder, b"x")).mask for _ in range(3000)]
    # Four random bytes: two in three thousand agree once in a thousand runs.
    assert len(set(masks)) >= 2997


@pytest.mark.parametrize("new_compressor", [zlib.compressobj, zlib_ng.compressobj])
@pytest.mark.parametrize("bits", [9, 12, 15])
@pytest.mark.parametrize("takeover", [True, False])
def test_what_a_server_asked_of_our_compression_is_kept(bits, takeover, new_compressor, monkeypatch):
    monkeypatch.setattr(deflate, "new_compressor", new_compressor)
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


def test_zlib_ng_compresses_where_it_is_installed():
    assert deflate.new_compressor is zlib_ng.compressobj


def test_what_is_compressed_can_be_read_by_our_own_side():
    sent, received = Deflate(no_context_takeover=True), Deflate()
    for message in (b"hello", b"", b"hello" * 1000):
        assert received.decompress(sent.compress(message), None) == message


@given(key=st.binary(min_size=4, max_size=4), payload=st.binary(max_size=300))
def test_both_masks_are_the_same(key, payload):
    ours, theirs = bytearray(payload), bytearray(payload)
    mask(key, ours)
    compiled_mask()(key, theirs)
    assert ours == theirs
    mask(key, ours)
    assert ours == payload


def test_without_a_compiled_mask_ours_is_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp._websocket.helpers", None)
    assert compiled_mask() is None
