"""Project: settings, plugins, connections and scopes, opened and closed as one."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeAlias, TypeVar, cast
from weakref import WeakSet

from rxnodes import settings
from rxnodes.catalogue import plugins
from rxnodes.catalogue.toolbox import Toolbox
from rxnodes.connection.connection import Connection
from rxnodes.errors import PluginDisabled, RxNodesError, UnknownConfiguration
from rxnodes.project.scope import Scene, Scope, run_to_end, wait_all_stopped
from rxnodes.rx.event_loops import LoopThread
from rxnodes.rx.forking import guard, inherited, own, part
from rxnodes.rx.schedulers import LateScheduler
from rxnodes.websocket.plugin import plugin as websocket_plugin
from rxnodes.websocket.settings import WebSocketSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from os import PathLike

    from rxnodes.transport.base import Transport
    from rxnodes.websocket.settings import ConnectionSettings

__all__ = ["Project", "abort_open_projects", "installed_plugins"]

#: Connections by name.
Connections: TypeAlias = "Mapping[str, str | Mapping[str, Any] | ConnectionSettings]"

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("rxnodes")

#: The open projects, on whatever loop. A weak set, so that a project that was never left is not kept.
_open: WeakSet[Project] = WeakSet()
_open_lock = threading.Lock()
guard(_open_lock)


class Project(Scope):
    """Settings, plugins, connections and scopes together: what is opened and closed as one.

    On a running event loop it is used with `async with`. With a plain `with` it runs an event loop (uvloop's, where
    that is installed) in a thread of its own, and every command and subscription may come from any thread. Leaving it
    stops every connection, waits for every `Stopped` and delivers it, and completes all streams. A project is opened
    once.

    Args:
        websocket: The WebSocket connections by name; each a URL, or the fields of a configuration (times in seconds).
            Or a `WebSocketSettings`, such as a field of an application's own settings.
        plugins: Plugins to switch, by name; those not mentioned are on.
        transport: What carries bytes; by default aiohttp. A `ScriptedTransport` needs no network.

    Raises:
        SettingsError: If a field is not usable. It names all problems.

    Example:
        >>> project = Project(websocket={"chat": "ws://127.0.0.1:8080/"})
        >>> project.websocket("chat")
        <Connection 'chat' idle, session 0>
    """

    def __init__(
        self,
        *,
        websocket: Connections | WebSocketSettings | None = None,
        plugins: Mapping[str, bool] | None = None,
        transport: Transport | None = None,
    ) -> None:
        super().__init__("the project", self)
        self._prepare(_settings_from_values(websocket or {}, plugins or {}), transport)

    @classmethod
    def load(cls, folder: str | PathLike[str] = "settings", *, transport: Transport | None = None) -> Self:
        """A project with the settings of a folder, with the environment on top.

        Args:
            folder: Holds `plugins.toml` and one TOML file for each plugin.
            transport: What carries bytes; by default aiohttp.

        Returns:
            The project, which is not open yet.

        Raises:
            SettingsError: If the settings are not usable. It names all problems.

        Example:
            >>> import pathlib, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     file = pathlib.Path(folder, "websocket.toml")
            ...     written = file.write_text('connections.chat = "ws://127.0.0.1:8080/"')
            ...     print(Project.load(folder).configurations)
            ('chat',)
        """
        project = cls.__new__(cls)
        Scope.__init__(project, "the project", project)
        project._prepare(settings.load(folder, installed_plugins()), transport)  # noqa: SLF001 - our own
        return project

    def _prepare(self, loaded: settings.LoadedSettings, transport: Transport | None) -> None:
        self._settings = loaded
        self._transport = transport if transport is not None else _transport_over_aiohttp()
        self._lock = threading.Lock()
        self._by_name: dict[str, Connection] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0
        self._was_opened = False
        self._is_leaving = False
        self._late_scheduler = LateScheduler()
        self._is_inherited = False
        self._background: LoopThread | None = None
        self.toolbox = Toolbox(loaded.enabled)

    def __repr__(self) -> str:
        return f"<Project with {len(self._by_name)} connections in use>"

    # What is in it

    def websocket(self, name: str) -> Connection:
        """The WebSocket connection of that name; the same one each time.

        It can be used before the project is open, so that everything is subscribed by the time it starts.

        Args:
            name: As in the settings.

        Returns:
            The connection, idle unless it has been started.

        Raises:
            UnknownConfiguration: If no connection of that name is configured. It lists those that are.
            PluginDisabled: If the WebSocket plugin is switched off.
            TypeError: If the name is not a `str`.

        Example:
            >>> project = Project(websocket={"chat": "ws://127.0.0.1:8080/"})
            >>> project.websocket("chat") is project.websocket("chat")
            True
        """
        self._check_process()
        configurations = self._websocket_settings().connections
        # Callers without a type checker pass other types too.
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"expected the name of a connection, a str, got {type(name).__name__}")
        if name not in configurations:
            raise UnknownConfiguration(name, configurations)
        with self._lock:
            connection = self._by_name.get(name)
            if connection is None:
                configuration = configurations[name]
                if configuration.tls is not None and not configuration.tls.verify:
                    logger.warning("%s: the server's certificate is not verified (tls.verify is false)", name)
                connection = Connection(
                    name,
                    configuration.target(),
                    configuration.policy(),
                    self._transport,
                    configuration.preparation(),
                    codec=configuration.codec,
                    login=configuration.login(),
                )
                self._by_name[name] = connection
                if self._loop is not None:
                    connection.for_project.attach(self._loop, self._thread_id)
                if self._is_leaving:
                    connection.for_project.shutdown()
        return connection

    def _websocket_settings(self) -> WebSocketSettings:
        section = self._settings.sections.get("websocket")
        if section is None:
            raise PluginDisabled("websocket", self._settings.switches["websocket"])
        return cast("WebSocketSettings", section)

    @property
    def configurations(self) -> tuple[str, ...]:
        """The names of the WebSocket connections that are configured."""
        return tuple(self._websocket_settings().connections)

    def scene(self, name: str, *, connections: Iterable[Connection] = ()) -> Scene:
        """A scope within the project, as an (async) context manager.

        Args:
            name: What it is called in messages.
            connections: The connections that end with it. Leaving the scene stops them and waits for their `Stopped`.

        Returns:
            The scene, for `async with` on the project's loop, or for `with` in any other thread. Its `subscribe` works
            at once.

        Raises:
            TypeError: If one of the connections is not a connection.

        Example:
            >>> from rxnodes.testing import WebSocketServer, echo
            >>> async def main() -> None:
            ...     async with WebSocketServer(echo) as server, Project(websocket={"lobby": server.url}) as project:
            ...         lobby = project.websocket("lobby")
            ...         async with project.scene("menu", connections=[lobby]) as menu:
            ...             menu.subscribe(lobby.messages)
            ...             lobby.start()
            ...             await lobby.wait_started()
            ...         print("left the menu; the lobby is", lobby.state)
            >>> asyncio.run(main())
            left the menu; the lobby is closed
        """
        return Scene(name, self, connections)

    # What its scopes use

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop, while the project is open."""
        return self._loop

    @property
    def late_scheduler(self) -> LateScheduler:
        """The scheduler for what is subscribed before the project is open."""
        return self._late_scheduler

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked from the one that opened the project, which therefore does not work here."""
        return self._is_inherited

    @property
    def connections(self) -> Collection[Connection]:
        """The connections in use."""
        return tuple(self._by_name.values())

    def is_on_loop(self) -> bool:
        """Whether this is the event loop's thread."""
        return threading.get_ident() == self._thread_id

    def call(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a coroutine function on the project's loop, from another thread, and waits for its result.

        If the waiting is interrupted, as by Ctrl+C, the coroutine is cancelled.

        Args:
            function: The coroutine function, or another function whose result can be awaited, such as `chat.send`.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Returns:
            The result of the coroutine or the other awaitable. Its exceptions are raised here.

        Raises:
            RxNodesError: If the project is not open (any more), or if this is its loop's own thread, which would wait
                for itself.
            TypeError: If `function` is not callable, or its result cannot be awaited.
            concurrent.futures.CancelledError: If the project was left before the coroutine was done.

        Example:
            >>> from rxnodes.testing import WebSocketServer, echo
            >>> with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as project:
            ...     chat = project.websocket("chat")
            ...     chat.start()
            ...     opened = project.call(chat.wait_started)
            ...     print(type(project.call(chat.send, "hello")).__name__)
            Sent
        """
        if not callable(function):
            raise TypeError(f"call() takes a function and its arguments, not {_what_was_called(function)}")

        self._check_process()

        async def run() -> T:
            awaitable: Any = function(*args, **kwargs)
            if not isinstance(awaitable, Awaitable):
                raise TypeError(
                    f"call() takes a function whose result can be awaited; it gave {type(awaitable).__name__}"
                )
            return await cast("Awaitable[T]", awaitable)

        with self._lock:
            # Under the lock: a coroutine handed over after the loop's end would never run, and never be cancelled.
            if self._loop is None:
                raise self._not_open("called on its loop")
            if self.is_on_loop():
                raise RxNodesError("call() is for other threads; on the loop's own thread, await the coroutine")
            call = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            return call.result()
        except BaseException:
            # The waiting was interrupted, or else the call is over and this does nothing.
            call.cancel()
            raise

    def abort(self) -> None:
        """Aborts every connection, and returns; it may be called from any thread.

        It cuts the leaving of a project short, which cancelling does not. If the project is not open, it does nothing.

        Example:
            >>> from rxnodes.testing import ScriptedPeer, ScriptedTransport, run_in_virtual_time
            >>> async def main() -> None:
            ...     transport = ScriptedTransport(ScriptedPeer.accept)
            ...     async with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
            ...         chat = project.websocket("chat")
            ...         chat.start()
            ...         await chat.wait_started()
            ...         transport.peer.answers_close = False
            ...         asyncio.get_running_loop().call_later(0.5, project.abort)
            ...     print(chat.last_stopped.code, chat.last_stopped.duration)
            >>> run_in_virtual_time(main())
            1006 0.5
        """
        if self._loop is not None and not self._loop.is_closed():
            for connection in self.connections:
                connection.abort()

    # Its life

    async def __aenter__(self) -> Self:
        self._check_process()
        with self._lock:
            if self._was_opened:
                raise RxNodesError("a project is opened once; make a new one")
            self._was_opened = True
            self._loop = asyncio.get_running_loop()
            self._thread_id = threading.get_ident()
            for connection in self._by_name.values():
                connection.for_project.attach(self._loop, self._thread_id)
        own(self)
        with _open_lock:
            _open.add(self)
        self._late_scheduler.attach(self._loop)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._is_inherited:
            return
        with self._lock:
            self._is_leaving = True
            connections = tuple(self._by_name.values())
        for connection in connections:
            connection.for_project.shutdown()
        try:
            await wait_all_stopped(connections)
        finally:
            if not self._is_inherited:
                await self._end_in_order()

    async def _end_in_order(self) -> None:
        with _open_lock:
            _open.discard(self)
        for connection in self.connections:
            connection.for_project.detach()
        self._end()
        await run_to_end(self._transport.aclose())

    def __enter__(self) -> Self:
        # Kept only once it has started: if that is refused, the project may be open in another thread already.
        background = LoopThread(self, self.abort)
        background.start()
        self._background = background
        return self

    def __exit__(self, *_: object) -> None:
        assert self._background is not None
        self._background.leave()

    def disown(self) -> None:
        """Called in a forked process, where the project does not work, and leaving it does nothing."""
        loop = self._loop if self.is_on_loop() else None
        self._is_inherited = True
        self._loop = None
        self._thread_id = 0
        _open.discard(self)
        for connection in self.connections:
            connection.for_project.disown()
        if loop is not None:
            part(loop)

    def _check_process(self) -> None:
        if self._is_inherited:
            raise inherited("the project")

    def _end(self) -> None:
        """Disposes everything that was subscribed in the project, and forgets its loop."""
        super()._end()
        with self._lock:
            self._loop = None


def installed_plugins() -> dict[str, plugins.Plugin]:
    """The installed plugins by name: WebSocket, and those of other packages.

    Raises:
        RxNodesError: If an installed plugin is broken.
    """
    return plugins.discover(websocket_plugin)


def abort_open_projects() -> None:
    """Aborts every connection of every project that is open, on whatever loop."""
    with _open_lock:
        projects = tuple(_open)
    for project in projects:
        project.abort()


def _transport_over_aiohttp() -> Transport:
    # aiohttp takes long to import, and neither the toolbox nor a scripted transport needs it.
    from rxnodes.transport.aiohttp import AiohttpTransport  # noqa: PLC0415

    return AiohttpTransport()


def _what_was_called(value: object) -> str:
    """Describes a value that is not a function. A coroutine is closed, because nobody will await it."""
    if isinstance(value, Coroutine):
        value.close()
        return "a coroutine: leave out the parentheses behind its name"
    return type(value).__name__


def _settings_from_values(
    websocket: Connections | WebSocketSettings, switches: Mapping[str, bool]
) -> settings.LoadedSettings:
    values: dict[str, Any] = {"websocket": _section(websocket)}
    if switches:
        values["plugins"] = dict(switches)
    return settings.from_values(values, installed_plugins())


def _section(websocket: object) -> object:
    if isinstance(websocket, WebSocketSettings):
        return websocket
    if not isinstance(websocket, Mapping):
        kind = type(websocket).__name__
        raise TypeError(f'websocket must be a dict of connections by name, such as {{"chat": "ws://..."}}, not {kind}')
    return {"connections": dict(cast("Connections", websocket))}
