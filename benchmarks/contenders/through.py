"""map, filter, map: message by message, and list by list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reactivex import operators as ops

if TYPE_CHECKING:
    from reactivex import Observable

__all__ = ["list_by_list", "one_by_one"]


def one_by_one(messages: Observable[str]) -> Observable[int]:
    """Three operators that run once per message."""
    return messages.pipe(ops.map(len), ops.filter(lambda length: length > 0), ops.map(lambda length: length + 1))


def list_by_list(batches: Observable[list[str]]) -> Observable[list[int]]:
    """Three operators that run once per list."""
    return batches.pipe(
        ops.map(lambda batch: [len(message) for message in batch]),
        ops.map(lambda lengths: [length for length in lengths if length > 0]),
        ops.map(lambda lengths: [length + 1 for length in lengths]),
    )
