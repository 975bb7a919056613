"""A transport that breaks its contract: what that means for the attempt."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from rxnodes.errors import ConnectError, ConnectionLost, RxNodesError
from rxnodes.lifecycle.states import ConnectionState

if TYPE_CHECKING:
    from rxnodes.transport.base import Link

__all__ = ["check_link", "failure_of"]


def check_link(link: Link) -> Link:
    """Refuses what could not even be told to end, such as a coroutine of a transport whose `dial` is one.

    Raises:
        TypeError: If it is no link.
    """
    if not hasattr(link, "abort"):
        raise TypeError(f"dial gave {type(link).__name__}, not a link")
    return link


def failure_of(what: str, error: BaseException, state: ConnectionState) -> RxNodesError:
    """Why an attempt ends in which the transport's `what` has raised `error`."""
    if isinstance(error, ConnectError):
        # Without its traceback, which would keep the attempt alive.
        return copy(error)
    says = f"the transport failed, its {what} raised {type(error).__name__}: the log has more"
    return ConnectError(says, retryable=False) if state is ConnectionState.CONNECTING else ConnectionLost(says)
