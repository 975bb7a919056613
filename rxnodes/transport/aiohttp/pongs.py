"""The pongs that are owed to the peer, and when they have to go."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_OWED_PONGS", "OwedPongs"]

#: How many pings may wait for their pongs, and for how many seconds, while there is something to read first.
MAX_OWED_PONGS: Final = 1024
PONG_PATIENCE: Final = 1.0


class OwedPongs:
    """The pings of a peer that wait for their pongs.

    A pong waits while there is something to read. A peer that has closed its socket answers a pong with a reset, which
    destroys data of the peer that we have not read yet.

    Args:
        since: From when on the first one is owed.

    Attributes:
        payloads: What the pongs will repeat.
    """

    __slots__ = ("_since", "payloads")

    def __init__(self, since: float) -> None:
        self._since = since
        self.payloads: list[bytes] = []

    def owe(self, payload: bytes) -> None:
        """Owes one more."""
        self.payloads.append(payload)
        if len(self.payloads) > MAX_OWED_PONGS:
            # The latest ones matter most (RFC 6455 section 5.5.3), and a peer cannot make us hoard.
            del self.payloads[0]

    def are_due(self, now: float) -> bool:
        """Whether they have to go, though there is something to read."""
        return len(self.payloads) == MAX_OWED_PONGS or now - self._since > PONG_PATIENCE
