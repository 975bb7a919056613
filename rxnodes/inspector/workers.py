"""Tells the readers of the live page about the workers of a fleet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HasWorkers", "WorkersReader"]

#: Seconds between two looks.
LOOK_EVERY: Final = 1.0


class HasWorkers(Protocol):
    """Knows the workers of a fleet, as `rxnodes.fleet.roster.Roster` does."""

    def told(self) -> Mapping[str, object]:
        """The answer to `GET /api/workers`, in values that JSON has."""
        ...


class WorkersReader:
    """Tells one reader everything at first, and then the parts that have changed.

    Args:
        source: Knows the workers; `None`: there is no fleet.
    """

    def __init__(self, source: HasWorkers | None) -> None:
        self._source = source
        self._known: dict[str, object] = {}
        self._looked_at = float("-inf")

    def news(self, now: float) -> str | None:
        """The parts that have changed, as JSON in ASCII; `None`: none has, or the last look is less than a second ago.

        Args:
            now: Seconds, by a clock that only goes forward.
        """
        if self._source is None or now - self._looked_at < LOOK_EVERY:
            return None
        self._looked_at = now
        told = self._source.told()
        changed = {part: value for part, value in told.items() if self._known.get(part) != value}
        self._known.update(changed)
        return json.dumps(changed, separators=(",", ":")) if changed else None
