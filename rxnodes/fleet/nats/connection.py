"""The way to the servers: a client of nats-py, which is replaced by a new one when it breaks.

nats-py can reconnect by itself. It is not let do that, because a client that lives on hands what it has kept to the
next server: a write that had timed out is stored after all, minutes later. A new client has nothing to hand on. It
knows no subscriptions either; they are kept here, and made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import ssl
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import nats.errors

from rxnodes.errors import ConnectError, text_of
from rxnodes.fleet.nats.client import NEVER, dialled, left, subscribed
from rxnodes.fleet.store import NobodyThere, TooLarge, Unknown
from rxnodes.transport.reasons import system_reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from rxnodes.fleet.nats.client import NatsOptions
    from rxnodes.fleet.store import Watch

__all__ = ["NatsConnection", "Subscribed"]

_logger = logging.getLogger("rxnodes.fleet")

#: Seconds between two rounds of dials: the first, and the longest.
_PAUSES: Final = (0.05, 0.5)
#: Signs of life that may be missing.
_PINGS: Final = 2
#: Bytes that may wait for the server to take them. Beyond that, plain messages are not sent.
_MOST_WAITING: Final = 8 << 20
#: Bytes of a message beside payload and header, at most: the protocol's own.
_FRAMING: Final = 64

_NO_RESPONDERS: Final = "503"
_NO_ANSWER: Final = "no answer in time"


class Subscribed:
    """A subscription that outlives the clients."""

    __slots__ = ("_client", "_connection", "_is_closed", "_made", "on_message", "subject")

    def __init__(self, connection: NatsConnection, subject: str, on_message: Callable[[Msg], None]) -> None:
        self.subject = subject
        self.on_message = on_message
        self._connection = connection
        self._client: Client | None = None
        self._made: Subscription | None = None
        self._is_closed = False

    def is_made_by(self, client: Client) -> bool:
        """Whether this client has it."""
        return self._client is client

    async def made(self, client: Client) -> None:
        """Makes it with this client."""
        self._client = client
        if not self._is_closed:
            self._made = await subscribed(client, self.subject, self._take)

    async def unmade(self) -> None:
        """Takes it back from the client that has it."""
        if self._made is not None:
            await self._made.unsubscribe()

    def _take(self, message: Msg) -> None:
        if not self._is_closed:
            self.on_message(message)

    def close(self) -> None:
        """Ends it."""
        if not self._is_closed:
            self._is_closed = True
            self._connection.forget(self)


class NatsConnection:
    """A connection to one of the servers, which is made again whenever it breaks.

    Args:
        options: Where they are.
    """

    def __init__(self, options: NatsOptions) -> None:
        self._options = options
        self._hosts = ", ".join(map(_host, options.servers))
        self._client: Client | None = None
        self._main: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._lost = asyncio.Event()
        # Why there is no connection; empty: there is one.
        self._why_not = _NO_ANSWER
        self._is_closed = False
        self._discovered: set[str] = set()
        self._subscribed: dict[Subscribed, None] = {}
        self._on_connection: list[Callable[[bool], None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._being_made: set[asyncio.Task[Any]] = set()
        self._max_payload = 1 << 20
        self._inbox = ""
        self._numbers: Iterator[int] = itertools.count()
        self._waiting: dict[str, asyncio.Future[Msg]] = {}

    # --- Its life -----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connects. Where no server answers, it waits.

        Raises:
            ConnectError: If a server answers, and refuses for good: by credentials or by certificates.
        """
        self._first = asyncio.get_running_loop().create_future()
        self._main = asyncio.create_task(self._run())
        try:
            await self._first
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Ends the connection. A second call does nothing."""
        # nats-py may swallow a cancellation.
        self._is_closed = True
        if self._main is not None:
            self._main.cancel()
            await asyncio.wait([self._main])
        for task in list(self._tasks):
            task.cancel()

    async def _run(self) -> None:
        while not self._is_closed:
            client = await self._connected()
            try:
                with contextlib.suppress(nats.errors.Error, OSError):
                    await self._install(client)
                    await self._until_lost(client)
            finally:
                self._uninstall()
                await left(client)

    async def _until_lost(self, client: Client) -> None:
        """Returns once the client cannot be used any more.

        It asks the server for a sign of life again and again, since one that hangs says nothing. Whatever else comes is
        one too, for an answer may lie behind much of it: nats-py's own pings know of no other. They are counted, not
        timed: a loop that is busy, or was stopped, has missed none.
        """
        silent = 0
        pinging: asyncio.Task[None] | None = None
        try:
            while silent <= _PINGS and not client.is_closed and not self._is_closed:
                if pinging is None or pinging.done():
                    pinging = asyncio.create_task(_quietly(client.flush(NEVER)))
                heard = client.stats["in_msgs"]
                try:
                    async with asyncio.timeout(self._options.ping):
                        await self._lost.wait()
                except TimeoutError:
                    silent = 0 if pinging.done() or client.stats["in_msgs"] != heard else silent + 1
        finally:
            if pinging is not None:
                pinging.cancel()

    # --- Dialling -----------------------------------------------------------------------------------------------------

    async def _connected(self) -> Client:
        """A client that is connected, of one server or another, as soon as any answers."""
        pause, longest = _PAUSES
        is_told = False
        while True:
            for server in self._order():
                if self._is_closed:
                    raise asyncio.CancelledError
                try:
                    self._lost = lost = asyncio.Event()
                    return await dialled(self._options, server, lost.set)
                except (nats.errors.Error, OSError, TimeoutError) as error:
                    self._why_not = text_of(error, lambda it: system_reason(it) or str(it), otherwise=_NO_ANSWER)
                    self._give_up_if_refused(error)
            if not is_told and pause >= longest:
                said = "No NATS server answers at %s: %s. It is tried again and again."
                _logger.warning(said, self._hosts, self._why_not)
                is_told = True
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - so that not all come at once
            pause = min(2 * pause, longest)

    @property
    def trouble(self) -> str:
        """Which servers do not answer, and why not, as far as that is known."""
        return (
            f"no NATS server answers at {self._hosts}: {self._why_not}"
            if self._why_not
            else f"no JetStream answers at {self._hosts}"
        )

    def _order(self) -> list[str]:
        """The servers in random order, and behind them those that were only heard of."""
        ours = list(self._options.servers)
        heard_of = [url for url in self._discovered if urlsplit(url).netloc not in {_host(url) for url in ours}]
        random.shuffle(ours)
        random.shuffle(heard_of)
        return ours + heard_of

    def _give_up_if_refused(self, error: Exception) -> None:
        """Gives up before the first connection, where it makes no sense to try again."""
        is_final = isinstance(error, ssl.SSLError) or "authorization" in text_of(error).lower()
        if is_final and self._first is not None and not self._first.done():
            self._first.set_exception(ConnectError(f"the NATS server refuses: {text_of(error)}", retryable=False))

    # --- A client comes and goes --------------------------------------------------------------------------------------

    async def _install(self, client: Client) -> None:
        scheme = urlsplit(self._options.servers[0]).scheme
        self._discovered |= {f"{scheme}://{server.netloc}" for server in client.discovered_servers}
        self._inbox = client.new_inbox()
        await subscribed(client, f"{self._inbox}.*", self._answered)
        while missing := [it for it in self._subscribed if not it.is_made_by(client)]:
            for it in missing:
                await it.made(client)
        self._client = client
        self._why_not = ""
        self._max_payload = client.max_payload
        if self._first is not None and not self._first.done():
            self._first.set_result(None)
        self._tell()

    def _uninstall(self) -> None:
        self._client = None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Unknown("the connection to NATS has broken"))
        self._waiting.clear()
        self._tell()

    def _tell(self) -> None:
        for tell in list(self._on_connection):
            tell(self._client is not None)

    @property
    def is_connected(self) -> bool:
        """Whether there is a client that is connected."""
        return self._client is not None

    @property
    def max_payload(self) -> int:
        """How many bytes the server takes at once, or the last one did."""
        return self._max_payload

    def on_connection(self, tell: Callable[[bool], None]) -> Watch:
        """Tells at once whether it is connected, then every change."""
        self._on_connection.append(tell)
        tell(self.is_connected)
        watch = contextlib.ExitStack()
        watch.callback(self._on_connection.remove, tell)
        return watch

    # --- What it is for -----------------------------------------------------------------------------------------------

    def subscribe(self, subject: str, on_message: Callable[[Msg], None]) -> Subscribed:
        """Subscribes, now and with every client to come. Requests go out behind it."""
        subscription = Subscribed(self, subject, on_message)
        self._subscribed[subscription] = None
        if self._client is not None:
            self._start(subscription.made(self._client), self._being_made)
        return subscription

    def forget(self, subscription: Subscribed) -> None:
        """Ends a subscription. Called by itself, once."""
        del self._subscribed[subscription]
        if self._client is not None:
            self._start(subscription.unmade(), self._being_made)

    def publish(self, subject: str, payload: bytes) -> bool:
        """Publishes, and returns at once: whether there is a server to hand it to, which keeps up."""
        self._check_size(payload)
        client = self._client
        if client is None or client.pending_data_size > _MOST_WAITING:
            return False
        self._start(client.publish(subject, payload))
        return True

    async def request(
        self,
        subject: str,
        payload: bytes,
        headers: dict[str, str] | None = None,
        *,
        timeout: float,  # noqa: ASYNC109 - one timer is cheaper than a scope
    ) -> Msg:
        """Asks, and waits for one answer, no longer than the client lives.

        Raises:
            NobodyThere: If nobody listens there.
            Unknown: If no answer came.
            TooLarge: If it is.
        """
        self._check_size(payload, headers)
        if self._being_made:
            await asyncio.wait(self._being_made)
        client = self._client
        if client is None:
            raise Unknown("no connection to NATS")
        loop = asyncio.get_running_loop()
        number = str(next(self._numbers))
        waiting: asyncio.Future[Msg] = loop.create_future()
        self._waiting[number] = waiting
        timer = loop.call_later(timeout, _time_out, waiting)
        try:
            await client.publish(subject, payload, reply=f"{self._inbox}.{number}", headers=headers)
            answer = await waiting
        except (nats.errors.Error, OSError) as error:
            raise Unknown(text_of(error)) from error
        finally:
            timer.cancel()
            self._waiting.pop(number, None)
            waiting.cancel()
        if answer.headers and answer.headers.get("Status") == _NO_RESPONDERS:
            raise NobodyThere(subject)
        return answer

    def _answered(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject.rpartition(".")[2])
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    def _check_size(self, payload: bytes, headers: dict[str, str] | None = None) -> None:
        size = len(payload) + sum(len(name) + len(value) for name, value in (headers or {}).items())
        if size + _FRAMING > self.max_payload:
            raise TooLarge(f"{size} bytes; NATS takes {self.max_payload} at once")

    def _start(self, what: Coroutine[Any, Any, None], among: set[asyncio.Task[Any]] | None = None) -> None:
        task = asyncio.create_task(_quietly(what))
        for tasks in (self._tasks, among):
            if tasks is not None:
                tasks.add(task)
                task.add_done_callback(tasks.discard)


def _host(url: str) -> str:
    """Host and port of a URL, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _time_out(waiting: asyncio.Future[Msg]) -> None:
    if not waiting.done():
        waiting.set_exception(Unknown("no answer came in time"))


async def _quietly(what: Awaitable[None]) -> None:
    # If the client has gone meanwhile, nobody needs the result.
    with contextlib.suppress(nats.errors.Error, OSError):
        await what
