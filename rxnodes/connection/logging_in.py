"""The login behind a `Greeting`: its hook, and the messages that come and go before the attempt is open."""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from copy import copy
from functools import partial, reduce
from itertools import count, groupby
from typing import TYPE_CHECKING, Any, Final, cast

from rxnodes.codecs import AS_TEXT, as_codec, decode, encode
from rxnodes.connection.greeting import Greeting
from rxnodes.connection.hook_task import HookTask
from rxnodes.connection.matching import NO_MATCH, as_match, matcher
from rxnodes.connection.outbound import to_payload
from rxnodes.errors import ConnectError, DecodeError, RxNodesError, SendError
from rxnodes.lifecycle.events import Traffic
from rxnodes.rx.arguments import UNSET
from rxnodes.transport.receipts import Receipt, SendDropped, Sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.connection.before_connect import Attempt
    from rxnodes.connection.driver import Driver
    from rxnodes.connection.greeting import Login
    from rxnodes.connection.matching import Match
    from rxnodes.lifecycle.inputs import HandshakeDone

__all__ = ["LoggingIn"]

logger = logging.getLogger("rxnodes")

#: Reading pauses while more bytes than this wait for the login, where each message counts for so many more.
ROOM: Final = 64 * 1024
MESSAGE_COST: Final = 64

#: How many turns of the loop a login has to take what has come, before its link counts as gone, or its time as up.
TURNS_TO_TAKE: Final = 10


