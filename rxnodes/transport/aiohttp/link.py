"""The transport over aiohttp: its client for the handshake, its parser for the frames, and our own end.

aiohttp's own way of closing loses messages and reasons, knows no deadline over the whole, and reports an end that has
not come. So once the handshake is done, the link takes the TCP connection over as its `asyncio.Protocol`. A connection
counts as lost when the descriptor is gone: a socket class of our own tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import socket
import ssl
import sys
from bisect import bisect_right
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import aiohttp
import yarl

from rxnodes.errors import ConnectError, ConnectionLost, ProtocolError, RxNodesError
from rxnodes.lifecycle.events import Traffic
from rxnodes.rx.forking import keep_from_children
from rxnodes.transport.aiohttp import sockets as reading
from rxnodes.transport.aiohttp.allocator import keep_freed_memory
from rxnodes.transport.aiohttp.draining import READ_SIZE, Drain, TlsTail
from rxnodes.wire.encoder import FrameEncoder, Masks
from rxnodes.wire.handshake import Handshake, RefusedError
from rxnodes.wire.parser import FrameParser

try:
    import fcntl
    import termios
except ImportError:
    # As on Windows, where the system does not say what it holds.
    has_ioctl = False
else:
    has_ioctl = True

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp.client_proto import ResponseHandler

    from rxnodes.transport.aiohttp.sockets import PeerSystem
    from rxnodes.transport.base import Sink, Target
    from rxnodes.transport.receipts import Receipt
    from rxnodes.wire.handshake import Agreement

__all__ = ["AiohttpTransport"]

logger = logging.getLogger("rxnodes.transport")

#: HTTP statuses that another attempt will not change.
FINAL_STATUSES = frozenset({401, 403, 404})

#: How much of what waits is written at once when the network takes data again.
WRITE_SIZE = 256 * 1024

#: Sends that follow one another within so many seconds are a burst. A turn of the loop alone costs more, so an answer
#: to what has just come is none.
BURST = 20e-6

#: After how many seconds it is asked again what has left of what lies below TLS, where nobody tells: at first, at most.
FIRST_LOOK = 0.001
LAST_LOOK = 0.1

#: How much is read for a consumer that wants no more, once the connection is ending: in bytes, with so many for each
#: message itself.
READ_TO_END = 16 * 1024 * 1024
MESSAGE_COST = 64

#: RFC 8446 section 5.1: the most that one record of TLS carries.
TLS_RECORD_SIZE = 2**14

#: How many pings may wait for their pongs, and for how long, in seconds, while there is something to be read first.
MAX_OWED_PONGS = 1024
PONG_PATIENCE = 1.0

#: The system's numbers of errors that Python has classes for, which asyncio raises without a number.
NUMBERS = (errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT)

#: In so many turns of the loop beyond those of reading, what was read has reached whoever waits for it.
TURNS_TO_NOTICE = 3


class _Dialling:
    """The link whose dial creates a socket; none any more when the dial is done.

    Whatever is begun within a dial keeps its context, and so this, for as long as it lives.
    """

    __slots__ = ("link",)

    def __init__(self, link: AiohttpLink) -> None:
        self.link: AiohttpLink | None = link


#: For the connector's factory of sockets.
_dialling: ContextVar[_Dialling] = ContextVar("_dialling")


class WatchedSocket(socket.socket):
    """A socket that tells when its descriptor is gone: the one proof that a connection has ended.

    TCP itself is ended with it, though a forked process may hold a copy of the descriptor.

    Attributes:
        link: Whom to tell.
        spare: A second descriptor, to read what is left, and to end TCP, where the loop closes the first one unasked;
            `None`: there is none.
    """

    link: AiohttpLink | None = None
    spare: socket.socket | None = None
    _has_ended_tcp = False

    def keep_spare(self) -> None:
        """Makes the second descriptor, unless there is one already."""
        if self.spare is None:
            self.spare = socket.fromfd(self.fileno(), self.family, self.type, self.proto)
            keep_from_children(self.spare)

    def end_tcp(self) -> None:
        """Ends TCP, also where a forked process holds a copy of the descriptor."""
        if not self._has_ended_tcp:
            self._has_ended_tcp = True
            # It may not be connected yet, or not any more.
            with contextlib.suppress(OSError):
                (self.spare or self).shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Ends TCP, and closes the second descriptor, if there is one."""
        if self.spare is not None:
            self.end_tcp()
            self.spare.close()
            self.spare = None

    def close(self) -> None:
        link, self.link = self.link, None
        if self.fileno() != -1:
            if link is not None and link.may_drain:
                self.keep_spare()
            if self.spare is None:
                self.end_tcp()
        super().close()
        if link is None:
            self.release()
        else:
            link.on_socket_closed(self)

    def detach(self) -> int:
        # uvloop has closed the descriptor itself.
        descriptor = super().detach()
        link, self.link = self.link, None
        if link is None or link.loop.is_closed():
            self.release()
        else:
            link.loop.call_soon(link.on_socket_closed, self)
        return descriptor


