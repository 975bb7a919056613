"""What a connection's configuration says about its lifecycle."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["FINAL_CODES", "Policy", "ReconnectPolicy"]

#: Close codes of a peer after which trying again cannot help.
FINAL_CODES = frozenset({1000, 1002, 1003, 1007, 1008, 1009, 1010})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectPolicy:
    """When another attempt follows, and how long to wait for it.

    The delay before retry number n is drawn evenly from 0 to `min(max_delay, initial_delay * factor ** (n - 1))`, the
    "full jitter" of exponential backoff. With `jitter` off it is that upper bound itself.

    Attributes:
        enabled: Whether anything is retried at all.
        initial_delay: Upper bound of the first delay, in seconds.
        max_delay: No delay is longer, in seconds.
        factor: How the bound grows from one retry to the next.
        jitter: Whether the delay is drawn at random.
        max_attempts: How many attempts in a row may fail before the session gives up; `None`: no limit.
        reset_after: After so many seconds open, the next failure counts as the first again.
        final_codes: Close codes of the peer that are not retried.
    """

    enabled: bool = False
    initial_delay: float = 0.5
    max_delay: float = 30.0
    factor: float = 2.0
    jitter: bool = True
    max_attempts: int | None = None
    reset_after: float = 30.0
    final_codes: frozenset[int] = FINAL_CODES

    def delay(self, retry: int, chance: float) -> float:
        """The seconds to wait before retry number `retry` (from 1), for a random `chance` in [0, 1)."""
        try:
            bound = min(self.max_delay, self.initial_delay * self.factor ** (retry - 1))
        except OverflowError:
            bound = self.max_delay
        return bound * chance if self.jitter else bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The bounds a connection's lifecycle keeps, all in seconds.

    Attributes:
        connect_timeout: For one attempt: name lookup, TCP, TLS and handshake together. `None`: no limit.
        close_timeout: From the beginning of any closing to the end of the TCP connection.
        linger: How long, within `close_timeout`, the peer may take to end TCP once both Close frames were exchanged.
        reconnect: When another attempt follows.
    """

    connect_timeout: float | None = 10.0
    close_timeout: float = 10.0
    linger: float = 1.0
    reconnect: ReconnectPolicy = field(default_factory=ReconnectPolicy)
