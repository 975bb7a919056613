"""Wiring for each of many connections, for as long as this process holds it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from reactivex.disposable import Disposable

from rxnodes.project.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from reactivex import abc

    from rxnodes.connection.connection import Connection
    from rxnodes.project.connections import Connections
    from rxnodes.project.project import Project

    Wire = Callable[[Scope, Connection], object]

__all__ = ["Wirings"]


class Wirings:
    """The wirings that `Project.for_each` makes. It may be used from any thread.

    Args:
        project: The project.
        connections: Its connections.
    """

    def __init__(self, project: Project, connections: Connections) -> None:
        self._project = project
        self._connections = connections
        self._lock = threading.Lock()
        self._is_steered = False
        # By the names of connections that may be held here later, and that are not made yet.
        self._waiting: dict[str, list[Wire]] = {}

    def steer(self, steer: Callable[[Connection], object]) -> None:
        """Lets connections be steered, and held one by one: from here on, each is made when there is a reason to."""
        self._is_steered = True

        def follow(connection: Connection) -> None:
            steer(connection)
            with self._lock:
                waiting = self._waiting.pop(connection.name, ())
            for wire in waiting:
                _Wiring(self._project, connection, wire).begin()

        self._connections.follow(follow)

    def add(self, names: Iterable[str], wire: Wire) -> None:
        """Wires the connections of these names, each while it is held."""
        for name in names:
            if not self._waits(name, wire):
                _Wiring(self._project, self._connections.get(name), wire).begin()

    def _waits(self, name: str, wire: Wire) -> bool:
        """Lets a wiring wait until its connection is made. A million connections do not fit into every process."""
        with self._lock:
            if not self._is_steered or self._connections.is_made(name):
                return False
            self._waiting.setdefault(name, []).append(wire)
            return True


class _Wiring:
    """The wiring of one connection: a new scope each time that it is held."""

    def __init__(self, project: Project, connection: Connection, wire: Wire) -> None:
        self._project = project
        self._connection = connection
        self._wire = wire
        self._lifetime: abc.DisposableBase | None = None

    def begin(self) -> None:
        """Follows whether the connection is held, until it is removed or the project left."""
        self._connection.for_nodes.holding.subscribe(self._on_holding, on_completed=self._leave)

    def _on_holding(self, is_held: bool) -> None:  # noqa: FBT001 - a value of the stream
        self._leave()
        if not is_held:
            return
        scope = HeldScope(self._connection.name, self._project)
        self._lifetime = self._project.add(Disposable(scope.leave))
        try:
            self._wire(scope, self._connection)
        except BaseException:
            # Half a wiring is none. The stream reports the error, as it does for each subscriber that raises.
            self._leave()
            raise

    def _leave(self) -> None:
        lifetime, self._lifetime = self._lifetime, None
        if lifetime is not None:
            lifetime.dispose()


class HeldScope(Scope):
    """The scope of a connection while it is held."""

    def __init__(self, name: str, project: Project) -> None:
        super().__init__(f"what was wired for {name!r}", project)

    def leave(self) -> None:
        """Leaves the scope."""
        self._end()
