"""Reads files. A file that exists and cannot be read is a problem."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MISSING", "files_in", "read_text", "unreadable"]

#: Said of a file, or of a link's target, that is not there.
MISSING = "does not exist"

_KINDS = {
    stat.S_IFDIR: os.strerror(errno.EISDIR),
    stat.S_IFIFO: "Is a pipe",
    stat.S_IFSOCK: "Is a socket",
    stat.S_IFCHR: "Is a device",
    stat.S_IFBLK: "Is a device",
}


def unreadable(file: Path) -> str | None:
    """Why a file cannot be read, if that can be seen without opening it; or else `None`.

    Opening a pipe would wait for a writer, and a device never ends.
    """
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        # No file is one thing, a link that leads nowhere is another.
        return f"is a link to {str(file.readlink())!r}, which {MISSING}" if file.is_symlink() else MISSING
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError:
        # No system can have a file with such a path.
        return MISSING
    return None if stat.S_ISREG(mode) else f"cannot be read: {_KINDS.get(stat.S_IFMT(mode), 'Is no file')}"


def read_text(file: Path, problems: list[str]) -> str | None:
    """The text of a file; `None` if it is missing, or if it cannot be read, which is a problem."""
    problem = unreadable(file)
    if problem is not None:
        if problem != MISSING:
            problems.append(f"{file}: {problem}")
        return None
    try:
        data = file.read_bytes()
    except OSError as error:
        problems.append(f"{file}: cannot be read: {error.strerror}")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.append(f"{file}, line {line}: is not UTF-8 text")
        return None


def files_in(folder: Path, problems: list[str]) -> list[Path]:
    """The files of a folder, which may be missing; but not those whose names begin with a dot."""
    try:
        return sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    except OSError as error:
        # No folder is one thing, a link that leads nowhere is another.
        if not isinstance(error, FileNotFoundError) or folder.is_symlink():
            problems.append(f"{folder}: cannot be read: {error.strerror}")
        return []
