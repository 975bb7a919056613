"""Answers requests to the worker that holds a connection: to send messages, and to publish those that come."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from rxnodes.fleet.asking import NOT_HELD, AskForMessages, AskToSend, ask_of, outcomes_letter, position_letter
from rxnodes.fleet.letters import Unreadable, name_of, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.connection.connection import Connection
    from rxnodes.fleet.asking import Position
    from rxnodes.fleet.store import Request, Store

__all__ = ["Answering", "Held", "Publishing"]

#: How many requests are remembered, so that none is carried out twice.
REMEMBERED: Final = 4096

logger = logging.getLogger("rxnodes")


class Publishing(Protocol):
    """The messages of a connection that is held here, for observers: `Published` or `Kept`."""

    def prepare(self, session: int, attempt: int, go: Callable[[], None]) -> None:
        """An attempt is about to be dialled: finds out who is interested, and then calls `go`."""
        ...

    def finish(self) -> int:
        """The attempt has ended: how many messages of it observers are to expect."""
        ...

    def when_written(self, act: Callable[[], None]) -> None:
        """Calls a function once all messages that have come are on their way."""
        ...

    async def begin(self) -> Position:
        """Somebody is interested: returns where the messages are, or will be."""
        ...

    def close(self) -> None:
        """The connection is not held here any more."""
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """A connection that is held here.

    Attributes:
        connection: The connection.
        published: Its messages, for observers.
    """

    connection: Connection
    published: Publishing


class Answering:
    """Answers requests to a worker, by one subscription for all of its connections. On the loop's thread.

    Args:
        store: The fleet's store.
        worker: The worker's id.
        held: Gives what is held here under a name; `None`: it is not, or this worker may not act.
    """

    def __init__(self, store: Store, worker: str, held: Callable[[str], Held | None]) -> None:
        self._held = held
        self._done: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch = store.serve(f"send.{token(worker)}.*", self._on_request)

    def close(self) -> None:
        """Answers nothing more."""
        self._watch.close()
        for task in self._tasks:
            task.cancel()

    def _on_request(self, request: Request) -> None:
        message = request.message
        try:
            held = self._held(name_of(message.subject.rpartition(".")[2]))
            asked = ask_of(message.payload)
            messages = asked.messages if isinstance(asked, AskToSend) else []
        except Unreadable as error:
            logger.warning("a request to this worker cannot be read: %s", error)
            return
        if held is None:
            request.answer(NOT_HELD)
        elif isinstance(asked, AskForMessages):
            task = asyncio.get_running_loop().create_task(_begin(held.published, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif asked.id not in self._done:
            self._done[asked.id] = None
            if len(self._done) > REMEMBERED:
                self._done.popitem(last=False)
            _send(held.connection, messages, request)


def _send(connection: Connection, messages: list[str | bytes], request: Request) -> None:
    """Sends the messages, and answers when it is known what became of all."""
    receipts = [connection.send(message, codec=None) for message in messages]
    left = len(receipts)

    def settled(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            request.answer(outcomes_letter(receipts))

    for receipt in receipts:
        receipt.follow(settled)


async def _begin(published: Publishing, request: Request) -> None:
    request.answer(position_letter(await published.begin()))
