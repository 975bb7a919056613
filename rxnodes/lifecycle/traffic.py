"""Counters of what went over a connection."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Traffic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What went over one or more attempts. Bytes are those of the messages, unpacked, without framing."""

    messages_received: int = 0
    bytes_received: int = 0
    messages_sent: int = 0
    bytes_sent: int = 0
    unsent: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            messages_received=self.messages_received + other.messages_received,
            bytes_received=self.bytes_received + other.bytes_received,
            messages_sent=self.messages_sent + other.messages_sent,
            bytes_sent=self.bytes_sent + other.bytes_sent,
            unsent=self.unsent + other.unsent,
        )
