"""What the commands print, and how: one line at a time, safe for a terminal, whoever wrote the text."""

from __future__ import annotations

import contextlib
import io
import os
import re
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BOLD", "DIM", "RED", "Output", "hexadecimal", "printable"]

DIM: Final = "2"
BOLD: Final = "1"
RED: Final = "31"

_HEX_BYTES: Final = 32

#: Control characters (C0, DEL, C1), line separators, what changes the direction of writing, and halves of surrogate
#: pairs: a peer that sends them could drive the terminal, or make a line look like another.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text in one line that is safe to print, with escapes such as \x1b in it.

    Example:
        >>> print(printable("\x1b[2J"))
        \x1b[2J
    """
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def hexadecimal(message: bytes) -> str:
    """A binary message in one line: its length, and how it begins.

    Example:
        >>> hexadecimal(bytes([0, 255]))
        '<2 bytes> 00 ff'
    """
    more = " ..." if len(message) > _HEX_BYTES else ""
    return f"<{len(message)} bytes> {message[:_HEX_BYTES].hex(' ')}{more}"


class Output:
    """Standard output or standard error. Each line is written at once, and writing never raises an `OSError`.

    Args:
        stream: The stream; `None` where the process was started without it, and then nothing is printed.

    Attributes:
        failure: Why nothing can be written any more, or `None` while writing works.
        on_failure: Called once, when writing fails: nobody reads any more, or the disk is full.
        before_line: Called before each line: something else is on the screen, and has to make way.
        is_unicode: Whether the stream can show more than ASCII.
        terminal: The stream, if it is a terminal.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.failure: OSError | None = None
        self.on_failure: Callable[[], object] | None = None
        self.before_line: Callable[[], object] | None = None
        self.is_unicode = stream is not None and stream.encoding.lower().startswith("utf")
        self._stream = stream
        self.terminal = stream if stream is not None and stream.isatty() else None
        self._has_colour = self.terminal is not None and _is_colour_wanted()
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character gets an escape, instead of an exception.
            stream.reconfigure(errors="backslashreplace")

    def painted(self, text: str, style: str) -> str:
        """The text in a style, where there are colours."""
        return f"\x1b[{style}m{text}\x1b[0m" if style and self._has_colour else text

    def line(self, text: str = "") -> None:
        """Prints a line."""
        # `print` would take standard output for a stream that is None.
        if self._stream is None or self.failure is not None:
            return
        if self.before_line is not None:
            self.before_line()
        try:
            print(text, file=self._stream, flush=True)
        except OSError as error:
            self.failure = error
            _discard(self._stream)
            if self.on_failure is not None:
                self.on_failure()

    def lines(self, text: str) -> None:
        """Prints several lines, each safe to print."""
        for line in text.splitlines():
            self.line(printable(line))


def _is_colour_wanted() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _discard(stream: TextIO) -> None:
    """Sends the rest to the null device: Python writes what is left in a buffer when it exits, and would complain."""
    # A stream that is not a file has no descriptor, and nothing is written at exit.
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nothing:  # noqa: PTH123 - needs no pathlib
        os.dup2(nothing.fileno(), stream.fileno())
