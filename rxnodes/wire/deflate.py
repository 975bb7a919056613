"""Compression: permessage-deflate (RFC 7692)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Deflate"]

#: RFC 7692 section 7.2.1: a sender takes this off the end of a compressed message, and a receiver puts it back.
DEFLATE_TAIL = b"\x00\x00\xff\xff"

#: A message may have so many final blocks. Each costs a new decompressor and a copy of the rest; senders need only one.
MAX_FINAL_BLOCKS = 16

new_compressor: Callable[..., Any]
try:
    # With `rxnodes[zlib-ng]` compressing takes a third to a quarter of the time. zlib still unpacks, because zlib-ng
    # takes longer for short messages: 600 ns in place of 450 for 159 bytes.
    from zlib_ng.zlib_ng import compressobj as new_compressor  # pyright: ignore[reportUnknownVariableType]
except ImportError:
    new_compressor = zlib.compressobj


class Deflate:
    """Compression by permessage-deflate, with the parameters that were negotiated (RFC 7692).

    Args:
        window_bits: The size of our window, 9 to 15.
        no_context_takeover: Whether each of our messages is compressed by itself.
    """

    def __init__(self, window_bits: int = 15, *, no_context_takeover: bool = False) -> None:
        self._window_bits = window_bits
        self._no_context_takeover = no_context_takeover
        self._begin_context()
        self._decompressor = zlib.decompressobj(wbits=-zlib.MAX_WBITS)

    def _begin_context(self) -> None:
        self._compressor = new_compressor(level=zlib.Z_BEST_SPEED, wbits=-self._window_bits)

    def compress(self, payload: bytes) -> bytes:
        """The compressed payload of a message."""
        if self._no_context_takeover:
            self._begin_context()
        packed: bytes = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return packed.removesuffix(DEFLATE_TAIL)

    def decompress(self, payload: bytes, limit: int | None) -> bytes | None:
        """Unpacks a message of the peer.

        Returns:
            The payload; `None`: it has more than `limit` bytes, or too many final blocks.

        Raises:
            zlib.error: If the message is not compressed.
        """
        data = payload + DEFLATE_TAIL
        unpacked = b""
        for _ in range(MAX_FINAL_BLOCKS):
            unpacked += self._decompressor.decompress(data, 0 if limit is None else limit + 1 - len(unpacked))
            if limit is not None and len(unpacked) > limit:
                return None
            if not self._decompressor.eof:
                return unpacked
            # A final block is allowed (RFC 7692 section 7.2.3.4), and so are blocks after it.
            data = self._decompressor.unused_data
            self._decompressor = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
            if data in (b"", DEFLATE_TAIL):
                return unpacked
        return None
