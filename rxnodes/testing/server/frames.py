r"""WebSocket frames as bytes (RFC 6455 section 5), right ones and wrong ones.

Nothing is checked here: a test gets any frame that it describes, and sees a client's frame as it came.

Example:
    >>> Frame(Opcode.TEXT, b"Hello").encode()
    b'\x81\x05Hello'
    >>> take_frame(bytearray(Frame(Opcode.TEXT, b"Hello", mask=b"abcd").encode()))
    Frame(opcode=1, payload=b'Hello', fin=True, rsv=0, mask=b'abcd')
"""

from __future__ import annotations

import base64
import enum
import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

__all__ = [
    "RSV1",
    "RSV2",
    "RSV3",
    "Close",
    "Frame",
    "Opcode",
    "accept_key",
    "close_payload",
    "deflate",
    "parse_close",
    "take_frame",
]

RSV1: Final = 0b100
RSV2: Final = 0b010
RSV3: Final = 0b001

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FIN_BIT: Final = 0x80
_MASK_BIT: Final = 0x80
_MASK_SIZE: Final = 4
_LENGTH_IN_16_BITS: Final = 126
_LENGTH_IN_64_BITS: Final = 127
_NO_STATUS: Final = 1005


class Opcode(enum.IntEnum):
    """The kind of a frame (RFC 6455 section 5.2). Any other number up to 15 is reserved."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Close(NamedTuple):
    """The content of a Close frame.

    Attributes:
        code: The close code; 1005 if the frame was empty (RFC 6455 section 7.1.5).
        reason: The reason.
    """

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Frame:
    r"""One frame (RFC 6455 section 5.2).

    Attributes:
        opcode: An `Opcode`, or a reserved number.
        payload: The payload, not masked.
        fin: Whether the message ends here.
        rsv: The reserved bits: a sum of `RSV1`, `RSV2` and `RSV3`.
        mask: The four bytes of the masking key; `None` if it is not masked, as a server's frames must be.

    Example:
        >>> Frame(Opcode.TEXT, b"Hel", fin=False).encode() + Frame(Opcode.CONTINUATION, b"lo").encode()
        b'\x01\x03Hel\x80\x02lo'
    """

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    mask: bytes | None = None

    @property
    def masked(self) -> bool:
        """Whether it is masked. A client's frames must be (RFC 6455 section 5.1)."""
        return self.mask is not None

    def encode(self, *, length: int | None = None, length_bits: Literal[7, 16, 64] | None = None) -> bytes:
        """Gives the frame as bytes.

        Args:
            length: The length to declare, if not the payload's.
            length_bits: The size of the length field, if not the shortest that suffices.

        Returns:
            The header and the payload, masked if there is a mask.

        Raises:
            struct.error: If the length does not fit into a field of 16 or 64 bits.
            ValueError: If the length, the opcode or the reserved bits do not fit into their bits.
        """
        first = self.fin * _FIN_BIT | self.rsv << 4 | self.opcode
        declared = len(self.payload) if length is None else length
        second, extended = _encode_length(declared, length_bits or _shortest(declared))
        if self.mask is None:
            return bytes([first, second]) + extended + self.payload
        return bytes([first, second | _MASK_BIT]) + extended + self.mask + _mask(self.payload, self.mask)


