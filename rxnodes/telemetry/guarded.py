"""How metrics, spans and log events watch a connection: without harm to it, whatever a provider raises."""

from __future__ import annotations

import logging
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import abc

    from rxnodes.connection.connection import Connection

__all__ = ["Watch", "guarded"]

P = ParamSpec("P")

Watch: TypeAlias = "Callable[[Connection], abc.DisposableBase]"
"""Watches a connection until the disposable is disposed. It asks the project for nothing, and never raises."""

logger = logging.getLogger("rxnodes.telemetry")


def guarded(function: Callable[P, object]) -> Callable[P, None]:
    """Logs an exception of the function, which must not become an `ErrorEvent`: the program might react to that."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception:
            logger.exception("telemetry failed; the connection goes on")

    return call
