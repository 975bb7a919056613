"""A WebSocket server that does what a test's script says, right or wrong, down to the byte and to FIN or RST.

Example:
    >>> async def never_closes(peer: Peer) -> None:
    ...     await peer.accept()
    ...     await peer.send_text("hello")
    ...     assert await peer.expect_close() == (1000, "bye")
    ...     assert await peer.wait_closed() == "reset"
    >>> async with WebSocketServer(never_closes) as server:
    ...     ...  # connect to server.url
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http
import socket
import ssl
import struct
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Self

from rxnodes.rx.event_loops import LoopThread
from rxnodes.testing.frames import Close, Frame, Opcode, accept_key, close_payload, parse_close, take_frame

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "CloseReceived",
    "EndOfStream",
    "Ending",
    "Peer",
    "Request",
    "Script",
    "Tcp",
    "TcpServer",
    "WebSocketServer",
    "answer_with",
    "close_with",
    "echo",
    "hang_up",
    "in_turn",
    "keep_tcp_open",
    "never_answer_close",
    "never_answer_handshake",
    "never_read",
    "refuse",
    "refusing_port",
    "stall_in_header",
    "talk_after_close",
    "talk_after_own_close",
    "vanish",
]

Ending = Literal["fin", "reset"]
"""How a TCP connection was ended by the other side."""

_BACKLOG: Final = 1024
_CHUNK: Final = 64 * 1024
_LONGEST_REQUEST: Final = 64 * 1024
_LINGER_ZERO: Final = struct.pack("ii", 1, 0)
_TALKING_PACE: Final = 0.005


class EndOfStream(ConnectionError):  # noqa: N818 - names what happened
    """The client ended its side (FIN) where the script waited for more."""


class CloseReceived(ConnectionError):  # noqa: N818 - names what happened
    """The client's Close frame came where the script waited for a message.

    Attributes:
        code: The client's code; 1005 for an empty frame.
        reason: The client's reason.
    """

    def __init__(self, close: Close) -> None:
        super().__init__(f"the client sent Close {close.code} {close.reason!r}")
        self.code, self.reason = close


class Tcp:
    """A TCP connection whose every step is in our hands: when it reads, when it writes, and how it ends.

    asyncio's own streams and transports read ahead, and decide themselves between FIN and RST. Here nothing is read
    that was not asked for, so the other side's writes fill up as they would against a process that is stuck.

    Attributes:
        ended: How the other side ended the connection, as far as that has been seen.
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
        """Waits for bytes and gives them; none at all: the other side has sent FIN.

        Raises:
            ConnectionResetError: The other side has sent RST.
            ConnectionAbortedError: The connection was closed here.
        """
        async with self._reading:
            data = await self._receive()
        if not data and self.ended == "reset":  # the kernel tells of a reset once, and says "end" from then on
            raise ConnectionResetError("the connection was reset")
        if not data:
            self.ended = "fin"
        return data

    async def _receive(self) -> bytes:
        while True:
            self._check_open()
            try:
                return self._sock.recv(_CHUNK)
            except BlockingIOError:
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
            except ConnectionError:
                self.ended = "reset"
                raise

    async def send(self, data: bytes) -> None:
        """Sends all of `data`: returns when the kernel has taken it. One that was cancelled may have sent a part."""
        async with self._writing:
            rest = memoryview(data)
            while rest:
                sent = self.send_now(rest)
                rest = rest[sent:]
                if not sent:
                    await self._ready(self._loop.add_writer, self._loop.remove_writer)

    def send_now(self, data: bytes | memoryview) -> int:
        """Sends what the kernel takes at once, as one segment where it fits; returns how many bytes that were."""
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
        """Sends FIN, behind all that is being sent. Reading can go on."""
        async with self._writing:
            self.finish_now()

    def finish_now(self) -> None:
        """Sends FIN."""
        with contextlib.suppress(OSError):  # nothing is left to finish
            self._sock.shutdown(socket.SHUT_WR)

    async def wait_ended(self) -> Ending:
        """Reads and throws away until the other side has ended; returns how it did."""
        try:
            while await self.receive():
                pass
        except ConnectionResetError:
            return "reset"
        return "fin"

    def reset(self) -> None:
        """Ends the connection with RST. What was not delivered yet is lost."""
        with contextlib.suppress(OSError):  # macOS refuses once the other side has reset
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.close()

    def close(self) -> None:
        """Gives the socket back. The kernel sends FIN where that is still due, or RST where bytes were left unread."""
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

        The waiting is apart from the reading, so that cancelling a read never loses what was read.
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


