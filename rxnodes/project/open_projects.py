"""The projects that are open, on whatever loop, so that a second Ctrl+C finds them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakSet

from rxnodes.rx.forking import guard

if TYPE_CHECKING:
    from rxnodes.project.project import Project

__all__ = ["abort_open_projects", "note_left", "note_opened"]

#: A weak set, so that it does not keep a project that was never left.
_open: WeakSet[Project] = WeakSet()
#: Reentrant, because in a forked process its own thread holds it while it notes that its copies are left.
_lock = threading.RLock()
guard(_lock)


def note_opened(project: Project) -> None:
    """Notes that a project is open."""
    with _lock:
        _open.add(project)


def note_left(project: Project) -> None:
    """Notes that a project has been left, or belongs to another process."""
    with _lock:
        _open.discard(project)


def abort_open_projects() -> None:
    """Aborts every connection of every project that is open, on whatever loop."""
    with _lock:
        projects = tuple(_open)
    for project in projects:
        project.abort()
