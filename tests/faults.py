"""One session against one fault, and all that must be true of its end, whatever the fault.

`run_session` starts a connection, lets a test act on it, waits for the end and asserts what every line of the checklist
has in common: one `Stopped` for each start, in time and with the right words; the descriptor gone at that moment, no
task or timer left; nothing behind it; nothing in the log that nobody expected.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import trustme
from promises import Journal

from rxnodes import Project
from rxnodes.lifecycle.events import Closing, ErrorEvent, LifecycleEvent, Opened, Stopped
from rxnodes.lifecycle.states import ConnectionState, Initiator
from rxnodes.testing import Peer, WebSocketServer
from rxnodes.transport.aiohttp import sockets as aiohttp_sockets

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from rxnodes import Connection
    from rxnodes.testing import Script

#: How much later than its bound something may come on a busy machine.
ROOM = 2.0

LOCAL, REMOTE, NETWORK, TIMEOUT = Initiator.LOCAL, Initiator.REMOTE, Initiator.NETWORK, Initiator.TIMEOUT

#: In which a loop with nothing else to do sends and reads what can be sent and read.
A_MOMENT = 0.03

HAS_PROC = sys.platform == "linux"

#: Where the code of a session's own tasks lies.
OWN_CODE = (
    f"{os.sep}rxnodes{os.sep}connection{os.sep}",
    f"{os.sep}rxnodes{os.sep}transport",
    f"{os.sep}site-packages{os.sep}aiohttp{os.sep}",
    f"{os.sep}aiohappyeyeballs{os.sep}",
)
OWN_TIMERS = (
    "rxnodes.transport",
    "rxnodes.connection",
    "aiohttp",
    "asyncio.sslproto",
)


class Sockets:
    """Every socket that was opened for a dial. The kernel's inode tells it from a later one with the same number."""

    def __init__(self) -> None:
        self.opened: list[tuple[Any, int]] = []

    def note(self, sock: Any) -> Any:
        self.opened.append((sock, os.fstat(sock.fileno()).st_ino))
        return sock

    def left(self) -> list[Any]:
        """Those whose descriptor is still there, by their own word or by the kernel's."""
        there = _inodes() if HAS_PROC else set()
        return [sock for sock, inode in self.opened if sock.fileno() != -1 or inode in there]


def _inodes() -> set[int]:
    inodes = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            inodes.add(Path(f"/proc/self/fd/{number}").stat().st_ino)
    return inodes


@contextlib.contextmanager
def watched_sockets() -> Iterator[Sockets]:
    """Notes the sockets of all dials of those transports that are first used meanwhile."""
    sockets = Sockets()
    create = aiohttp_sockets.create_socket
    with mock.patch.object(aiohttp_sockets, "create_socket", lambda address: sockets.note(create(address))):
        yield sockets


def own_tasks() -> list[asyncio.Task[Any]]:
    """The tasks of connections; not those of servers, and not those of whoever waits."""
    return [task for task in asyncio.all_tasks() if any(place in _code_of(task) for place in OWN_CODE)]


def _code_of(task: asyncio.Task[Any]) -> str:
    code = getattr(task.get_coro(), "cr_code", None)
    return "" if code is None else code.co_filename


def own_timers() -> list[asyncio.TimerHandle]:
    """The timers of connections that have not been cancelled; known of asyncio's own loops only."""
    handles = getattr(asyncio.get_running_loop(), "_scheduled", ())
    return [handle for handle in handles if not handle.cancelled() and _module_of(handle).startswith(OWN_TIMERS)]


def _module_of(handle: asyncio.TimerHandle) -> str:
    callback: Any = handle._callback  # type: ignore[attr-defined]
    while isinstance(callback, functools.partial):
        callback = callback.func
    return getattr(callback, "__module__", None) or ""


async def held_up(connection: Connection, sent: Callable[[], int]) -> None:
    """Waits until a connection has paused, and its server can send no more for that reason.

    Args:
        connection: The connection.
        sent: How much the server has sent so far. It is to send without a rest, so that nothing but TCP holds it up.
    """
    before = None
    while True:
        now = sent() if connection._driver.pause_control.is_paused else None
        if now is not None and now == before:
            return
        before = now
        await asyncio.sleep(A_MOMENT)


def _is_no_matter_of_time(record: logging.LogRecord) -> bool:
    """In debug mode, asyncio says which turn of the loop took long. On a busy machine any may."""
    return not (record.name == "asyncio" and str(record.msg).startswith("Executing %s took"))


