"""Keeps the memory of large messages for the next ones, instead of faulting it in for each of them."""

from __future__ import annotations

import functools
from typing import Final

__all__ = ["keep_freed_memory"]

#: In bytes. glibc gives memory back to the system where more than twice this is free at the end of its heap.
LARGEST_FREED: Final = 8 * 1024 * 1024


@functools.cache
def keep_freed_memory() -> None:
    """Lets glibc serve large blocks from its heap, once for the process.

    glibc asks the system for each block of more than 128 KiB, and gives it back when it is freed, until one has been
    freed that was larger: from then on blocks up to that size come from its heap (mallopt(3), M_MMAP_THRESHOLD).
    Without it, a message of 1 MiB costs 240 page faults, which take longer than all of the rest. The block
    is never touched, so it takes 20 µs and no memory. Other allocators ignore it.
    """
    bytes(LARGEST_FREED)
