"""Keep-alive: pings the peer, and gives it up if it shows no sign of life, or sends no message for too long."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.transport.aiohttp.reader import Reader
    from rxnodes.transport.aiohttp.writer import Writer
    from rxnodes.transport.base import Sink, Target

__all__ = ["KeepAlive"]


@dataclass(slots=True)
class Ping:
    """A ping that is under way.

    Attributes:
        sent_at: When it was sent, by the loop's clock.
        payload: The payload that its pong must have.
        ahead: How many bytes we had written before it.
        acknowledged: How many of those the peer's system had acknowledged when they were last counted.
        is_answered: Whether its pong has come.
    """

    sent_at: float
    payload: bytes
    ahead: int
    acknowledged: int
    is_answered: bool = False


class KeepAlive:
    """Watches over one open link.

    Args:
        target: Its `heartbeat` and `silence_timeout` count.
        sink: The sink of the link.
        reader: The reader of the link.
        writer: The writer of the link.
        give_up: Called with the reason when the peer is given up.
    """

    __slots__ = (
        *("_give_up", "_heartbeat", "_loop", "_ping", "_ping_timer", "_reader", "_silence_timeout", "_silence_timer"),
        *("_sink", "_writer"),
    )

    def __init__(
        self, target: Target, sink: Sink, reader: Reader, writer: Writer, give_up: Callable[[str], None]
    ) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._heartbeat = target.heartbeat
        self._silence_timeout = target.silence_timeout
        self._sink = sink
        self._reader = reader
        self._writer = writer
        self._give_up = give_up
        self._ping: Ping | None = None
        self._ping_timer: asyncio.TimerHandle | None = None
        self._silence_timer: asyncio.TimerHandle | None = None
        now = reader.last_heard = reader.last_message = loop.time()
        if self._heartbeat is not None:
            self._ping_timer = loop.call_at(now + self._heartbeat, self._send_ping)
        if self._silence_timeout is not None:
            self._silence_timer = loop.call_at(now + self._silence_timeout, reader.catch_up, self._check_silence)

    def stop(self) -> None:
        """Cancels the timers."""
        for timer in (self._ping_timer, self._silence_timer):
            if timer is not None:
                timer.cancel()

    # The heartbeat

    def _send_ping(self) -> None:
        """Pings the peer, at every interval, so that the round trip is measured on a busy connection too."""
        assert self._heartbeat is not None
        if self._is_pointless():
            return
        reader, writer = self._reader, self._writer
        if not reader.is_reading and reader.has_peer_ended():
            # Nobody would answer, and the ping would make our system throw away what we have not read yet.
            reader.read_on_to_end()
            self._ping_timer = self._loop.call_later(self._heartbeat, self._send_ping)
            return
        self._ping = Ping(
            self._loop.time(), os.urandom(4), ahead=writer.written, acknowledged=writer.count_acknowledged()
        )
        reader.on_ponged = self._on_ponged
        writer.write_ping(self._ping.payload)
        # By a flag, because the clock may be coarse.
        reader.has_heard = False
        reader.has_missed = not reader.is_reading
        self._ping_timer = self._loop.call_later(self._heartbeat / 2, reader.catch_up, self._check_ping)

    def _on_ponged(self, payload: bytes) -> None:
        ping = self._ping
        if ping is not None and ping.payload == payload and not ping.is_answered:
            ping.is_answered = True
            # A pong that may have waited for us says nothing about the network.
            if not self._reader.has_missed:
                self._sink.ponged(self._reader.last_heard - ping.sent_at)

    def _check_ping(self) -> None:
        """Gives up a peer from which nothing has come since the ping.

        Any byte is a sign of life, also one of a large and slow message. While the peer still takes the bytes that lie
        ahead of the ping, it cannot have seen the ping. If we did not read all the time, the peer's system speaks for
        it.
        """
        assert self._ping is not None
        assert self._heartbeat is not None
        if self._is_pointless():
            return
        patience = self._heartbeat / 2
        ping, now, reader = self._ping, self._loop.time(), self._reader
        if reader.has_heard or (reader.has_missed and reader.is_peer_system_there(now - ping.sent_at)):
            self._ping_timer = self._loop.call_at(max(now, ping.sent_at + 2 * patience), self._send_ping)
            return
        acknowledged = self._writer.count_acknowledged()
        if ping.acknowledged < acknowledged and ping.acknowledged < ping.ahead:
            ping.acknowledged = acknowledged
            self._ping_timer = self._loop.call_later(patience, reader.catch_up, self._check_ping)
            return
        self._give_up(f"no sign of life from the peer for {patience:g} s after a ping")

    # Silence

    def _check_silence(self) -> None:
        """Gives up a peer that may answer pings, but has sent no message for too long."""
        assert self._silence_timeout is not None
        if self._is_pointless():
            return
        if not self._reader.is_reading:
            # No message can come either.
            self._reader.last_message = self._loop.time()
        due = self._reader.last_message + self._silence_timeout
        if self._loop.time() < due:
            self._silence_timer = self._loop.call_at(due, self._reader.catch_up, self._check_silence)
        else:
            self._give_up(f"no message from the peer within silence_timeout ({self._silence_timeout:g} s)")

    def _is_pointless(self) -> bool:
        """Whether the connection is over, or is closing, which has a deadline of its own."""
        return self._writer.is_over or self._writer.is_closing
