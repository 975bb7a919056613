"""Writes commands as wishes into the records of their connections."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol
from uuid import uuid4

from rxnodes.errors import RxNodesError
from rxnodes.fleet.errands import Errands
from rxnodes.fleet.letters import Unreadable, record_letter
from rxnodes.fleet.reading import record_at, tail_at
from rxnodes.fleet.rules import commands
from rxnodes.fleet.store import Refused, StoreError, Unknown

if TYPE_CHECKING:
    from rxnodes.fleet.rules.values import Record, Tail, Wish
    from rxnodes.fleet.store import Store

__all__ = ["Command", "Commanded", "Commander"]

#: How many records are written at once.
AT_ONCE: Final = 50
#: How many connections are named in the log.
MOST_NAMED: Final = 10
#: Seconds between two looks whether the store can be reached.
LOOK_EVERY: Final = 0.1
#: How many seconds to wait where the engine does not answer, at first and at most.
SHORTEST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 1.0

logger = logging.getLogger("rxnodes")


@dataclass(slots=True)
class Command:
    """A start or a stop.

    Attributes:
        is_start: Which of the two.
        code: Of a stop: the code of the Close frame, or `ABORT`.
        reason: Likewise.
        id: What no other command has.
    """

    is_start: bool
    code: int = 1000
    reason: str = ""
    id: str = field(default_factory=lambda: uuid4().hex)

    def wish(self, record: Record, tail: Tail) -> Wish | None:
        """The wish that it leads to; `None`: it changes nothing."""
        if self.is_start:
            return commands.start(record.wish, tail, self.id)
        return commands.stop(record.wish, tail, self.id, code=self.code, reason=self.reason)


class Commanded(Protocol):
    """A connection that is given commands."""

    name: str
    #: Not written yet, in the order in which they were given.
    commands: list[Command]

    def known(self) -> tuple[Record, int, Tail] | None:
        """The record, its revision and the end of the log, where they are watched; `None`: they have to be read."""
        ...

    def resolve(self, command: Command, record: Record, revision: int, tail: Tail) -> None:
        """A command was written, or changes nothing. The record and the log stand like this."""
        ...

    def give_up(self, command: Command, error: RxNodesError) -> None:
        """A command cannot be written."""
        ...


class Commander:
    """Writes the commands of many connections: those of one in their order, and some connections at once.

    Args:
        store: The fleet's store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._errands = Errands(AT_ONCE)
        # Those whose commands are not all written.
        self._commanded: set[Commanded] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def give(self, connection: Commanded) -> None:
        """Writes the commands of a connection, which has one more."""
        # If it is among them, its commands are being written already.
        if connection not in self._commanded:
            self._commanded.add(connection)
            self._idle.clear()
            self._errands.run(partial(self._write_all, connection))

    async def finish(self, patience: float) -> None:
        """Waits until all commands are written; where the store cannot be reached, `patience` seconds at most."""
        left = patience
        while not self._idle.is_set() and left > 0:
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    await self._idle.wait()
            except TimeoutError:
                left = patience if self._store.is_connected else left - LOOK_EVERY
        if not self._idle.is_set():
            names = sorted(connection.name for connection in self._commanded)
            logger.warning("commands were not written, since the fleet was left: %s", ", ".join(names[:MOST_NAMED]))
            await self._errands.end()

    async def _write_all(self, connection: Commanded) -> None:
        try:
            # The outcome of one may lead to the next.
            while connection.commands:
                await self._write_next(connection)
        finally:
            self._commanded.discard(connection)
            if not self._commanded:
                self._idle.set()

    async def _write_next(self, connection: Commanded) -> None:
        command = connection.commands[0]
        try:
            written = await self._write_known(connection, command) or await self._write(connection.name, command)
        except RxNodesError as error:
            del connection.commands[0]
            connection.give_up(command, error)
        else:
            del connection.commands[0]
            connection.resolve(command, *written)

    async def _write_known(self, connection: Commanded, command: Command) -> tuple[Record, int, Tail] | None:
        """Writes a command behind what is known; `None`: that is too old, and has to be read."""
        known = connection.known()
        wish = None if known is None else command.wish(known[0], known[2])
        if known is None or wish is None:
            return None
        record = known[0]._replace(wish=wish)
        try:
            revision = await self._store.write_record(connection.name, record_letter(record), known[1])
        except StoreError:
            return None
        return record, revision, known[2]

    async def _write(self, name: str, command: Command) -> tuple[Record, int, Tail]:
        """Writes a command, however long that takes. A refusal decides nothing: the record and the log do.

        Raises:
            RxNodesError: If it cannot be written.
        """
        wait = SHORTEST_WAIT
        while True:
            try:
                stood, last = await asyncio.gather(self._store.read_record(name), self._store.last(name))
                (record, revision), tail = record_at(stood), tail_at(last)
                wish = None if record.wish.id == command.id else command.wish(record, tail)
                if wish is not None:
                    record = record._replace(wish=wish)
                    revision = await self._store.write_record(name, record_letter(record), revision)
            except (Refused, Unknown):
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            except (StoreError, Unreadable) as error:
                raise RxNodesError(f"{name!r}: the command cannot be written: {error}") from error
            else:
                return record, revision, tail
