"""`rxnodes draw`: draws a recording."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rxnodes.cli.pictures import print_picture
from rxnodes.errors import RxNodesError
from rxnodes.recording import Recording
from rxnodes.recording.pictures.text import NARROWEST

if TYPE_CHECKING:
    import argparse

    from rxnodes.cli.output import Output

__all__ = ["run"]

_KINDS: Final = {
    "": "svg",
    ".svg": "svg",
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".md": "mermaid",
    ".txt": "text",
}


def run(options: argparse.Namespace, out: Output, _err: Output) -> int:
    """Draws a recording to a file or to standard output."""
    try:
        recording = Recording.load(options.file)
    except ValueError as error:
        raise RxNodesError(f"{options.file}: {error}") from error
    if options.output is not None and Path(options.output).exists() and Path(options.output).samefile(options.file):
        raise RxNodesError(f"{options.output} is the recording itself")
    kind = options.to or _kind_for(options.output, is_terminal=out.terminal is not None)
    width = max(shutil.get_terminal_size().columns - 1, NARROWEST)
    if kind == "text" and options.output is None:
        print_picture(recording, out, width)
        return 0
    if kind == "text":
        picture = "\n".join(recording.to_text(width)) + "\n"
    else:
        picture = recording.to_svg() if kind == "svg" else recording.to_mermaid()
    if options.output is None:
        out.line(picture.rstrip("\n"))
    else:
        Path(options.output).write_text(picture, encoding="utf-8")
    return 0


def _kind_for(output: str | None, *, is_terminal: bool) -> str:
    """The kind of picture for a file of that name, or else for standard output.

    Raises:
        RxNodesError: If the name does not tell the kind.
    """
    if output is None:
        return "text" if is_terminal else "svg"
    suffix = Path(output).suffix
    if suffix not in _KINDS:
        raise RxNodesError(
            f"{output}: a name that ends with {' or '.join(filter(None, _KINDS))} says what to draw, or --to"
        )
    return _KINDS[suffix]