class _Tls:
    """TLS over a `Tcp`, the server's side, so that each record and the lack of one is in our hands."""

    def __init__(self, tcp: Tcp, context: ssl.SSLContext) -> None:
        self._tcp = tcp
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def handshake(self) -> None:
        while True:
            try:
                self._ssl.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            except ssl.SSLError:
                await self._flush()  # the alert that says why
                raise
            else:
                return await self._flush()

    async def receive(self) -> bytes:
        """Waits for bytes and gives them; none at all: the client has sent close_notify, or FIN without it."""
        while True:
            try:
                return self._ssl.read(_CHUNK)
            except ssl.SSLWantReadError:
                try:
                    await self._feed()
                except EndOfStream:
                    return b""

    async def send(self, data: bytes) -> None:
        self._ssl.write(data)
        await self._flush()

    async def notify_close(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # "want read": we do not wait for the client's
            self._ssl.unwrap()
        await self._flush()

    async def _feed(self) -> None:
        data = await self._tcp.receive()
        if not data:
            raise EndOfStream("the client has ended its side")
        self._incoming.write(data)

    async def _flush(self) -> None:
        await self._tcp.send(self._outgoing.read())


@dataclass(frozen=True, slots=True)
class Request:
    """The client's opening handshake (RFC 6455 section 4.1), as it came.

    Attributes:
        method: `GET`, from a client in its right mind.
        target: The path and the query.
        version: `HTTP/1.1`.
        headers: Names and values in the order they came.
    """

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """Gives the value of a header, several ones joined by a comma; `None`: it did not come.

        Args:
            name: The header's name, in upper or lower case.
        """
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    @classmethod
    def parse(cls, head: bytes) -> Self:
        """Reads a request.

        Args:
            head: The request up to its empty line, and without it.

        Raises:
            ValueError: This is not HTTP.
        """
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
        fields = (line.partition(":") for line in lines)
        return cls(method, target, version, tuple((name, value.strip()) for name, _, value in fields))


class Peer:
    """The server's end of one connection: what a script drives.

    Nothing happens that the script does not ask for. In particular nothing is read but by `read_request`, `receive` and
    the verbs built upon them: a script that does not read lets the client's writes fill up.

    Once the connection is over, a verb that sends raises a `ConnectionError`: `ConnectionResetError` or
    `BrokenPipeError` where the client ended it, `ConnectionAbortedError` where `reset` did. A script may let it pass:
    to its server that is no failure.

    Attributes:
        number: The connection's number on its server, from 1.
        request: The opening handshake, once read.

    Example:
        >>> async def greet(peer: Peer) -> None:
        ...     await peer.accept()
        ...     await peer.send_text(f"you are number {peer.number}")
        ...     await peer.send_close((await peer.expect_close()).code)
        >>> async with WebSocketServer(greet) as server, websockets.connect(server.url) as ws:
        ...     print(await ws.recv())
        you are number 1
    """

    def __init__(self, tcp: Tcp, *, number: int = 1, tls: _Tls | None = None) -> None:
        self.number = number
        self.request: Request | None = None
        self._tcp = tcp
        self._tls = tls
        self._finished = False
        self._buffer = bytearray()

    # The opening handshake

    async def read_request(self) -> Request:
        """Reads the opening handshake. Octets behind it are kept for `receive`.

        Returns:
            The request, which from then on is `request` too.

        Raises:
            EndOfStream: FIN came instead.
            ConnectionResetError: RST came instead.
            AssertionError: 64 KiB came without an empty line.
            ValueError: What came is not HTTP.
        """
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _LONGEST_REQUEST:
                raise AssertionError(f"the client sent no request in its first {len(self._buffer)} bytes")
            await self._fill()
        self.request = Request.parse(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        return self.request

    async def accept(
        self,
        subprotocol: str | None = None,
        extensions: str | None = None,
        extra_headers: Mapping[str, str | None] | None = None,
        *,
        then: bytes = b"",
    ) -> None:
        """Sends the 101 that opens the connection (RFC 6455 section 4.2.2), after reading the request if that is due.

        Args:
            subprotocol: The Sec-WebSocket-Protocol to answer, offered or not.
            extensions: The Sec-WebSocket-Extensions to answer, offered or not.
            extra_headers: Headers to add, or to put in the place of the right ones; `None` leaves one out.
            then: Octets that follow in the same segment.

        Raises:
            AssertionError: The request has no Sec-WebSocket-Key.
            ConnectionError: The connection is over.
            ValueError: What came is not HTTP.
        """
        request = self.request or await self.read_request()
        key = request.header("Sec-WebSocket-Key")
        if key is None:
            raise AssertionError("the client's request has no Sec-WebSocket-Key")
        headers: dict[str, str | None] = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": accept_key(key),
            "Sec-WebSocket-Protocol": subprotocol,
            "Sec-WebSocket-Extensions": extensions,
            **(extra_headers or {}),
        }
        await self.send_raw(_response_head(101, "Switching Protocols", headers) + then)

    async def respond(
        self,
        status: int,
        reason: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        body: bytes = b"",
    ) -> None:
        """Answers the request with any HTTP response, after reading it if that is due.

        Args:
            status: The status code.
            reason: The reason phrase; `None`: the usual one.
            headers: The headers. Content-Length is added unless it is among them; `None` leaves it out.
            body: The body.

        Raises:
            ConnectionError: The connection is over.
            ValueError: What came is not HTTP; or the status has no usual phrase, and no other was given.
        """
        if self.request is None:
            await self.read_request()
        phrase = http.HTTPStatus(status).phrase if reason is None else reason
        all_headers = {"Content-Length": str(len(body)), **(headers or {})}
        await self.send_raw(_response_head(status, phrase, all_headers) + body)

    # Sending

    async def send_raw(self, data: bytes) -> None:
        """Sends bytes as they are, through TLS where there is TLS. Returns when the kernel has taken them.

        Args:
            data: The bytes, of any number.

        Raises:
            ConnectionError: The connection is over. A part of them may have left.
        """
        await (self._tls or self._tcp).send(data)

    async def send_frame(
        self, frame: Frame, *, length: int | None = None, length_bits: Literal[7, 16, 64] | None = None
    ) -> None:
        """Sends a frame, right or wrong.

        Args:
            frame: The frame.
            length: The length to declare, where it is to be another than the payload's.
            length_bits: The size of the length field, where it is to be another than the shortest that will do.

        Raises:
            ConnectionError: The connection is over.
            struct.error: As `Frame.encode`.
            ValueError: Likewise.
        """
        await self.send_raw(frame.encode(length=length, length_bits=length_bits))

    async def send_text(self, text: str | bytes) -> None:
        """Sends a text message in one frame.

        Args:
            text: The text; or bytes, which need not be UTF-8.

        Raises:
            ConnectionError: The connection is over.
        """
        await self.send_frame(Frame(Opcode.TEXT, text.encode() if isinstance(text, str) else text))

    async def send_binary(self, data: bytes) -> None:
        """Sends a binary message in one frame.

        Args:
            data: The message.

        Raises:
            ConnectionError: The connection is over.
        """
        await self.send_frame(Frame(Opcode.BINARY, data))

    async def ping(self, payload: bytes = b"") -> None:
        """Sends a ping. The pong is for the script to `receive`.

        Args:
            payload: What the pong is to repeat; 125 bytes at most where the frame is to be a right one (RFC 6455
                section 5.5).

        Raises:
            ConnectionError: The connection is over.
        """
        await self.send_frame(Frame(Opcode.PING, payload))

    async def pong(self, payload: bytes = b"") -> None:
        """Sends a pong, whether it answers a ping or not.

        Args:
            payload: The ping's, where it answers one; 125 bytes at most where the frame is to be a right one.

        Raises:
            ConnectionError: The connection is over.
        """
        await self.send_frame(Frame(Opcode.PONG, payload))

    async def send_close(self, code: int | None = 1000, reason: str | bytes = "") -> None:
        """Sends a Close frame. TCP stays open.

        Args:
            code: Any number of 16 bits, allowed or not; `None`: none, and the frame holds the reason alone.
            reason: Text, or bytes that need not be UTF-8. A right one has 123 bytes at most.

        Raises:
            ConnectionError: The connection is over.
            struct.error: The code does not fit into 16 bits.
        """
        await self.send_frame(Frame(Opcode.CLOSE, close_payload(code, reason)))

    # Receiving

    async def receive(self) -> Frame:
        """Gives the client's next frame, as it came. Nothing is answered.

        Raises:
            EndOfStream: FIN came instead.
            ConnectionResetError: RST came instead.
        """
        while (frame := take_frame(self._buffer)) is None:
            await self._fill()
        return frame

    async def receive_message(self, *, answer_pings: bool = True) -> str | bytes:
        """Gives the client's next whole message, past pongs.

        Args:
            answer_pings: Whether a ping that comes meanwhile is answered. It is passed over in either case.

        Returns:
            A `str` for a text message, `bytes` for a binary one.

        Raises:
            CloseReceived: A Close frame came instead.
            EndOfStream: FIN came instead.
            ConnectionResetError: RST came instead.
            AssertionError: The client broke the protocol.
            ValueError: A text message is not UTF-8, or a Close frame cannot be read.
        """
        first = await self._receive_data(answer_pings=answer_pings)
        _check(first.opcode in (Opcode.TEXT, Opcode.BINARY), "started a message with", first)
        payload, last = bytearray(first.payload), first
        while not last.fin:
            last = await self._receive_data(answer_pings=answer_pings)
            _check(last.opcode == Opcode.CONTINUATION, "continued a message with", last)
            payload += last.payload
        return payload.decode() if first.opcode == Opcode.TEXT else bytes(payload)

    async def expect_close(self, *, answer_pings: bool = True) -> Close:
        """Waits for the client's Close frame, past data frames and pongs. It is not answered: `send_close` does that.

        Args:
            answer_pings: Whether a ping that comes meanwhile is answered. It is passed over in either case.

        Returns:
            The frame's code and reason; 1005 where it was empty.

        Raises:
            AssertionError: The TCP connection ended without one, or the client broke the protocol.
            ValueError: The Close frame cannot be read: it is one byte long, or its reason is not UTF-8.
        """
        try:
            while True:
                await self._receive_data(answer_pings=answer_pings)
        except CloseReceived as close:
            return Close(close.code, close.reason)
        except ConnectionError as error:
            raise AssertionError(f"the client sent no Close frame: {error}") from error

    async def _receive_data(self, *, answer_pings: bool) -> Frame:
        """Gives the next frame of a message, past pings and pongs."""
        while True:
            frame = await self.receive()
            _check(frame.masked, "did not mask (RFC 6455 section 5.1)", frame)
            _check(not frame.rsv, "set reserved bits that mean nothing here in", frame)
            if frame.opcode == Opcode.CLOSE:
                raise CloseReceived(parse_close(frame.payload))
            if frame.opcode == Opcode.PING and answer_pings:
                await self.pong(frame.payload)
            elif frame.opcode not in (Opcode.PING, Opcode.PONG):
                return frame

    async def _fill(self) -> None:
        data = await (self._tls or self._tcp).receive()
        if not data:
            raise EndOfStream("the client has ended its side")
        self._buffer += data

    # Ending

    async def half_close(self) -> None:
        """Ends our side: close_notify where there is TLS, then FIN. The script can go on receiving."""
        if not self._finished and self._tls is not None:
            await self._tls.notify_close()
        await self.drop_tls()

    async def drop_tls(self) -> None:
        """Ends our side with FIN, without the close_notify that TLS asks for (RFC 8446 section 6.1)."""
        self._finished = True
        await self._tcp.finish()

    async def close(self) -> Ending:
        """Ends our side, then discards what the client still sends until it has ended too; returns how it ended.

        The client sees FIN, never RST: closing a socket in which bytes wait to be read would send one.
        """
        await self.half_close()
        return await self.wait_closed()

    async def wait_closed(self) -> Ending:
        """Discards what the client sends until its FIN or RST has come; returns which. Nothing is sent."""
        return await self._tcp.wait_ended()

    def reset(self) -> None:
        """Ends the TCP connection with RST, at once."""
        self._tcp.reset()

    async def hang(self) -> None:
        """Does nothing, and reads nothing, until the server is closed."""
        await asyncio.get_running_loop().create_future()


def _check(right: bool, fault: str, frame: Frame) -> None:  # noqa: FBT001 - an assertion of our own
    if not right:
        raise AssertionError(f"the client {fault} {frame!r:.200}")


def _response_head(status: int, reason: str, headers: Mapping[str, str | None]) -> bytes:
    """Gives a response up to its empty line.

    A header without a value is left out; of two whose names differ in case only, the last counts.
    """
    last = {name.lower(): (name, value) for name, value in headers.items()}
    fields = [f"{name}: {value}" for name, value in last.values() if value is not None]
    return "\r\n".join([f"HTTP/1.1 {status} {reason}", *fields, "", ""]).encode("latin-1")


Script = Callable[[Peer], Awaitable[None]]
"""What a server does with one connection."""


class TcpServer:
    """Accepts TCP connections and serves each in a task; leaves nothing behind.

    On leaving, what still runs is cancelled and every socket closed. Whatever else than a connection error went wrong
    while serving is raised there, so that no test passes by accident: as a group, or as a note to the exception with
    which the body was left.

    Args:
        serve: Called with each connection and its number, from 1.
        host: Where to listen.
        port: The port; 0: any free one.
        receive_buffer: The kernel's receive buffer in bytes; `None`: the system's.

    Attributes:
        host: Where it listens.
        connections: How many TCP connections were accepted so far.
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
        """The port; known from when the context is entered."""
        return self._port

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server((self.host, self._port), backlog=_BACKLOG)
        if self._receive_buffer is not None:  # what is accepted inherits it; later it would be too late for the window
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self._listener.setblocking(False)  # noqa: FBT003 - the standard library's
        self._port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept_all, self._listener)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_listening()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
        failures, self._failures = self._failures, []
        if not failures:
            return
        _raise_or_note(BaseExceptionGroup(f"{type(self).__name__}: serving a connection failed", failures), error)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

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


def _raise_or_note(group: BaseExceptionGroup, error: BaseException | None) -> None:
    """Raises what went wrong in a server, or notes it on the exception with which its body was left."""
    if error is None:
        raise group
    error.add_note("".join(traceback.format_exception(group)))


class WebSocketServer(TcpServer):
    """A WebSocket server that runs a script for every TCP connection.

    When the script returns, the connection ends with FIN, unless the script has ended it already. A script may fail
    with a connection error, or be cancelled, without consequence; any other exception is raised on leaving. In a plain
    `with`, for programs without asyncio, it runs in a thread of its own.

    Args:
        script: What to do with a connection.
        tls: For wss: the server's context. The TLS handshake precedes the script; its failure ends the connection, and
            is no failure of the server's.
        host: The IPv4 address (or its name) to listen on.
        port: The port; 0: any free one.
        receive_buffer: The kernel's receive buffer in bytes, to fill a client's writes soon; `None`: the system's.

    Example:
        >>> async with WebSocketServer(echo) as server, aiohttp.ClientSession() as session:
        ...     async with session.ws_connect(server.url) as ws:
        ...         await ws.send_str("hello")
    """

    def __init__(
        self,
        script: Script,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        receive_buffer: int | None = None,
    ) -> None:
        super().__init__(self._run_script, host=host, port=port, receive_buffer=receive_buffer)
        self._script = script
        self._context = tls
        self._background: LoopThread | None = None

    @property
    def url(self) -> str:
        """Where to connect to."""
        return f"{'ws' if self._context is None else 'wss'}://{self.host}:{self.port}/"

    def __enter__(self) -> Self:
        self._background = LoopThread(self, lambda: None)
        self._background.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._background is not None
        try:
            self._background.leave()
        except BaseExceptionGroup as group:
            _raise_or_note(group, error)

    async def _run_script(self, tcp: Tcp, number: int) -> None:
        tls = None if self._context is None else _Tls(tcp, self._context)
        peer = Peer(tcp, number=number, tls=tls)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            if tls is not None:
                await tls.handshake()
            await self._script(peer)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await peer.close()


@contextlib.contextmanager
def refusing_port() -> Generator[int]:
    """Gives a port of 127.0.0.1 that refuses connections, and that nobody else gets meanwhile.

    Example:
        >>> with refusing_port() as port, contextlib.suppress(ConnectionRefusedError):
        ...     await asyncio.open_connection("127.0.0.1", port)
    """
    with socket.socket() as sock:  # bound, but not listening
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


# Ready scripts


async def echo(peer: Peer) -> None:
    """Behaves well: sends every message back, answers pings, answers Close with the same code, then ends with FIN."""
    await peer.accept()
    while True:
        try:
            message = await peer.receive_message()
        except CloseReceived as close:
            return await peer.send_close(None if close.code == 1005 else close.code)  # noqa: PLR2004 - none came
        if isinstance(message, str):
            await peer.send_text(message)
        else:
            await peer.send_binary(message)


def in_turn(*scripts: Script) -> Script:
    """Gives the first connection the first script, and so on; the last one serves all that follow.

    Args:
        *scripts: The scripts, one or more. They go by the connection's number on its server, so the result may be used
            for several servers.

    Returns:
        A script.

    Raises:
        ValueError: There is no script.

    Example:
        A server that is not ready yet the first two times:

        >>> script = in_turn(refuse(503), refuse(503), echo)
    """
    if not scripts:
        raise ValueError("in_turn() needs a script for the first connection")

    async def script(peer: Peer) -> None:
        await scripts[min(peer.number, len(scripts)) - 1](peer)

    return script


def refuse(status: int, headers: Mapping[str, str | None] | None = None) -> Script:
    """Answers the opening handshake with another status than 101, then ends with FIN.

    Args:
        status: The status code, one that has a usual phrase.
        headers: Headers to add, such as `Retry-After`. Content-Length is added; `None` as its value leaves it out.

    Returns:
        A script.

    Example:
        >>> async with WebSocketServer(refuse(503)) as server, aiohttp.ClientSession() as session:
        ...     async with session.get(server.url) as response:
        ...         print(response.status, response.reason)
        503 Service Unavailable
    """

    async def script(peer: Peer) -> None:
        await peer.respond(status, headers=headers)

    return script


def answer_with(*segments: bytes) -> Script:
    r"""Answers the opening handshake with bytes of any kind, then ends with FIN.

    Args:
        *segments: What is sent, one behind the other; none: only FIN. Each is a segment of its own, where it fits into
            one and the client reads in time.

    Returns:
        A script.

    Example:
        >>> async with WebSocketServer(answer_with(b"HTTP/1.1 200 OK\r\n", b"\r\nhello")) as server:
        ...     async with aiohttp.ClientSession() as session, session.get(server.url) as response:
        ...         print(await response.text())
        hello
    """

    async def script(peer: Peer) -> None:
        await peer.read_request()
        for segment in segments:
            await peer.send_raw(segment)

    return script


async def never_answer_handshake(peer: Peer) -> None:
    """Accepts TCP, listens, and says nothing."""
    await peer.wait_closed()


async def stall_in_header(peer: Peer) -> None:
    """Stops in the middle of the 101's headers."""
    await peer.read_request()
    await peer.send_raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webs")
    await peer.wait_closed()


def close_with(code: int | None, reason: str | bytes = "", *messages: str) -> Script:
    """Opens, sends the messages and a Close frame, waits for the client's, then ends with FIN.

    Args:
        code: The close code, any number of 16 bits; `None`: none, and the frame holds the reason alone.
        reason: Text, or bytes that need not be UTF-8.
        *messages: Text messages that are sent before.

    Returns:
        A script.

    Example:
        >>> async with WebSocketServer(close_with(4000, "enough", "hello")) as server:
        ...     async with websockets.connect(server.url) as ws:
        ...         print(await ws.recv())
        ...         await ws.wait_closed()
        ...         print(ws.close_code, ws.close_reason)
        hello
        4000 enough
    """

    async def script(peer: Peer) -> None:
        await peer.accept()
        for message in messages:
            await peer.send_text(message)
        await peer.send_close(code, reason)
        await _hear_close(peer)

    return script


async def never_answer_close(peer: Peer) -> None:
    """Answers pings, but not Close, and leaves TCP open."""
    await peer.accept()
    await _hear_close(peer)
    await peer.wait_closed()


async def talk_after_close(peer: Peer) -> None:
    """Does not answer Close, but sends message after message from then on."""
    await peer.accept()
    await _hear_close(peer)
    await _talk(peer)


async def talk_after_own_close(peer: Peer) -> None:
    """Sends Close 1000, and then message after message, which RFC 6455 section 5.5.1 forbids."""
    await peer.accept()
    await peer.send_close()
    await _talk(peer)


async def keep_tcp_open(peer: Peer) -> None:
    """Answers Close, but leaves ending TCP to the client (against RFC 6455 section 7.1.1)."""
    await peer.accept()
    await peer.send_close((await _hear_close(peer)).code)
    await peer.wait_closed()


async def never_read(peer: Peer) -> None:
    """Opens, and then reads nothing, until the server is closed."""
    await peer.accept()
    await peer.hang()


async def hang_up(peer: Peer) -> None:
    """Opens, and ends with FIN without a Close frame."""
    await peer.accept()


async def vanish(peer: Peer) -> None:
    """Opens, and ends with RST right behind the 101."""
    await peer.accept()
    peer.reset()


async def _hear_close(peer: Peer) -> Close:
    """Waits for the client's Close frame. In a ready script a client that ends without one is no failure."""
    try:
        while True:
            await peer.receive_message()
    except CloseReceived as close:
        return Close(close.code, close.reason)


async def _talk(peer: Peer) -> None:
    while True:
        await peer.send_text("and another thing")
        await asyncio.sleep(_TALKING_PACE)
