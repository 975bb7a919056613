"""A WebSocket peer on a bare, blocking socket, for a thread of its own: it goes on while the client's loop is held up.

It knows, byte by byte, what its system has taken of what it sent, and what the client's system has acknowledged: that is
the account to which a client's is compared. TLS goes through memory, so that this holds of the ciphertext, too.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import ssl
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from unittest import SkipTest

from rxnodes.testing import Close, Frame, Opcode, accept_key, parse_close, take_frame

try:
    import fcntl
    import termios
except ImportError as error:
    raise SkipTest("the system does not say what it holds of a connection: Windows") from error

#: How long anything may take, on however busy a machine.
PATIENCE = 10.0

#: The other side has ended TCP, whatever is unread before that; a reset is told in any case.
GONE = getattr(select, "POLLRDHUP", 0x2000)

#: SO_LINGER: on, for no time at all, so that closing resets the connection and throws away what has not been sent.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class TookTooLongError(Exception):
    """What a peer waits for has not come."""


class GoneError(Exception):
    """The client has ended, or broken, the connection."""


class Listener:
    """Where a raw peer is dialled."""

    def __init__(
        self, tls: ssl.SSLContext | None = None, *, receive_buffer: int | None = None, path: str | None = None
    ) -> None:
        self._tls = tls
        if path is None:
            self._socket = socket.create_server(("127.0.0.1", 0))
        else:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(path)
            self._socket.listen()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(PATIENCE)

    @property
    def url(self) -> str:
        scheme, host = ("ws", "127.0.0.1") if self._tls is None else ("wss", "localhost")
        return f"{scheme}://{host}:{self.port}/"

    @property
    def port(self) -> int:
        """The port; that of a unix socket is in its URL alone."""
        return 80 if self._socket.family == socket.AF_UNIX else self._socket.getsockname()[1]

    def accept(self) -> RawPeer:
        """Takes a connection; nothing is said yet."""
        sock, _ = self._socket.accept()
        return RawPeer(sock, self._tls)

    def close(self) -> None:
        self._socket.close()


@dataclass
class Sent:
    """A frame that was handed to the system.

    Attributes:
        frame: The frame.
        end: How many bytes of the connection's lie before its end.
    """

    frame: Frame
    end: int


@dataclass
class Heard:
    """What has come from the client."""

    messages: list[str | bytes] = field(default_factory=list)
    pings: list[bytes] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    close: Close | None = None


class RawPeer:
    """The server's end of one connection.

    Attributes:
        sent: The frames that were sent, or are about to be.
        heard: What has come.
        has_ended: Whether the client has ended TCP, or broken it.
    """

    def __init__(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._key = ""
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = None if tls is None else tls.wrap_bio(self._in, self._out, server_side=True)
        self._outgoing = bytearray()
        self._incoming = bytearray()
        #: How many bytes were made, and how many of them the system has taken.
        self._made = 0
        self._taken = 0
        self.sent: list[Sent] = []
        self.heard = Heard()
        self.has_ended = False

    # Opening

    def be_http_proxy(self) -> bytes:
        """Makes a tunnel to itself. Returns what the client has asked for."""
        self._socket.settimeout(PATIENCE)
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += self._socket.recv(65536)
        self._socket.sendall(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        self._socket.setblocking(False)
        return request

    def be_socks_proxy(self) -> bytes:
        """Likewise, with SOCKS5 (RFC 1928) and without credentials."""
        self._socket.settimeout(PATIENCE)
        assert self._socket.recv(65536).startswith(b"\x05")
        self._socket.sendall(b"\x05\x00")
        request = self._socket.recv(65536)
        self._socket.sendall(b"\x05\x00\x00\x03\x04test\x00\x50")
        self._socket.setblocking(False)
        return request

    def wait_request(self) -> None:
        """Waits for the request to open a WebSocket; completes TLS' handshake first."""
        if self._tls is not None:
            self._until(self._has_done_tls)
        self._until(lambda: b"\r\n\r\n" in self._incoming)

    def shake_hands(self) -> None:
        """Completes TLS' handshake, and then the opening handshake."""
        self.hear_request()
        self.answer()

    def hear_request(self) -> None:
        """Completes TLS' handshake, and takes the request to open a WebSocket."""
        if self._tls is not None:
            self._until(self._has_done_tls)
        self._until(lambda: b"\r\n\r\n" in self._incoming)
        request, _, rest = bytes(self._incoming).partition(b"\r\n\r\n")
        self._incoming[:] = rest
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
        assert key is not None, "no request to open a WebSocket"
        self._key = key[1].decode()

    def answer(self, subprotocol: str | None = None, more: dict[str, str] | None = None) -> None:
        """Accepts the request."""
        headers = ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept_key(self._key)}"]
        if subprotocol is not None:
            headers.append(f"Sec-WebSocket-Protocol: {subprotocol}")
        headers += [f"{name}: {value}" for name, value in (more or {}).items()]
        self._make("\r\n".join(["HTTP/1.1 101 Switching Protocols", *headers, "", ""]).encode())
        self.flush()

    def refuse(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Answers the request with an HTTP status."""
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        self._make(f"HTTP/1.1 {status} No\r\n{''.join(lines)}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.flush()
        self.close()

    def _has_done_tls(self) -> bool:
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._take_ciphertext()
        return True

    def fileno(self) -> int:
        """The descriptor, to be asked whether something has come."""
        return self._socket.fileno()

    # Sending

    def send(self, *frames: Frame) -> None:
        """Hands frames to the system, in one go."""
        self.put(*frames)
        self.flush()

    def put(self, *frames: Frame) -> None:
        """Makes frames, to be handed to the system by and by."""
        for frame in frames:
            self._make(frame.encode())
            self.sent.append(Sent(frame, self._made))

    def _make(self, data: bytes) -> None:
        if self._tls is None:
            self._outgoing += data
            self._made += len(data)
        else:
            self._tls.write(data)
            self._take_ciphertext()

    def _take_ciphertext(self) -> None:
        data = self._out.read()
        self._outgoing += data
        self._made += len(data)

    def push(self) -> bool:
        """Hands over what the system takes at once. Returns whether that was all.

        Raises:
            GoneError: If the connection is broken.
        """
        while self._outgoing:
            try:
                count = self._socket.send(self._outgoing)
            except BlockingIOError:
                return False
            except OSError:
                self.has_ended = True
                raise GoneError from None
            self._taken += count
            del self._outgoing[:count]
        return True

    def flush(self, patience: float = PATIENCE) -> None:
        """Hands everything over, and takes what comes only once that is done."""
        self._wait(self.push, select.POLLOUT, patience)

    # What has become of it

    @property
    def unacknowledged(self) -> int:
        """How many bytes that our system has taken the client's has not acknowledged."""
        # To a unix socket, both are one system.
        return 0 if self._socket.family == socket.AF_UNIX else _ask(self._socket, termios.TIOCOUTQ)

    @property
    def unread(self) -> int:
        """How many bytes have come that were not taken from the system."""
        return _ask(self._socket, termios.FIONREAD)

    def wait_arrived(self, patience: float = PATIENCE) -> None:
        """Waits until the client's system has acknowledged all that was sent."""
        self.flush(patience)
        self._poll(lambda: self.unacknowledged == 0, patience)

    def wait_unread(self) -> None:
        """Waits until something has come that is not read."""
        self._poll(lambda: self.unread > 0, PATIENCE)

    def arrived(self) -> list[Frame]:
        """The frames that the client's system has acknowledged."""
        acknowledged = self._taken - self.unacknowledged
        return [sent.frame for sent in self.sent if sent.end <= acknowledged]

    def handed_over(self) -> list[Frame]:
        """The frames that our system has taken to their end."""
        return [sent.frame for sent in self.sent if sent.end <= self._taken]

    # What comes

    def read(self) -> bool:
        """Takes what has come. Returns whether there was anything, the end included."""
        if self.has_ended:
            return True
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.has_ended = True
            return True
        if self._tls is None:
            self._incoming += data
        else:
            self._in.write(data)
            self._decrypt()
        return True

    def _decrypt(self) -> None:
        assert self._tls is not None
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while data := self._tls.read(65536):
                self._incoming += data

    def take_frames(self) -> list[Frame]:
        """Takes the frames that have come, and notes them in `heard`."""
        taken: list[Frame] = []
        while (frame := take_frame(self._incoming)) is not None:
            taken.append(frame)
            match frame.opcode:
                case Opcode.TEXT:
                    self.heard.messages.append(frame.payload.decode())
                case Opcode.BINARY:
                    self.heard.messages.append(frame.payload)
                case Opcode.PING:
                    self.heard.pings.append(frame.payload)
                case Opcode.PONG:
                    self.heard.pongs.append(frame.payload)
                case _:
                    self.heard.close = parse_close(frame.payload)
        return taken

    def hear_out(self, patience: float = PATIENCE) -> None:
        """Reads until the client has ended."""
        deadline = time.monotonic() + patience
        while not self.has_ended and time.monotonic() < deadline:
            self.wait_readable(deadline - time.monotonic())
            self.read()
        self.take_frames()

    def wait_readable(self, seconds: float) -> None:
        """Waits until something has come, or so many seconds are over."""
        _poll_socket(self._socket, select.POLLIN, seconds)

    def wait_gone(self, seconds: float) -> bool:
        """Waits until the client has ended, without reading; so many seconds at most. Returns whether it has."""
        self.has_ended = bool(_poll_socket(self._socket, GONE, seconds))
        return self.has_ended

    # The end

    def half_close(self) -> None:
        """Ends our direction of TCP (FIN), and can still read."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes the socket: a FIN, or a reset where something of the client's was not read. Twice does no harm."""
        self._socket.close()

    def reset(self) -> None:
        """Breaks the connection (RST). A unix socket has no such thing, but for what nobody reads any more."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._socket.close()

    # Waiting

    def _until(self, is_done) -> None:
        """Reads until it is so, and sends what is to be sent meanwhile."""

        def is_so() -> bool:
            if is_done():
                return True
            self.read()
            if self.has_ended:
                raise GoneError
            return is_done()

        self._wait(is_so, select.POLLIN, PATIENCE)

    def _wait(self, is_done, event: int, patience: float) -> None:
        deadline = time.monotonic() + patience
        while not is_done():
            self.push()
            left = deadline - time.monotonic()
            if left <= 0:
                raise TookTooLongError
            _poll_socket(self._socket, event, left)

    def _poll(self, is_so, patience: float) -> None:
        """Waits for what nobody tells."""
        deadline = time.monotonic() + patience
        while not is_so():
            if time.monotonic() > deadline:
                raise TookTooLongError
            time.sleep(0.0005)


def _poll_socket(sock: socket.socket, event: int, seconds: float) -> list[tuple[int, int]]:
    poll = select.poll()
    poll.register(sock, event)
    return poll.poll(seconds * 1000)


def _ask(sock: socket.socket, what: int) -> int:
    return int.from_bytes(fcntl.ioctl(sock.fileno(), what, bytes(4)), sys.byteorder)


class Played(threading.Thread):
    """Plays one peer in a thread of its own.

    Args:
        listener: Where it is dialled.
        script: What it does once the handshake is done.

    Attributes:
        peer: The peer, once it was dialled.
    """

    def __init__(self, listener: Listener, script) -> None:
        super().__init__(name=f"raw peer of {os.getpid()}", daemon=True)
        self.peer: RawPeer | None = None
        self._listener = listener
        self._script = script
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self.peer = self._listener.accept()
            self.peer.shake_hands()
            self._script(self.peer)
        except BaseException as error:  # noqa: BLE001 - raised again where it is joined
            self._error = error
        finally:
            if self.peer is not None:
                self.peer.close()

    def finish(self) -> RawPeer:
        """Waits for its end, and raises what went wrong."""
        self.join(PATIENCE)
        assert not self.is_alive(), "the peer's script goes on"
        if self._error is not None:
            raise self._error
        assert self.peer is not None
        return self.peer
