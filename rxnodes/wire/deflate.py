"""Compression: permessage-deflate (RFC 7692)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Deflate"]

#: RFC 7692 section 7.2.1: a sender takes this off the end of a compressed message, and a receiver puts it back.
DEFLATE_TAIL = b"\x00\x00\xff\xff"

#: Each final block in a message costs a new decompressor and a copy of the rest; a sender needs one at most.
MAX_FINAL_BLOCKS = 16


class Compressor(Protocol):
    """What compresses a stream of bytes."""

    def compress(self, data: bytes, /) -> bytes:
        """Takes bytes, and gives what is ready."""
        ...

    def flush(self, mode: int, /) -> bytes:
        """Gives the rest."""
        ...


new_compressor: Callable[..., Compressor]
try:
    # `rxnodes[zlib-ng]`: messages are compressed in a third to a quarter of the time. Unpacking short ones takes longer
    # with it (600 ns in place of 450 for 159 bytes), so that is left to zlib.
    from zlib_ng.zlib_ng import compressobj as new_compressor  # pyright: ignore[reportUnknownVariableType]
except ImportError:
    new_compressor = zlib.compressobj


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

    def _new_compressor(self) -> Compressor:
        return new_compressor(level=zlib.Z_BEST_SPEED, wbits=-self._window_bits)

    def compress(self, payload: bytes) -> bytes:
        """The compressed payload of a message."""
        if self._no_context_takeover:
            self._compressor = self._new_compressor()
        packed = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return packed.removesuffix(DEFLATE_TAIL)

    def decompress(self, payload: bytes, limit: int | None) -> bytes | None:
        """The payload of a message of the peer; `None` if it has more than `limit` bytes, or too many final blocks.

        Raises:
            zlib.error: If the payload is not deflated.
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