def _release(handler: ResponseHandler, response: aiohttp.ClientResponse) -> None:
    """Lets go of what aiohttp made for the handshake. To aiohttp, a connection that somebody took over has ended."""
    handler.connection_lost(None)
    response.close()


def _create_socket(address: Any) -> WatchedSocket:
    family, kind, protocol, _, _ = address
    sock = WatchedSocket(family, kind, protocol)
    keep_from_children(sock)
    link = _dialling.get().link
    assert link is not None
    link.watch(sock)
    return sock


async def _only_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keeps aiohttp from dialling a second time by itself where the server ends the connection without an answer."""
    try:
        return await handler(request)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientConnectionResetError):
        failure = "the server ended the connection during the handshake"
    except aiohttp.ClientConnectorError:
        raise
    except aiohttp.ClientOSError as error:
        failure = f"the connection broke during the handshake: {_reason(error)}"
    # Raised outside the handlers, so that the error carries no context.
    raise RefusedError(failure, 0)


class _Early:
    """Takes what came right behind the 101: aiohttp gives it to the first parser that is set."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""


class AiohttpTransport:
    """Dials with aiohttp. One client session, without pool, limit, cookies, redirects or proxies, serves all links."""

    def __init__(self) -> None:
        keep_freed_memory()
        self._session: aiohttp.ClientSession | None = None
        self._masks = Masks(_compiled_mask())

    def dial(self, target: Target, sink: Sink) -> AiohttpLink:
        """Begins an attempt."""
        return AiohttpLink(self.session(), target, sink, self._masks)

    def session(self) -> aiohttp.ClientSession:
        """The client session, made on the running loop when it is first needed."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=0,
                force_close=True,
                # A cached lookup is made in a task that outlives the dial it was made for.
                use_dns_cache=False,
                socket_factory=_create_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                middlewares=(_only_once,),
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
                trust_env=False,
            )
        return self._session

    async def aclose(self) -> None:
        """Closes the client session. All links are lost by then."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _compiled_mask() -> Callable[[bytes, bytearray], None] | None:
    """Aiohttp's function, which masks large payloads many times faster than Python can; `None` where it is not there.

    It has no public name.
    """
    sample = bytearray(b"sample")
    try:
        from aiohttp._websocket.helpers import websocket_mask  # noqa: PLC0415 - there may be no such thing

        websocket_mask(b"\x01\x02\x03\x04", sample)
    except Exception:  # noqa: BLE001 - whatever it is, this aiohttp is another than we know
        return None
    return websocket_mask if sample == b"rcntmg" else None


