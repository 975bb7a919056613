"""`rxnodes draw`: draws a recording."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rxnodes.cli.pictures import NARROWEST, print_picture
from rxnodes.errors import RxNodesError
from rxnodes.recording import Recording

if TYPE_CHECKING:
    import argparse

    from rxnodes.cli.output import Output

__all__ = ["run"]


def run(options: argparse.Namespace, out: Output, _err: Output) -> int:
    """Draws a recording to a file or to standard output."""
    recording = _load(options.file)
    kind = options.to or _kind_for(options.output)
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
        return 0
    output = Path(options.output)
    if output.exists() and output.samefile(options.file):
        raise RxNodesError(f"{output} is the recording itself")
    output.write_text(picture, encoding="utf-8")
    return 0


def _load(path: str) -> Recording:
    try:
        return Recording.load(path)
    except ValueError as error:
        problem = str(error)
    raise RxNodesError(f"{path}: {problem}")


def _kind_for(output: str | None) -> str:
    """What suits where it goes: a file of that name, a terminal, or a pipe."""
    if output is None:
        return "text" if sys.stdout is not None and sys.stdout.isatty() else "svg"  # pyright: ignore[reportUnnecessaryComparison]
    return {".txt": "text", ".mmd": "mermaid", ".mermaid": "mermaid", ".md": "mermaid"}.get(Path(output).suffix, "svg")
