"""map, filter, map: message by message, and list by list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reactivex import operators as ops

if TYPE_CHECKING:
    from reactivex import Observable

__all__ = ["list_by_list", "one_by_one"]


def one_by_one(messages: Observable[str]) -> Observable[int]:
    """Three operators that run once per message."""
    return messages.pipe(ops.map(len), ops.filter(_is_positive), ops.map(_one_more))


def list_by_list(batches: Observable[list[str]]) -> Observable[list[int]]:
    """Three operators that run once per list."""
    return batches.pipe(ops.map(_lengths), ops.map(_positive), ops.map(_one_more_each))


def _is_positive(length: int) -> bool:
    return length > 0


def _one_more(length: int) -> int:
    return length + 1


def _lengths(batch: list[str]) -> list[int]:
    return [len(message) for message in batch]


def _positive(lengths: list[int]) -> list[int]:
    return [length for length in lengths if length > 0]


def _one_more_each(lengths: list[int]) -> list[int]:
    return [length + 1 for length in lengths]
