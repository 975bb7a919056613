"""Writing: messages, pings, pongs and the Close frame, and finding out when they have left.

It is longer than other files because it is one class on the way of a message: split in two, it would cost each message
a call, and each connection an object.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from rxnodes.transport.aiohttp.pongs import OwedPongs
from rxnodes.transport.aiohttp.sockets import count_unacknowledged, has_unread
from rxnodes.wire.encoder import FrameEncoder

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Sequence

    from rxnodes.transport.aiohttp.layers import Layers
    from rxnodes.transport.aiohttp.sockets import WatchedSocket
    from rxnodes.transport.base import Sink
    from rxnodes.transport.receipts import Receipt, SendQueue
    from rxnodes.wire.deflate import Deflate
    from rxnodes.wire.masking import Masks

__all__ = ["Writer"]

#: How many bytes of the waiting messages are written at once when the network takes data again.
WRITE_SIZE: Final = 256 * 1024

#: Sends that follow one another within this many seconds are a burst. A turn of the loop alone takes longer, so answers
#: to one message after the other are no burst.
BURST: Final = 20e-6

#: After how many seconds, at first and at most, asyncio is asked again which bytes have left, if it does not tell.
FIRST_LOOK: Final = 0.001
LAST_LOOK: Final = 0.1


class Writer:
    """Writes the frames of one link, and tells its sink which messages have left.

    Args:
        loop: The loop.
        sink: The sink of the link.
        sockets: The sockets of the link.
        queue: The bounds of the messages that wait.
        masks: The masks of the frames.

    Attributes:
        owed_pongs: The pings that wait for their pongs; `None`: there are none.
        written: How many bytes were written.
        is_paused: Whether some of them have not left for the network.
        has_written_close: Whether our Close frame was written.
        has_sent_close: Whether it has left.
        has_peer_ended_tcp: Whether the peer will send nothing more, and TCP is kept for our Close frame alone.
        messages_sent: How many messages have left.
        bytes_sent: How many bytes they had.
        unsent: How many messages never left.
    """

    __slots__ = (
        *("_close_frame", "_cork", "_encoder", "_in_flight", "_is_ended", "_late", "_layers", "_look", "_look_delay"),
        *("_loop", "_message_limit", "_queue", "_sent_at", "_sink", "_size_limit", "_sockets", "_takes_no_more"),
        *("_waiting", "_waiting_size", "bytes_sent", "has_peer_ended_tcp", "has_sent_close", "has_written_close"),
        *("is_paused", "messages_sent", "owed_pongs", "unsent", "written"),
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sink: Sink,
        sockets: Collection[WatchedSocket],
        queue: SendQueue,
        masks: Masks,
    ) -> None:
        self._loop = loop
        self._sink = sink
        self._sockets = sockets
        self._queue = queue
        self._message_limit = queue.message_limit
        self._size_limit = queue.max_bytes
        self._encoder = FrameEncoder(None, masks)
        # None before the handshake is done, and after the connection is lost.
        self._layers: Layers | None = None
        self.is_paused = False
        self._takes_no_more = False
        self._is_ended = False
        self.written = 0

        # Messages that wait to be written. It is made late, because a deque takes 760 bytes, a tenth of an idle
        # connection. So are the two lists below, and the owed pongs.
        self._waiting: deque[Receipt] | None = None
        self._waiting_size = 0
        # Messages that were sent too late, which wait for the end.
        self._late: list[Receipt] | None = None
        self._sent_at = -BURST
        self._cork: asyncio.Handle | None = None
        # Messages that were written and have not left, each with the number of bytes up to its end.
        self._in_flight: list[tuple[int, Receipt]] | None = None
        self._look: asyncio.TimerHandle | None = None
        self._look_delay = FIRST_LOOK
        self.messages_sent = 0
        self.bytes_sent = 0
        self.unsent = 0

        self.owed_pongs: OwedPongs | None = None
        self._close_frame: bytes | None = None
        self.has_written_close = False
        self.has_sent_close = False
        self.has_peer_ended_tcp = False

    def open(self, layers: Layers, deflate: Deflate | None) -> None:
        """The handshake is done: from here on everything is written to these layers, compressed if so agreed."""
        self._layers = layers
        if deflate is not None:
            self._encoder = self._encoder.compressing(deflate)

    # Messages

    def send(self, receipt: Receipt, /) -> None:
        """Sends a message at once; those of a burst in one write at the end of the loop's turn."""
        if self._takes_no_more:
            # The end, which comes soon, makes it unsent.
            if self._late is None:
                self._late = []
            self._late.append(receipt)
            return
        if self._cork is not None or self.is_paused:
            # As `_wait`, but without its calls, because each message of a burst comes here.
            waiting = self._waiting or self._queued()
            waiting.append(receipt)
            self._waiting_size += receipt.size
            if self._waiting_size > self._size_limit or len(waiting) > self._message_limit:
                self._make_room(waiting)
            return
        now = self._loop.time()
        if now - self._sent_at < BURST:
            self._cork = self._loop.call_soon(self._uncork)
            self._wait(receipt)
        elif self._waiting or self._in_flight:
            # A subscriber to their outcomes sends this one, before all of them are written.
            self._wait(receipt)
            self._flush()
        else:
            # Past the queue, which takes a tenth of the time of an echo.
            self._write_messages((receipt,), receipt.size)
        self._sent_at = now

    def _wait(self, receipt: Receipt) -> None:
        self._queued().append(receipt)
        self._waiting_size += receipt.size

    def _queued(self) -> deque[Receipt]:
        if self._waiting is None:
            self._waiting = deque()
        return self._waiting

    def _uncork(self) -> None:
        self._cork = None
        self._flush()

    def _make_room(self, waiting: deque[Receipt]) -> None:
        """Writes what waits for the end of a turn; where the network takes no more, the queue is full."""
        self._flush()
        overflowed = self._queue.make_room(waiting, self._waiting_size)
        if overflowed:
            self._waiting_size -= sum(receipt.size for receipt in overflowed)
            self.unsent += len(overflowed)
            self._sink.overflowed(overflowed)

    def _flush(self) -> None:
        """Writes what waits, for as long as the network takes it."""
        if self._in_flight:
            self._note_sent()
        while (waiting := self._waiting) and not self.is_paused and not self._is_ended:
            if not self._write_messages(*self._take_for_one_write(waiting)):
                return
        if self._in_flight:
            self._look_later()

    def _write_messages(self, receipts: Sequence[Receipt], size: int) -> bool:
        """Writes messages together, and returns whether the transport has taken them."""
        frames = self._encoder.messages(receipts)
        if self.owed_pongs:
            frames[0] = self._take_pongs() + frames[0]
        begin = self.written
        if not self._write(b"".join(frames)):
            # They wait for the end, which makes them unsent. Before that, what has come is read.
            self._queued().extendleft(reversed(receipts))
            return False
        if self._count_held() == 0:
            self._count_sent(receipts, size)
        else:
            ends = accumulate(map(len, frames), initial=begin)
            next(ends)
            if self._in_flight is None:
                self._in_flight = []
            self._in_flight.extend(zip(ends, receipts, strict=True))
            self._look_later()
        return True

    def _take_for_one_write(self, waiting: deque[Receipt]) -> tuple[Sequence[Receipt], int]:
        """Takes from the waiting messages those of the next write, and counts their bytes."""
        if self._waiting_size <= WRITE_SIZE:
            receipts, size = tuple(waiting), self._waiting_size
            waiting.clear()
            self._waiting_size = 0
            return receipts, size
        taken: list[Receipt] = []
        size = 0
        while waiting and size < WRITE_SIZE:
            taken.append(waiting.popleft())
            size += taken[-1].size
        self._waiting_size -= size
        return taken, size

    def _write(self, data: bytes) -> bool:
        """Writes, and returns whether the transport has taken it. A transport that cannot write any more is closing."""
        layers = self._layers
        if layers is not None and not layers.lowest.is_closing():
            layers.transport.write(data)
            if not layers.lowest.is_closing():
                self.written += len(data)
                return True
        self._takes_no_more = True
        return False

    def pause(self) -> None:
        """The network takes no more for now."""
        self.is_paused = True

    def resume(self) -> None:
        """Everything that was written has left for the network."""
        self.is_paused = False
        if self._is_ended:
            return
        self._note_sent()
        if self.has_written_close:
            self._note_close_sent()
            return
        self._flush()
        self.write_pongs()
        self._write_close_when_due()

    # What has left

    def _count_sent(self, receipts: Sequence[Receipt], size: int) -> None:
        self.messages_sent += len(receipts)
        self.bytes_sent += size
        self._sink.sent(receipts)

    def _note_sent(self) -> None:
        """Counts the messages that have left for the network with all their bytes."""
        if not self._in_flight:
            return
        left = self.written - self._count_held()
        count = bisect_right(self._in_flight, left, key=itemgetter(0))
        receipts = [receipt for _, receipt in self._in_flight[:count]]
        del self._in_flight[:count]
        if receipts:
            self._count_sent(receipts, sum(receipt.size for receipt in receipts))

    def _look_later(self) -> None:
        """Asks again later what has left, because the layer below TLS does not tell it, unless we are paused."""
        if self._look is None and not self.is_paused and not self._is_ended:
            self._look = self._loop.call_later(self._look_delay, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        in_flight = self._in_flight or ()
        before = len(in_flight)
        self._note_sent()
        is_stuck = 0 < before == len(in_flight)
        self._look_delay = min(2 * self._look_delay, LAST_LOOK) if is_stuck else FIRST_LOOK
        if self._in_flight:
            self._look_later()

    def _count_held(self) -> int:
        """How many of the bytes that we wrote have not left."""
        assert self._layers is not None
        return self._layers.count_held(self._sockets)

    def count_acknowledged(self) -> int:
        """How many of the bytes that we wrote the peer's system has acknowledged, as far as our system knows."""
        return self.written - self._count_held() - sum(map(count_unacknowledged, self._sockets))

    # Pings and pongs

    def owe_pong(self, payload: bytes, now: float) -> None:
        """Owes a pong, unless our Close frame was written."""
        if self.has_written_close:
            return
        if self.owed_pongs is None:
            self.owed_pongs = OwedPongs(since=now)
        self.owed_pongs.owe(payload)

    def answer_pings(self, now: float) -> None:
        """Writes the pongs that are owed, unless there is something to read first, and time for that."""
        if self.owed_pongs and (self.owed_pongs.are_due(now) or not any(map(has_unread, self._sockets))):
            self.write_pongs()

    def write_pongs(self) -> None:
        """Writes the pongs that are owed, unless the network takes no more."""
        if self.owed_pongs and not self.is_paused:
            self._write(self._take_pongs())

    def _take_pongs(self) -> bytes:
        """Takes the pongs that are owed, which go ahead of everything else that we send."""
        owed, self.owed_pongs = self.owed_pongs, None
        return b"" if owed is None else b"".join(map(self._encoder.pong, owed.payloads))

    def write_ping(self, payload: bytes) -> None:
        """Writes a ping."""
        self._write(self._take_pongs() + self._encoder.ping(payload))

    # The Close frame

    @property
    def is_closing(self) -> bool:
        """Whether our Close frame was written, or waits for the messages before it."""
        return self.has_written_close or self._close_frame is not None

    @property
    def is_over(self) -> bool:
        """Whether the connection is lost, or is ended by us."""
        return self._is_ended or self._layers is None

    def close(self, code: int, reason: str) -> None:
        """Writes a Close frame behind all that was sent."""
        self._close_frame = self._encoder.close(code, reason)
        self._flush()
        self._write_close_when_due()

    def close_now(self, code: int, reason: str) -> None:
        """Writes a Close frame behind what the network takes at once, and drops the messages that still wait."""
        self._flush()
        self.note_unsent()
        self._write_close(self._encoder.close(code, reason))

    def _write_close_when_due(self) -> None:
        if self._close_frame is not None and not self._waiting and not self.is_paused and not self._is_ended:
            self._write_close(self._close_frame)

    def _write_close(self, frame: bytes) -> None:
        self.has_written_close = True
        if self._write(self._take_pongs() + frame) and not self.is_paused:
            self._note_close_sent()

    def _note_close_sent(self) -> None:
        if not self.has_sent_close and not self._is_ended:
            self.has_sent_close = True
            self._sink.close_sent()
            if self.has_peer_ended_tcp and self._layers is not None:
                self._layers.close()

    # The end

    def take_no_more(self) -> None:
        """Sends no message that comes from here on."""
        self._takes_no_more = True

    def end(self) -> None:
        """Writes nothing from here on."""
        self._is_ended = self._takes_no_more = True

    def give_up(self) -> None:
        """Counts the messages that have left by now. The others never will, and wait for the end."""
        self._note_sent()
        self._give_up_in_flight()

    def lose(self, *, in_order: bool) -> None:
        """The connection is lost; in order, if all that was written has left."""
        if in_order:
            self._note_sent()
        # Before a subscriber learns of it, and sends.
        self._takes_no_more = True
        self._give_up_in_flight()
        self._layers = None

    def _give_up_in_flight(self) -> None:
        if self._in_flight:
            self._queued().extendleft([receipt for _, receipt in reversed(self._in_flight)])
            self._in_flight.clear()

    def note_unsent(self) -> None:
        """Makes unsent the messages that wait."""
        receipts = (*(self._waiting or ()), *(self._late or ()))
        if not receipts:
            return
        if self._waiting:
            self._waiting.clear()
        self._late = None
        self.unsent += len(receipts)
        self._sink.unsent(receipts)

    def stop_timers(self) -> None:
        """Lets nothing of the writer come later."""
        for timer in (self._cork, self._look):
            if timer is not None:
                timer.cancel()
