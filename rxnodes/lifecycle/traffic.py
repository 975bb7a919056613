"""Counters of what went over a connection."""

from __future__ import annotations

from operator import add
from typing import NamedTuple

__all__ = ["Traffic"]


class Traffic(NamedTuple):
    """What went over one or more attempts. Bytes are those of the messages, unpacked, without framing."""

    messages_received: int = 0
    bytes_received: int = 0
    messages_sent: int = 0
    bytes_sent: int = 0
    unsent: int = 0
    undelivered: int = 0

    def plus(self, other: Traffic) -> Traffic:
        """Both together."""
        return Traffic(*map(add, self, other))
