"""Sends messages through the worker that holds their connection."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import uuid4

from rxnodes.errors import SendError, SendUnknown
from rxnodes.fleet.asking import AskToSend, outcomes_of, send_subject
from rxnodes.fleet.letters import Unreadable
from rxnodes.fleet.store import NobodyThere, TooLarge, Unknown
from rxnodes.lifecycle.inputs import Reported
from rxnodes.transport.receipts import SendDropped, SharedOutcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from rxnodes.fleet.store import Store
    from rxnodes.transport.receipts import DropReason, Receipt

__all__ = ["ANSWER_WITHIN", "Sends"]

#: For how many seconds an answer is waited for. The holder answers when it knows what became of the messages.
ANSWER_WITHIN: Final = 10.0
#: How many bytes of a request its line takes, for each message and for all.
OF_EACH: Final = 16
OF_ALL: Final = 512

logger = logging.getLogger("rxnodes")


async def _at_once() -> None:
    """Waits for nothing: no answer is expected to be heard here."""


class Sending(Protocol):
    """A connection that messages are sent for."""

    name: str

    def settle(self, receipt: Receipt, outcome: SharedOutcome) -> None:
        """Says what became of a message."""
        ...

    def feed(self, input_: Reported) -> None:
        """Reports an error."""
        ...

    def now(self) -> datetime:
        """The time of day."""
        ...


class Sends:
    """The messages of one connection on their way to its holder, in their order. On the loop's thread.

    One request is under way at a time, so that none overtakes another. What is sent meanwhile goes with the next one.

    Args:
        connection: What they are sent for.
        store: The fleet's store.
        holder: Says which worker holds the connection; told to look again, it does not rely on what it knows.
        until_heard: Waits until the peer's answers would be heard here, or until that takes too long.

    Attributes:
        is_held: Whether the connection is held here.
        is_awaited: Whether anything of it is live here.
    """

    def __init__(
        self,
        connection: Sending,
        store: Store,
        holder: Callable[[bool], Awaitable[str | None]],
        until_heard: Callable[[], Awaitable[None]] = _at_once,
    ) -> None:
        self.is_held = False
        self.is_awaited = False
        self._connection = connection
        self._store = store
        self._holder = holder
        self._until_heard = until_heard
        self._waiting: deque[Receipt] = deque()
        self._task: asyncio.Task[None] | None = None

    def find_out(self) -> None:
        """Does nothing: an observer reads the log anyway, and until then the connection counts as live."""

    def send(self, receipt: Receipt) -> None:
        """Sends a message behind those before it."""
        self._waiting.append(receipt)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    def leave(self) -> None:
        """The fleet is being left: the outcome of what is under way stays unknown."""
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._until_heard()
                batch = self._take()
                try:
                    await self._send(batch)
                except asyncio.CancelledError:
                    self._settle_unknown(batch)
                    raise
        finally:
            self._task = None
            # Only after a cancellation: what never went out.
            self._drop(list(self._waiting), "the fleet was left", "not open")

    def _take(self) -> list[Receipt]:
        """As many messages as one request may carry, but one at least."""
        room = self._store.max_payload - OF_ALL
        batch: list[Receipt] = []
        while self._waiting and (not batch or room >= self._waiting[0].size + OF_EACH):
            receipt = self._waiting.popleft()
            room -= receipt.size + OF_EACH
            batch.append(receipt)
        return batch

    async def _send(self, batch: list[Receipt]) -> None:
        asked = AskToSend(uuid4().hex, [it.is_text for it in batch], [it.payload for it in batch])
        letter = asked.letter()
        name = self._connection.name
        try:
            # A worker that does not hold the connection has certainly sent nothing. Then the holder is looked up again.
            for looks_again in (False, True):
                holder = await self._holder(looks_again)
                outcomes = None if holder is None else await self._ask(holder, letter)
                if outcomes is not None:
                    self._settle(batch, outcomes)
                    return
        except TooLarge:
            self._drop(batch, "more bytes than the fleet's server takes at once", "no message")
        except (Unknown, Unreadable) as error:
            logger.warning("%s: nobody knows what became of %d messages: %r", name, len(batch), error)
            self._settle_unknown(batch)
        else:
            self._drop(batch, "no worker holds it", "not open")

    async def _ask(self, holder: str, letter: bytes) -> list[SharedOutcome] | None:
        name = self._connection.name
        try:
            answer = await self._store.request(send_subject(holder, name), letter, timeout=ANSWER_WITHIN)
        except NobodyThere:
            return None
        return outcomes_of(answer, name)

    # What became of them

    def _settle(self, batch: list[Receipt], outcomes: list[SharedOutcome]) -> None:
        for receipt, outcome in zip(batch, outcomes, strict=True):
            self._connection.settle(receipt, outcome)

    def _settle_unknown(self, batch: list[Receipt]) -> None:
        outcome = SharedOutcome(SendUnknown, self._connection.name, 0, 0, self._connection.now(), {})
        self._settle(batch, [outcome] * len(batch))

    def _drop(self, batch: list[Receipt], why: str, reason: DropReason) -> None:
        name = self._connection.name
        more: dict[str, Any] = {"reason": reason}
        for receipt in batch:
            self._connection.feed(Reported("send", SendError(f"{name!r}: {why}, message not sent")))
            self._connection.settle(receipt, SharedOutcome(SendDropped, name, 0, 0, self._connection.now(), more))
