"""Follows a stream for ever: every entry once, in order, through any restart of servers.

It is an ordered consumer (ADR-15) of our own, since that of nats-py comes back a quarter of a minute after a kill. A
consumer lives as long as its numbers follow each other and its heartbeats come; then it is left, and another one begins
where it ended. What is no longer there when it comes back, or is another entry under the same number, is a gap.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from uuid import uuid4

from rxnodes.fleet.nats.jetstream import ApiError
from rxnodes.fleet.store import Unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.msg import Msg

    from rxnodes.fleet.nats.connection import NatsConnection, Subscribed
    from rxnodes.fleet.nats.jetstream import JetStream

__all__ = ["Delivered", "Following", "StreamWatcher"]

#: Seconds between two heartbeats of a consumer that has nothing to tell.
_HEARTBEAT: Final = 0.5
#: So many of them may be missing. They are counted, not timed: a loop that is busy, or was stopped, has missed none.
_MISSING: Final = 3
#: Seconds before another consumer is begun.
_PAUSE: Final = 0.1
#: Seconds for a stream to show what it had shown before. A new leader on a busy machine may be reading for over 2 s.
_CATCHING_UP: Final = 5.0
_NANOSECONDS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Delivered:
    """An entry of a stream."""

    subject: str
    value: bytes
    is_gone: bool
    sequence: int


class StreamWatcher(Protocol):
    """Watches a stream."""

    def entry(self, entry: Delivered) -> None:
        """The next entry."""
        ...

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as in `Watcher`
        """Whether all entries that are there have been shown, and new ones are shown as they come."""
        ...

    def gap(self, reason: str) -> None:
        """The stream has gone back. All entries are shown again."""
        ...


@dataclass(frozen=True, slots=True)
class _Position:
    """How far a stream has been shown: up to this sequence. `time` is that of the entry there, if there was one."""

    sequence: int
    time: str | None


class Following:
    """Follows a stream until it is closed.

    Args:
        connection: The way to it.
        jetstream: Likewise.
        stream: Its name.
        subjects: What of it is followed.
        since: From the last entry of each subject, from the oldest that is kept, or behind this sequence.
        watcher: What is called.
        on_closed: Called when it is closed.
    """

    def __init__(  # noqa: PLR0913 - what, how, and for whom
        self,
        connection: NatsConnection,
        jetstream: JetStream,
        stream: str,
        subjects: str,
        *,
        since: Literal["last", "oldest"] | int,
        watcher: StreamWatcher,
        on_closed: Callable[[Following], object],
    ) -> None:
        self._connection = connection
        self._jetstream = jetstream
        self._stream = stream
        self._subjects = subjects
        self._since = since
        self._watcher = watcher
        self._on_closed = on_closed
        self._position = _Position(since, None) if isinstance(since, int) else None
        self._is_current: bool | None = None
        self._is_closed = False
        self._can_try = asyncio.Event()
        self._consumer: _Consumer | None = None
        self._main = asyncio.create_task(self._run())
        self._watch = connection.on_connection(self._connected)

    def close(self) -> None:
        """Ends it: nothing is called any more. A second call does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._on_closed(self)
        self._watch.close()
        self._main.cancel()
        if self._consumer is not None:
            self._consumer.close()

    def _connected(self, connected: bool) -> None:  # noqa: FBT001 - as `on_connection` calls it
        if connected:
            self._can_try.set()
            return
        self._can_try.clear()
        if self._consumer is not None:
            self._consumer.close()
        self.caught_up(current=False)

    async def _run(self) -> None:
        while True:
            await self._can_try.wait()
            try:
                await self._follow()
            except (ApiError, Unknown):
                # A leader is being chosen, or the connection has gone. It is tried again.
                pass
            finally:
                self.caught_up(current=False)
            await asyncio.sleep(_PAUSE * random.uniform(0.5, 1))  # noqa: S311 - so that not all come at once

    async def _follow(self) -> None:
        """Follows by one consumer, until that is of no use any more."""
        stands_at = await self._end_of_stream()
        consumer = self._consumer = _Consumer(self._connection, self)
        try:
            pending = await consumer.begin(self._jetstream, self._stream, self._start())
            if self._position is None and pending == 0:
                self._position = _Position(stands_at, None)
            if pending == 0:
                self.caught_up(current=True)
            await consumer.until_useless()
        finally:
            consumer.close()

    async def _end_of_stream(self) -> int:
        """The last sequence of the stream. If that has gone back, it reports a gap."""
        loop = asyncio.get_running_loop()
        patience = loop.time() + _CATCHING_UP
        while True:
            info = await self._jetstream.api(f"STREAM.INFO.{self._stream}")
            last = int(info["state"]["last_seq"])
            if self._position is None or last >= self._position.sequence:
                return last
            if loop.time() >= patience:
                self.gap(f"it ends at {last}, and had gone on to {self._position.sequence}")
                return last
            await asyncio.sleep(_PAUSE)

    def _start(self) -> dict[str, Any]:
        """Where the next consumer begins."""
        config: dict[str, Any] = {"filter_subject": self._subjects}
        if self._position is not None:
            # The last entry once more, to see whether it is still the same.
            first = self._position.sequence + (self._position.time is None)
            return {**config, "deliver_policy": "by_start_sequence", "opt_start_seq": max(first, 1)}
        return {**config, "deliver_policy": "all" if self._since == "oldest" else "last_per_subject"}

    # --- What a consumer brings ---------------------------------------------------------------------------------------

    def take(self, entry: Delivered, time: str, pending: int) -> bool:
        """The next entry. Returns whether it fits behind those before."""
        before, self._position = self._position, _Position(entry.sequence, time)
        if before is None or entry.sequence > before.sequence:
            self._watcher.entry(entry)
        elif time != before.time:
            self.gap(f"another entry has the number {entry.sequence}")
            return False
        if pending == 0:
            self.caught_up(current=True)
        return True

    def caught_up(self, *, current: bool) -> None:
        """Tells the watcher whether it has been shown all, where that has changed."""
        if self._is_current is not current and not self._is_closed:
            self._is_current = current
            self._watcher.is_current(current)

    def gap(self, reason: str) -> None:
        """Reports a gap. All entries will be shown again."""
        self._position = None
        self.caught_up(current=False)
        self._watcher.gap(f"the stream has gone back: {reason}")


