"""What a worker sees of the leases and records of its fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxnodes.fleet.reading import lease_shown, record_shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.fleet.rules.member import Member, Now
    from rxnodes.fleet.rules.values import Record
    from rxnodes.fleet.store import Seen

__all__ = ["LeaseWatcher", "RecordWatcher"]


class LeaseWatcher:
    """Tells the rules what is seen of all leases.

    Args:
        rules: The worker's part in the fleet.
        now: What time it is.
    """

    def __init__(self, rules: Member, now: Callable[[], Now]) -> None:
        self._rules = rules
        self._now = now

    def seen(self, seen: Seen) -> None:
        """A lease."""
        if seen.value is None:
            self._rules.others.gone(seen.name, self._now().clock)
            return
        lease = lease_shown(seen.name, seen.value)
        if lease is None:
            self._rules.others.changed(seen.name, (seen.revision, 0), self._now().clock)
        else:
            self._rules.lease_seen(lease, seen.revision, self._now())

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as the store has it
        """Whether all have been shown."""
        self._rules.sees_leases = current


class RecordWatcher:
    """Tells the rules what is seen of the records of those connections that the worker has settings for.

    Args:
        rules: The worker's part in the fleet.
        know: Told each record.
    """

    def __init__(self, rules: Member, know: Callable[[str, Record, int], None]) -> None:
        self._rules = rules
        self._know = know

    def seen(self, seen: Seen) -> None:
        """A record."""
        if seen.name in self._rules.names and (record := record_shown(seen)) is not None:
            # Nobody deletes records: where one is gone, the store has lost it.
            self._know(seen.name, record, 0 if seen.value is None else seen.revision)

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as the store has it
        """Whether all have been shown."""
        self._rules.sees_records = current