class LoggingIn:
    """The login of one attempt: the messages before the attempt is open, and the task of the hook.

    Args:
        login: How to log in.
        attempt: The attempt.
        driver: The connection's driver.
    """

    __slots__ = (
        *("_attempt", "_context", "_driver", "_login", "_loop", "_patience", "_task"),
        *("_closed", "_ended", "_kept", "_numbers", "_own", "_size", "_under_way", "_waiting"),
    )

    def __init__(self, login: Login, attempt: Attempt, driver: Driver) -> None:
        self._login = login
        self._attempt = attempt
        self._driver = driver
        self._loop = asyncio.get_running_loop()
        # The context of `before_connect` too. When the handshake is done, the current one is the dial's.
        self._context = copy_context()
        self._task: HookTask[bool] | None = None
        self._patience: asyncio.TimerHandle | None = None

        self._kept: dict[int, str | bytes] = {}
        self._numbers = count()
        self._size = 0
        self._waiting: list[asyncio.Future[None]] = []
        # Why no message comes any more, and why the hook gets none any more.
        self._ended: RxNodesError | None = None
        self._closed: RxNodesError | None = None

        # The traffic of the login, and those of its messages that are still under way.
        self._own = Traffic()
        self._under_way: set[Receipt] = set()

    # What the attempt calls

    @property
    def is_full(self) -> bool:
        """Whether so much waits that reading must pause."""
        return self._size > ROOM

    def has_sent(self, receipt: Receipt) -> bool:
        """Whether the login has sent this message."""
        return receipt in self._under_way

    def begin(self, handshake: HandshakeDone, done: Callable[[bool | ConnectError | None], None]) -> None:
        """Lets the hook log in, in a turn of the loop of its own.

        Args:
            handshake: The server's answer to the handshake.
            done: Called once, when the hook has ended or is left behind: with `True`, or with the error it failed with.
                `None`: it was cancelled.
        """
        greeting = Greeting(self, self._attempt, handshake)

        async def ask(_: HookTask[bool]) -> bool:
            await self._login.hook(greeting)
            return True

        def end(outcome: bool | ConnectError | None) -> None:  # noqa: FBT001 - as above
            if self._patience is not None:
                self._patience.cancel()
            self._close(RxNodesError(f"{self._driver.name!r}: the login is over, and its Greeting with it"))
            done(outcome)

        self._task = HookTask("after_connect", self._driver.name, ask, end, self._context)

    def take(self, messages: list[str] | list[bytes]) -> None:
        """Messages have come."""
        was_full = self.is_full
        for message in messages:
            self._kept[next(self._numbers)] = message
            self._size += MESSAGE_COST + len(message)
        self._wake()
        self._read_or_not(was_full=was_full)

    def end(self, error: RxNodesError) -> None:
        """Nothing more comes, and nothing can be sent. What has come can still be taken."""
        self._ended = self._ended or error
        self._wake()

    def lose(self, error: RxNodesError, patience: float) -> None:
        """The link is gone. A login that still waits when it has taken what had come is cancelled.

        Args:
            error: Why.
            patience: Seconds after which one that goes on all the same is left behind.
        """
        self.end(error)
        self.catch_up(partial(self._cancel_where_it_waits, patience))

    def _cancel_where_it_waits(self, patience: float) -> None:
        if self._task is not None and not (self._task.is_over or self._task.is_cancelled):
            self._patience = self._loop.call_later(patience, self.cancel)
            self.cancel()

    def catch_up(self, act: Callable[[], object], turns: int = TURNS_TO_TAKE) -> None:
        """Calls `act` once the hook has had the turns of the loop that it needs to take what has come."""
        if turns:
            self._loop.call_soon(self.catch_up, act, turns - 1)
        else:
            act()

    def cancel(self) -> None:
        """Cancels the hook. The second time, it is left behind."""
        if self._task is not None and not self._task.is_over:
            if self.is_full:
                # It may have waited for a message behind those.
                logger.warning(
                    "%s: reading had paused, since more than %d KiB had come that after_connect did not take",
                    self._driver.name,
                    ROOM // 1024,
                )
            self._close(RxNodesError(f"{self._driver.name!r}: the login was cancelled"))
            self._task.abort()

    def leave(self) -> list[list[str] | list[bytes]]:
        """Gives what the login did not take, in order, each list of one kind. From here on nothing is kept."""
        left = [cast("list[str] | list[bytes]", list(run)) for _, run in groupby(self._kept.values(), type)]
        self._kept.clear()
        self._size = 0
        return left

    def without_own(self, traffic: Traffic) -> Traffic:
        """The attempt's traffic without that of the login. It may be read at any moment, and from any thread."""
        # The receipts first, so that one that is counted meanwhile is not missed.
        under_way = tuple(self._under_way)
        return reduce(Traffic.minus, map(_cost, under_way), traffic.minus(self._own))

    def _close(self, error: RxNodesError) -> None:
        self._closed = self._closed or error
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _read_or_not(self, *, was_full: bool) -> None:
        if self.is_full is not was_full:
            self._driver.read_or_not()

    # What the hook calls

    async def send(self, value: object, codec: Any) -> None:
        """Sends a message of the login."""
        self._check()
        if (error := self._why_over()) is not None:
            raise error
        codec = self._login.codec if codec is UNSET else codec
        message = value if codec is None else encode(as_codec(codec), value)
        payload, is_text = to_payload(message, is_binary=None)
        receipt = Receipt(self._driver.outbound, payload, is_text, None)
        self._under_way.add(receipt)
        # There is a link until `end` or `lose` says that there is none.
        assert self._driver.link is not None
        self._driver.outbound.give(self._driver.link, receipt)
        receipt.follow(lambda _: self._wake())
        try:
            # At the end of the link, the outcome comes behind that end, which waits for the login.
            while receipt.outcome is None and self._why_over() is None:
                await self._change()
        finally:
            self._count(receipt)
        if isinstance(receipt.outcome, SendDropped):
            raise SendError(
                f"{self._driver.name!r}: the send queue is full, message not sent; send_queue sets its bounds"
            )
        if not isinstance(receipt.outcome, Sent):
            raise self._why_over() or SendError(f"{self._driver.name!r}: the message could not leave")

    def _why_over(self) -> RxNodesError | None:
        """Why nothing can be sent any more. It is a copy, because raising it adds a traceback."""
        return copy(self._closed or self._ended)

    async def _change(self) -> None:
        """Waits until a message has come or left, or the login ends."""
        change: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(change)
        await change

    async def receive(self, match: Match[Any] | None, codec: Any) -> Any:
        """Takes a message for the login."""
        codec = (self._login.codec or AS_TEXT) if codec is UNSET else codec
        reader = None if codec is None else as_codec(codec)
        is_meant = None
        if match is not None:
            is_meant = matcher(as_match(match, reader, gives="whether a message is the one"))
        seen = -1
        while True:
            self._check()
            for number in [number for number in self._kept if number > seen]:
                seen = number
                try:
                    message = self._kept[number]
                    # A login's messages may hold tokens, and everybody sees the error.
                    value = message if reader is None else decode(reader, message, is_secret=True)
                except DecodeError:
                    self._remove(number)
                    raise
                if is_meant is None or _is_match(is_meant, value):
                    self._remove(number)
                    return value
            if self._ended is not None:
                raise copy(self._ended)
            await self._change()

    def _check(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise RxNodesError(f"{self._driver.name!r}: a Greeting belongs to the event loop of its project")
        if self._closed is not None:
            raise copy(self._closed)

    def _remove(self, number: int) -> None:
        """The login has taken a message."""
        was_full = self.is_full
        message = self._kept.pop(number)
        self._size -= MESSAGE_COST + len(message)
        size = len(message.encode() if isinstance(message, str) else message)
        self._own = self._own.plus(Traffic(messages_received=1, bytes_received=size))
        self._read_or_not(was_full=was_full)

    def _count(self, receipt: Receipt) -> None:
        """Counts a message of the login, if its outcome is known by now."""
        if receipt.outcome is not None:
            self._own = self._own.plus(_cost(receipt))
            self._under_way.discard(receipt)


def _cost(receipt: Receipt) -> Traffic:
    """The traffic of a message, as far as its outcome is known by now."""
    if receipt.outcome is None:
        return Traffic()
    is_sent = isinstance(receipt.outcome, Sent)
    return Traffic(messages_sent=1, bytes_sent=receipt.size) if is_sent else Traffic(unsent=1)


def _is_match(match: Callable[[Any], object], value: Any) -> bool:
    try:
        return bool(match(value))
    except NO_MATCH:
        return False