class Complaints(logging.Handler):
    """What was logged as a warning or worse, and what reached the loop's exception handler."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.addFilter(_is_no_matter_of_time)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(f"{record.name}: {record.getMessage()}")

    def hear_out(self) -> None:
        """A task whose exception nobody has asked for complains when it is collected."""
        gc.collect(1)


@contextlib.contextmanager
def complaints() -> Iterator[Complaints]:
    """Listens to the loggers of everybody involved."""
    handler = Complaints()
    loggers = [logging.getLogger(name) for name in ("rxnodes", "asyncio", "aiohttp")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield handler
    finally:
        handler.hear_out()
        for logger in loggers:
            logger.removeHandler(handler)


class Watch:
    """Sees everything that a connection tells, and finds fault with it.

    Subscribers are isolated from one another, so an assertion that fails in one is kept here until `check`.

    Args:
        connection: The connection.
        sockets: Its sockets; `None`: other connections have some too, so that nothing is known of what is left.
    """

    def __init__(self, connection: Connection, sockets: Sockets | None = None) -> None:
        self.connection = connection
        self.journal = Journal()
        self.faults: list[str] = []
        self.stopped: list[Stopped] = []
        self.told: list[object] = []
        self.closing_took: list[float] = []
        self._sockets = sockets
        self._loop = asyncio.get_running_loop()
        self._closing_since: float | None = None
        connection.states.subscribe(self._state)
        connection.lifecycle.subscribe(self._event)
        connection.messages.subscribe(self._message)

    @property
    def errors(self) -> list[ErrorEvent]:
        return [event for event in self.journal.events if isinstance(event, ErrorEvent)]

    def of(self, kind: type[LifecycleEvent]) -> list[Any]:
        """The events of a kind, in order."""
        return [event for event in self.journal.events if isinstance(event, kind)]

    def check(self) -> None:
        """Fails if anything that was told should not have been."""
        assert not self.faults, "\n".join(self.faults)

    def _note(self, what: object, tell: Callable[[], object]) -> None:
        self.told.append(what)
        try:
            tell()
        except AssertionError as error:
            self.faults.append(f"{error} (at {what})")

    def _state(self, state: ConnectionState) -> None:
        if not self.told and state is ConnectionState.IDLE:
            self.told.append(state)
            return
        self._note(state, lambda: self.journal.state(state))

    def _message(self, message: str | bytes) -> None:
        self._note(message, lambda: self.journal.message(message))

    def _event(self, event: LifecycleEvent) -> None:
        self._note(event, lambda: self.journal.event(event))
        if isinstance(event, Closing):
            self._closing_since = self._loop.time()
        elif isinstance(event, Stopped):
            self.stopped.append(event)
            if self._closing_since is not None:
                self.closing_took.append(self._loop.time() - self._closing_since)
                self._closing_since = None
            self._note("the moment of Stopped", self._is_really_over)

    def _is_really_over(self) -> None:
        assert self.connection.state is ConnectionState.CLOSED
        if self._sockets is None:
            return
        assert not (left := self._sockets.left()), f"descriptors are left: {left}"
        assert not (left := own_tasks()), f"tasks are left: {left}"
        assert not (left := own_timers()), f"timers are left: {left}"


@dataclass
class Outcome:
    """What a session came to."""

    watch: Watch
    stopped: Stopped
    took: float
    heard: list[object] = field(default_factory=list)
    sockets: Sockets = field(default_factory=Sockets)
    logged: list[str] = field(default_factory=list)

    @property
    def journal(self) -> Journal:
        return self.watch.journal

    @property
    def errors(self) -> list[ErrorEvent]:
        return self.watch.errors


Act = "Callable[[Connection, Watch], Awaitable[object]]"


async def nothing(_connection: Connection, _watch: Watch) -> None:
    """The peer or the network does what there is to do."""


async def stop_when_open(connection: Connection, _watch: Watch) -> None:
    """What most sessions come to."""
    await connection.wait_started()
    connection.stop()


@contextlib.asynccontextmanager
async def script_server(
    script: Script, tls: ssl.SSLContext | None = None, receive_buffer: int | None = None
) -> AsyncIterator[tuple[WebSocketServer, list[object], Callable[[], Awaitable[None]]]]:
    """A server, what its scripts returned or failed with so far, and a way to wait until none runs."""
    heard: list[object] = []
    running: set[Peer] = set()
    idle = asyncio.Event()

    async def noted(peer: Peer) -> None:
        running.add(peer)
        try:
            heard.append(await script(peer))
        except Exception as error:
            heard.append(error)
            raise
        finally:
            running.discard(peer)
            idle.set()

    async def wait_idle() -> None:
        while running:
            idle.clear()
            await idle.wait()

    async with WebSocketServer(noted, tls=tls, receive_buffer=receive_buffer) as server:
        yield server, heard, wait_idle


def clean(initiator: Initiator, code: int = 1000, reason: str = "") -> dict[str, Any]:
    """What `run_session` is to be given for an end at which both Close frames were exchanged."""
    return {"initiator": initiator, "code": code, "reason": reason, "was_clean": True}


async def run_session(  # noqa: PLR0913 - each is a question that a test may ask
    where: Script | str,
    *,
    act: Callable[[Connection, Watch], Awaitable[object]] = nothing,
    initiator: Initiator,
    code: int = 1006,
    reason: str = "",
    was_clean: bool = False,
    opened: bool = True,
    error: type[Exception] | None = None,
    messages: list[str | bytes] | None = None,
    starts: int = 1,
    within: float | None = None,
    script_ends: bool = True,
    may_complain: bool = False,
    tls_server: ssl.SSLContext | None = None,
    receive_buffer: int | None = None,
    **settings: Any,
) -> Outcome:
    """Runs a session to its end, and asserts all that must be true of every end.

    Args:
        where: The server's script, or the URL of a server that runs already.
        act: What is done once the connection was started.
        initiator: What the last `Stopped` is to say, as all up to `error`, which is the type of its error.
        code: Likewise.
        reason: Likewise.
        was_clean: Likewise.
        opened: Likewise.
        error: Likewise.
        messages: All messages that are to come.
        starts: How many sessions there are to be.
        within: Seconds from start to `Stopped` at most; by default both timeouts together.
        script_ends: Whether the server's script returns by itself, so that it is waited for.
        may_complain: Whether something may be logged as a warning or worse.
        tls_server: The server's TLS context.
        receive_buffer: The server's.
        **settings: The connection's fields besides its URL.
    """
    settings = {"connect_timeout": 5.0, "close_timeout": 1.0, "heartbeat": None} | settings
    within = settings["connect_timeout"] + settings["close_timeout"] if within is None else within
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        logged = stack.enter_context(complaints())
        sockets = stack.enter_context(watched_sockets())
        heard: list[object] = []
        if isinstance(where, str):
            url = where
            script_ends = False
        else:
            server, heard, wait_idle = await stack.enter_async_context(script_server(where, tls_server, receive_buffer))
            url = server.url.replace("127.0.0.1", "localhost") if tls_server else server.url
        async with Project(websocket={"it": {"url": url, **settings}}) as project:
            connection = project.websocket("it")
            watch = Watch(connection, sockets)
            began = loop.time()
            async with asyncio.timeout(within * starts + 2 * ROOM):
                connection.start()
                await act(connection, watch)
                stopped = await connection.wait_stopped()
                while stopped.session < starts:
                    stopped = await connection.wait_stopped()
            took = loop.time() - began
            if script_ends:
                async with asyncio.timeout(ROOM):
                    await wait_idle()
            told = len(watch.told)
            for _ in range(10):
                await asyncio.sleep(0)
            assert watch.told[told:] == [], "something followed Stopped"
        watch.check()
        assert watch.told[told:] == [], "something came while the project was left"
        assert [one.session for one in watch.stopped] == list(range(1, starts + 1)), "one Stopped for each start"
        assert took <= within * starts + ROOM
        for closing in watch.closing_took:
            assert closing <= settings["close_timeout"] + ROOM
        assert (stopped.code, stopped.reason) == (code, reason)
        assert stopped.was_clean is was_clean
        assert stopped.initiator is initiator
        assert stopped.opened is opened
        assert type(stopped.error) is (error or type(None)), stopped.error
        if messages is not None:
            assert watch.journal.messages == messages
        if not own_tasks() == own_timers() == []:
            raise AssertionError(f"left after the project: {own_tasks()} {own_timers()}")
        logged.hear_out()
        if not may_complain:
            assert logged.found == []
        return Outcome(watch, stopped, took, heard, sockets, logged.found)


def opened(watch: Watch) -> list[Opened]:
    return watch.of(Opened)


class Authority:
    """Whom the tests' certificates come from."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self._issued: dict[tuple[str, ...], trustme.LeafCert] = {}
        self.file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def session(self) -> dict[str, Any]:
        """What `run_session` is to be given for a session over TLS."""
        return {"tls_server": self.server(), "tls": {"ca_file": self.file}}

    def server(self, *names: str) -> ssl.SSLContext:
        """A server's context with a certificate for these names."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        names = names or ("localhost", "127.0.0.1")
        if names not in self._issued:
            self._issued[names] = self._authority.issue_cert(*names)
        self._issued[names].configure_cert(context)
        return context
