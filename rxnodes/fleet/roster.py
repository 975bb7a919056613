"""The workers of a fleet, for the live page: their leases, what each holds, and who took over from whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxnodes.fleet.overview import Leases, Records

if TYPE_CHECKING:
    from typing import Any, Self

    from rxnodes.fleet.store import Store

__all__ = ["Roster"]


class Roster:
    """Follows the workers of a fleet, for as long as it is entered. The store is opened and closed with it.

    It is what `rxnodes.inspector.Inspector` takes as `workers`.

    Args:
        store: A store of the fleet, for this alone.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._leases = Leases()
        self._records = Records()

    async def __aenter__(self) -> Self:
        await self._store.open()
        # Closing the store ends them.
        self._store.watch_leases(self._leases)
        self._store.watch_records(self._records)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leases.close()
        await self._store.close()

    def told(self) -> dict[str, Any]:
        """All of it, as plain values; times in seconds since 1970, by the clock of this machine.

        Returns:
            `current`: whether the store is in reach; `workers`, by their ids; `holders`: for each connection that is
            held its worker's id; `takeovers`, the last one last.
        """
        return {
            "current": self._leases.sees_all and self._records.sees_all,
            "workers": [seen.plain for seen in self._leases.listed],
            "holders": {name: record.holder for name, record in self._records.records.items() if record.holder},
            "takeovers": [
                {"at": it.at, "connection": it.connection, "from": it.before, "to": it.after}
                for it in self._records.takeovers
            ],
        }
