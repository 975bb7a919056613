"""Keeps what a provider raises from the connection."""

from __future__ import annotations

import logging
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["guarded"]

P = ParamSpec("P")

logger = logging.getLogger("rxnodes.telemetry")


def guarded(tell: Callable[P, object]) -> Callable[P, None]:
    """Logs what the function raises. It must not become an `ErrorEvent`, to which the program might react."""

    @wraps(tell)
    def tell_safely(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            tell(*args, **kwargs)
        except Exception:
            logger.exception("telemetry failed; the connection goes on")

    return tell_safely
