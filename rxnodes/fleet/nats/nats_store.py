"""A fleet's store over NATS with JetStream."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Literal

from rxnodes.errors import ConnectError
from rxnodes.fleet.letters import Unreadable, name_of
from rxnodes.fleet.nats.client import NatsOptions
from rxnodes.fleet.nats.connection import NatsConnection
from rxnodes.fleet.nats.following import Following
from rxnodes.fleet.nats.jetstream import DELETED, JetStream
from rxnodes.fleet.nats.layout import Layout
from rxnodes.fleet.store import Logged, Message, Refused, Seen, Stored

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from nats.aio.msg import Msg

    from rxnodes.fleet.nats.following import Delivered
    from rxnodes.fleet.nats.layout import Place
    from rxnodes.fleet.store import LogWatcher, Request, Watch, Watcher

__all__ = ["NatsStore", "nats_store"]

_logger = logging.getLogger("rxnodes.fleet")

#: Seconds for any answer, however long leases are.
_LONGEST: Final = 2.0


def nats_store(  # noqa: PLR0913 - one for each setting
    servers: str,
    *,
    fleet: str = "default",
    credentials: Path | None = None,
    tls: ssl.SSLContext | None = None,
    lease: float = 15.0,
    history: int = 64,
    replicas: int = 1,
    is_observer: bool = False,
    keeps: bool = False,
    patience: float | None = None,
) -> NatsStore:
    """The store of a fleet, as its settings have it.

    Args:
        servers: The URL of a server, or of several, with commas between them.
        fleet: The fleet's name.
        credentials: A `.creds` file.
        tls: For TLS.
        lease: The seconds of a lease: how soon a server that hangs is left, and an answer counts as lost.
        history: How many entries of the log are kept for each connection.
        replicas: On how many servers all of it is kept.
        is_observer: Whether what is there already stays as it is.
        keeps: Whether messages are kept, which then leave room for all else.
        patience: As for `NatsStore`.
    """
    urls = tuple(url.strip() for url in servers.split(",") if url.strip())
    options = NatsOptions(urls, credentials, tls, ping=lease / 10)
    layout = Layout(fleet, history, replicas, is_ours=not is_observer, keeps=keeps and not is_observer)
    return NatsStore(options, layout, timeout=min(lease / 4, _LONGEST), patience=patience)


class NatsStore:
    """A `Store` over NATS: see there.

    Args:
        options: Where the servers are.
        layout: What of the fleet lies where.
        timeout: Seconds for an answer to a write or a read, before it counts as lost.
        patience: Seconds for the servers to answer while it is opened; `None`: as long as it takes.
    """

    def __init__(
        self, options: NatsOptions, layout: Layout, *, timeout: float = _LONGEST, patience: float | None = None
    ) -> None:
        self._patience = patience
        self._connection = NatsConnection(options)
        self._jetstream = JetStream(self._connection, timeout)
        self._layout = layout
        self._followed: set[Following] = set()
        self._making: asyncio.Task[None] | None = None
        self._watch: Watch | None = None
        self._was_away = False

    async def open(self) -> None:
        """See `Store.open`. Beyond its `patience` it raises `ConnectError`, which says what servers those are."""
        try:
            async with asyncio.timeout(self._patience):
                await self._connection.open()
                await self._layout.make(self._jetstream)
        except TimeoutError:
            trouble = self._connection.trouble
            await self._connection.close()
            raise ConnectError(f"{trouble} (for {self._patience:g} s)") from None
        except BaseException:
            await self._connection.close()
            raise
        self._watch = self._connection.on_connection(self._connected)

    def _connected(self, connected: bool) -> None:  # noqa: FBT001 - as `on_connection` calls it
        if self._making is not None:
            self._making.cancel()
            self._making = None
        if not connected:
            self._was_away = True
        elif self._was_away:
            # Servers that have lost everything come back without it.
            self._making = asyncio.create_task(self._make_again())

    async def _make_again(self) -> None:
        try:
            await self._layout.make(self._jetstream)
        except ConnectError:
            _logger.exception("The fleet on NATS cannot be made again")

    async def close(self) -> None:
        """See `Store.close`."""
        for following in list(self._followed):
            following.close()
        if self._watch is not None:
            self._watch.close()
        if self._making is not None:
            self._making.cancel()
        await self._connection.close()

    @property
    def is_connected(self) -> bool:
        """See `Store.is_connected`."""
        return self._connection.is_connected

    @property
    def max_payload(self) -> int:
        """See `Store.max_payload`."""
        return self._connection.max_payload

    def on_connection(self, tell: Callable[[bool], None]) -> Watch:
        """See `Store.on_connection`."""
        return self._connection.on_connection(tell)

    # --- Leases -------------------------------------------------------------------------------------------------------

    async def put_lease(self, worker: str, value: bytes, revision: int) -> int:
        """See `Store.put_lease`."""
        return await self._put(self._layout.leases, worker, value, revision)

    async def read_lease(self, worker: str) -> Stored | None:
        """See `Store.read_lease`."""
        return await self._read(self._layout.leases, worker)

    async def delete_lease(self, worker: str, revision: int) -> None:
        """See `Store.delete_lease`."""
        await self._jetstream.put(self._layout.leases.subject(worker), b"", revision, DELETED)

    def watch_leases(self, watcher: Watcher) -> Watch:
        """See `Store.watch_leases`."""
        return self._follow(self._layout.leases, ">", "last", _BucketAdapter(self._layout.leases, watcher))

    # --- Records ------------------------------------------------------------------------------------------------------

    async def write_record(self, name: str, value: bytes, revision: int) -> int:
        """See `Store.write_record`."""
        return await self._put(self._layout.records, name, value, revision)

    async def read_record(self, name: str) -> Stored | None:
        """See `Store.read_record`."""
        return await self._read(self._layout.records, name)

    def watch_records(self, watcher: Watcher) -> Watch:
        """See `Store.watch_records`."""
        return self._follow(self._layout.records, ">", "last", _BucketAdapter(self._layout.records, watcher))

    async def _put(self, place: Place, name: str, value: bytes, revision: int) -> int:
        subject = place.subject(name)
        try:
            return await self._jetstream.put(subject, value, revision)
        except Refused:
            if revision:
                raise
            # Where nothing stands, there may still be the mark of what was deleted.
            stored = await self._jetstream.last(place.stream, subject)
            if stored is None or stored.value is not None:
                raise
            return await self._jetstream.put(subject, value, stored.sequence)

    async def _read(self, place: Place, name: str) -> Stored | None:
        stored = await self._jetstream.last(place.stream, place.subject(name))
        return None if stored is None or stored.value is None else Stored(stored.value, stored.sequence)

    # --- The log ------------------------------------------------------------------------------------------------------

    async def append(self, name: str, value: bytes, expected: int) -> int:
        """See `Store.append`."""
        return await self._jetstream.put(self._layout.log.subject(name), value, expected)

    async def last(self, name: str) -> Stored | None:
        """See `Store.last`."""
        return await self._read(self._layout.log, name)

    def watch_log(
        self, watcher: LogWatcher, *, since: Literal["last", "oldest"] = "last", name: str | None = None
    ) -> Watch:
        """See `Store.watch_log`."""
        log = self._layout.log
        subjects = ">" if name is None else log.subject(name).removeprefix(log.prefix)
        return self._follow(log, subjects, since, _LogAdapter(log, watcher))

    def _follow(
        self, place: Place, subjects: str, since: Literal["last", "oldest"] | int, watcher: _BucketAdapter | _LogAdapter
    ) -> Watch:
        subjects = place.prefix + subjects
        following = Following(
            self._connection,
            self._jetstream,
            place.stream,
            subjects,
            since=since,
            watcher=watcher,
            on_closed=self._followed.discard,
        )
        self._followed.add(following)
        return following

    # --- Kept messages ------------------------------------------------------------------------------------------------

    async def keep(self, name: str, value: bytes) -> int:
        """See `Store.keep`."""
        return await self._jetstream.put(self._layout.kept.subject(name), value, None)

    async def last_kept(self, name: str) -> int:
        """See `Store.last_kept`."""
        stored = await self._jetstream.last(self._layout.kept.stream, self._layout.kept.subject(name))
        return 0 if stored is None else stored.sequence

    def watch_kept(self, watcher: LogWatcher, name: str, *, behind: int) -> Watch:
        """See `Store.watch_kept`."""
        kept = self._layout.kept
        return self._follow(kept, kept.subject(name).removeprefix(kept.prefix), behind, _LogAdapter(kept, watcher))

    # --- Plain messages -----------------------------------------------------------------------------------------------

    def publish(self, subject: str, payload: bytes) -> bool:
        """See `Store.publish`."""
        return self._connection.publish(self._layout.plain + subject, payload)

    def subscribe(self, subject: str, on_message: Callable[[Message], None]) -> Watch:
        """See `Store.subscribe`."""
        return self._connection.subscribe(self._layout.plain + subject, lambda it: on_message(self._message(it)))

    async def request(self, subject: str, payload: bytes, *, timeout: float) -> bytes:  # noqa: ASYNC109 - as in Store
        """See `Store.request`."""
        return (await self._connection.request(self._layout.plain + subject, payload, timeout=timeout)).data

    def serve(self, subject: str, on_request: Callable[[Request], None]) -> Watch:
        """See `Store.serve`."""

        def take(message: Msg) -> None:
            on_request(_NatsRequest(self._message(message), self._connection, message.reply))

        return self._connection.subscribe(self._layout.plain + subject, take)

    def _message(self, message: Msg) -> Message:
        return Message(message.subject.removeprefix(self._layout.plain), message.data)


class _NatsRequest:
    """A request over NATS."""

    def __init__(self, message: Message, connection: NatsConnection, reply: str) -> None:
        self.message = message
        self._connection = connection
        self._reply = reply

    def answer(self, payload: bytes) -> None:
        """See `Request.answer`."""
        if self._reply:
            self._connection.publish(self._reply, payload)


class _LogAdapter:
    """Shows the entries of the log to a `LogWatcher`."""

    def __init__(self, place: Place, watcher: LogWatcher) -> None:
        self._prefix = place.prefix
        self._watcher = watcher
        self.is_current = watcher.is_current
        self.gap = watcher.gap

    def entry(self, entry: Delivered) -> None:
        name = _name(entry, self._prefix)
        if name is not None:
            self._watcher.logged(Logged(name, entry.value, entry.sequence))


class _BucketAdapter:
    """Shows the entries of a bucket to a `Watcher`, also those that went during a gap."""

    def __init__(self, place: Place, watcher: Watcher) -> None:
        self._prefix = place.prefix
        self._watcher = watcher
        self._shown: dict[str, int] = {}
        self._unseen: dict[str, int] = {}

    def entry(self, entry: Delivered) -> None:
        name = _name(entry, self._prefix)
        if name is None:
            return
        self._unseen.pop(name, None)
        if not entry.is_gone:
            self._shown[name] = entry.sequence
        elif self._shown.pop(name, None) is None:
            return
        self._watcher.seen(Seen(name, None if entry.is_gone else entry.value, entry.sequence))

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as in Watcher
        if current:
            for name, revision in self._unseen.items():
                self._shown.pop(name, None)
                self._watcher.seen(Seen(name, None, revision))
            self._unseen.clear()
        self._watcher.is_current(current)

    def gap(self, reason: str) -> None:  # noqa: ARG002 - a bucket's watcher sees what stands, and what went
        self._unseen = dict(self._shown)


def _name(entry: Delivered, prefix: str) -> str | None:
    """The name of an entry; `None`: no fleet has written it."""
    try:
        return name_of(entry.subject.removeprefix(prefix))
    except Unreadable:
        return None
