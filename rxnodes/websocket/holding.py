"""Whether this process holds a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxnodes.connection.protocols import check_connection

if TYPE_CHECKING:
    from reactivex import Observable

    from rxnodes.connection.protocols import ConnectionLike

__all__ = ["holding"]


def holding(connection: ConnectionLike) -> Observable[bool]:
    """Whether this process holds the connection: always, unless its project runs as a fleet.

    In a fleet, one worker at a time holds a connection, and its event nodes fire only there. Pulses that a program
    makes itself, such as those of a timer, fire in every worker: give this observable to their nodes as `enabled`.

    ::

        the holder:                   A-----------------B--------A---
        holding(connection), on A:    True--------------False----True

    Args:
        connection: The connection.

    Returns:
        A hot observable: the last value for each new subscriber, then every change. It never errors, and completes when
        the project closes.

    Example:
        >>> import reactivex
        >>> from rxnodes import Project
        >>> from rxnodes.websocket import client_send
        >>> chat = Project(websocket={"chat": "ws://127.0.0.1:8080/"}).websocket("chat")
        >>> every_minute = reactivex.interval(60).pipe(client_send(chat, "still here", enabled=holding(chat)))
        >>> subscription = holding(chat).subscribe(print)
        True
    """
    check_connection(connection)
    return connection.for_nodes.holding
