"""What the live page shows of a fleet's workers, and what of it is news to one reader."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HasWorkers", "WorkersReader"]

#: Seconds between two looks.
LOOK_EVERY: Final = 1.0


class HasWorkers(Protocol):
    """What knows the workers of a fleet: `rxnodes.fleet.roster.Roster`."""

    def told(self) -> Mapping[str, object]:
        """What `GET /api/workers` answers, as values that JSON has a form for."""
        ...


class WorkersReader:
    """Tells one reader what has changed: at first all of it, then the parts that are not as they were.

    Args:
        source: What knows the workers; `None`: there is no fleet, and nothing to tell.
    """

    def __init__(self, source: HasWorkers | None) -> None:
        self._source = source
        self._known: dict[str, object] = {}
        self._looked_at = float("-inf")

    def news(self, now: float) -> str | None:
        """The parts that have changed, as JSON in ASCII; `None`: nothing has, or it was looked a moment ago.

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
