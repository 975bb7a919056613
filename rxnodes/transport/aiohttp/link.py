"""The link: one attempt over aiohttp, from the dial to the end of its TCP connection.

aiohttp's client makes the handshake. But its way of closing loses messages and reasons, has no deadline over the whole,
and reports an end that has not come. So once the handshake is done, the link takes the TCP connection over as its
`asyncio.Protocol`. The connection counts as lost when the descriptor is gone, which a socket class of our own tells.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import yarl

from rxnodes.errors import ConnectError, ConnectionLost, RxNodesError
from rxnodes.lifecycle.events import Traffic
from rxnodes.transport.aiohttp.answers import read_body
from rxnodes.transport.aiohttp.cookies import add_cookies, keep_cookies
from rxnodes.transport.aiohttp.draining import Drain, TlsTail
from rxnodes.transport.aiohttp.failures import explain, explain_refusal
from rxnodes.transport.aiohttp.keepalive import KeepAlive
from rxnodes.transport.aiohttp.layers import Layers
from rxnodes.transport.aiohttp.reader import Reader
from rxnodes.transport.aiohttp.sockets import Dial, WatchedSocket, current_dial
from rxnodes.transport.aiohttp.takeover import take_over
from rxnodes.transport.aiohttp.writer import Writer
from rxnodes.transport.reasons import reason_of
from rxnodes.wire.answer import HeadReader
from rxnodes.wire.handshake import Handshake, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp
    from multidict import CIMultiDict

    from rxnodes.transport.base import Sink, Target
    from rxnodes.wire.handshake import Agreement
    from rxnodes.wire.masking import Masks

__all__ = ["AiohttpLink"]

logger = logging.getLogger("rxnodes.transport")


class AiohttpLink(asyncio.Protocol):
    """One attempt over aiohttp.

    Args:
        session: The client session that dials.
        target: Where to dial, and how.
        sink: Receives what happens.
        masks: The masks of the frames.

    Attributes:
        loop: The loop.
    """

    __slots__ = (
        *("__weakref__", "_dial", "_drain", "_error", "_has_taken_over", "_is_ended", "_is_giving_up"),
        *("_is_reported", "_keepalive", "_layers", "_reader", "_sink", "_sockets", "_target", "_transport"),
        *("_writer", "loop", "send"),
    )

    def __init__(self, session: aiohttp.ClientSession, target: Target, sink: Sink, masks: Masks) -> None:
        self._target = target
        self._sink = sink
        self.loop = asyncio.get_running_loop()
        self._sockets: list[WatchedSocket] = []
        self._writer, self._reader = self._make_sides(masks)
        self.send = self._writer.send
        self._keepalive: KeepAlive | None = None
        # The transport until the connection is lost; its layers, once there were any.
        self._transport: asyncio.Transport | None = None
        self._layers: Layers | None = None
        self._has_taken_over = False

        self._error: RxNodesError | None = None
        self._is_giving_up = False
        self._drain: Drain | None = None
        self._is_ended = False
        self._is_reported = False

        # Not by the loop's factory: a task that begins at once would call the sink before the dial has returned.
        self._dial: asyncio.Task[None] | None = asyncio.Task(
            self._connect(session), loop=self.loop, name=f"rxnodes dial {target.redacted_url}"
        )
        self._dial.add_done_callback(self._on_dial_done)

    def _make_sides(self, masks: Masks) -> tuple[Writer, Reader]:
        writer = Writer(self.loop, self._sink, self._sockets, self._target.send_queue, masks)
        return writer, Reader(self.loop, self._sink, self._sockets, writer)

    # The dial

    async def _connect(self, session: aiohttp.ClientSession) -> None:
        target = self._target
        dial = Dial(self, target, HeadReader(target.max_header_size))
        current_dial.set(dial)
        handshake = Handshake(target.subprotocols, compression=target.compression)
        response: aiohttp.ClientResponse | None = None
        try:
            # Unchanged, because percent-encoded parts of it may belong to a signature.
            url = yarl.URL(target.url, encoded=True)
            headers = handshake.headers(target.headers)
            if target.cookies is not None:
                add_cookies(headers, target.cookies, url)
            response = await session.get(
                url,
                headers=headers,
                # The WHATWG's standard forbids them, and they would take the headers elsewhere.
                allow_redirects=False,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the dial has failed
            self._error = explain(error)
        finally:
            dial.link = None
        answer = dial.answer.head
        del dial.answer
        if answer is None:
            return
        if target.cookies is not None:
            keep_cookies(answer.headers, target.cookies, yarl.URL(target.url, encoded=True))
        try:
            agreement = handshake.agree(answer.status, answer.headers)
        except RefusedError as error:
            # Also if aiohttp could not parse the body.
            self._error = explain_refusal(error, answer)
        else:
            if response is not None:
                self._take_over(response, agreement, answer.headers)
            return
        if response is not None:
            await self._read_body(response, self._error)

    async def _read_body(self, response: aiohttp.ClientResponse, refusal: ConnectError) -> None:
        try:
            await read_body(response, refusal)
        finally:
            self._end_tcp()
            response.close()

    def _on_dial_done(self, dial: asyncio.Task[None]) -> None:
        # The task holds its exception, and so, by the traceback, this link.
        self._dial = None
        if dial.cancelled() and not self._is_ended:
            self._error = ConnectError("the dial was cancelled")
        elif not dial.cancelled() and (error := dial.exception()) is not None:
            # Not a dial that failed, whose error is in `_error`, but a failure of ours after it.
            logger.error("a link failed", exc_info=error)
            self._error = self._error or ConnectError("an internal error, see the log")
            self.abort()
        self._report_when_gone()

    def watch(self, sock: WatchedSocket) -> None:
        """Makes the link wait for the end of this socket, too, before it is lost."""
        self._sockets.append(sock)
        sock.link = self
        if self._target.is_tls and not isinstance(self.loop, asyncio.BaseEventLoop):
            # uvloop closes the descriptor below TLS before it tells what has happened.
            sock.keep_spare()

    def _take_over(self, response: aiohttp.ClientResponse, agreement: Agreement, headers: CIMultiDict[str]) -> None:
        """Takes the TCP connection over. No await lies between the handshake's end and this."""
        transport, early = take_over(response, self)
        self._has_taken_over = True
        self._transport = transport
        self._layers = Layers(transport)
        self._writer.open(self._layers, agreement.deflate)
        self._reader.open(self._layers, self._target.max_message_size, agreement.deflate)
        self._sink.opened(self._target.offered(agreement.subprotocol), headers)
        if not self._is_ended:
            self._keep_alive()
            if early:
                self._reader.feed(early)

    def _keep_alive(self) -> None:
        target = self._target
        if target.heartbeat is not None or target.silence_timeout is not None:
            self._keepalive = KeepAlive(target, self._sink, self._reader, self._writer, self._give_up)

    # What asyncio's transport calls

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._reader.feed(data)

    def pause_writing(self) -> None:
        """The transport holds bytes that have not left."""
        self._writer.pause()

    def resume_writing(self) -> None:
        """The transport holds nothing any more."""
        self._writer.resume()

    def eof_received(self) -> bool:
        """The peer will send nothing more. Returns whether the connection is kept for what we still have to send."""
        writer = self._writer
        if writer.has_written_close or self._reader.has_received_close:
            writer.has_peer_ended_tcp = True
            return writer.is_paused or not writer.has_written_close
        self._error = self._error or ConnectionLost("the peer ended the connection without a Close frame")
        self.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport has ended, or has given up."""
        if self._error is None and not self._is_ended and exc is not None:
            self._error = ConnectionLost(f"the connection broke: {reason_of(exc)}")
        self._writer.lose(in_order=exc is None and not self._is_ended)
        self._reader.lose()
        self._transport = None
        if (exc is not None or self._is_giving_up) and not (self._reader.has_finished or self._is_aborted):
            self._begin_drain()
        if self._drain is None:
            self._end()

    # What the sink's owner calls

    @property
    def traffic(self) -> Traffic:
        """The traffic so far."""
        reader, writer = self._reader, self._writer
        return Traffic(
            reader.messages_received,
            reader.bytes_received,
            writer.messages_sent,
            writer.bytes_sent,
            writer.unsent,
            reader.undelivered,
        )

    def pause_reading(self) -> None:
        """Reads no more, unless the connection is ending."""
        self._reader.pause()

    def resume_reading(self) -> None:
        """Reads on."""
        self._reader.resume()

    def catch_up(self, judge: Callable[[], object]) -> None:
        """Calls `judge` when all that has come by now is read; at once, if nothing waits."""
        self._reader.catch_up(judge)

    def close(self, code: int, reason: str) -> None:
        """Sends a Close frame behind all that was sent, and goes on reading."""
        self._writer.take_no_more()
        if not (self._is_ended or self._writer.is_closing):
            self._writer.close(code, reason)
            self._reader.read_on_to_end()

    def close_now(self, code: int, reason: str) -> None:
        """Sends a Close frame at once, unless one has left already, and drops what still waits."""
        self._writer.take_no_more()
        self._reader.finish()
        self._reader.read_on_to_end()
        if not (self._is_ended or self._writer.has_written_close):
            self._writer.close_now(code, reason)

    def abort(self) -> None:
        """Ends the link without a closing handshake."""
        if self._is_aborted:
            return
        self._is_giving_up = False
        self._stop_reading_and_writing()
        self._reader.finish()
        if self._drain is not None:
            self._drain.stop()
            self._end()
        elif self._transport is not None:
            self._break(self._transport)
        else:
            if self._dial is not None:
                self._dial.cancel()
            # So that the owner of each socket sees its end.
            self._end_tcp()

    # The end

    def _give_up(self, why: str) -> None:
        """Ends the connection. What had come before, and a pause kept from being read, is still delivered."""
        assert self._transport is not None
        self._error = ConnectionLost(why)
        self._is_giving_up = True
        self._stop_reading_and_writing()
        self._break(self._transport)

    @property
    def _is_aborted(self) -> bool:
        return self._is_ended and not self._is_giving_up

    def _stop_reading_and_writing(self) -> None:
        self._is_ended = True
        self._reader.end()
        self._writer.end()

    def _break(self, transport: asyncio.Transport) -> None:
        self._writer.give_up()
        transport.abort()

    def _begin_drain(self) -> None:
        """Reads what the peer had sent before the connection broke.

        A consumer that pauses does not stop it: our system holds only so much.
        """
        assert self._layers is not None
        for sock in self._sockets:
            if sock.fileno() != -1:
                # Without TLS, the loop closes the socket next.
                sock.keep_spare()
            if sock.spare is not None:
                tls = TlsTail(self._layers.transport) if self._layers.is_tls else None
                self._drain = Drain(self.loop, sock.spare, tls, self._reader.feed, self._end)

    def _end(self) -> None:
        """Ends TCP, because nothing more is to be read or written."""
        self._stop_reading_and_writing()
        self._drain = None
        self._end_tcp()
        self._release_sockets()

    def _end_tcp(self) -> None:
        for sock in self._sockets:
            sock.end_tcp()

    @property
    def may_drain(self) -> bool:
        """Whether something may be left to read of a socket that is closed, as TLS closes it before we have read it."""
        is_tls = self._layers is not None and self._layers.is_tls
        return is_tls and self._transport is not None and not self._is_aborted

    def on_socket_closed(self, _sock: WatchedSocket) -> None:
        """The loop has let go of a socket."""
        self._release_sockets()

    def _release_sockets(self) -> None:
        """Lets go of the sockets that need not be read any more."""
        if self._drain is not None or (self._has_taken_over and self._transport is not None):
            return
        for sock in [sock for sock in self._sockets if sock.fileno() == -1]:
            sock.release()
            self._sockets.remove(sock)
        self._report_when_gone()

    def _report_when_gone(self) -> None:
        """Tells the sink, once, when nothing is left: no dial, no TCP connection, no descriptor."""
        is_over = self._dial is None and not self._sockets and (not self._has_taken_over or self._transport is None)
        if not is_over or self._is_reported:
            return
        self._is_reported = True
        self._stop_reading_and_writing()
        if self._keepalive is not None:
            self._keepalive.stop()
            self._keepalive = None
        self._writer.stop_timers()
        self._reader.stop()
        self._writer.note_unsent()
        self._sink.lost(self._error, self.traffic)