class AiohttpLink(asyncio.Protocol):
    """One attempt over aiohttp."""

    __slots__ = (
        "__weakref__",
        "_bytes_received",
        "_bytes_sent",
        "_close_frame",
        "_cork",
        "_dial",
        "_drain",
        "_encoder",
        "_error",
        "_has_eof",
        "_has_heard",
        "_has_missed",
        "_has_received_close",
        "_has_sent_close",
        "_has_taken_over",
        "_has_written_close",
        "_heartbeat",
        "_in_flight",
        "_is_catching_up",
        "_is_corked",
        "_is_ended",
        "_is_giving_up",
        "_is_held",
        "_is_opaque",
        "_is_paused",
        "_is_reading",
        "_is_reported",
        "_is_tls",
        "_last_heard",
        "_last_message",
        "_late",
        "_layers",
        "_look",
        "_look_delay",
        "_message_limit",
        "_messages_received",
        "_messages_sent",
        "_owed_pongs",
        "_owed_since",
        "_parser",
        "_ping",
        "_read_to_end",
        "_reads_no_more",
        "_reads_to_end",
        "_sent_at",
        "_silence",
        "_sink",
        "_size_limit",
        "_sockets",
        "_takes_no_more",
        "_target",
        "_transport",
        "_undelivered",
        "_unsent",
        "_waiting",
        "_waiting_size",
        "_written",
        "loop",
    )

    def __init__(  # noqa: PLR0915 - a link has many things to keep in mind
        self, session: aiohttp.ClientSession, target: Target, sink: Sink, masks: Masks
    ) -> None:
        self._target = target
        self._sink = sink
        self.loop = asyncio.get_running_loop()
        self._sockets: set[WatchedSocket] = set()
        self._error: RxNodesError | None = None

        self._transport: asyncio.Transport | None = None
        self._layers: list[asyncio.Transport] = []
        self._is_tls = False
        self._is_opaque = False
        self._parser: FrameParser | None = None
        self._encoder = FrameEncoder(None, masks)
        self._has_taken_over = False
        self._is_giving_up = False
        self._drain: Drain | None = None
        self._is_ended = False
        self._is_reported = False

        # What a consumer asks for, and what is done.
        self._is_held = False
        self._is_reading = True
        self._reads_to_end = False
        self._read_to_end = 0
        self._reads_no_more = False
        self._is_catching_up = False

        self._is_paused = False
        self._sent_at = -BURST
        self._is_corked = False
        self._cork: asyncio.Handle | None = None
        self._waiting: deque[Receipt] = deque()
        self._late: list[Receipt] = []
        self._waiting_size = 0
        self._message_limit = target.send_queue.message_limit
        self._size_limit = target.send_queue.max_bytes
        self._takes_no_more = False
        self._in_flight: list[tuple[int, Receipt]] = []
        self._look: asyncio.TimerHandle | None = None
        self._look_delay = FIRST_LOOK
        self._written = 0
        self._close_frame: bytes | None = None
        self._has_written_close = False
        self._has_sent_close = False
        self._has_eof = False
        self._has_received_close = False
        self._owed_pongs: list[bytes] = []
        self._owed_since = 0.0

        self._last_heard = 0.0
        self._last_message = 0.0
        self._has_heard = False
        self._has_missed = False
        self._ping: _Ping | None = None
        self._heartbeat: asyncio.TimerHandle | None = None
        self._silence: asyncio.TimerHandle | None = None

        self._messages_received = 0
        self._bytes_received = 0
        self._messages_sent = 0
        self._bytes_sent = 0
        self._unsent = 0
        self._undelivered = 0

        # Not by the loop's factory: a task that begins at once would call the sink before the dial has returned.
        self._dial: asyncio.Task[None] | None = asyncio.Task(
            self._connect(session), loop=self.loop, name=f"rxnodes dial {target.redacted_url}"
        )
        self._dial.add_done_callback(self._on_dial_done)

    # The dial

    async def _connect(self, session: aiohttp.ClientSession) -> None:
        dialling = _Dialling(self)
        _dialling.set(dialling)
        target = self._target
        handshake = Handshake(target.subprotocols, compression=target.compression)
        try:
            response = await session.get(
                # As it is: what is percent-encoded in it may be part of a signature.
                yarl.URL(target.url, encoded=True),
                headers=handshake.headers(target.headers),
                ssl=target.tls if target.tls is not None else True,
                # Forbidden by the WHATWG's standard, and they would take the headers elsewhere.
                allow_redirects=False,
            )
            try:
                agreement = handshake.agree(response.status, response.headers)
            except RefusedError:
                for sock in self._sockets:
                    sock.end_tcp()
                response.close()
                raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is why the dial failed
            self._error = _explain(error)
        else:
            self._take_over(response, agreement)
        finally:
            dialling.link = None

    def _on_dial_done(self, dial: asyncio.Task[None]) -> None:
        # It knows how it ended, and so, by the traceback, us.
        self._dial = None
        if dial.cancelled() and not self._is_ended:
            self._error = ConnectError("the dial was cancelled")
        elif not dial.cancelled() and (error := dial.exception()) is not None:
            # Not a failed dial, which is an error of ours, but a failure of ours after it.
            logger.error("a link failed", exc_info=error)
            self._error = self._error or ConnectError("an internal error, see the log")
            self.abort()
        self._report_when_gone()

    def watch(self, sock: WatchedSocket) -> None:
        """Waits for the end of this socket, too, before the link is lost."""
        self._sockets.add(sock)
        sock.link = self
        if self._target.is_tls and not isinstance(self.loop, asyncio.BaseEventLoop):
            # uvloop closes the descriptor below TLS before it says what has happened.
            sock.keep_spare()

    @property
    def may_drain(self) -> bool:
        """Whether it is not known yet if something is left to be read: below TLS the socket is closed first."""
        return self._is_tls and self._transport is not None and not self._is_aborted

    @property
    def _is_aborted(self) -> bool:
        return self._is_ended and not self._is_giving_up

    def on_socket_closed(self, _sock: WatchedSocket) -> None:
        """The loop has let go of a socket."""
        self._release_sockets()

    def _release_sockets(self) -> None:
        """Lets go of the sockets of which nothing is to be read any more."""
        if self._drain is not None or (self._has_taken_over and self._transport is not None):
            return
        for sock in [sock for sock in self._sockets if sock.fileno() == -1]:
            sock.release()
            self._sockets.discard(sock)
        self._report_when_gone()

    def _take_over(self, response: aiohttp.ClientResponse, agreement: Agreement) -> None:
        """From here on the TCP connection is ours. No await lies between the handshake's end and this."""
        connection = response.connection
        assert connection is not None
        handler, transport = connection.protocol, connection.transport
        assert handler is not None
        assert transport is not None
        early = _Early()
        handler.set_parser(early, None)
        deflate = agreement.deflate
        self._transport = transport
        if deflate is not None:
            self._encoder = self._encoder.compressing(deflate)
        self._parser = FrameParser(self, max_size=self._target.max_message_size, deflate=deflate)
        self._has_taken_over = True
        transport.set_protocol(self)
        # Paused means exactly: something of ours has not left for the network.
        self._layers = reading.layers(transport)
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        # What lies below uvloop's TLS cannot be asked; the system's own buffer bounds it.
        self._is_opaque = self._is_tls and len(self._layers) == 1
        for layer in self._layers:
            layer.set_write_buffer_limits(high=1, low=0)
        # In a turn of its own: it takes longer than all of the rest, and nothing of it is waited for.
        self.loop.call_soon(_release, handler, response)
        if self._is_held:
            self._read_or_not()
        self._sink.opened(agreement.subprotocol)
        if not self._is_ended:
            self._start_timers()
            if early.data:
                self.data_received(early.data)

    # What comes

    def data_received(self, data: bytes) -> None:
        self._last_heard = self.loop.time()
        self._has_heard = True
        assert self._parser is not None
        try:
            self._parser.feed(data)
        except ProtocolError as error:
            violation = error
        else:
            if self._owed_pongs:
                self._answer_pings()
            return
        # Told outside the handler, so that the error carries no context.
        self._sink.violated(violation)

    def on_messages(self, messages: list[str] | list[bytes], size: int) -> None:
        if self._is_catching_up and not self._may_deliver():
            self._undelivered += len(messages)
            return
        self._messages_received += len(messages)
        self._bytes_received += size
        self._last_message = self._last_heard
        if self._reads_to_end:
            self._count_to_end(messages, size)
        self._sink.messages(messages)

    def on_close(self, code: int, reason: str) -> None:
        # Where the end of TCP has come right behind the Close frame, a turn of the loop to learn of it can be saved.
        tcp_ended = self._has_sent_close and any(map(reading.has_ended, self._sockets))
        self._has_received_close = True
        self._sink.close_received(code, reason, tcp_ended=tcp_ended)
        if tcp_ended and self._transport is not None:
            self._transport.close()

    def on_ping(self, payload: bytes) -> None:
        """Owes a pong, and gives it when nothing else is there to be read.

        A peer that has closed its socket answers a pong with a reset, which destroys what it had sent and we have not
        got yet.
        """
        if self._has_written_close:
            return
        if not self._owed_pongs:
            self._owed_since = self._last_heard
        self._owed_pongs.append(payload)
        if len(self._owed_pongs) > MAX_OWED_PONGS:
            # The latest ones matter most (RFC 6455 section 5.5.3), and a peer cannot make us hoard.
            del self._owed_pongs[0]

    def _answer_pings(self) -> None:
        is_due = len(self._owed_pongs) == MAX_OWED_PONGS or self._last_heard - self._owed_since > PONG_PATIENCE
        if is_due or not any(map(reading.has_come, self._sockets)):
            self._write_pongs()

    def _write_pongs(self) -> None:
        if self._owed_pongs and not self._is_paused:
            self._write(self._take_pongs())

    def _take_pongs(self) -> bytes:
        """The pongs that are owed, which go ahead of whatever else we send."""
        owed, self._owed_pongs = self._owed_pongs, []
        return b"".join(map(self._encoder.pong, owed))

    def on_pong(self, payload: bytes) -> None:
        # A pong that nobody asked for is ignored (RFC 6455 section 5.5.3).
        if self._ping is not None and self._ping.payload == payload and not self._ping.is_answered:
            self._ping.is_answered = True
            # One that may have waited for us to read says nothing about the network.
            if not self._has_missed:
                self._sink.ponged(self._last_heard - self._ping.sent_at)

    def pause_reading(self) -> None:
        """Reads no more, unless the connection is ending."""
        self._is_held = True
        self._read_or_not()

    def resume_reading(self) -> None:
        """Reads on."""
        self._is_held = False
        self._read_or_not()

    def _read_or_not(self) -> None:
        """Does what the consumer asks for, as far as the end of the connection allows."""
        if self._transport is None or self._is_ended:
            return
        reads = self._is_catching_up or self._may_deliver()
        if reads is self._is_reading:
            return
        self._is_reading = reads
        if reads:
            # While nothing was read, no message could come.
            self._last_message = self.loop.time()
            reading.resume(self._layers, is_opaque=self._is_opaque)
            if self._is_opaque:
                self.loop.call_soon(self._read_ahead)
        else:
            self._has_missed = True
            if self._owed_pongs and not self._has_peer_ended():
                self._write_pongs()
            reading.pause(self._layers, is_opaque=self._is_opaque)

    def _may_deliver(self) -> bool:
        """Whether the consumer wants more, or is to be given it all the same since the connection is ending."""
        return not self._is_held or (self._reads_to_end and self._read_to_end < READ_TO_END)

    def _read_ahead(self) -> None:
        """What TLS held when reading was resumed is delivered by now."""
        if self._is_reading and not self._is_ended:
            reading.read_ahead(self._layers)

    def _read_on_to_end(self) -> None:
        """The connection is ending: a consumer that wants no more must not hold that up."""
        self._reads_to_end = True
        if self._is_held:
            self._read_or_not()

    def _count_to_end(self, messages: list[str] | list[bytes], size: int) -> None:
        """Counts what a consumer that wants no more is given all the same, so that it is not without bound."""
        self._read_to_end += size + MESSAGE_COST * len(messages)
        self._read_or_not()

    def eof_received(self) -> bool:
        """The peer will send nothing more. Returns whether the connection is kept for what we still have to send."""
        if self._has_written_close or self._has_received_close:
            self._has_eof = True
            return self._is_paused or not self._has_written_close
        self._error = self._error or ConnectionLost("the peer ended the connection without a Close frame")
        self.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._error is None and not self._is_ended and exc is not None:
            self._error = ConnectionLost(f"the connection broke: {_reason(exc)}")
        if exc is None and not self._is_ended:
            # Ended in order, and so with nothing held back.
            self._note_sent()
        # Before anybody is told anything, and sends because of it.
        self._takes_no_more = True
        self._give_up_in_flight()
        self._transport = None
        if (exc is not None or self._is_giving_up) and not (self._reads_no_more or self._is_aborted):
            self._begin_drain()
        if self._drain is None:
            self._end()

    def _begin_drain(self) -> None:
        """Reads what the peer had sent before the connection broke.

        A consumer that wants no more does not stop it: our system holds only so much.
        """
        for sock in self._sockets:
            if sock.fileno() != -1:
                # A plain one, which the loop closes next.
                sock.keep_spare()
            if sock.spare is not None:
                tls = TlsTail(self._layers[0]) if self._is_tls else None
                self._drain = Drain(self.loop, sock.spare, tls, self.data_received, self._end)

    def _end(self) -> None:
        """Nothing more is to be read or written."""
        self._is_ended = True
        self._drain = None
        for sock in self._sockets:
            sock.end_tcp()
        self._release_sockets()

    # What goes

    def send(self, receipt: Receipt, /) -> None:
        """Sends a message at once; those of a burst in one write at the end of the loop's turn."""
        if self._takes_no_more:
            # It is told as unsent with the end, which comes soon.
            self._late.append(receipt)
            return
        self._waiting.append(receipt)
        self._waiting_size += receipt.size
        if self._is_corked or self._is_paused:
            if self._waiting_size > self._size_limit or len(self._waiting) > self._message_limit:
                self._make_room()
            return
        now = self.loop.time()
        if now - self._sent_at < BURST:
            self._is_corked = True
            self._cork = self.loop.call_soon(self._uncork)
        else:
            self._flush()
        self._sent_at = now

    def _uncork(self) -> None:
        self._is_corked = False
        self._flush()

    def _make_room(self) -> None:
        """What waits for the end of a turn is written; where the network takes no more, the queue is full."""
        self._flush()
        overflowed = self._target.send_queue.make_room(self._waiting, self._waiting_size)
        if overflowed:
            self._waiting_size -= sum(receipt.size for receipt in overflowed)
            self._unsent += len(overflowed)
            self._sink.overflowed(overflowed)

    def _flush(self) -> None:
        """Writes what waits, for as long as the network takes it."""
        self._note_sent()
        while self._waiting and not self._is_paused and not self._is_ended:
            receipts = self._take_for_one_write()
            frames = self._encoder.messages(receipts)
            if self._owed_pongs:
                frames[0] = self._take_pongs() + frames[0]
            begin = self._written
            if not self._write(b"".join(frames)):
                # They wait for the end, which makes them unsent. What has come is read to its end.
                self._waiting.extendleft(reversed(receipts))
                return
            if self._held() == 0:
                self._count_sent(receipts)
            else:
                ends = accumulate(map(len, frames), initial=begin)
                next(ends)
                self._in_flight.extend(zip(ends, receipts, strict=True))
        if self._in_flight:
            self._look_later()

    def _take_for_one_write(self) -> Sequence[Receipt]:
        """Takes what goes into the next write from what waits."""
        if self._waiting_size <= WRITE_SIZE:
            receipts = tuple(self._waiting)
            self._waiting.clear()
            self._waiting_size = 0
            return receipts
        taken: list[Receipt] = []
        size = 0
        while self._waiting and size < WRITE_SIZE:
            taken.append(self._waiting.popleft())
            size += taken[-1].size
        self._waiting_size -= size
        return taken

    def _count_sent(self, receipts: Sequence[Receipt]) -> None:
        self._messages_sent += len(receipts)
        self._bytes_sent += sum([receipt.size for receipt in receipts])
        self._sink.sent(receipts)

    def _write(self, data: bytes) -> bool:
        """Writes, and gives whether the transport has taken it. One that cannot write any more says it by closing."""
        if self._transport is not None and not self._layers[-1].is_closing():
            self._transport.write(data)
            if not self._layers[-1].is_closing():
                self._written += len(data)
                return True
        self._takes_no_more = True
        return False

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._is_ended:
            return
        self._note_sent()
        if self._has_written_close:
            self._close_has_left()
            return
        self._flush()
        self._write_pongs()
        self._write_close_when_due()

    def _note_sent(self) -> None:
        """Counts the messages that have left for the network, down to the last byte."""
        if not self._in_flight:
            return
        left = self._written - self._held()
        count = bisect_right(self._in_flight, left, key=itemgetter(0))
        receipts = [receipt for _, receipt in self._in_flight[:count]]
        del self._in_flight[:count]
        if receipts:
            self._count_sent(receipts)

    def _look_later(self) -> None:
        """Sees to it that what is in flight is noted when it has left: below TLS nobody tells, unless we are paused."""
        if self._look is None and not self._is_paused and not self._is_ended:
            self._look = self.loop.call_later(self._look_delay, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        before = len(self._in_flight)
        self._note_sent()
        is_stuck = 0 < before == len(self._in_flight)
        self._look_delay = min(2 * self._look_delay, LAST_LOOK) if is_stuck else FIRST_LOOK
        if self._in_flight:
            self._look_later()

    def _give_up_in_flight(self) -> None:
        """The connection is over; what has not left never will, and waits for the end to be told."""
        if self._in_flight:
            self._waiting.extendleft(receipt for _, receipt in reversed(self._in_flight))
            self._in_flight.clear()

    def _note_unsent(self) -> None:
        """What waits never leaves."""
        receipts = (*self._waiting, *self._late)
        if not receipts:
            return
        self._waiting.clear()
        self._late.clear()
        self._unsent += len(receipts)
        self._sink.unsent(receipts)

    def _held(self) -> int:
        """How many bytes of what we wrote asyncio still holds, on all its layers."""
        if not self._is_tls:
            return self._layers[0].get_write_buffer_size()
        held = sum(layer.get_write_buffer_size() for layer in self._layers)
        if self._is_opaque:
            held += self._unacknowledged()
        # A record of TLS that has left in part is of no use to the peer.
        return held + TLS_RECORD_SIZE if held else 0

    # The end

    def close(self, code: int, reason: str) -> None:
        """Sends a Close frame behind all that was sent, and goes on reading."""
        self._takes_no_more = True
        if self._is_ended or self._is_closing():
            return
        self._close_frame = self._encoder.close(code, reason)
        self._flush()
        self._write_close_when_due()
        self._read_on_to_end()

    def close_now(self, code: int, reason: str) -> None:
        """Sends a Close frame at once, unless one has left already, and drops what still waits."""
        self._takes_no_more = self._reads_no_more = True
        if self._parser is not None:
            self._parser.finish()
        self._read_on_to_end()
        if self._is_ended or self._has_written_close:
            return
        self._flush()
        self._note_unsent()
        self._write_close(self._encoder.close(code, reason))

    def _write_close_when_due(self) -> None:
        if self._close_frame is not None and not self._waiting and not self._is_paused and not self._is_ended:
            self._write_close(self._close_frame)

    def _write_close(self, frame: bytes) -> None:
        self._has_written_close = True
        if self._write(self._take_pongs() + frame) and not self._is_paused:
            self._close_has_left()

    def _close_has_left(self) -> None:
        if not self._has_sent_close and not self._is_ended:
            self._has_sent_close = True
            self._sink.close_sent()
            if self._has_eof and self._transport is not None:
                # TCP was kept for this frame alone.
                self._transport.close()

    def abort(self) -> None:
        """Ends the link without ceremony."""
        if self._is_aborted:
            return
        self._is_giving_up = False
        self._is_ended = self._takes_no_more = self._reads_no_more = True
        if self._parser is not None:
            # Nothing comes behind an abort, not even the rest of the read that is being parsed.
            self._parser.finish()
        if self._drain is not None:
            self._drain.stop()
            self._end()
        elif self._transport is not None:
            self._break()
        else:
            if self._dial is not None:
                self._dial.cancel()
            for sock in self._sockets:
                # Makes whoever owns the socket see its end.
                sock.end_tcp()

    def _break(self) -> None:
        assert self._transport is not None
        self._note_sent()
        self._give_up_in_flight()
        self._transport.abort()

    def _report_when_gone(self) -> None:
        """Tells the sink, once, when nothing is left: no dial, no TCP connection, no descriptor."""
        is_over = self._dial is None and not self._sockets and (not self._has_taken_over or self._transport is None)
        if not is_over or self._is_reported:
            return
        self._is_reported = True
        self._is_ended = True
        self._stop_timers()
        self._parser = None
        self._note_unsent()
        traffic = Traffic(
            messages_received=self._messages_received,
            bytes_received=self._bytes_received,
            messages_sent=self._messages_sent,
            bytes_sent=self._bytes_sent,
            unsent=self._unsent,
            undelivered=self._undelivered,
        )
        self._sink.lost(self._error, traffic)

    # Liveness

    def _start_timers(self) -> None:
        now = self.loop.time()
        self._last_heard = self._last_message = now
        if self._target.heartbeat is not None:
            self._heartbeat = self.loop.call_at(now + self._target.heartbeat, self._send_ping)
        if self._target.silence_timeout is not None:
            self._silence = self.loop.call_at(now + self._target.silence_timeout, self.catch_up, self._check_silence)

    def _stop_timers(self) -> None:
        for timer in (self._cork, self._look, self._heartbeat, self._silence):
            if timer is not None:
                timer.cancel()

    def _send_ping(self) -> None:
        """Pings the peer, at every interval, so that the round trip is measured on a busy connection too."""
        assert self._target.heartbeat is not None
        if self._is_judged():
            return
        if not self._is_reading and self._has_peer_ended():
            # There is nobody to answer, and a ping would make what we have not read yet be thrown away.
            self._read_on_to_end()
            self._heartbeat = self.loop.call_later(self._target.heartbeat, self._send_ping)
            return
        self._ping = _Ping(self.loop.time(), os.urandom(4), ahead=self._written, taken=self._taken())
        self._write(self._take_pongs() + self._encoder.ping(self._ping.payload))
        # Not told by the clock, which may be coarse.
        self._has_heard = False
        self._has_missed = not self._is_reading
        self._heartbeat = self.loop.call_later(self._target.heartbeat / 2, self.catch_up, self._check_ping)

    def _check_ping(self) -> None:
        """Gives up a peer from which nothing has come since the ping.

        Any byte is a sign of life, so that one large and slow message is. And while the peer is still taking what lies
        ahead of the ping, it cannot have seen it. Where we did not read all the time, the peer's system speaks for it.
        """
        assert self._ping is not None
        assert self._target.heartbeat is not None
        if self._is_judged():
            return
        patience = self._target.heartbeat / 2
        ping, now = self._ping, self.loop.time()
        if self._has_heard or (self._has_missed and self._is_system_there(now - ping.sent_at)):
            self._heartbeat = self.loop.call_at(max(now, ping.sent_at + 2 * patience), self._send_ping)
            return
        taken = self._taken()
        if ping.taken < taken and ping.taken < ping.ahead:
            ping.taken = taken
            self._heartbeat = self.loop.call_later(patience, self.catch_up, self._check_ping)
            return
        self._give_up(f"no sign of life from the peer for {patience:g} s after a ping")

    def _is_system_there(self, seconds: float) -> bool:
        """Whether the peer's system owes no answer, or has given one within so many seconds; yes where nobody says."""
        return all(not system.owes_answer or system.quiet_for <= seconds for system in self._peer_systems())

    def _has_peer_ended(self) -> bool:
        return any(system.has_ended for system in self._peer_systems())

    def _peer_systems(self) -> list[PeerSystem]:
        return [system for sock in self._sockets if (system := reading.ask_system(sock)) is not None]

    def _taken(self) -> int:
        """How many bytes of what we wrote the peer's system has acknowledged, as far as can be known."""
        return self._written - self._held() - self._unacknowledged()

    def _unacknowledged(self) -> int:
        # Our own socket, not the transport's: that one is gone as soon as TLS has seen the end.
        return sum(map(_unacknowledged, self._sockets))

    def _check_silence(self) -> None:
        """Gives up a peer that may answer pings, but has sent no message for too long."""
        assert self._target.silence_timeout is not None
        if self._is_judged():
            return
        if not self._is_reading:
            # Nor can a message come.
            self._last_message = self.loop.time()
        due = self._last_message + self._target.silence_timeout
        if self.loop.time() < due:
            self._silence = self.loop.call_at(due, self.catch_up, self._check_silence)
        else:
            self._give_up(f"no message from the peer within silence_timeout ({self._target.silence_timeout:g} s)")

    def _is_judged(self) -> bool:
        """Whether the connection is over, or is being closed, which has a deadline of its own."""
        return self._is_ended or self._transport is None or self._is_closing()

    def _is_closing(self) -> bool:
        return self._has_written_close or self._close_frame is not None

    def _give_up(self, why: str) -> None:
        """Ends the connection. What had come before, and was not read because of a pause, is delivered still."""
        self._error = ConnectionLost(why)
        self._is_giving_up = self._is_ended = self._takes_no_more = True
        self._break()

    def catch_up(self, judge: Callable[[], object]) -> None:
        """Calls `judge` when all that has come by now is read: at once, where nothing waits."""
        come = max(map(reading.count_come, self._sockets), default=0)
        # Nor can it be seen what TLS holds back for a consumer that pauses, nor what a dial has read and not told yet.
        may_hide = not self._has_taken_over or (self._is_closing() and not self._is_reading)
        if self._is_ended or not (may_hide or (come and self._is_reading)):
            judge()
            return
        self._is_catching_up = self._is_closing()
        self._read_or_not()
        self._catch_up(come // READ_SIZE + TURNS_TO_NOTICE, judge)

    def _catch_up(self, turns: int, judge: Callable[[], object]) -> None:
        if turns and not self._is_reported:
            self.loop.call_soon(self._catch_up, turns - 1, judge)
        else:
            self._is_catching_up = False
            judge()


@dataclass(slots=True)
class _Ping:
    """A ping that is under way.

    Attributes:
        sent_at: When it was sent, by the loop's clock.
        payload: What its pong must carry.
        ahead: How many bytes we had written before it.
        taken: How many of those the peer's system had acknowledged when they were last counted.
        is_answered: Whether its pong has come.
    """

    sent_at: float
    payload: bytes
    ahead: int
    taken: int
    is_answered: bool = False


def _unacknowledged(sock: socket.socket) -> int:
    """What the system still holds of what we sent; 0 where it does not say."""
    if sys.platform != "linux" or not has_ioctl:
        return 0
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))  # pyright: ignore[reportPossiblyUnboundVariable]
    except (OSError, ValueError):
        # Closed; its descriptor is -1 then, which is a ValueError.
        return 0
    return int.from_bytes(answer, sys.byteorder)


