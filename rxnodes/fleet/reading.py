"""Reads what stands in a fleet's store. What this version cannot read is logged, and passed over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rxnodes.fleet.letters import Unreadable, entry_of, lease_of, record_of
from rxnodes.fleet.rules.values import Record, Tail

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rxnodes.fleet.rules.values import Entry, Lease
    from rxnodes.fleet.store import Logged, Seen, Stored

__all__ = ["lease_shown", "readable", "record_at", "record_shown", "tail_at"]

logger = logging.getLogger("rxnodes")


# What a watch shows


def lease_shown(worker: str, value: bytes) -> Lease | None:
    """The lease of a worker; `None`: it cannot be read."""
    try:
        return lease_of(value)
    except Unreadable as error:
        logger.warning("the lease of worker %s cannot be read: %s", worker, error)
        return None


def record_shown(seen: Seen) -> Record | None:
    """The record of a connection, an empty one where it is gone; `None`: it cannot be read."""
    try:
        return Record() if seen.value is None else record_of(seen.value)
    except Unreadable as error:
        logger.warning("%s: its record cannot be read: %s", seen.name, error)
        return None


def readable(entries: Iterable[Logged]) -> Iterator[tuple[Entry, Tail]]:
    """Those entries of the log that can be read, each with how the connection stands behind it.

    Who follows the log notices that one is missing by the next one, see `Entry.behind`.
    """
    for logged in entries:
        try:
            entry = entry_of(logged.value)
        except Unreadable as error:
            logger.warning("%s: an entry of the log cannot be read: %s", logged.name, error)
        else:
            yield entry, entry.at(logged.sequence)


# What is read by itself


def record_at(stood: Stored | None) -> tuple[Record, int]:
    """A record and its revision; an empty one and 0 where there is none.

    Raises:
        Unreadable: If it cannot be read.
    """
    return (Record(), 0) if stood is None else (record_of(stood.value), stood.revision)


def tail_at(stood: Stored | None) -> Tail:
    """How a connection stands behind the last entry of its log.

    Raises:
        Unreadable: If that cannot be read.
    """
    return Tail() if stood is None else entry_of(stood.value).at(stood.revision)
