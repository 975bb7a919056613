"""What a connection's configuration says about its lifecycle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rxnodes.errors import ConnectError

if TYPE_CHECKING:
    from collections.abc import Container

    from rxnodes.errors import RxNodesError

__all__ = ["FINAL_CODES", "FINAL_STATUSES", "LONGEST_RETRY_AFTER", "Policy", "Ranges", "ReconnectPolicy"]

#: Close codes of a peer after which trying again cannot help.
FINAL_CODES = frozenset({1000, 1002, 1003, 1007, 1008, 1009, 1010})

#: HTTP statuses of a refusal, by the server or by a proxy, that another attempt seldom changes.
FINAL_STATUSES = frozenset({401, 403, 404, 407})

#: For so many seconds at most a server's `Retry-After` is heeded.
LONGEST_RETRY_AFTER = 3600.0


@dataclass(frozen=True, slots=True)
class Ranges:
    """Whole numbers, some of them as ranges: small, however many they are.

    Example:
        >>> codes = Ranges((frozenset({1000}), range(4400, 4500)))
        >>> 1000 in codes, 4401 in codes, 4500 in codes
        (True, True, False)
    """

    parts: tuple[Container[int], ...]

    def __contains__(self, number: Any) -> bool:
        return any(number in part for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectPolicy:
    """When another attempt follows, and how long to wait for it.

    The delay before retry number n is drawn evenly from 0 to `min(max_delay, initial_delay * factor ** (n - 1))`, the
    "full jitter" of exponential backoff. With `jitter` off it is that upper bound itself.

    Attributes:
        enabled: Whether anything is retried at all.
        initial_delay: Upper bound of the first delay, in seconds.
        max_delay: No delay is longer, in seconds, unless the server asks for it.
        factor: How the bound grows from one retry to the next.
        jitter: Whether the delay is drawn at random.
        max_attempts: How many attempts in a row may fail before the session gives up; `None`: no limit.
        reset_after: After so many seconds open, the next failure counts as the first again.
        final_codes: Close codes of the peer that are not retried.
        final_statuses: HTTP statuses of a refusal, by the server or by a proxy, that are not retried.
        retry_certificates: Whether a server's certificate that is not trusted is retried.
        retry_after: Whether what the server asks for (`Retry-After`) is the least delay.
    """

    enabled: bool = False
    initial_delay: float = 0.5
    max_delay: float = 30.0
    factor: float = 2.0
    jitter: bool = True
    max_attempts: int | None = None
    reset_after: float = 30.0
    final_codes: Container[int] = FINAL_CODES
    final_statuses: Container[int] = FINAL_STATUSES
    retry_certificates: bool = False
    retry_after: bool = True

    def delay(self, retry: int, chance: float) -> float:
        """The seconds to wait before retry number `retry` (from 1), for a random `chance` in [0, 1)."""
        try:
            bound = min(self.max_delay, self.initial_delay * self.factor ** (retry - 1))
        except OverflowError:
            bound = self.max_delay
        return bound * chance if self.jitter else bound

    def least_delay(self, error: RxNodesError | None) -> float:
        """The seconds that the server wants us to wait after this error."""
        if not self.retry_after or not isinstance(error, ConnectError):
            return 0.0
        return min(error.retry_after or 0.0, LONGEST_RETRY_AFTER)

    def is_final(self, error: RxNodesError | None) -> bool:
        """Whether no attempt follows one that ended with this error."""
        if not isinstance(error, ConnectError):
            return False
        return (
            not error.retryable
            or any(status in self.final_statuses for status in (error.status, error.proxy_status) if status is not None)
            or (error.untrusted_certificate and not self.retry_certificates)
        )


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
