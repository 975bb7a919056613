"""Interest in the messages of a connection: how its holder learns of it, and how the messages come."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from rxnodes.fleet.asking import (
    ANY_INTEREST,
    AskForMessages,
    interest_subject,
    messages_subject,
    position_of,
    send_subject,
)
from rxnodes.fleet.letters import Unreadable, batch_of
from rxnodes.fleet.store import NobodyThere, Unknown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rxnodes.fleet.remote.driver import RemoteDriver
    from rxnodes.fleet.store import Logged, Request, Store, Watch

__all__ = ["Interest", "Presence"]

#: For how many seconds an answer of the holder is waited for.
ANSWER_WITHIN: Final = 0.4
#: Seconds before it is asked again where none came, at first and at most.
ASK_AGAIN: Final = (0.1, 2.0)
#: How many seconds a send waits at most until the holder knows that somebody listens to what comes in answer.
HEARD_WITHIN: Final = 1.0
#: For how many seconds messages are listened to when nobody wants them any more: one request often follows another.
LINGER: Final = 5.0

logger = logging.getLogger("rxnodes")


class Presence:
    """Answers for all connections of a fleet seen from outside, while messages of any are wanted. On the loop's thread.

    Args:
        store: The fleet's store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._wanted = 0
        self._watch: Watch | None = None

    def enter(self) -> Watch:
        """Somebody wants messages of one more connection, until that is closed."""
        if self._watch is None:
            self._watch = self._store.serve(ANY_INTEREST, lambda request: request.answer(b""))
        self._wanted += 1
        place = ExitStack()
        place.callback(self._leave)
        return place

    def _leave(self) -> None:
        self._wanted -= 1
        if not self._wanted and self._watch is not None:
            self._watch.close()
            self._watch = None


class Interest:
    """Listens to the messages of one connection while somebody wants them. On the loop's thread.

    First it listens, and says so to the holder, which asks before each dial. Then it asks the holder to publish from
    here on, again and again until that answers.

    Args:
        connection: The connection.
        store: The fleet's store.
        presence: Answers for all connections.
        holder: As for `Sends`.
    """

    def __init__(
        self,
        connection: RemoteDriver,
        store: Store,
        presence: Presence,
        holder: Callable[[bool], Awaitable[str | None]],
    ) -> None:
        self._connection = connection
        self._store = store
        self._presence = presence
        self._holder = holder
        self._is_wanted = False
        self._watches: tuple[Watch, ...] = ()
        self._asking: asyncio.Task[None] | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._reads_kept = False

    def note(self, *, is_wanted: bool) -> None:
        """Somebody wants messages, or nobody does any more."""
        if is_wanted is self._is_wanted:
            return
        self._is_wanted = is_wanted
        if not is_wanted:
            self._lingering = asyncio.get_running_loop().call_later(LINGER, self.leave)
            return
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if not self._watches:
            self._listen()

    async def until_heard(self) -> None:
        """Waits until the holder knows that somebody listens. Where there is none, the next one will ask by itself."""
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=HEARD_WITHIN)

    def leave(self) -> None:
        """Listens no longer."""
        for watch in self._watches:
            watch.close()
        self._watches = ()
        self._reads_kept = False
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        self._connection.want_no_more()

    def _listen(self) -> None:
        name = self._connection.name
        self._connection.want()
        self._watches = (
            self._store.subscribe(messages_subject(name), lambda message: self._take(message.payload)),
            self._store.serve(interest_subject(name), self._on_question),
            self._presence.enter(),
            # Behind an interruption the holder may have found nobody interested.
            self._store.on_connection(self._on_connection),
        )

    def _on_connection(self, is_connected: bool) -> None:  # noqa: FBT001 - as the store has it
        if is_connected and self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask())
            self._asking.add_done_callback(self._on_asked)

    def _on_asked(self, task: asyncio.Task[None]) -> None:
        if self._asking is task:
            self._asking = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s: its holder cannot be asked for messages", self._connection.name, exc_info=error)

    async def _ask(self) -> None:
        """Asks the holder to publish from here on, until it answers. Where there is none, the next one will ask."""
        looks_again = False
        wait, longest = ASK_AGAIN
        while True:
            try:
                holder = await self._holder(looks_again)
                if holder is None:
                    return
                subject = send_subject(holder, self._connection.name)
                answer = await self._store.request(subject, AskForMessages().letter(), timeout=ANSWER_WITHIN)
                position = position_of(answer)
                if position is not None:
                    self._connection.owe(position)
                    self._follow_kept(answer)
                    return
            except (NobodyThere, Unknown, Unreadable) as error:
                logger.debug("%s: its holder does not answer: %r", self._connection.name, error)
            looks_again = True
            await asyncio.sleep(wait)
            wait = min(2 * wait, longest)

    def _on_question(self, request: Request) -> None:
        request.answer(b"")
        if request.message.payload:
            # It keeps them, whether anybody is interested or not, and says where.
            self._follow_kept(request.message.payload)

    def _follow_kept(self, answer: bytes) -> None:
        """Reads the messages where they are kept: those of the attempt that is under way, and all that come."""
        try:
            position = position_of(answer)
        except Unreadable as error:
            logger.warning("%s: where its messages are kept cannot be read: %s", self._connection.name, error)
            return
        if position is not None and position.kept is not None and self._is_wanted and not self._reads_kept:
            self._reads_kept = True
            self._connection.note_kept()
            watch = self._store.watch_kept(self, self._connection.name, behind=position.kept)
            self._watches = (*self._watches, watch)

    # What the store calls, of messages that are kept

    def logged(self, entry: Logged) -> None:
        """Messages."""
        self._take(entry.value)

    def is_current(self, current: bool) -> None:  # noqa: FBT001 - as the store has it
        """What is missing comes."""

    def gap(self, reason: str) -> None:
        """Messages that come again are known already, and lost ones show as a gap."""
        logger.warning("%s: its messages are read again: %s", self._connection.name, reason)

    def _take(self, letter: bytes) -> None:
        try:
            batch = batch_of(letter)
        except Unreadable as error:
            # It is missing then, and shows as a gap.
            logger.warning("%s: messages cannot be read: %s", self._connection.name, error)
        else:
            self._connection.take_batch(batch)
