"""Asks whether anybody is interested in messages: of one connection, and of many at once, since mostly nobody is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from rxnodes.fleet.asking import ANY_INTEREST
from rxnodes.fleet.store import NobodyThere, Unknown

if TYPE_CHECKING:
    from rxnodes.fleet.store import Store

__all__ = ["ASK_FOR", "Inquiry", "may_listen"]

#: For how many seconds an answer is waited for, before somebody is taken to be interested. A dial waits for it.
ASK_FOR: Final = 0.5


async def may_listen(store: Store, subject: str) -> bool:
    """Whether anybody answers on a subject. Also true where that is not known."""
    try:
        await store.request(subject, b"", timeout=ASK_FOR)
    except NobodyThere:
        return False
    except Unknown:
        pass
    return True


class Inquiry:
    """One question at a time, for all connections of a worker. On the loop's thread.

    A caller that comes while a question is under way shares the next one, because an observer may have come since this
    one was asked.

    Args:
        store: The fleet's store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked: asyncio.Task[bool] | None = None
        self._next: asyncio.Task[bool] | None = None

    async def is_anybody_there(self) -> bool:
        """Whether anybody is interested in the messages of any connection. Also true where that is not known."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._ask_behind(self._asked))
        # A caller that gives up must not end the question for the others.
        return await asyncio.shield(self._next)

    async def _ask_behind(self, before: asyncio.Task[bool] | None) -> bool:
        if before is not None:
            await asyncio.wait([before])
        self._asked, self._next = self._next, None
        return await may_listen(self._store, ANY_INTEREST)
