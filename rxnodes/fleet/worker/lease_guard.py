"""Whether this worker may act at this moment, by its own lease."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LeaseGuard", "own_clock"]


def own_clock() -> float:
    """A clock in seconds that never jumps, and that also runs while the machine is suspended, where there is one."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)


class LeaseGuard:
    """Says whether anything may be read or written: the transport asks it each time.

    It is made before the project, because the transport is. The worker moves `until` with every renewal.

    Args:
        clock: The worker's own clock.

    Attributes:
        clock: It.
        until: Until when the worker may act, by it.

    Example:
        >>> guard = LeaseGuard(lambda: 10.0)
        >>> guard.is_allowed()
        False
        >>> guard.until = 12.0
        >>> guard.is_allowed()
        True
    """

    __slots__ = ("clock", "until")

    def __init__(self, clock: Callable[[], float] = own_clock) -> None:
        self.clock = clock
        self.until = float("-inf")

    def is_allowed(self) -> bool:
        """Whether the lease lasts."""
        return self.clock() < self.until
