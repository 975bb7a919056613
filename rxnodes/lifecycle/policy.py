"""The part of a connection's configuration that the machine follows: its timeouts, and when it tries again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rxnodes.errors import ConnectError

if TYPE_CHECKING:
    from collections.abc import Container

    from rxnodes.errors import RxNodesError

__all__ = ["FINAL_CODES", "FINAL_STATUSES", "LONGEST_RETRY_AFTER", "Policy", "Ranges", "ReconnectPolicy"]

#: Close codes of the peer after which another attempt cannot help.
FINAL_CODES = frozenset({1000, 1002, 1003, 1007, 1008, 1009, 1010})

#: HTTP statuses of a refusal, by the server or by a proxy, after which another attempt seldom helps.
FINAL_STATUSES = frozenset({401, 403, 404, 407})

#: A server's `Retry-After` counts as no more than so many seconds.
LONGEST_RETRY_AFTER = 3600.0


@dataclass(frozen=True, slots=True)
class Ranges:
    """A set of whole numbers, some of them given as ranges, so that a long range takes little memory.

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

    The delay before retry number n is drawn evenly from 0 to `min(max_delay, initial_delay * factor ** (n - 1))`. This
    is exponential backoff with "full jitter". With `jitter` off, the delay is that upper bound.

    Attributes:
        enabled: Whether anything is retried at all.
        initial_delay: Upper bound of the first delay, in seconds.
        max_delay: The longest delay, in seconds. The server may ask for a longer one.
        factor: How the bound grows from one retry to the next.
        jitter: Whether the delay is random.
        max_attempts: How many attempts in a row may fail before the session gives up; `None`: no limit.
        reset_after: If an attempt was open for so many seconds, its failure counts as the first again.
        final_codes: Close codes of the peer that are not retried.
        final_statuses: HTTP statuses of a refusal, by the server or by a proxy, that are not retried.
        retry_certificates: Whether an attempt follows one that failed because the server's certificate is not trusted.
        retry_after: Whether the delay is at least the one that the server asks for (`Retry-After`).
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
        """The seconds that the server asked us to wait, as this error says."""
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
    """The time limits of a connection's life, in seconds, and its reconnection.

    Attributes:
        connect_timeout: For one attempt: name lookup, TCP, TLS, handshake and login together. `None`: no limit.
        close_timeout: From the beginning of any closing to the end of the TCP connection.
        linger: How long the peer may take to end TCP after both Close frames, within `close_timeout`.
        reconnect: When another attempt follows.
    """

    connect_timeout: float | None = 10.0
    close_timeout: float = 10.0
    linger: float = 1.0
    reconnect: ReconnectPolicy = field(default_factory=ReconnectPolicy)
