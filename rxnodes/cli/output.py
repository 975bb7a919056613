"""How the commands print: one line at a time, and no text of a peer can drive the terminal."""

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

#: Control characters (C0, DEL, C1), line separators, marks that change the direction of writing, and halves of
#: surrogate pairs. With them, a peer could drive the terminal, or make a line look like another.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text as one line that is safe to print. Unsafe characters become escapes such as \x1b.

    Example:
        >>> print(printable("\x1b[2J"))
        \x1b[2J
    """
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def hexadecimal(message: bytes) -> str:
    """A binary message as one line: its length and its first bytes.

    Example:
        >>> hexadecimal(bytes([0, 255]))
        '<2 bytes> 00 ff'
    """
    more = " ..." if len(message) > _HEX_BYTES else ""
    return f"<{len(message)} bytes> {message[:_HEX_BYTES].hex(' ')}{more}"


class Output:
    """Standard output or standard error. Each line is written at once, and writing never raises an `OSError`.

    Args:
        stream: The stream; `None`: the process was started without it, and nothing is printed.

    Attributes:
        failure: The error that ended writing; `None` while writing works.
        on_failure: Called once, when writing fails: nobody reads any more, or the disk is full.
        before_line: Called before each line, so that a prompt on the screen can make way.
        is_unicode: Whether the stream can show characters beyond ASCII.
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
        """The text in a style, if the stream shows colours."""
        return f"\x1b[{style}m{text}\x1b[0m" if style and self._has_colour else text

    def line(self, text: str = "") -> None:
        """Prints a line."""
        # `print` would write to standard output if the stream is None.
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

    async def until_unread(self) -> None:
        """Waits until writing fails, because nobody reads any more."""
        from asyncio import Event  # noqa: PLC0415 - not every command has a loop

        unread = Event()
        self.on_failure = unread.set
        if self.failure is None:
            await unread.wait()


def _is_colour_wanted() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _discard(stream: TextIO) -> None:
    """Sends the rest to the null device. Otherwise Python would write its buffer at exit, and complain."""
    # A stream that is not a file has no descriptor, and Python writes nothing at exit.
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nothing:  # noqa: PTH123 - needs no pathlib
        os.dup2(nothing.fileno(), stream.fileno())
