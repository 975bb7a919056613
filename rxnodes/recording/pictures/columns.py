"""How wide texts are, in columns: a letter takes one, and one of Chinese, Japanese or Korean two, as an emoji does."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["column_of", "columns", "cut", "wrapped"]


def column_of(letter: str) -> int:
    """The columns of a letter (Unicode Standard Annex 11); one that is written over the letter before it has none."""
    if unicodedata.category(letter) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in {"W", "F"} else 1


def columns(text: str) -> int:
    """The columns of a text.

    Example:
        >>> columns("abc"), columns("日本語"), columns("e\u0301")
        (3, 6, 1)
    """
    return len(text) if text.isascii() else sum(map(column_of, text))


def cut(text: str, fits: int) -> str:
    """The beginning of a text, of up to so many columns."""
    if columns(text) <= fits:
        return text
    taken = 0
    for place, letter in enumerate(text):
        taken += column_of(letter)
        if taken > fits:
            return text[:place]
    return text


def wrapped(text: str, fits: int, most: int) -> tuple[str, ...]:
    """A text in up to so many lines of up to so many columns, between words where that can be; the rest is an ellipsis.

    Args:
        text: The text.
        fits: How many columns a line may have, 2 or more.
        most: How many lines there may be.

    Example:
        >>> wrapped("the connection broke", 12, 3), wrapped("the connection broke", 12, 1)
        (('the', 'connection', 'broke'), ('the connect…',))
    """
    lines: list[str] = []
    rest = text
    while columns(rest) > fits and len(lines) < most - 1:
        line = cut(rest, fits)
        if not rest[len(line)].isspace() and (words := re.match(r"(.*\S)\s+\S*$", line)):
            line = words[1]
        lines.append(line.rstrip())
        rest = rest[len(line) :].lstrip()
    lines.append(rest if columns(rest) <= fits else cut(rest, fits - 1).rstrip() + "…")
    return tuple(lines)
