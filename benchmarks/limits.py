"""How many files a process may hold open."""

from __future__ import annotations

import contextlib
import resource

__all__ = ["allow_many_files", "may_open"]

#: Files that a process has open anyway.
OTHERS = 64


def allow_many_files() -> None:
    """Raises the soft limit of open files to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # "Unlimited" is more than some systems accept.
    wanted = 65536 if hard == resource.RLIM_INFINITY else hard
    # Where that is refused it stays as it is, and the workload with many connections is made smaller.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def may_open(connections: int) -> int:
    """How many of so many connections the limit allows."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - OTHERS))
