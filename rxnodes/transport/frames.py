"""Frames: encoding ours, and which parser reads the peer's.

That is aiohttp's, compiled, as long as it is one that rxnodes knows; otherwise one in plain Python, which keeps the
same promises and takes longer.
"""

from __future__ import annotations

import logging
import os
import zlib
from struct import Struct
from typing import TYPE_CHECKING, Protocol

import aiohttp

from rxnodes.lifecycle.states import CloseCode
from rxnodes.transport import plain_parser
from rxnodes.transport.messages import BINARY, CLOSE, CLOSE_CODE, FIN, MASKED, PING, PONG, RSV1, TEXT, FrameHandler

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from rxnodes.transport.messages import Parser

__all__ = [
    "Deflate",
    "FrameEncoder",
    "FrameHandler",
    "FrameParser",
    "Masks",
    "choose_parser",
    "layers",
]

logger = logging.getLogger("rxnodes.transport")

MEDIUM_HEADER = Struct("!BBH").pack
LONG_HEADER = Struct("!BBQ").pack

SHORT_FRAMES = (
    FIN | TEXT,
    FIN | BINARY,
    FIN | RSV1 | TEXT,
    FIN | RSV1 | BINARY,
    FIN | CLOSE,
    FIN | PING,
    FIN | PONG,
)

#: The headers of short frames, ready made: packing one takes a fifth of the time of encoding the frame.
SHORT_HEADERS = {
    first_byte: [bytes((first_byte, MASKED | length)) for length in range(126)] for first_byte in SHORT_FRAMES
}

#: RFC 7692 section 7.2.1: what a sender takes off the end of a compressed message, and a receiver puts back.
DEFLATE_TAIL = b"\x00\x00\xff\xff"

#: Each final block in a message takes a new decompressor and a copy of the rest; a sender needs one at most.
MAX_FINAL_BLOCKS = 16

#: Drawn from the system at once: a thousand masks.
MASK_POOL_SIZE = 4096

#: RFC 6455 section 5.2: payloads below this length have the shortest header.
SHORT = 126


def choose_parser() -> tuple[type[Parser], Callable[[bytes, bytearray], None]]:
    """The parser of the peer's frames, and what masks ours in place.

    Both are aiohttp's where they are what rxnodes expects. Otherwise a line in the log says that they are not.
    """
    try:
        from rxnodes.transport import fast_parser  # noqa: PLC0415 - there may be no such thing in aiohttp

        fast_parser.check()
    except Exception as error:  # noqa: BLE001 - whatever it is, this aiohttp is another than we know
        logger.warning(
            "rxnodes does not know the frame parser of aiohttp %s (%r); it receives with its own, which is slower",
            aiohttp.__version__,
            error,
        )
        return plain_parser.PlainParser, plain_parser.mask
    return fast_parser.FastParser, fast_parser.mask


if TYPE_CHECKING:
    # Both have the same names.
    FrameParser = plain_parser.PlainParser
    mask = plain_parser.mask
else:
    FrameParser, mask = choose_parser()


class Deflate:
    """permessage-deflate as negotiated (RFC 7692).

    Args:
        window_bits: The size of our window, 9 to 15.
        no_context_takeover: Whether each of our messages is compressed on its own.
    """

    def __init__(self, window_bits: int = 15, *, no_context_takeover: bool = False) -> None:
        self._window_bits = window_bits
        self._no_context_takeover = no_context_takeover
        self._compressor = self._new_compressor()
        self._decompressor = zlib.decompressobj(wbits=-zlib.MAX_WBITS)

    def _new_compressor(self) -> zlib._Compress:  # pyright: ignore[reportPrivateUsage]
        return zlib.compressobj(level=zlib.Z_BEST_SPEED, wbits=-self._window_bits)

    def compress(self, payload: bytes) -> bytes:
        """The compressed payload of a message."""
        if self._no_context_takeover:
            self._compressor = self._new_compressor()
        packed = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return packed.removesuffix(DEFLATE_TAIL)

    def decompress(self, payload: bytes, limit: int | None) -> bytes | None:
        """The payload of a message of the peer; `None` if it is longer than `limit` bytes, or in too many final blocks.

        Raises:
            zlib.error: If it is not what deflate produces.
        """
        data = payload + DEFLATE_TAIL
        unpacked = b""
        for _ in range(MAX_FINAL_BLOCKS):
            unpacked += self._decompressor.decompress(data, 0 if limit is None else limit + 1 - len(unpacked))
            if limit is not None and len(unpacked) > limit:
                return None
            if not self._decompressor.eof:
                return unpacked
            # A final block is allowed (RFC 7692 section 7.2.3.4), and so are blocks behind it.
            data = self._decompressor.unused_data
            self._decompressor = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
            if data in (b"", DEFLATE_TAIL):
                return unpacked
        return None


