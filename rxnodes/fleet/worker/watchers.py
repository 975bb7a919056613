"""What a worker sees of the leases and records of its fleet."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rxnodes.fleet.letters import Unreadable, lease_of, record_of
from rxnodes.fleet.rules.values import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.fleet.rules.member import Member, Now
    from rxnodes.fleet.store import Seen

__all__ = ["LeaseWatcher", "RecordWatcher"]

logger = logging.getLogger("rxnodes")


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
            self._rules.lease_gone(seen.name, self._now())
            return
        try:
            lease = lease_of(seen.value)
        except Unreadable as error:
            logger.warning("the lease of worker %s cannot be read: %s", seen.name, error)
            self._rules.lease_changed(seen.name, seen.revision, self._now())
        else:
            self._rules.lease_seen(lease, seen.revision, self._now())

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as the store has it
        """Whether all have been shown."""
        self._rules.leases_current(is_current=current)


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
        if seen.name not in self._rules.names:
            return
        if seen.value is None:
            # Nobody deletes records: the store has lost it.
            self._know(seen.name, Record(), 0)
            return
        try:
            record = record_of(seen.value)
        except Unreadable as error:
            logger.warning("%s: its record cannot be read: %s", seen.name, error)
        else:
            self._know(seen.name, record, seen.revision)

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as the store has it
        """Whether all have been shown."""
        self._rules.records_current(is_current=current)
