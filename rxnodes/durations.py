"""Durations in words."""

from __future__ import annotations

import math

__all__ = ["in_words"]

_MINUTE, _HOUR = 60, 3600


def in_words(duration: float) -> str:
    """A duration with two or three digits that matter.

    Example:
        >>> in_words(0.0000004), in_words(0.0037), in_words(0.2434), in_words(1.5), in_words(75)
        ('0 ms', '3.7 ms', '243 ms', '1.5 s', '75 s')
        >>> in_words(150), in_words(1353), in_words(3602), in_words(100_000)
        ('2 min 30 s', '22 min 33 s', '1 h', '27 h 47 min')
    """
    if duration < 1:
        milliseconds = duration * 1000
        return f"{milliseconds:.1f}".removesuffix(".0") + " ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"  # noqa: PLR2004
    if duration < 2 * _MINUTE:
        digits = max(0, 2 - math.floor(math.log10(duration)) - 1)
        return f"{duration:.{digits}f}".removesuffix(".0") + " s"
    if duration < _HOUR:
        return _two(duration, _MINUTE, "min", 1, "s")
    return _two(duration, _HOUR, "h", _MINUTE, "min")


def _two(duration: float, large: int, name: str, small: int, small_name: str) -> str:
    wholes, rest = divmod(round(duration / small), large // small)
    return f"{wholes} {name} {rest} {small_name}" if rest else f"{wholes} {name}"
