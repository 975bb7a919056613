"""Whose share a connection is, without a leader.

Rendezvous hashing: each worker and connection have a weight, and the worker with the highest is the connection's first.
All who know the same workers come to the same result, and where one leaves, only its own connections move.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rxnodes.fleet.rules.values import Lease

__all__ = ["Candidates", "digest", "may_take"]


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


class Candidates:
    """Workers that can take one more connection, each of which has a weight for each.

    A name is hashed once for all of them, and each of them once for all names: what is left for each pair is a
    multiplication. It mixes, because the product's upper bits depend on all bits of both.

    Args:
        ids: Their ids. Where two weigh the same, the one that comes first in the alphabet counts.

    Example:
        >>> Candidates(["a", "b", "c"]).first("chat") == Candidates(["c", "b", "a"]).first("chat")
        True
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = tuple(sorted(ids))
        self._hashes = [_hash(worker) for worker in self.ids]

    def first(self, name: str) -> str | None:
        """Which of them is to hold a connection; `None`: there are none."""
        if not self.ids:
            return None
        hashed = _hash(name)
        weights = [(hashed ^ it) * _ODD & _BITS for it in self._hashes]
        return self.ids[weights.index(max(weights))]


_BITS: Final = (1 << 64) - 1
#: 2**64 by the golden ratio: an odd number whose bits follow no pattern (Knuth, The Art of Computer Programming, 6.4).
_ODD: Final = 0x9E3779B97F4A7C15


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def may_take(lease: Lease, names: str) -> bool:
    """Whether a worker can take one more connection of those that this `digest` is of."""
    return not lease.is_draining and lease.names == names and (lease.capacity is None or lease.held < lease.capacity)
