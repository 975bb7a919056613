"""Project: settings, plugins, connections and scopes, opened and closed as one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from rxnodes import plugins, settings
from rxnodes.connection import Connection
from rxnodes.errors import PluginDisabled, RxNodesError, UnknownConfiguration
from rxnodes.loops import new_event_loop
from rxnodes.scope import Scene, Scope, wait_all_stopped
from rxnodes.toolbox import Toolbox
from rxnodes.transport.aiohttp import AiohttpTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
    from os import PathLike

    from rxnodes.transport.base import Transport
    from rxnodes.websocket.settings import ConnectionSettings, WebSocketSettings

__all__ = ["Project"]

T = TypeVar("T")

logger = logging.getLogger("rxnodes")


class Project(Scope):
    """Settings, plugins, connections and scopes together: what is opened and closed as one.

    On a running event loop it is used with `async with`. With a plain `with` it runs an event loop (uvloop's, where
    that is installed) in a thread of its own, and every command and subscription may come from any thread. Leaving it
    stops every connection, waits for every `Stopped` and delivers it, and completes all streams. A project is opened
    once.

    Args:
        websocket: The WebSocket connections by name; each a URL, or the fields of a configuration (times in seconds).
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
        websocket: Mapping[str, str | Mapping[str, Any] | ConnectionSettings] | None = None,
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

        Raises:
            SettingsError: If the settings are not usable. It names all problems.
        """
        project = cls.__new__(cls)
        Scope.__init__(project, "the project", project)
        project._prepare(settings.load(folder, plugins.discover()), transport)  # noqa: SLF001 - our own
        return project

    def _prepare(self, loaded: settings.LoadedSettings, transport: Transport | None) -> None:
        self._settings = loaded
        self._transport = transport if transport is not None else AiohttpTransport()
        self._lock = threading.Lock()
        self._by_name: dict[str, Connection] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0
        self._was_opened = False
        self._is_leaving = False
        self._background: _LoopThread | None = None
        self.toolbox = Toolbox(loaded.enabled)

    def __repr__(self) -> str:
        return f"<Project with {len(self._by_name)} connections in use>"

    # What is in it

    def websocket(self, name: str) -> Connection:
        """The WebSocket connection of that name; the same one each time.

        Raises:
            UnknownConfiguration: If no connection of that name is configured.
            PluginDisabled: If the WebSocket plugin is switched off.
        """
        configurations = self._websocket_settings().connections
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
                )
                self._by_name[name] = connection
                if self._loop is not None:
                    connection.open(self._loop, self._thread_id)
                if self._is_leaving:
                    connection.retire()
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
            connections: What ends with it: on leaving, they are stopped and their `Stopped` is waited for.
        """
        return Scene(name, self, connections)

    # What its scopes need of it

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop, while the project is open."""
        return self._loop

    @property
    def connections(self) -> Collection[Connection]:
        """The connections in use."""
        return tuple(self._by_name.values())

    def is_on_loop(self) -> bool:
        """Whether this is the event loop's thread."""
        return threading.get_ident() == self._thread_id

    def call(self, function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> T:
        """Runs a coroutine function on the project's loop, from another thread, and waits for its result.

        Args:
            function: The coroutine function.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Raises:
            RxNodesError: If the project is not open, or this is its loop's own thread, which would wait for itself.
        """
        if self._loop is None:
            raise RxNodesError("the project is not open: enter it with 'async with' or 'with' first")
        if self.is_on_loop():
            raise RxNodesError("call() is for other threads; on the loop's own thread, await the coroutine")
        return asyncio.run_coroutine_threadsafe(function(*args, **kwargs), self._loop).result()

    # Its life

    async def __aenter__(self) -> Self:
        if self._was_opened:
            raise RxNodesError("a project is opened once; make a new one")
        with self._lock:
            self._was_opened = True
            self._loop = asyncio.get_running_loop()
            self._thread_id = threading.get_ident()
            for connection in self._by_name.values():
                connection.open(self._loop, self._thread_id)
        return self

    async def __aexit__(self, *_: object) -> None:
        with self._lock:
            self._is_leaving = True
            connections = tuple(self._by_name.values())
        for connection in connections:
            connection.retire()
        try:
            await wait_all_stopped(connections)
        finally:
            for connection in self.connections:
                connection.close()
            self.end()
            await self._transport.aclose()

    def __enter__(self) -> Self:
        self._background = _LoopThread(self)
        self._background.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._background is not None
        self._background.leave()

    def end(self) -> None:
        """Disposes everything that was subscribed in the project; its loop is no longer of use."""
        super().end()
        self._loop = None


class _LoopThread:
    """An event loop in a thread of its own, for as long as a project is entered with a plain `with`."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._thread = threading.Thread(target=self._run, name="rxnodes", daemon=True)
        self._has_begun = threading.Event()
        self._has_ended = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()

    def start(self) -> None:
        """Returns when the project is open, or raises why it is not."""
        self._thread.start()
        self._has_begun.wait()
        self._raise_error()

    def leave(self) -> None:
        """Leaves the project, and returns when it is closed. An interrupt meanwhile aborts the connections."""
        # Not by joining: a join that is interrupted takes the thread for dead, before CPython 3.13.
        while not self._has_ended.is_set():
            try:
                self._tell(self._leave.set)
                self._has_ended.wait()
            except KeyboardInterrupt as interrupt:
                self._error = interrupt
                for connection in self._project.connections:
                    connection.abort()
        self._thread.join()
        self._raise_error()

    def _run(self) -> None:
        try:
            self._hold_in_loop()
        finally:
            self._has_begun.set()
            self._has_ended.set()

    def _hold_in_loop(self) -> None:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            self._loop = runner.get_loop()
            self._task = self._loop.create_task(self._hold())
            while not self._task.done():
                try:
                    self._loop.run_until_complete(self._task)
                except (KeyboardInterrupt, SystemExit) as error:
                    # Raised by a subscriber: the project is left first, and whoever leaves it is told.
                    self._error = error
                    self._leave.set()
                except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                    self._error = error

    async def _hold(self) -> None:
        async with self._project:
            self._has_begun.set()
            await self._leave.wait()

    def _tell(self, action: Callable[[], None]) -> None:
        assert self._loop is not None
        # The loop may have closed already, because a subscriber ended it.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(action)

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


def _settings_from_values(
    websocket: Mapping[str, str | Mapping[str, Any] | ConnectionSettings], switches: Mapping[str, bool]
) -> settings.LoadedSettings:
    values: dict[str, Any] = {"websocket": {"connections": dict(websocket)}}
    if switches:
        values["plugins"] = dict(switches)
    return settings.from_values(values, plugins.discover())
