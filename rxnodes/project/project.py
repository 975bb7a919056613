"""Project: settings, plugins, connections and scopes, opened and closed as one.

This file is longer than others, because all that users call on a project stands here with its documentation.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from rxnodes import settings
from rxnodes.catalogue.toolbox import Toolbox
from rxnodes.project.connections import Connections
from rxnodes.project.open_projects import note_left, note_opened
from rxnodes.project.plugin_settings import installed_plugins, settings_from_values
from rxnodes.project.project_loop import ProjectLoop, result_of
from rxnodes.project.scope import Scene, Scope, await_end, run_to_end, wait_all_stopped
from rxnodes.project.wirings import Wirings
from rxnodes.rx.arguments import check_callback
from rxnodes.rx.event_loops import LoopThread
from rxnodes.rx.forking import inherited, own
from rxnodes.rx.schedulers import LateScheduler

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
    from os import PathLike

    from rxnodes.connection.connection import Connection
    from rxnodes.project.connections import Fields
    from rxnodes.project.plugin_settings import Given
    from rxnodes.transport.base import Transport
    from rxnodes.websocket.settings import WebSocketSettings

__all__ = ["Project"]

P = ParamSpec("P")
T = TypeVar("T")


class Project(Scope):
    """Settings, plugins, connections and scopes together, opened and closed as one.

    On a running event loop it is used with `async with`. With a plain `with` it runs an event loop (uvloop's, where
    that is installed) in a thread of its own, and every command and subscription may come from any thread. Leaving it
    stops every connection, waits for every `Stopped` and delivers it, and completes all streams. A project is opened
    once.

    Args:
        websocket: The WebSocket connections by name; each a URL, or the fields of a configuration (times in seconds).
            Or a `WebSocketSettings`, such as a field of an application's own settings.
        plugins: Plugins to switch, by name; the others are on.
        transport: Carries the bytes; by default aiohttp. A `ScriptedTransport` needs no network.

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
        websocket: Given | WebSocketSettings | None = None,
        plugins: Mapping[str, bool] | None = None,
        transport: Transport | None = None,
    ) -> None:
        super().__init__("the project", self)
        self._prepare(settings_from_values(websocket, plugins), transport)

    @classmethod
    def load(cls, folder: str | PathLike[str] = "settings", *, transport: Transport | None = None) -> Self:
        """A project with the settings of a folder, with the environment on top.

        Args:
            folder: Holds `plugins.toml` and one TOML file for each plugin.
            transport: Carries the bytes; by default aiohttp.

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
        return cls.of(settings.load(folder, installed_plugins()), transport)

    @classmethod
    def of(cls, loaded: settings.LoadedSettings, transport: Transport | None = None) -> Self:
        """A project with settings that were loaded already, for a caller who needs more of them than the project does.

        Args:
            loaded: The settings.
            transport: Carries the bytes; by default aiohttp.

        Returns:
            The project, which is not open yet.
        """
        project = cls.__new__(cls)
        Scope.__init__(project, "the project", project)
        project._prepare(loaded, transport)  # noqa: SLF001 - our own
        return project

    def _prepare(self, loaded: settings.LoadedSettings, transport: Transport | None) -> None:
        if transport is None:
            # aiohttp takes long to import, and neither the toolbox nor a scripted transport needs it.
            from rxnodes.transport.aiohttp import AiohttpTransport  # noqa: PLC0415

            transport = AiohttpTransport()
        self._transport = transport
        self._connections = Connections(loaded, transport)
        self._wirings = Wirings(self, self._connections)
        self._own = ProjectLoop()
        self._late_scheduler = LateScheduler()
        self._is_inherited = False
        self._background: LoopThread | None = None
        self.toolbox = Toolbox(loaded.enabled)

    def __repr__(self) -> str:
        return f"<Project with {len(self.connections)} connections in use>"

    # Its connections and scenes

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
        return self._connections.get(name)

    def add_websocket(self, name: str, settings: Fields) -> Connection:
        """Adds a WebSocket connection, before the project is open or while it is.

        It may be called from any thread.

        Args:
            name: The name by which `websocket` will find it.
            settings: A URL or the fields of a configuration, as in `Project(websocket={...})`.

        Returns:
            The connection, which is idle.

        Raises:
            SettingsError: If there is a connection of that name, or a field is not usable. It names all problems.
            PluginDisabled: If the WebSocket plugin is switched off.
            RxNodesError: If the project is being left, or was.
            TypeError: If the name is not a `str`.

        Example:
            >>> project = Project()
            >>> project.add_websocket("chat", {"url": "ws://127.0.0.1:8080/", "heartbeat": 5})
            <Connection 'chat' idle, session 0>
            >>> project.configurations
            ('chat',)
        """
        self._check_process()
        return self._connections.add(name, settings)

    async def remove_websocket(self, name: str) -> None:
        """Stops a WebSocket connection, waits until its `Stopped` is delivered, and completes its streams.

        From the beginning no connection of that name is known any more, and starting this one does nothing. Once it has
        ended, the name can be added again, for another connection. A connection of the settings can be removed, too.

        It can be awaited on any event loop; in a plain `with`, call `project.call(project.remove_websocket, "chat")`.
        If another call removes the connection already, both wait. A cancellation does not stop it: it waits for the
        end, which takes no longer than `close_timeout`, and then passes the cancellation on.

        Args:
            name: Its name.

        Raises:
            UnknownConfiguration: If there is no connection of that name. It lists the known names.
            PluginDisabled: If the WebSocket plugin is switched off.
            TypeError: If the name is not a `str`.

        Example:
            >>> import asyncio
            >>> from rxnodes.testing import WebSocketServer, echo
            >>> async def main() -> None:
            ...     async with WebSocketServer(echo) as server, Project() as project:
            ...         guest = project.add_websocket("guest", server.url)
            ...         guest.states.subscribe(on_next=print, on_completed=lambda: print("completed"))
            ...         guest.start()
            ...         await guest.wait_started()
            ...         await project.remove_websocket("guest")
            ...         print(project.configurations)
            >>> asyncio.run(main())
            idle
            connecting
            open
            closing
            closed
            completed
            ()
        """
        self._check_process()
        connection = self._connections.forget(name)
        if connection is None:
            return
        end = partial(self._connections.end, connection)
        elsewhere = None if self.is_on_loop() or not self._own.can_run else self._own.hand_over(end)
        await (end() if elsewhere is None else await_end(elsewhere))

    @property
    def configurations(self) -> tuple[str, ...]:
        """The names of the WebSocket connections that are configured; none where the plugin is switched off."""
        return self._connections.names

    def for_each(self, names: Iterable[str], wire: Callable[[Scope, Connection], object]) -> None:
        """Wires each of many connections while this process holds it: always, unless the project runs as a fleet.

        In a fleet, a worker holds some of the connections. `wire` is called each time that this worker begins to hold
        one, and the scope is left when the worker lets go. So a wiring takes memory in one worker and not in all, and
        state, such as that of `scan`, begins anew with each holding.

        ::

            holding(connection):   -True------------False------True----|
            wire(scope, ...):      -wire------------leave------wire----leave

        Args:
            names: The names of the connections, as in the settings.
            wire: A plain function that is given a scope, in which it subscribes, and the connection. It is called on
                the project's loop, or here if the project is not open. If it raises, its subscriptions in the scope are
                disposed, and there is an `ErrorEvent` of phase `handler`.

        Raises:
            UnknownConfiguration: If no connection of such a name is configured. It lists those that are.
            PluginDisabled: If the WebSocket plugin is switched off.
            TypeError: If `names` is a single name, or `wire` is no plain function.

        Example:
            >>> from rxnodes.websocket import client_start, on_start
            >>> project = Project(websocket={"a": "ws://127.0.0.1:8080/", "b": "ws://127.0.0.1:8081/"})
            >>> def wire(scope: Scope, connection: Connection) -> None:
            ...     print("wired", connection.name)
            ...     scope.subscribe(on_start(connection))
            >>> project.for_each(project.configurations, wire)
            wired a
            wired b
        """
        self._check_open()
        check_callback("wire", wire, gives="nothing")
        if isinstance(names, str):
            raise TypeError(f"expected the names of connections, such as [{names!r}], got one name")
        self._wirings.add(names, wire)

    def scene(self, name: str, *, connections: Iterable[Connection] = ()) -> Scene:
        """A scope within the project, as an (async) context manager.

        Args:
            name: The scene's name in messages.
            connections: The connections that end with it. Leaving the scene stops them and waits for their `Stopped`.

        Returns:
            The scene, for `async with` on the project's loop, or for `with` in any other thread. Its `subscribe` works
            at once.

        Raises:
            TypeError: If one of the connections is not a connection.

        Example:
            >>> import asyncio
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

    # For its scopes, and for those who watch or steer it

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop, while the project is open."""
        return self._own.loop

    @property
    def late_scheduler(self) -> LateScheduler:
        """The scheduler for pipelines that are subscribed before the project is open."""
        return self._late_scheduler

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked from the one that opened the project, which therefore does not work here."""
        return self._is_inherited

    @property
    def connections(self) -> Collection[Connection]:
        """The connections in use."""
        return self._connections.in_use

    def follow_connections(self, tell: Callable[[Connection], object]) -> Callable[[], None]:
        """Calls `tell` with each connection in use, and with each new one before it can be used.

        Args:
            tell: Called in the thread that makes the connection. It must not use the project.

        Returns:
            A function that ends it.

        Example:
            >>> project = Project(websocket={"chat": "ws://127.0.0.1:8080/"})
            >>> end = project.follow_connections(lambda connection: print("made:", connection.name))
            >>> chat = project.websocket("chat")
            made: chat
        """
        return self._connections.follow(tell)

    def steer(self, steer: Callable[[Connection], object]) -> None:
        """Lets the connections be steered from outside, and held one by one: for the worker of a fleet.

        Args:
            steer: Called with each connection in use, and with each new one before it can be used, in the thread that
                makes it. It calls `connection.for_project.steer`, unless the connection is to stay as it is, and must
                not use the project.
        """
        self._wirings.steer(steer)

    def is_on_loop(self) -> bool:
        """Whether this is the event loop's thread."""
        return self._own.is_here

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
            concurrent.futures.CancelledError: If the project was left before the coroutine had finished.

        Example:
            >>> from rxnodes.testing import WebSocketServer, echo
            >>> with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as project:
            ...     chat = project.websocket("chat")
            ...     chat.start()
            ...     opened = project.call(chat.wait_started)
            ...     print(type(project.call(chat.send, "hello")).__name__)
            Sent
        """
        call = self._own.call(function, *args, **kwargs)
        if call is None:
            raise self._not_open("called on its loop")
        return result_of(call)

    def abort(self) -> None:
        """Aborts every connection, and returns; it may be called from any thread.

        It cuts the leaving of a project short, which cancelling does not. If the project is not open, it does nothing.

        Example:
            >>> import asyncio
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
        if self._own.can_run:
            for connection in self.connections:
                connection.for_project.abort()

    # Its life

    async def __aenter__(self) -> Self:
        self._check_process()
        loop = self._own.open()
        self._connections.attach(loop, self._own.thread)
        own(self)
        note_opened(self)
        self._late_scheduler.attach(loop)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._is_inherited:
            return
        try:
            await wait_all_stopped(self._connections.shutdown())
        finally:
            if not self._is_inherited:
                note_left(self)
                self._connections.detach()
                self._end()
                await run_to_end(self._transport.aclose())

    def __enter__(self) -> Self:
        # It is kept only once it has started, because a project that is refused may be open in another thread.
        background = LoopThread(self, self.abort)
        background.start()
        self._background = background
        return self

    def __exit__(self, *_: object) -> None:
        assert self._background is not None
        self._background.leave()

    def disown(self) -> None:
        """Called in a forked process: there the project does not work, and leaving it does nothing."""
        self._is_inherited = True
        note_left(self)
        for connection in self.connections:
            connection.for_project.disown()
        self._own.disown()

    def _check_process(self) -> None:
        if self._is_inherited:
            raise inherited("the project")

    def _end(self) -> None:
        """Disposes everything in the project, and forgets its loop."""
        super()._end()
        self._own.leave()
