"""Recording from the command line, and recordings on a terminal."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from rxnodes.cli.output import printable

if TYPE_CHECKING:
    from rxnodes.cli.output import Output
    from rxnodes.project.project import Project
    from rxnodes.recording import Recording

__all__ = ["print_picture", "recorded_to"]

_STYLES: Final = {
    "name": "1",
    "stop": "1;35",
    "connecting": "33",
    "open": "32",
    "reconnecting": "33",
    "closing": "34",
    "closed": "2",
    "idle": "2",
    "in": "36",
    "out": "35",
}


def recorded_to(path: str | None, project: Project) -> contextlib.AbstractContextManager[object]:
    """Records the project to a file, until the end of the block; without a path it records nothing."""
    if path is None:
        return contextlib.nullcontext()
    from rxnodes.recording import Recorder  # noqa: PLC0415 - few commands record

    return Recorder(project, path)


def print_picture(recording: Recording, out: Output, width: int) -> None:
    """Prints the picture of a recording, in colours if the output shows them."""
    from rxnodes.recording.pictures.text import text  # noqa: PLC0415 - few commands draw

    for line in text(recording.lanes, width, is_unicode=out.is_unicode):
        out.line("".join(out.painted(printable(part), _STYLES.get(kind, "")) for part, kind in line).rstrip())
