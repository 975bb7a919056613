"""Frames of the testing kit, against those of the RFCs."""

from __future__ import annotations

import pytest
from raw_client import ACCEPT, KEY, MASK

from rxnodes.testing import RSV1, Frame, Opcode, accept_key, close_payload, deflate, parse_close, take_frame


def test_accept_key_of_the_rfc():
    assert accept_key(KEY) == ACCEPT


@pytest.mark.parametrize(
    ("frame", "data"),
    [  # RFC 6455 section 5.7
        (Frame(Opcode.TEXT, b"Hello"), "810548656c6c6f"),
        (Frame(Opcode.TEXT, b"Hello", mask=bytes.fromhex("37fa213d")), "818537fa213d7f9f4d5158"),
        (Frame(Opcode.TEXT, b"Hel", fin=False), "010348656c"),
        (Frame(Opcode.CONTINUATION, b"lo"), "80026c6f"),
        (Frame(Opcode.PING, b"Hello"), "890548656c6c6f"),
        (Frame(Opcode.TEXT, b"", rsv=RSV1), "c100"),
    ],
)
def test_frames_of_the_rfc_both_ways(frame, data):
    assert frame.encode().hex() == data
    assert take_frame(bytearray.fromhex(data)) == frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("mask", [None, MASK])
def test_a_frame_of_any_size_is_taken_only_when_it_is_all_there(size, mask):
    frame = Frame(Opcode.BINARY, bytes(i % 251 for i in range(size)), mask=mask)
    data = frame.encode()
    assert take_frame(bytearray(data[:-1])) is None
    buffer = bytearray(data + b"rest")
    assert take_frame(buffer) == frame
    assert buffer == b"rest"


def test_wrong_lengths():
    assert Frame(Opcode.TEXT, b"ab").encode(length=5) == b"\x81\x05ab"
    assert Frame(Opcode.TEXT, b"ab").encode(length_bits=16) == b"\x81\x7e\x00\x02ab"
    assert Frame(Opcode.TEXT, b"ab").encode(length_bits=64) == b"\x81\x7f" + bytes(7) + b"\x02ab"
    assert Frame(Opcode.TEXT).encode(length=1 << 40)[1] == 127


def test_close_payloads():
    assert close_payload(None) == b""
    assert close_payload(1000, "bye") == b"\x03\xe8bye"
    assert close_payload(1000, b"\xff") == b"\x03\xe8\xff"
    assert parse_close(b"") == (1005, "")
    assert parse_close(b"\x03\xe8bye") == (1000, "bye")
    for wrong in (b"\x03", b"\x03\xe8\xff"):
        with pytest.raises(ValueError, match=r"one byte|utf-8"):
            parse_close(wrong)


def test_deflate_as_in_rfc_7692():
    assert deflate(b"Hello").hex() == "f248cdc9c90700"  # section 7.2.3.1
