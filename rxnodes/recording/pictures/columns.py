"""How wide texts are, in columns: most letters take one, those of Chinese, Japanese and Korean and emojis two."""

from __future__ import annotations

import re
import unicodedata
from itertools import accumulate

__all__ = ["column_of", "columns", "cut", "wrapped"]


def column_of(letter: str) -> int:
    """The columns of a letter (Unicode Standard Annex 11): none for one that is written over the letter before it."""
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
    ends = accumulate(map(column_of, text))
    return text[: sum(end <= fits for end in ends)]


def wrapped(text: str, fits: int, most: int) -> tuple[str, ...]:
    """Breaks a text into lines, between words if it can. An ellipsis stands for what does not fit.

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
