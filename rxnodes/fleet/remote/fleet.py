"""Fleet: the connections of a fleet, as a program sees them that is no worker of it."""

from __future__ import annotations

from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from rxnodes.errors import RxNodesError
from rxnodes.fleet.remote.commander import Commander
from rxnodes.fleet.remote.connection import RemoteConnection
from rxnodes.fleet.remote.driver import RemoteDriver
from rxnodes.fleet.remote.interest import Presence
from rxnodes.fleet.remote.watching import Histories, Log, Records
from rxnodes.project.project_loop import ProjectLoop, result_of
from rxnodes.project.scope import Scope, run_to_end
from rxnodes.rx.event_loops import LoopThread
from rxnodes.rx.forking import inherited, own
from rxnodes.rx.schedulers import LateScheduler

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Awaitable, Callable
    from os import PathLike

    from rxnodes.fleet.remote.commander import Command
    from rxnodes.fleet.store import Store, Watch

__all__ = ["Fleet"]

P = ParamSpec("P")
T = TypeVar("T")

#: How many seconds commands that are not written yet are waited for when a fleet is left.
PATIENCE = 2.0


class Fleet(Scope):
    """The connections of a fleet, as a program sees them that is no worker of it. `Fleet.connect` makes one.

    It is a scope: what is subscribed in it is disposed when it is left.

    Args:
        store: The fleet's store.
        history: Whether events from before are emitted, too, as far as the log has kept them.
    """

    def __init__(self, store: Store, *, history: bool = False) -> None:
        super().__init__("the fleet", self)
        self._store = store
        self._tells_history = history
        self._own = ProjectLoop()
        self._lock = RLock()
        self._connections: dict[str, RemoteConnection] = {}
        self._drivers: dict[str, RemoteDriver] = {}
        self._log = Log(self._drivers)
        self.records = Records(store, self._drivers)
        self._commander = Commander(store)
        self.histories = Histories(store)
        self.presence = Presence(store)
        self._log_watch: Watch | None = None
        self._followers: list[Callable[[RemoteConnection], object]] = []
        self._background: LoopThread | None = None
        self._late_scheduler = LateScheduler()
        self._is_inherited = False

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        name: str = "default",
        credentials: str | PathLike[str] | None = None,
        tls: ssl.SSLContext | None = None,
        history: bool = False,
    ) -> Self:
        """The fleet of that name on the NATS servers at `url`, as an (async) context manager.

        On a running event loop it is used with `async with`. With a plain `with` it runs an event loop in a thread of
        its own, and every command and subscription may come from any thread. Entering it waits until a server answers.
        Leaving it completes all streams; what the fleet does goes on. It is entered once.

        Args:
            url: Of one of the servers, such as `nats://127.0.0.1:4222`, or several with commas between them.
            name: The fleet's name, as in the workers' `fleet.toml`.
            credentials: A `.creds` file; `None`: what the URL says, or nothing.
            tls: For TLS; `None`: what Python trusts by default, where the URL or a server asks for it.
            history: Whether events from before are emitted, too: from the oldest entry of the log that is kept. They
                come in a turn of the loop behind the first `websocket(name)`, so subscribe at once.

        Returns:
            The fleet, which is not entered yet.

        Raises:
            RxNodesError: If nats-py is not installed.

        Example:
            >>> from reactivex import operators as ops
            >>> from rxnodes.websocket import on_stop
            >>> async def main() -> None:
            ...     async with Fleet.connect("nats://127.0.0.1:4222", name="feeds") as fleet:
            ...         chat = fleet.websocket("chat")
            ...         fleet.subscribe(on_stop(chat).pipe(ops.do_action(lambda stopped: print("over:", stopped.code))))
            ...         chat.stop(reason="enough")
            ...         await chat.wait_stopped()
        """
        try:
            from rxnodes.fleet.nats import nats_store  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise RxNodesError("a fleet needs nats-py: pip install 'rxnodes[fleet]'") from error
        path = None if credentials is None else Path(credentials)
        return cls(nats_store(url, fleet=name, credentials=path, tls=tls, is_observer=True), history=history)

    def websocket(self, name: str) -> RemoteConnection:
        """The connection of that name; the same one each time. It may be called from any thread.

        It can be used before the fleet is entered, so that everything is subscribed before the first event comes.

        Args:
            name: As in the workers' settings. Whether any worker knows it is not checked: what is wished of one that
                none knows waits until one does.

        Raises:
            RxNodesError: In a process that was forked from the one that has entered the fleet.
            TypeError: If the name is not a `str`.

        Example:
            >>> Fleet.connect("nats://127.0.0.1:4222").websocket("chat")
            <RemoteConnection 'chat' idle, session 0>
        """
        if self._is_inherited:
            raise inherited(self.name)
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"expected the name of a connection, a str, got {type(name).__name__}")
        with self._lock:
            connection = self._connections.get(name)
            if connection is None:
                driver = RemoteDriver(name, self, self._store, tells_history=self._tells_history)
                connection = self._connections[name] = RemoteConnection(driver)
                self._drivers[name] = driver
                if self._own.loop is not None:
                    driver.loop.attach(self._own.loop, self._own.thread)
                    driver.loop.run(lambda: self._begin(name))
        return connection

    def _begin(self, name: str) -> None:
        self.records.begin(name)
        self._log.begin(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The connections that anything is known of: those that the log has entries of, and those in use here.

        Example:
            >>> fleet = Fleet.connect("nats://127.0.0.1:4222")
            >>> chat = fleet.websocket("chat")
            >>> fleet.names
            ('chat',)
        """
        return tuple(sorted(self._log.names))

    @property
    def configurations(self) -> tuple[str, ...]:
        """The same as `names`: what a live page shows."""
        return self.names

    def follow_connections(self, tell: Callable[[RemoteConnection], object]) -> Callable[[], None]:
        """Calls `tell` with each connection of the fleet, once it is known how it stands, and from here on.

        While anybody follows, every connection that the log has entries of is in use.

        Args:
            tell: Called before the connection emits anything. It must not ask the fleet for anything.

        Returns:
            A function that ends it.

        Example:
            >>> fleet = Fleet.connect("nats://127.0.0.1:4222")
            >>> end = fleet.follow_connections(lambda connection: print(connection.name, "is", connection.state))
            >>> end()
        """
        with self._lock:
            self._followers.append(tell)
            self._log.use = self.websocket
            for name, driver in self._drivers.items():
                if driver.is_known:
                    tell(self._connections[name])
        if self._own.loop is not None:
            self._own.loop.call_soon_threadsafe(self._log.use_all)

        def end() -> None:
            with self._lock:
                self._followers.remove(tell)
                if not self._followers:
                    self._log.use = None

        return end

    def call(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a coroutine function on the fleet's loop, from another thread, and waits for its result.

        Args:
            function: The coroutine function, such as `chat.wait_stopped`, or another one whose result can be awaited.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Returns:
            The result. Its exceptions are raised here.

        Raises:
            RxNodesError: If the fleet is not entered (any more), or if this is its loop's own thread.
            TypeError: If `function` is not callable, or its result cannot be awaited.
            concurrent.futures.CancelledError: If the fleet was left before the coroutine was done.
        """
        call = self._own.call(function, *args, **kwargs)
        if call is None:
            raise self._not_open("called on its loop")
        return result_of(call)

    # Its life

    async def __aenter__(self) -> Self:
        with self._lock:
            loop = self._own.open()
            own(self)
            for driver in self._drivers.values():
                driver.loop.attach(loop, self._own.thread)
        self._late_scheduler.attach(loop)
        try:
            await self._store.open()
            self._log_watch = self._store.watch_log(self._log)
            await self._log.is_read.wait()
        except BaseException:
            await self._end_in_order()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._is_inherited:
            return
        try:
            await self._commander.finish(PATIENCE)
        finally:
            await self._end_in_order()

    async def _end_in_order(self) -> None:
        watches = (self._log_watch, self.records, self.histories)
        for watch in watches:
            if watch is not None:
                watch.close()
        for driver in list(self._drivers.values()):
            driver.leave()
        self._end()
        self._own.leave()
        await run_to_end(self._store.close())

    def __enter__(self) -> Self:
        # Kept only once it has started, as a project's.
        background = LoopThread(self, self._hurry)
        background.start()
        self._background = background
        return self

    def __exit__(self, *_: object) -> None:
        assert self._background is not None
        self._background.leave()

    def _hurry(self) -> None:
        """Ctrl+C while it is left: that takes no longer than `PATIENCE` anyway."""

    def disown(self) -> None:
        """Called in a forked process, where the fleet does not work, and leaving it does nothing."""
        self._is_inherited = True
        for driver in self._drivers.values():
            driver.disown()
        self._own.disown()

    # What a scope needs

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop, while the fleet is entered."""
        return self._own.loop

    @property
    def late_scheduler(self) -> LateScheduler:
        """The scheduler for what is subscribed before the fleet is entered."""
        return self._late_scheduler

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked from the one that entered the fleet, which therefore does not work here."""
        return self._is_inherited

    def is_on_loop(self) -> bool:
        """Whether this is the event loop's thread."""
        return self._own.is_here

    # What its connections need

    def note_known(self, name: str) -> None:
        """It is known how a connection stands: from here on it emits what comes."""
        with self._lock:
            for tell in self._followers:
                tell(self._connections[name])

    def give(self, driver: RemoteDriver, command: Command) -> None:
        """Writes a command, behind those that the connection was given before."""
        self.records.need()
        driver.commands.append(command)
        self._commander.give(driver)
