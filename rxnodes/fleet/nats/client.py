"""A client of nats-py: how it is dialled, subscribes, and is left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import nats.errors
from nats.aio.client import Client

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

__all__ = ["NEVER", "NatsOptions", "dialled", "left", "subscribed"]

_logger = logging.getLogger("rxnodes.fleet")

#: Seconds for one server to answer a dial.
_DIAL: Final = 2.0
#: Seconds for a client to close in order, before its socket is closed all the same.
_GOODBYE: Final = 0.5
#: Seconds that never pass.
NEVER: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class NatsOptions:
    """Where the servers are, and with which credentials they are asked.

    Attributes:
        servers: Their URLs. Others of the same cluster are learned from them.
        credentials: A `.creds` file; `None`: what the first URL says, or nothing.
        tls: For TLS, where the URL or the server asks for it; `None`: what Python trusts by default.
        ping: Seconds between two signs of life that are asked of a server. After two without an answer it is left.
    """

    servers: tuple[str, ...] = field(repr=False)  # a password may be in them
    credentials: Path | None = None
    tls: ssl.SSLContext | None = None
    ping: float = 1.5


async def dialled(options: NatsOptions, server: str, on_lost: Callable[[], None]) -> Client:
    """A client that is connected to this server.

    Args:
        options: The credentials.
        server: Its URL.
        on_lost: Called when it is closed, by whatever.

    Raises:
        nats.errors.Error, OSError, TimeoutError: If it does not answer, or refuses.
    """
    client = Client()
    failures: deque[Exception] = deque(maxlen=1)

    async def on_closed() -> None:
        on_lost()

    async def on_error(error: Exception) -> None:
        failures.append(error)

    try:
        async with asyncio.timeout(_DIAL):
            await client.connect(
                server,
                name="rxnodes",
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                pending_size=0,
                ping_interval=NEVER,
                closed_cb=on_closed,
                disconnected_cb=on_closed,
                error_cb=on_error,
                **_who(options, server),
            )
    except nats.errors.NoServersError as error:
        await left(client)
        raise failures.pop() if failures else error from None
    except BaseException:
        await left(client)
        raise
    return client


def _who(options: NatsOptions, server: str) -> dict[str, Any]:
    """Our credentials for a server. The URL of one that was only heard of has none."""
    ours = urlsplit(options.servers[0])
    who: dict[str, Any] = {"tls": options.tls}
    if options.credentials is not None:
        who["user_credentials"] = str(options.credentials)
    elif ours.password is not None:
        who |= {"user": unquote(ours.username or ""), "password": unquote(ours.password)}
    elif ours.username:
        who["token"] = unquote(ours.username)
    if server not in options.servers and ours.hostname:
        who["tls_hostname"] = ours.hostname
    return who


class _HandedOn:
    """Takes the place of a subscription's queue, and hands each message on at once."""

    def __init__(self, take: Callable[[Msg], None]) -> None:
        self._take = take

    def put_nowait(self, message: Msg) -> None:
        try:
            self._take(message)
        except Exception:  # one that raises must not end the reading for all others
            _logger.exception("What came from NATS could not be taken")

    def qsize(self) -> int:
        return 0


async def subscribed(client: Client, subject: str, take: Callable[[Msg], None]) -> Subscription:
    """Subscribes, without the task that nats-py has for each subscription.

    It would hand the messages on one turn of the loop later, cost some kilobytes, of which a worker would need one for
    each connection, and stay behind where the client breaks while it is being closed.
    """
    subscription = await client.subscribe(subject, pending_bytes_limit=0)  # pyright: ignore[reportUnknownMemberType]
    queue = subscription._pending_queue  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    handed_on = _HandedOn(take)
    subscription._pending_queue = handed_on  # type: ignore[assignment] # noqa: SLF001 # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    while not queue.empty():
        handed_on.put_nowait(queue.get_nowait())
    return subscription


async def left(client: Client) -> None:
    """Leaves a client, and its socket with it.

    Closing waits for the server to take what is left, which one that hangs never does. Then the socket is closed as it
    is: else the system would hand that over whenever the server goes on.
    """
    with contextlib.suppress(Exception):  # nothing that it says now is of use
        async with asyncio.timeout(_GOODBYE):
            await client.close()
    writer: asyncio.StreamWriter | None = getattr(client._transport, "_io_writer", None)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownArgumentType]
    if writer is not None:
        writer.transport.abort()