class Outgoing(Protocol):
    """A message that is to be encoded.

    Attributes:
        payload: Its bytes.
        is_text: Whether it is a text message (UTF-8).
    """

    payload: bytes
    is_text: bool


class Masks:
    """Four bytes for each frame that nobody can predict (RFC 6455 section 10.3).

    They are drawn from the system many at a time, for all connections of a transport: none waits for a call of the
    system with its first frame, and an idle one holds none.
    """

    __slots__ = ("_drawn", "_next")

    def __init__(self) -> None:
        self._drawn = b""
        self._next = 0

    def draw(self, count: int) -> tuple[bytes, int]:
        """Masks for so many frames.

        Returns:
            Bytes, and where in them the masks begin.
        """
        size = 4 * count
        if len(self._drawn) - self._next < size:
            self._drawn = os.urandom(max(MASK_POOL_SIZE, size))
            self._next = 0
        at = self._next
        self._next += size
        return self._drawn, at


class FrameEncoder:
    """Encodes the frames of a client: masked (RFC 6455 section 5.3), and compressed where that was negotiated."""

    __slots__ = (
        "_deflate",
        "_masks",
    )

    def __init__(self, deflate: Deflate | None = None, masks: Masks | None = None) -> None:
        self._deflate = deflate
        self._masks = masks or Masks()

    def compressing(self, deflate: Deflate) -> FrameEncoder:
        """The same, with compression."""
        return FrameEncoder(deflate, self._masks)

    def messages(self, messages: Sequence[Outgoing]) -> list[bytes]:
        """Whole messages, each as one frame. All in one loop, which takes two thirds of the time of one by one."""
        masks, at = self._masks.draw(len(messages))
        deflate, bits = self._deflate, FIN if self._deflate is None else FIN | RSV1
        texts, binaries = SHORT_HEADERS[bits | TEXT], SHORT_HEADERS[bits | BINARY]
        frames: list[bytes] = []
        for message in messages:
            payload = message.payload if deflate is None else deflate.compress(message.payload)
            length = len(payload)
            if length < SHORT:
                header = (texts if message.is_text else binaries)[length]
            else:
                header = _long_header(bits | (TEXT if message.is_text else BINARY), length)
            key = masks[at : at + 4]
            at += 4
            masked = bytearray(payload)
            mask(key, masked)
            frames.append(header + key + masked)
        return frames

    def pong(self, payload: bytes) -> bytes:
        """The answer to a ping."""
        return self._control(FIN | PONG, payload)

    def ping(self, payload: bytes) -> bytes:
        """A ping of ours."""
        return self._control(FIN | PING, payload)

    def close(self, code: int, reason: str) -> bytes:
        """A Close frame; 1005 stands for an empty one (RFC 6455 section 7.1.5)."""
        payload = b"" if code == CloseCode.NO_STATUS_RECEIVED else CLOSE_CODE.pack(code) + reason.encode()
        return self._control(FIN | CLOSE, payload)

    def _control(self, first_byte: int, payload: bytes) -> bytes:
        masks, at = self._masks.draw(1)
        key = masks[at : at + 4]
        masked = bytearray(payload)
        mask(key, masked)
        return SHORT_HEADERS[first_byte][len(payload)] + key + masked


def _long_header(first_byte: int, length: int) -> bytes:
    if length < 65536:  # noqa: PLR2004 - RFC 6455 section 5.2
        return MEDIUM_HEADER(first_byte, MASKED | 126, length)
    return LONG_HEADER(first_byte, MASKED | 127, length)


def layers(transport: asyncio.Transport) -> list[asyncio.Transport]:
    """A TLS transport of asyncio, and the TCP transport below it; any other transport alone.

    asyncio has no public name for the lower one, and without it nobody can tell whether what was written has left.
    """
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return [transport] if below is None else [transport, below]
