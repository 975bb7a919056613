"""The server's end of one WebSocket connection, driven by a script."""

from __future__ import annotations

import asyncio
import http
from typing import TYPE_CHECKING, Final, Literal

from rxnodes.testing.server.frames import Close, Frame, Opcode, accept_key, close_payload, parse_close, take_frame
from rxnodes.testing.server.handshake import Request, response_head
from rxnodes.testing.server.tcp import EndOfStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxnodes.testing.server.tcp import Ending, Tcp
    from rxnodes.testing.server.tls import Tls

__all__ = ["CloseReceived", "Peer"]

_LONGEST_REQUEST: Final = 64 * 1024


class CloseReceived(ConnectionError):  # noqa: N818 - names what happened
    """The client's Close frame came where the script waited for a message.

    Attributes:
        code: The client's code; 1005 if the frame was empty.
        reason: The client's reason.
    """

    def __init__(self, close: Close) -> None:
        super().__init__(f"the client sent Close {close.code} {close.reason!r}")
        self.code, self.reason = close


class Peer:
    """The server's end of one connection, driven by a script.

    Nothing happens by itself. In particular, only `read_request`, `receive` and the methods built upon them read: while
    a script does not read, the client's writes fill up.

    Once the connection is over, a method that sends raises a `ConnectionError`: `ConnectionResetError` or
    `BrokenPipeError` if the client ended it, `ConnectionAbortedError` if `reset` did. A script need not catch it: the
    server does not count it as a failure.

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

    def __init__(self, tcp: Tcp, *, number: int = 1, tls: Tls | None = None) -> None:
        self.number = number
        self.request: Request | None = None
        self._tcp = tcp
        self._tls = tls
        self._finished = False
        self._buffer = bytearray()

    # The opening handshake

    async def read_request(self) -> Request:
        """Reads the opening handshake. Bytes after it are kept for `receive`.

        Returns:
            The request, which is the attribute `request` from then on.

        Raises:
            EndOfStream: If FIN came instead.
            ConnectionResetError: If RST came instead.
            AssertionError: If 64 KiB came without an empty line.
            ValueError: If it is not HTTP.
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
        """Sends the 101 that opens the connection (RFC 6455 section 4.2.2). If need be, it reads the request first.

        Args:
            subprotocol: The Sec-WebSocket-Protocol to answer, offered or not.
            extensions: The Sec-WebSocket-Extensions to answer, offered or not.
            extra_headers: Headers to add, or to take the place of the right ones; `None` as a value leaves one out.
            then: Bytes that follow in the same segment.

        Raises:
            AssertionError: If the request has no Sec-WebSocket-Key.
            ValueError: If it is not HTTP.
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
        await self.send_raw(response_head(101, "Switching Protocols", headers) + then)

    async def respond(
        self,
        status: int,
        reason: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        body: bytes = b"",
    ) -> None:
        """Answers the request with any HTTP response. If need be, it reads the request first.

        Args:
            status: The status code.
            reason: The reason phrase; by default the usual one.
            headers: The headers. Content-Length is added unless it is among them; `None` as its value leaves it out.
            body: The body.

        Raises:
            ValueError: If the request is not HTTP, or the status has no usual phrase and none was given.
        """
        if self.request is None:
            await self.read_request()
        phrase = http.HTTPStatus(status).phrase if reason is None else reason
        all_headers = {"Content-Length": str(len(body)), **(headers or {})}
        await self.send_raw(response_head(status, phrase, all_headers) + body)

    # Sending

    async def send_raw(self, data: bytes) -> None:
        """Sends bytes as they are, through TLS if there is TLS. It returns when the kernel has taken them.

        Args:
            data: The bytes, of any number.

        Raises:
            ConnectionError: If the connection is over. A part of the bytes may have left.
        """
        await (self._tls or self._tcp).send(data)

    async def send_frame(
        self, frame: Frame, *, length: int | None = None, length_bits: Literal[7, 16, 64] | None = None
    ) -> None:
        """Sends a frame, right or wrong.

        Args:
            frame: The frame.
            length: The length to declare, if not the payload's.
            length_bits: The size of the length field, if not the shortest that suffices.

        Raises:
            struct.error: As in `Frame.encode`.
            ValueError: As in `Frame.encode`.
        """
        await self.send_raw(frame.encode(length=length, length_bits=length_bits))

    async def send_text(self, text: str | bytes) -> None:
        """Sends a text message in one frame.

        Args:
            text: The text, or bytes that need not be UTF-8.
        """
        await self.send_frame(Frame(Opcode.TEXT, text.encode() if isinstance(text, str) else text))

    async def send_binary(self, data: bytes) -> None:
        """Sends a binary message in one frame.

        Args:
            data: The message.
        """
        await self.send_frame(Frame(Opcode.BINARY, data))

    async def ping(self, payload: bytes = b"") -> None:
        """Sends a ping. The script gets the pong by `receive`.

        Args:
            payload: The payload, which the pong repeats. In a valid frame it has at most 125 bytes (RFC 6455
                section 5.5).
        """
        await self.send_frame(Frame(Opcode.PING, payload))

    async def pong(self, payload: bytes = b"") -> None:
        """Sends a pong, whether it answers a ping or not.

        Args:
            payload: The payload: that of the ping, if it answers one. In a valid frame it has at most 125 bytes.
        """
        await self.send_frame(Frame(Opcode.PONG, payload))

    async def send_close(self, code: int | None = 1000, reason: str | bytes = "") -> None:
        """Sends a Close frame. TCP stays open.

        Args:
            code: Any number of 16 bits, allowed or not. With `None`, the frame holds the reason alone.
            reason: Text, or bytes that need not be UTF-8. A valid one has at most 123 bytes.

        Raises:
            struct.error: If the code does not fit into 16 bits.
        """
        await self.send_frame(Frame(Opcode.CLOSE, close_payload(code, reason)))

    # Receiving

    async def receive(self) -> Frame:
        """Gives the client's next frame, as it came. It answers nothing.

        Raises:
            EndOfStream: If FIN came instead.
            ConnectionResetError: If RST came instead.
        """
        while (frame := take_frame(self._buffer)) is None:
            await self._fill()
        return frame

    async def receive_message(self, *, answer_pings: bool = True) -> str | bytes:
        """Gives the client's next whole message. It skips pings and pongs.

        Args:
            answer_pings: Whether it also answers the pings.

        Returns:
            A `str` for a text message, `bytes` for a binary one.

        Raises:
            CloseReceived: If a Close frame came instead.
            EndOfStream: If FIN came instead.
            ConnectionResetError: If RST came instead.
            AssertionError: If the client broke the protocol.
            ValueError: If a text message is not UTF-8, or a Close frame cannot be read.
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
        """Waits for the client's Close frame, and skips all others. It does not answer: `send_close` does that.

        Args:
            answer_pings: Whether it also answers pings.

        Returns:
            The frame's code and reason; 1005 if it was empty.

        Raises:
            AssertionError: If the TCP connection ended without a Close frame, or the client broke the protocol.
            ValueError: If the Close frame cannot be read: it is one byte long, or its reason is not UTF-8.
        """
        try:
            while True:
                await self._receive_data(answer_pings=answer_pings)
        except CloseReceived as close:
            return Close(close.code, close.reason)
        except ConnectionError as error:
            raise AssertionError(f"the client sent no Close frame: {error}") from error

    async def _receive_data(self, *, answer_pings: bool) -> Frame:
        """Gives the next frame of a message. It skips pings and pongs."""
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
        """Ends our side: with close_notify, if there is TLS, then with FIN. The script can go on receiving."""
        if not self._finished and self._tls is not None:
            await self._tls.notify_close()
        await self.drop_tls()

    async def drop_tls(self) -> None:
        """Ends our side with FIN, without the close_notify that TLS requires (RFC 8446 section 6.1)."""
        self._finished = True
        await self._tcp.finish()

    async def close(self) -> Ending:
        """Ends our side, then discards the client's bytes until it has ended too, and returns how it ended.

        The client sees FIN and never RST, which closing a socket with unread bytes would send.
        """
        await self.half_close()
        return await self.wait_closed()

    async def wait_closed(self) -> Ending:
        """Discards the client's bytes until its FIN or RST has come, and returns which. It sends nothing."""
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
