"""TCP under full control of a test: when to read, when to write, and how the connection ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
import traceback
from typing import TYPE_CHECKING, Final, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from types import TracebackType

__all__ = ["CHUNK", "EndOfStream", "Ending", "Tcp", "TcpServer", "raise_or_note", "refusing_port"]

Ending = Literal["fin", "reset"]
"""How the other side ended a TCP connection."""

#: How many bytes are read at once.
CHUNK: Final = 64 * 1024
_BACKLOG: Final = 1024
_LINGER_ZERO: Final = struct.pack("ii", 1, 0)


class EndOfStream(ConnectionError):  # noqa: N818 - names what happened
    """The client ended its side (FIN) while the script waited for more."""


class Tcp:
    """A TCP connection under full control: when it reads, when it writes, and how it ends.

    asyncio's own streams and transports read ahead, and decide themselves between FIN and RST. This one reads only when
    it is told to, so that the other side's writes fill up, as they do when a process hangs.

    Attributes:
        ended: How the other side ended the connection; `None` while no end has been seen.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)  # noqa: FBT003 - the standard library's
        with contextlib.suppress(OSError):  # macOS refuses once the other side has reset
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ended: Ending | None = None
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._reading = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._waiting: set[asyncio.Future[None]] = set()

    async def receive(self) -> bytes:
        """Waits for bytes and gives them; empty bytes mean that the other side has sent FIN.

        Raises:
            ConnectionResetError: If the other side has sent RST.
            ConnectionAbortedError: If the connection was closed here.
        """
        async with self._reading:
            data = await self._receive()
        if not data and self.ended == "reset":  # the kernel reports a reset once, and the end from then on
            raise ConnectionResetError("the connection was reset")
        if not data:
            self.ended = "fin"
        return data

    async def _receive(self) -> bytes:
        while True:
            self._check_open()
            try:
                return self._sock.recv(CHUNK)
            except BlockingIOError:
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
            except ConnectionError:
                self.ended = "reset"
                raise

    async def send(self, data: bytes) -> None:
        """Sends all of `data`, and returns when the kernel has taken it. If it is cancelled, a part may have left."""
        async with self._writing:
            rest = memoryview(data)
            while rest:
                sent = self.send_now(rest)
                rest = rest[sent:]
                if not sent:
                    await self._ready(self._loop.add_writer, self._loop.remove_writer)

    def send_now(self, data: bytes | memoryview) -> int:
        """Sends what the kernel takes at once, as one segment if it fits into one; returns how many bytes it took."""
        self._check_open()
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except ConnectionError:
            self.ended = self.ended or "reset"
            raise

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Calls back once, as soon as the kernel takes more."""

        def writable() -> None:
            self._loop.remove_writer(self._sock)
            callback()

        self._loop.add_writer(self._sock, writable)

    async def finish(self) -> None:
        """Sends FIN, after all that is being sent. Reading can go on."""
        async with self._writing:
            self.finish_now()

    def finish_now(self) -> None:
        """Sends FIN."""
        with contextlib.suppress(OSError):  # nothing is left to finish
            self._sock.shutdown(socket.SHUT_WR)

    async def wait_ended(self) -> Ending:
        """Discards bytes until the other side has ended, and returns how it ended."""
        try:
            while await self.receive():
                pass
        except ConnectionResetError:
            return "reset"
        return "fin"

    def reset(self) -> None:
        """Ends the connection with RST. Bytes that are not delivered yet are lost."""
        with contextlib.suppress(OSError):  # macOS refuses once the other side has reset
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.close()

    def close(self) -> None:
        """Closes the socket. The kernel sends FIN if it has not yet, or RST if bytes are unread."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        for future in self._waiting:
            _resolve(future)

    async def _ready(
        self,
        add: Callable[[socket.socket, Callable[[], None]], None],
        remove: Callable[[socket.socket], bool],
    ) -> None:
        """Waits until the socket can be read from (or written to), or is closed.

        Waiting and reading are apart, so that cancelling a read never loses bytes.
        """
        future = self._loop.create_future()
        self._waiting.add(future)
        add(self._sock, functools.partial(_resolve, future))
        try:
            await future
        finally:
            self._waiting.remove(future)
            if self._sock.fileno() >= 0:
                remove(self._sock)

    def _check_open(self) -> None:
        if self._sock.fileno() < 0:
            raise ConnectionAbortedError("the connection was closed on this side")


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class TcpServer:
    """Accepts TCP connections, and serves each in a task.

    Leaving it cancels all tasks and closes all sockets. If serving failed, and not with a connection error, leaving
    raises that, so that no test passes by accident: as a group, or as a note to the exception with which the body was
    left.

    Args:
        serve: Called with each connection and its number, from 1.
        host: The address to listen on.
        port: The port to listen on; 0 is any free one.
        receive_buffer: The size of the kernel's receive buffer, in bytes; `None` is the system's default.

    Attributes:
        host: The address that it listens on.
        connections: How many TCP connections it has accepted.
    """

    def __init__(
        self,
        serve: Callable[[Tcp, int], Coroutine[None, None, None]],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        receive_buffer: int | None = None,
    ) -> None:
        self.host = host
        self.connections = 0
        self._serve = serve
        self._port = port
        self._receive_buffer = receive_buffer
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    @property
    def port(self) -> int:
        """The port, which is known once the context is entered."""
        return self._port

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server((self.host, self._port), backlog=_BACKLOG)
        if self._receive_buffer is not None:  # accepted sockets inherit it; set later, it would not change the window
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self._listener.setblocking(False)  # noqa: FBT003 - the standard library's
        self._port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept_all, self._listener)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A test may have left it before, to see what a client does without a server.
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
        failures, self._failures = self._failures, []
        if not failures:
            return
        raise_or_note(BaseExceptionGroup(f"{type(self).__name__}: serving a connection failed", failures), error)

    def _accept_all(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:  # reset while it waited to be accepted
                continue
            self.connections += 1
            tcp = Tcp(sock)
            task = asyncio.get_running_loop().create_task(self._serve(tcp, self.connections))
            self._tasks.add(task)
            task.add_done_callback(functools.partial(self._served, tcp))

    def _served(self, tcp: Tcp, task: asyncio.Task[None]) -> None:
        # Here, because a task that is cancelled before its first step runs nothing of its own.
        tcp.close()
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(error)


def raise_or_note(group: BaseExceptionGroup, error: BaseException | None) -> None:
    """Raises the failures of a server, or notes them on the exception with which its body was left."""
    if error is None:
        raise group
    error.add_note("".join(traceback.format_exception(group)))


@contextlib.contextmanager
def refusing_port() -> Generator[int]:
    """Gives a port of 127.0.0.1 that refuses connections, and that no other program gets meanwhile.

    Example:
        >>> with refusing_port() as port, contextlib.suppress(ConnectionRefusedError):
        ...     await asyncio.open_connection("127.0.0.1", port)
    """
    with socket.socket() as sock:  # bound, but not listening
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
