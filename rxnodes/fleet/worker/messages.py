"""Publishes the messages of a connection that is held here, for observers who are interested in them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from rxnodes.fleet.asking import Position, interest_subject, messages_subject
from rxnodes.fleet.letters import Batch, batch_letter
from rxnodes.fleet.store import TooLarge
from rxnodes.fleet.worker.inquiry import may_listen

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import abc

    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.fleet.store import Store
    from rxnodes.fleet.worker.inquiry import Inquiry

__all__ = ["ASK_EVERY", "Published"]

#: Seconds between two questions whether anybody still is interested, while messages are published.
ASK_EVERY: Final = 5.0

#: The least seconds between two publications. Messages that come meanwhile go together, one that comes alone at once.
PACE: Final = 0.002
#: How many messages go together at most.
AT_ONCE: Final = 4096

logger = logging.getLogger("rxnodes")


class Published:
    """The messages of one connection, for those who are interested. On the loop's thread, while it is held here.

    It asks before each dial whether anybody is. An observer that becomes interested later says so, by `begin`. The
    messages of an attempt are numbered from the first that is published. While nobody is interested, none is looked at.
    The messages of one read go together, and so do those of reads that follow each other closely.

    Args:
        connection: The connection.
        store: The fleet's store.
        epoch: The epoch in which it is held.
        inquiry: Asks for all connections of the worker.
    """

    def __init__(self, connection: ConnectionLike, store: Store, epoch: int, inquiry: Inquiry) -> None:
        self._connection = connection
        self._store = store
        self._epoch = epoch
        self._inquiry = inquiry
        self._subject = messages_subject(connection.name)
        self._attempt = (0, 0)
        self._following: abc.DisposableBase | None = None
        self._asking: asyncio.Task[None] | None = None
        self._next_question: asyncio.TimerHandle | None = None
        self._has_published = False
        # How many messages of the attempt there were so far. The last ones wait to be published together.
        self._count = 0
        self._waiting: list[Any] = []
        self._published_at = -PACE
        self._publication: asyncio.TimerHandle | None = None

    # Interest

    def prepare(self, session: int, attempt: int, go: Callable[[], None]) -> None:
        """An attempt is about to be dialled: asks whether anybody is interested, and then calls `go`."""
        self._flush()
        self._attempt = (session, attempt)
        self._count = 0
        self._ask(go)

    def finish(self) -> int:
        """The attempt has ended: how many of its messages were published."""
        self._flush()
        return self._count

    def when_written(self, act: Callable[[], None]) -> None:
        """Calls a function at once: all messages that have come are published already."""
        act()

    async def begin(self) -> Position:
        """Somebody is interested: publishes from here on, and returns the number of the next message."""
        self._flush()
        self._follow()
        return Position(*self._attempt, self._count + 1)

    def close(self) -> None:
        """Publishes nothing more: the connection is not held here any more."""
        self._waiting.clear()
        self._end()
        if self._asking is not None:
            self._asking.cancel()

    def _ask(self, behind: Callable[[], None]) -> None:
        if self._asking is not None:
            # Its answer is about the attempt before.
            self._asking.cancel()
        self._asking = asyncio.get_running_loop().create_task(self._find_out(behind))

    async def _find_out(self, behind: Callable[[], None]) -> None:
        # To publish in vain costs little; not to publish costs messages.
        subject = interest_subject(self._connection.name)
        if await self._inquiry.is_anybody_there() and await may_listen(self._store, subject):
            self._follow()
        else:
            self._end()
        self._asking = None
        behind()

    def _follow(self) -> None:
        if self._following is None:
            # Among the nodes' own subscriptions, where it cannot harm those of users.
            self._following = self._connection.for_nodes.batches(is_binary=None).subscribe(self._take)
        if self._next_question is None:
            self._next_question = asyncio.get_running_loop().call_later(ASK_EVERY, self._ask_again)

    def _end(self) -> None:
        if self._following is not None:
            self._following.dispose()
            self._following = None
        self._flush()
        if self._next_question is not None:
            self._next_question.cancel()
            self._next_question = None

    def _ask_again(self) -> None:
        self._next_question = None
        if self._asking is None and self._has_published:
            self._has_published = False
            self._ask(lambda: None)
        else:
            # Nothing was published, so nothing was published in vain.
            self._follow()

    # Messages

    def _take(self, messages: list[str] | list[bytes]) -> None:
        """One read of the socket has brought these: this is the hot path."""
        waiting = self._waiting
        if waiting and type(waiting[0]) is not type(messages[0]):
            self._flush()
        waiting += messages
        self._count += len(messages)
        if self._publication is not None and len(waiting) < AT_ONCE:
            return
        loop = asyncio.get_running_loop()
        wait = self._published_at + PACE - loop.time()
        if wait <= 0 or len(waiting) >= AT_ONCE:
            self._flush()
        else:
            self._publication = loop.call_later(wait, self._flush)

    def _flush(self) -> None:
        """Publishes what waits."""
        if self._publication is not None:
            self._publication.cancel()
            self._publication = None
        if self._waiting:
            messages = self._waiting.copy()
            self._waiting.clear()
            self._has_published = True
            self._published_at = asyncio.get_running_loop().time()
            self._publish_from(self._count + 1 - len(messages), messages)

    def _publish_from(self, first: int, messages: list[str] | list[bytes]) -> None:
        """Publishes messages as one, or else each half of them by itself. One that is too large for that is skipped."""
        try:
            self._store.publish(self._subject, batch_letter(Batch(self._epoch, *self._attempt, first, messages)))
        except TooLarge:
            if len(messages) == 1:
                logger.warning("%s: a message is larger than the fleet's server takes", self._connection.name)
                self._publish_from(first + 1, [])
            else:
                half = len(messages) // 2
                self._publish_from(first, messages[:half])
                self._publish_from(first + half, messages[half:])