class _Consumer:
    """One consumer, for as long as it is of use."""

    def __init__(self, connection: NatsConnection, following: Following) -> None:
        self._connection = connection
        self._following = following
        self._inbox = f"_INBOX.rxnodes.{uuid4().hex}"
        self._number = 0
        self._has_lived = True
        self._useless = asyncio.Event()
        self._subscribed: Subscribed | None = None

    async def begin(self, jetstream: JetStream, stream: str, start: dict[str, Any]) -> int:
        """Begins. Returns how many entries are there already, and are to come."""
        self._subscribed = self._connection.subscribe(self._inbox, self._take)
        config = {
            **start,
            "deliver_subject": self._inbox,
            "ack_policy": "none",
            "max_deliver": 1,
            "flow_control": True,
            "idle_heartbeat": int(_HEARTBEAT * _NANOSECONDS),
            "num_replicas": 1,
            "mem_storage": True,
        }
        answer = await jetstream.api(f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": config})
        return int(answer["num_pending"]) + int(answer["delivered"]["consumer_seq"])

    async def until_useless(self) -> None:
        """Returns once it is of no use any more."""
        missing = 0
        while missing < _MISSING and not self._useless.is_set():
            self._has_lived = False
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    await self._useless.wait()
            except TimeoutError:
                missing = 0 if self._has_lived else missing + 1

    def close(self) -> None:
        """Ends it. The server forgets it for want of interest."""
        self._useless.set()
        if self._subscribed is not None:
            self._subscribed.close()

    def _take(self, message: Msg) -> None:
        self._has_lived = True
        headers = message.headers or {}
        fits = self._control(message, headers) if "Status" in headers else self._entry(message, headers)
        if not fits:
            self.close()

    def _control(self, message: Msg, headers: dict[str, str]) -> bool:
        """A heartbeat, or a question whether we keep up. Returns whether nothing is missing."""
        answer_to = message.reply or headers.get("Nats-Consumer-Stalled")
        if answer_to:
            self._connection.publish(answer_to, b"")
        last = headers.get("Nats-Last-Consumer")
        if headers["Status"] != "100" or (last is not None and int(last) != self._number):
            return False
        if last is not None and not answer_to:
            # The last entry that was to come may have gone from the stream meanwhile.
            self._following.caught_up(current=True)
        return True

    def _entry(self, message: Msg, headers: dict[str, str]) -> bool:
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>; newer servers
        # may put a domain and an account behind ACK, and one more token at the end.
        tokens = message.reply.split(".")
        if len(tokens) > 9:  # noqa: PLR2004 - as above
            tokens = tokens[2:]
        sequence, number, time, pending = int(tokens[5]), int(tokens[6]), tokens[7], int(tokens[8])
        if number != self._number + 1:
            return False
        self._number = number
        is_gone = "KV-Operation" in headers or "Nats-Marker-Reason" in headers
        return self._following.take(Delivered(message.subject, message.data, is_gone, sequence), time, pending)
