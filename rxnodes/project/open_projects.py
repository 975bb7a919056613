"""The projects that are open, on whatever loop, so that a second Ctrl+C finds them."""

from __future__ import annotations

import threading
from typing import Protocol
from weakref import WeakSet

from rxnodes.rx.forking import guard

__all__ = ["abort_open_projects", "note_left", "note_opened"]


class _Project(Protocol):
    """A project, as far as it matters here."""

    def abort(self) -> None:
        """Aborts every connection."""
        ...


#: A weak set, so that a project that was never left is not kept.
_open: WeakSet[_Project] = WeakSet()
#: Reentrant, because a forked process finds it held by its own thread when it notes that its copies are left.
_lock = threading.RLock()
guard(_lock)


def note_opened(project: _Project) -> None:
    """Notes that a project is open."""
    with _lock:
        _open.add(project)


def note_left(project: _Project) -> None:
    """Notes that a project has been left, or is another process's."""
    with _lock:
        _open.discard(project)


def abort_open_projects() -> None:
    """Aborts every connection of every project that is open, on whatever loop."""
    with _lock:
        projects = tuple(_open)
    for project in projects:
        project.abort()
