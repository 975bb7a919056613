"""Waiting for the end in a pipeline: `all_stopped` and `until_stopped`."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable

from rxnodes.connection.protocols import check_connection
from rxnodes.rx.event_loops import observer_on_loop_of
from rxnodes.rx.operators import hold_while

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.lifecycle.events import Stopped

__all__ = ["all_stopped", "until_stopped"]

T = TypeVar("T")


def all_stopped(*connections: ConnectionLike) -> Observable[tuple[Stopped | None, ...]]:
    """Emits once, when none of the connections has a live session any more, and completes.

    ::

        a:                   ---start--------S1----------
        b:                   ---start-----------------S1-
        all_stopped(a, b):   -------------------------(S1, S1)|

    Args:
        *connections: The connections.

    Returns:
        An observable that emits one tuple with the last `Stopped` of each connection, in the order given. If none is
        live, it emits at once. A connection that was never started is not live, and gives `None`.

    Example:
        >>> from rxnodes import Project
        >>> project = Project(websocket={"a": "ws://127.0.0.1:8080/", "b": "ws://127.0.0.1:8081/"})
        >>> all_stopped(project.websocket("a"), project.websocket("b")).subscribe(print) and None
        (None, None)
    """
    for connection in connections:
        check_connection(connection)

    def subscribe(
        observer: abc.ObserverBase[tuple[Stopped | None, ...]], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        observer = observer_on_loop_of(scheduler, observer)
        known_live = 0

        def check(_: object = None) -> None:
            # It begins with the one that was live last time, because asking all of them each time would be quadratic.
            nonlocal known_live
            for place in chain(range(known_live, len(connections)), range(known_live)):
                if connections[place].is_live:
                    known_live = place
                    return
            observer.on_next(tuple(connection.last_stopped for connection in connections))
            observer.on_completed()

        for connection in connections:
            connection.for_nodes.find_out()
        group = CompositeDisposable([connection.for_nodes.ended.subscribe(check) for connection in connections])
        if connections:
            connections[0].for_nodes.run_on_loop(check)
        else:
            check()
        return group

    return Observable(subscribe)


def until_stopped(connection: ConnectionLike) -> Callable[[Observable[T]], Observable[T]]:
    """Holds each pulse back until the connection has no live session, so that what follows runs after the end.

    ::

        source:      ---1------------------2---
        session:     xxxxxxxxxxxxxS____________
              until_stopped(chat)
        result:      -------------1--------2---

    Args:
        connection: The connection.

    Returns:
        A pipeable operator that emits each pulse unchanged. An error of the source passes at once; its completion comes
        after the pulses that are held back.

    Example:
        >>> from rxnodes import Project, Trigger
        >>> from rxnodes.websocket import client_start, client_stop
        >>> chat = Project(websocket={"chat": "ws://127.0.0.1:8080/"}).websocket("chat")
        >>> restart = Trigger[None]().pipe(client_stop(chat), until_stopped(chat), client_start(chat))
    """
    check_connection(connection)
    side = connection.for_nodes
    hold = hold_while(lambda: connection.is_live, side.ended, side.run_on_loop)
    return lambda source: source.pipe(ops.do_action(lambda _: side.find_out()), hold)