def _explain(error: BaseException) -> ConnectError:  # noqa: PLR0911 - one return for each kind
    """Why a dial failed, in words of our own: aiohttp's carry URLs and headers, which may hold secrets."""
    match error:
        case RefusedError(status=status):
            return ConnectError(str(error), status=status or None, retryable=status not in FINAL_STATUSES)
        case aiohttp.ClientConnectorCertificateError():
            return ConnectError(
                f"the server's certificate is not trusted: {_reason(error.certificate_error)}", retryable=False
            )
        case aiohttp.ClientConnectorDNSError():
            return ConnectError(f"the name lookup failed: {_reason(error.os_error)}")
        case aiohttp.ClientConnectorSSLError():
            return ConnectError(f"the TLS handshake failed: {_reason(error.os_error)}")  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        case aiohttp.ClientConnectorError():
            return ConnectError(f"the TCP connection failed: {_reason(error.os_error)}")
        case aiohttp.ClientResponseError():
            return ConnectError("the server's answer is not HTTP")
        case OSError():
            return ConnectError(f"the connection failed: {_reason(error)}")
        case ValueError() | TypeError() | OverflowError():
            # What the settings let pass, and aiohttp, the lookup or TLS does not: the next attempt would fail alike.
            return ConnectError(
                "nothing was sent, because what url, headers or tls say cannot be encoded or connected to",
                retryable=False,
            )
        case _:
            return ConnectError(f"the handshake failed in a way that nobody foresaw ({type(error).__name__})")


def _reason(error: BaseException) -> str:
    """What the system says, without addresses or whatever else its error may carry."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message
    elif isinstance(error, ssl.SSLError):
        reason = (getattr(error, "reason", None) or "").replace("_", " ").lower()
    elif isinstance(error, socket.gaierror):
        reason = error.strerror or ""
    else:
        reason = ", ".join(map(os.strerror, _error_numbers(error)))
    return reason or "no reason given"


def _error_numbers(error: BaseException) -> list[int]:
    """The system's numbers of an error. One for several addresses has them in its text; asyncio's own have none."""
    if isinstance(error, OSError) and error.errno is not None:
        return [error.errno]
    named = list(dict.fromkeys(map(int, re.findall(r"\[Errno (\d+)\]", str(error)))))
    return named or [number for number in NUMBERS if isinstance(error, type(OSError(number, "")))]
