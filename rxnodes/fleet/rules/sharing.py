"""Whose share a connection is, without a leader.

Rendezvous hashing: each worker and connection have a weight, and the worker with the highest is the connection's first.
All who know the same workers come to the same result, and where one leaves, only its own connections move.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rxnodes.fleet.rules.values import Lease

__all__ = ["digest", "first", "may_take"]


def digest(names: Iterable[str]) -> str:
    """What two sets of names have in common only where they are the same.

    Example:
        >>> digest(["a", "b"]) == digest(["b", "a"]), digest(["a", "b"]) == digest(["ab"])
        (True, False)
    """
    hashed = blake2b(digest_size=12)
    for name in sorted(names):
        encoded = name.encode("utf-8", "surrogatepass")
        hashed.update(b"%d:%b" % (len(encoded), encoded))
    return hashed.hexdigest()


def first(name: str, workers: Iterable[str]) -> str | None:
    """Which of the workers is to hold a connection; `None`: there are none.

    Example:
        >>> first("chat", ["a", "b", "c"]) == first("chat", ["c", "b", "a"])
        True
    """
    return max(workers, key=lambda worker: _weight(worker, name), default=None)


def _weight(worker: str, name: str) -> bytes:
    return blake2b(f"{worker}\0{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def may_take(lease: Lease, names: str) -> bool:
    """Whether a worker can take one more connection of those that this `digest` is of."""
    return not lease.is_draining and lease.names == names and (lease.capacity is None or lease.held < lease.capacity)
