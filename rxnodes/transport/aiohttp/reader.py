"""Reading: from the socket through the parser to the sink, and pausing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rxnodes.errors import ProtocolError
from rxnodes.transport.aiohttp.draining import READ_SIZE
from rxnodes.transport.aiohttp.sockets import ask_system, count_unread, has_ended
from rxnodes.wire.parser import FrameParser

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection

    from rxnodes.transport.aiohttp.layers import Layers
    from rxnodes.transport.aiohttp.sockets import PeerSystem, WatchedSocket
    from rxnodes.transport.aiohttp.writer import Writer
    from rxnodes.transport.base import Sink
    from rxnodes.wire.deflate import Deflate

__all__ = ["Reader"]

#: How many bytes are read for a consumer that pauses, once the connection is ending, plus so many per message.
READ_TO_END = 16 * 1024 * 1024
MESSAGE_COST: Final = 64

#: How many turns of the loop, beyond those of reading, it takes for messages to reach everybody who waits for them.
TURNS_TO_NOTICE: Final = 3


class Reader:
    """Reads for one link, and tells its sink what comes.

    Args:
        loop: The loop.
        sink: The sink of the link.
        sockets: The sockets of the link.
        writer: The writer of the link, which owes the pongs.

    Attributes:
        on_ponged: Called with the payload of each pong; `None`: no ping was sent.
        is_reading: Whether anything is read.
        has_finished: Whether nothing more is delivered, whatever comes.
        has_received_close: Whether the peer's Close frame has come.
        has_heard: Whether anything has come since this was last set to false.
        has_missed: Whether reading was paused since this was last set to false.
        last_heard: When anything came last, by the loop's clock.
        last_message: When a message came last.
        messages_received: How many messages were delivered.
        bytes_received: How many bytes they had.
        undelivered: How many messages came and were not delivered.
    """

    __slots__ = (
        *("_is_catching_up", "_is_ended", "_is_held", "_is_stopped", "_layers", "_loop", "_parser", "_read_to_end"),
        *("_reads_to_end", "_sink", "_sockets", "_writer", "bytes_received", "has_finished", "has_heard"),
        *("has_missed", "has_received_close", "is_reading", "last_heard", "last_message", "messages_received"),
        *("on_ponged", "undelivered"),
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sink: Sink, sockets: Collection[WatchedSocket], writer: Writer
    ) -> None:
        self._loop = loop
        self._sink = sink
        self._sockets = sockets
        self._writer = writer
        self._parser: FrameParser | None = None
        # None before the handshake is done, and after the connection is lost.
        self._layers: Layers | None = None
        self.on_ponged: Callable[[bytes], None] | None = None

        # Whether the consumer has paused, and whether we read.
        self._is_held = False
        self.is_reading = True
        self._reads_to_end = False
        self._read_to_end = 0
        self._is_catching_up = False
        self._is_ended = False
        self._is_stopped = False
        self.has_finished = False

        self.has_received_close = False
        self.has_heard = False
        self.has_missed = False
        self.last_heard = 0.0
        self.last_message = 0.0
        self.messages_received = 0
        self.bytes_received = 0
        self.undelivered = 0

    def open(self, layers: Layers, max_size: int | None, deflate: Deflate | None) -> None:
        """The handshake is done: from here on frames come from these layers."""
        self._layers = layers
        self._parser = FrameParser(self, max_size=max_size, deflate=deflate)
        if self._is_held:
            self._read_or_not()

    # Reading

    def feed(self, data: bytes) -> None:
        """Parses bytes that have come, and tells the sink what they mean."""
        self.last_heard = self._loop.time()
        self.has_heard = True
        assert self._parser is not None
        try:
            self._parser.feed(data)
        except ProtocolError as error:
            violation = error
        else:
            if self._writer.owed_pongs is not None:
                self._writer.answer_pings(self.last_heard)
            return
        # Outside the handler, so that the error carries no context.
        self._sink.violated(violation)

    def on_messages(self, messages: list[str] | list[bytes], size: int) -> None:
        """Messages have come."""
        if self._is_catching_up and not self._may_deliver():
            self.undelivered += len(messages)
            return
        self.messages_received += len(messages)
        self.bytes_received += size
        self.last_message = self.last_heard
        if self._reads_to_end:
            self._count_to_end(messages, size)
        self._sink.messages(messages)

    def on_close(self, code: int, reason: str) -> None:
        """The peer's Close frame has come."""
        # If the end of TCP has come right behind the Close frame, looking for it now saves a turn of the loop.
        tcp_ended = self._writer.has_sent_close and any(map(has_ended, self._sockets))
        self.has_received_close = True
        self._sink.close_received(code, reason, tcp_ended=tcp_ended)
        if tcp_ended and self._layers is not None:
            self._layers.close()

    def on_ping(self, payload: bytes) -> None:
        """A ping has come, and a pong is owed."""
        self._writer.owe_pong(payload, self.last_heard)

    def on_pong(self, payload: bytes) -> None:
        """A pong has come; one that nobody asked for is ignored (RFC 6455 section 5.5.3)."""
        if self.on_ponged is not None:
            self.on_ponged(payload)

    # Pausing

    def pause(self) -> None:
        """Reads no more, unless the connection is ending."""
        self._is_held = True
        self._read_or_not()

    def resume(self) -> None:
        """Reads on."""
        self._is_held = False
        self._read_or_not()

    def read_on_to_end(self) -> None:
        """Reads on, because the connection is ending, and a consumer that pauses must not hold that up."""
        self._reads_to_end = True
        if self._is_held:
            self._read_or_not()

    def _read_or_not(self) -> None:
        """Pauses or resumes reading, as the consumer asks, unless the connection is ending."""
        layers = self._layers
        if layers is None or self._is_ended:
            return
        reads = self._is_catching_up or self._may_deliver()
        if reads is self.is_reading:
            return
        self.is_reading = reads
        if reads:
            # While nothing was read, no message could come.
            self.last_message = self._loop.time()
            layers.resume_reading()
            if layers.is_opaque:
                self._loop.call_soon(self._read_ahead, layers)
        else:
            self.has_missed = True
            if self._writer.owed_pongs and not self.has_peer_ended():
                self._writer.write_pongs()
            layers.pause_reading()

    def _may_deliver(self) -> bool:
        """Whether the consumer wants more, or gets more all the same because the connection is ending."""
        return not self._is_held or (self._reads_to_end and self._read_to_end < READ_TO_END)

    def _read_ahead(self, layers: Layers) -> None:
        """Lets TLS read ahead again: it has delivered by now what it held when reading was resumed."""
        if self.is_reading and not self._is_ended:
            layers.read_ahead()

    def _count_to_end(self, messages: list[str] | list[bytes], size: int) -> None:
        """Counts what a consumer that pauses gets all the same, which has a bound."""
        self._read_to_end += size + MESSAGE_COST * len(messages)
        self._read_or_not()

    # What the system knows

    def has_peer_ended(self) -> bool:
        """Whether the peer's system has ended the connection, as far as ours knows. What it sent may be unread."""
        return any(peer.has_ended for peer in self._peer_systems())

    def is_peer_system_there(self, seconds: float) -> bool:
        """Whether the peer's system owes no answer, or has answered within so many seconds; yes if ours is mute."""
        return all(not peer.owes_answer or peer.quiet_for <= seconds for peer in self._peer_systems())

    def _peer_systems(self) -> list[PeerSystem]:
        return [peer for sock in self._sockets if (peer := ask_system(sock)) is not None]

    def catch_up(self, judge: Callable[[], object]) -> None:
        """Calls `judge` when all that has come by now is read; at once, if nothing waits."""
        unread = max(map(count_unread, self._sockets), default=0)
        is_closing = self._writer.is_closing
        # A dial may have read an answer, and not told it yet. TLS may hold messages back for a consumer that pauses.
        may_hide = self._parser is None or (is_closing and not self.is_reading)
        if self._is_ended or not (may_hide or (unread and self.is_reading)):
            judge()
            return
        self._is_catching_up = is_closing
        self._read_or_not()
        self._catch_up(unread // READ_SIZE + TURNS_TO_NOTICE, judge)

    def _catch_up(self, turns: int, judge: Callable[[], object]) -> None:
        if turns and not self._is_stopped:
            self._loop.call_soon(self._catch_up, turns - 1, judge)
        else:
            self._is_catching_up = False
            judge()

    # The end

    def finish(self) -> None:
        """Delivers nothing from here on, not even the rest of the read that is being parsed."""
        self.has_finished = True
        if self._parser is not None:
            self._parser.finish()

    def end(self) -> None:
        """Pauses and resumes nothing from here on. What comes all the same is delivered."""
        self._is_ended = True

    def lose(self) -> None:
        """The connection is lost."""
        self._layers = None

    def stop(self) -> None:
        """Lets go of everything: the link is lost."""
        self._is_ended = self._is_stopped = True
        self._parser = None
        self.on_ponged = None
