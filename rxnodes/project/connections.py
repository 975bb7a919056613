"""The WebSocket connections of a project, by name: those of its settings, and those that come and go while it runs."""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from rxnodes import settings
from rxnodes.connection.connection import Connection
from rxnodes.errors import PluginDisabled, RxNodesError, SettingsError, UnknownConfiguration
from rxnodes.project.scope import wait_all_stopped
from rxnodes.websocket.plugin import plugin as websocket_plugin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rxnodes.transport.base import Transport
    from rxnodes.websocket.settings import ConnectionSettings, WebSocketSettings

__all__ = ["Connections", "Fields"]

#: One connection: a URL, or the fields of a configuration.
Fields: TypeAlias = "str | Mapping[str, Any] | ConnectionSettings"

logger = logging.getLogger("rxnodes")


class Connections:
    """The connections of one project. A connection is made when it is first requested, or when it is added.

    All methods may be called from any thread, but for `end`, which is awaited on the loop of the connections.

    Args:
        loaded: The settings.
        transport: Carries the bytes of all connections.
    """

    def __init__(self, loaded: settings.LoadedSettings, transport: Transport) -> None:
        section = cast("WebSocketSettings | None", loaded.sections.get("websocket"))
        self._switch = loaded.switches["websocket"]
        # None takes the place of a configuration when its connection is made, which needs it no longer.
        self._configurations: dict[str, ConnectionSettings | None] | None = None
        if section is not None:
            self._configurations = dict(section.connections)
        self._transport = transport
        self._lock = threading.Lock()
        self._in_use: dict[str, Connection] = {}
        self._being_removed: dict[str, Connection] = {}
        self._followers: list[Callable[[Connection], object]] = []
        self._home: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._is_leaving = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names that are configured; none where the plugin is off."""
        with self._lock:
            return tuple(self._configurations or ())

    @property
    def in_use(self) -> tuple[Connection, ...]:
        """The connections that exist, also those that are being removed."""
        # Without the lock, which a signal's handler or a forked process could wait for in vain. A connection moves from
        # the first to the second, so it may be seen twice, but is not missed.
        return (*self._in_use.values(), *self._being_removed.values())

    def _configured(self, name: object) -> dict[str, ConnectionSettings | None]:
        """All configurations. It refuses a name that can be none."""
        if self._configurations is None:
            raise PluginDisabled("websocket", self._switch)
        # Callers without a type checker pass other types too.
        if not isinstance(name, str):
            raise TypeError(f"expected the name of a connection, a str, got {type(name).__name__}")
        return self._configurations

    # By name

    def get(self, name: str) -> Connection:
        """The connection of that name; the same one each time."""
        configured = self._configured(name)
        with self._lock:
            if name not in configured:
                raise UnknownConfiguration(name, configured)
            configuration = configured[name]
            if configuration is None:
                return self._in_use[name]
            connection = self._make(name, configuration)
            configured[name] = None
            return connection

    def is_made(self, name: str) -> bool:
        """Whether the connection of that name exists already."""
        configured = self._configured(name)
        with self._lock:
            if name not in configured:
                raise UnknownConfiguration(name, configured)
            return configured[name] is None

    def add(self, name: str, fields: Fields) -> Connection:
        """Makes a connection with a name that is free."""
        configured = self._configured(name)
        values = {"websocket": {"connections": {name: fields}}}
        loaded = settings.from_values(values, {"websocket": websocket_plugin}, lambda _: "add_websocket")
        section = cast("WebSocketSettings", loaded.sections["websocket"])
        with self._lock:
            if self._is_leaving:
                raise RxNodesError("the project is being left, or was: no connection can be added any more")
            if name in configured:
                raise SettingsError([f"there is a connection named {name!r} already; remove_websocket removes it"])
            if name in self._being_removed:
                raise SettingsError([f"the connection named {name!r} is still being removed; await remove_websocket"])
            connection = self._make(name, section.connections[name])
            configured[name] = None
            return connection

    def _make(self, name: str, configuration: ConnectionSettings) -> Connection:
        if configuration.tls is not None and not configuration.tls.verify:
            logger.warning("%s: the server's certificate is not verified (tls.verify is false)", name)
        elif configuration.tls is not None and not configuration.tls.check_hostname:
            logger.warning(
                "%s: the name in the server's certificate is not checked (tls.check_hostname is false)", name
            )
        connection = Connection(
            name,
            configuration.target(),
            configuration.policy(),
            self._transport,
            configuration.preparation(),
            codec=configuration.codec,
            login=configuration.login(),
        )
        self._in_use[name] = connection
        if self._home is not None:
            connection.for_project.attach(*self._home)
            if self._is_leaving:
                connection.for_project.shutdown()
        elif self._is_leaving:
            # The project has been left.
            connection.for_project.detach()
        for tell in self._followers:
            tell(connection)
        return connection

    def follow(self, tell: Callable[[Connection], object]) -> Callable[[], None]:
        """Calls `tell` with each connection that exists, and with each new one before it can be used.

        Returns:
            A function that ends it.
        """
        with self._lock:
            self._followers.append(tell)
            for connection in self.in_use:
                tell(connection)
        return partial(self._followers.remove, tell)

    def forget(self, name: str) -> Connection | None:
        """Forgets a name. It is unknown from here on, and free again when the connection has ended.

        Returns:
            The connection, which is to be ended, even if another call has begun that; `None` if it was never made.
        """
        configured = self._configured(name)
        with self._lock:
            if name in configured:
                del configured[name]
                if name in self._in_use:
                    self._being_removed[name] = self._in_use[name]
                    del self._in_use[name]
            elif name not in self._being_removed:
                raise UnknownConfiguration(name, configured)
            return self._being_removed.get(name)

    async def end(self, connection: Connection) -> None:
        """Stops a connection whose name was forgotten, waits for its `Stopped`, and completes its streams.

        A cancellation meanwhile is raised after that.
        """
        if self._home is not None:
            connection.for_project.shutdown()
        try:
            await wait_all_stopped([connection])
            # An eager task may run within a notification, whose other subscribers see it before the streams complete.
            await asyncio.sleep(0)
        finally:
            connection.for_project.detach()
            with self._lock:
                if self._being_removed.get(connection.name) is connection:
                    del self._being_removed[connection.name]

    # With their project

    def attach(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        """Lets all connections live on `loop`, which runs in the thread with that identifier."""
        with self._lock:
            self._home = (loop, thread)
            for connection in self.in_use:
                connection.for_project.attach(loop, thread)

    def shutdown(self) -> tuple[Connection, ...]:
        """Stops all connections, and returns them. From here on none starts, and none can be added."""
        with self._lock:
            self._is_leaving = True
        connections = self.in_use
        for connection in connections:
            connection.for_project.shutdown()
        return connections

    def detach(self) -> None:
        """Completes the streams of all connections, none of which is live any more."""
        with self._lock:
            self._home = None
        for connection in self.in_use:
            connection.for_project.detach()