def take_frame(buffer: bytearray) -> Frame | None:
    """Takes the first frame out of `buffer`.

    Args:
        buffer: The bytes that a client has sent so far. The frame's bytes are removed from it.

    Returns:
        The frame, with its payload unmasked. While it is incomplete, `None`; then the buffer stays as it was.

    Example:
        >>> buffer = bytearray(Frame(Opcode.PING, b"1").encode() + Frame(Opcode.TEXT, b"Hello").encode()[:-1])
        >>> take_frame(buffer).payload, take_frame(buffer)
        (b'1', None)
    """
    header = 2
    if len(buffer) < header:
        return None
    first, second = buffer[:header]
    length = second & ~_MASK_BIT
    extended = {_LENGTH_IN_16_BITS: 2, _LENGTH_IN_64_BITS: 8}.get(length, 0)
    mask_size = _MASK_SIZE if second & _MASK_BIT else 0
    payload_at = header + extended + mask_size
    if len(buffer) < payload_at:
        return None
    if extended:
        length = int.from_bytes(buffer[header : header + extended])
    end = payload_at + length
    if len(buffer) < end:
        return None
    mask = bytes(buffer[payload_at - mask_size : payload_at]) or None
    payload = bytes(buffer[payload_at:end])
    del buffer[:end]
    return Frame(
        opcode=first & 0b1111,
        payload=payload if mask is None else _mask(payload, mask),
        fin=bool(first & _FIN_BIT),
        rsv=first >> 4 & 0b111,
        mask=mask,
    )


def close_payload(code: int | None, reason: str | bytes = "") -> bytes:
    r"""Gives the payload of a Close frame (RFC 6455 section 5.5.1).

    Args:
        code: Any number of 16 bits, allowed or not. With `None`, the payload is the reason alone.
        reason: Text, or bytes that need not be UTF-8. A valid one has at most 123 bytes.

    Returns:
        The payload.

    Raises:
        struct.error: If the code does not fit into 16 bits.

    Example:
        >>> close_payload(1000, "bye"), close_payload(None)
        (b'\x03\xe8bye', b'')
    """
    data = reason.encode() if isinstance(reason, str) else reason
    return data if code is None else struct.pack("!H", code) + data


def parse_close(payload: bytes) -> Close:
    """Reads the payload of a Close frame.

    Args:
        payload: The payload, unmasked.

    Returns:
        Its code and reason; 1005 and no reason if it is empty. The code may be one that must not be sent.

    Raises:
        ValueError: If it is one byte long, or its reason is not UTF-8.

    Example:
        >>> parse_close(close_payload(1001, "bye")), parse_close(b"")
        (Close(code=1001, reason='bye'), Close(code=1005, reason=''))
    """
    if not payload:
        return Close(_NO_STATUS, "")
    if len(payload) == 1:
        raise ValueError("a Close frame's payload of one byte holds no code (RFC 6455 section 5.5.1)")
    return Close(int.from_bytes(payload[:2]), payload[2:].decode())


def accept_key(key: str) -> str:
    """Gives the Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (RFC 6455 section 4.2.2).

    Args:
        key: The key as it came, valid or not.

    Returns:
        The header's value.

    Example:
        That of RFC 6455 section 1.3:

        >>> accept_key("dGhlIHNhbXBsZSBub25jZQ==")
        's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    """
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def deflate(payload: bytes) -> bytes:
    """Compresses a message's payload as permessage-deflate does (RFC 7692 section 7.2.1), without context takeover.

    Args:
        payload: The payload of the whole message.

    Returns:
        The payload for one frame with `rsv=RSV1`; or, cut anywhere, for such a frame and its continuations.

    Example:
        That of RFC 7692 section 7.2.3.1:

        >>> deflate(b"Hello").hex(" ")
        'f2 48 cd c9 c9 07 00'
    """
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def _shortest(length: int) -> Literal[7, 16, 64]:
    if length < _LENGTH_IN_16_BITS:
        return 7
    return 16 if length < 1 << 16 else 64


def _encode_length(length: int, bits: Literal[7, 16, 64]) -> tuple[int, bytes]:
    """Gives the seven bits of the second byte, and the bytes that follow it."""
    if bits == 7:  # noqa: PLR2004 - the field's own name
        return length, b""
    if bits == 16:  # noqa: PLR2004
        return _LENGTH_IN_16_BITS, struct.pack("!H", length)
    return _LENGTH_IN_64_BITS, struct.pack("!Q", length)


def _mask(payload: bytes, key: bytes) -> bytes:
    """Masks or unmasks (RFC 6455 section 5.3), as one big number, which is fast enough for megabytes."""
    size = len(payload)
    pad = (key * (size // _MASK_SIZE + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(size)
