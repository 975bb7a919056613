"""The time of day."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["utc_now"]


def utc_now(loop: asyncio.AbstractEventLoop | None) -> datetime:
    """The time of day, in UTC: the loop's own where there is one that has one, as a loop in virtual time does."""
    loops_own = getattr(loop, "utc_now", None)
    return datetime.now(UTC) if loops_own is None else loops_own()
