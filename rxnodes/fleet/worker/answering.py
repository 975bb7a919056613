"""Answers what is asked of the worker that holds a connection: to send messages, and to publish those that come."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rxnodes.fleet.asking import NOT_HELD, AskForMessages, ask_of, from_letter, outcomes_letter
from rxnodes.fleet.letters import Unreadable, name_of, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.connection.connection import Connection
    from rxnodes.fleet.asking import AskToSend
    from rxnodes.fleet.store import Request, Store, Watch
    from rxnodes.fleet.worker.messages import Published

__all__ = ["Answering", "Held"]

#: How many requests are remembered, so that none is carried out twice.
REMEMBERED: Final = 4096

logger = logging.getLogger("rxnodes")


@dataclass(frozen=True, slots=True)
class Held:
    """A connection that is held here.

    Attributes:
        connection: The connection.
        published: Its messages, for observers.
    """

    connection: Connection
    published: Published


class Answering:
    """Answers what is asked of a worker, by one subscription for all of its connections. On the loop's thread.

    Args:
        store: The fleet's store.
        worker: The worker's id.
        held: Gives what is held here under a name; `None`: it is not, or this worker may not act.
    """

    def __init__(self, store: Store, worker: str, held: Callable[[str], Held | None]) -> None:
        self._store = store
        self._worker = worker
        self._held = held
        self._done: OrderedDict[str, None] = OrderedDict()
        self._watch: Watch | None = None

    def open(self) -> None:
        """Answers from here on."""
        self._watch = self._store.serve(f"send.{token(self._worker)}.*", self._on_request)

    def close(self) -> None:
        """Answers nothing more."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _on_request(self, request: Request) -> None:
        message = request.message
        try:
            held = self._held(name_of(message.subject.rpartition(".")[2]))
            asked = ask_of(message.payload)
        except Unreadable as error:
            logger.warning("a request to this worker cannot be read: %s", error)
            return
        if held is None:
            request.answer(NOT_HELD)
        elif isinstance(asked, AskForMessages):
            request.answer(from_letter(held.published.begin()))
        elif asked.id not in self._done:
            self._done[asked.id] = None
            if len(self._done) > REMEMBERED:
                self._done.popitem(last=False)
            self._send(held.connection, asked, request)

    def _send(self, connection: Connection, asked: AskToSend, request: Request) -> None:
        """Sends the messages, and answers when it is known what became of all."""
        receipts = [
            connection.send(payload.decode() if is_text else payload, codec=None)
            for is_text, payload in zip(asked.texts, asked.payloads, strict=True)
        ]
        left = len(receipts)

        def settled(_: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                request.answer(outcomes_letter(receipts))

        for receipt in receipts:
            receipt.follow(settled)
