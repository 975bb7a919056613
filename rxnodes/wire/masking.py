"""Masking: a client combines each payload with four unpredictable bytes (RFC 6455 section 5.3)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    # mypyc makes machine code of these, and imports their module itself. Uncompiled code does not use them.
    from librt.strings import BytesWriter, read_i32_le, read_i64_le, write_i64_le  # noqa: TC004
    from mypy_extensions import i64  # noqa: TC004

__all__ = ["IS_COMPILED", "Masks", "mask"]

#: Whether this module, and each one that pyproject.toml lists with it, is compiled to machine code.
IS_COMPILED: Final = __file__.endswith((".so", ".pyd"))

#: How many masks are drawn from the system at once.
MASK_POOL: Final = 1024


class Masks:
    """The masks of frames: four bytes each, which nobody can predict (RFC 6455 section 10.3).

    All connections of a transport share them, and draw many at a time from the system. So the first frame of a
    connection waits for no system call, and an idle connection holds no masks.

    Args:
        apply: Masks a payload in place; `None`: our own `mask`, in plain Python.
    """

    __slots__ = ("_drawn", "_writer", "apply")

    def __init__(self, apply: Callable[[bytes, bytearray], None] | None = None) -> None:
        self.apply = apply or mask
        self._drawn: list[bytes] = []
        if IS_COMPILED:
            self._writer = BytesWriter()

    def draw(self, count: int) -> list[bytes]:
        """Gives a list of `count` masks or more. The caller takes each mask that it uses off the end."""
        if len(self._drawn) < count:
            size = 4 * max(MASK_POOL, count)
            drawn = os.urandom(size)
            self._drawn = [drawn[at : at + 4] for at in range(0, size, 4)]
        return self._drawn

    def frame(self, header: bytes, key: bytes, payload: bytes) -> bytes:
        """Makes a frame, and masks its payload eight bytes at a time. It works only if this module is compiled."""
        writer = self._writer
        writer.truncate(0)
        writer.write(header)
        writer.write(key)
        half = i64(read_i32_le(key, 0))
        whole = half << 32 | (half & 0xFFFFFFFF)
        size: i64 = len(payload)
        at: i64 = 0
        while at + 8 <= size:
            write_i64_le(writer, read_i64_le(payload, at) ^ whole)
            at += 8
        while at < size:
            writer.append(payload[at] ^ key[at & 3])
            at += 1
        return writer.getvalue()


def mask(key: bytes, payload: bytearray) -> None:
    """Masks a payload in place, as one large number. For short payloads nothing is faster in plain Python."""
    size = len(payload)
    pad = (key * (size // len(key) + 1))[:size]
    payload[:] = (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(size)
