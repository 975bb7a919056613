"""The encoder: makes the frames of a client, masked, and compressed where that was negotiated."""

from __future__ import annotations

import os
from struct import Struct
from typing import TYPE_CHECKING, Protocol

from rxnodes.lifecycle.states import CloseCode
from rxnodes.wire.opcodes import BINARY, CLOSE, CLOSE_CODE, FIN, MASKED, PING, PONG, RSV1, TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rxnodes.wire.deflate import Deflate

__all__ = ["FrameEncoder", "Masks", "mask"]

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

#: The headers of short frames, made beforehand: packing one takes a fifth of the time of encoding the frame.
SHORT_HEADERS = {
    first_byte: [bytes((first_byte, MASKED | length)) for length in range(126)] for first_byte in SHORT_FRAMES
}

#: How many masks are drawn from the system at once.
MASK_POOL = 1024

#: RFC 6455 section 5.2: payloads below this length have the shortest header.
SHORT = 126


class Outgoing(Protocol):
    """A message that is to be encoded.

    Attributes:
        payload: Its bytes.
        is_text: Whether it is a text message (UTF-8).
    """

    payload: bytes
    is_text: bool


class Masks:
    """The masks of frames: four bytes each, which nobody can predict (RFC 6455 section 10.3).

    They are drawn from the system many at a time, for all connections of a transport. So the first frame of a
    connection waits for no system call, and an idle connection holds no masks.

    Args:
        apply: Masks a payload in place; `None`: `mask`, in plain Python.
    """

    __slots__ = ("_drawn", "apply")

    def __init__(self, apply: Callable[[bytes, bytearray], None] | None = None) -> None:
        self.apply = apply or mask
        self._drawn: list[bytes] = []

    def drawing(self, count: int) -> Callable[[], bytes]:
        """Draws `count` masks or more.

        Returns:
            A function that gives one of them at each call. In a burst, that takes 15 of 690 ns less than slicing.
        """
        if len(self._drawn) < count:
            size = 4 * max(MASK_POOL, count)
            drawn = os.urandom(size)
            self._drawn = [drawn[at : at + 4] for at in range(0, size, 4)]
        return self._drawn.pop


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
        """An encoder with the same masks that compresses messages."""
        return FrameEncoder(deflate, self._masks)

    def messages(self, messages: Sequence[Outgoing]) -> list[bytes]:
        """Encodes whole messages, each as one frame. One loop takes two thirds of the time of a call for each."""
        draw = self._masks.drawing(len(messages))
        mask = self._masks.apply
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
            key = draw()
            masked = bytearray(payload)
            mask(key, masked)
            frames.append(header + key + masked)
        return frames

    def pong(self, payload: bytes) -> bytes:
        """The answer to a ping."""
        return self._control(FIN | PONG, payload)

    def ping(self, payload: bytes) -> bytes:
        """A ping."""
        return self._control(FIN | PING, payload)

    def close(self, code: int, reason: str) -> bytes:
        """A Close frame; 1005 stands for an empty one (RFC 6455 section 7.1.5)."""
        payload = b"" if code == CloseCode.NO_STATUS_RECEIVED else CLOSE_CODE.pack(code) + reason.encode()
        return self._control(FIN | CLOSE, payload)

    def _control(self, first_byte: int, payload: bytes) -> bytes:
        key = self._masks.drawing(1)()
        masked = bytearray(payload)
        self._masks.apply(key, masked)
        return SHORT_HEADERS[first_byte][len(payload)] + key + masked


def _long_header(first_byte: int, length: int) -> bytes:
    if length < 65536:  # noqa: PLR2004 - RFC 6455 section 5.2
        return MEDIUM_HEADER(first_byte, MASKED | 126, length)
    return LONG_HEADER(first_byte, MASKED | 127, length)


def mask(key: bytes, payload: bytearray) -> None:
    """Masks a payload in place (RFC 6455 section 5.3), as one number: the fastest way in Python for short ones."""
    size = len(payload)
    pad = (key * (size // len(key) + 1))[:size]
    payload[:] = (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(size)
