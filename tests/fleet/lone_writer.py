"""A writer that appends to the log as the rules have it: a refusal decides nothing, and it reads what stands."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

from rxnodes.fleet.store import Refused, Unknown


class LoneWriter:
    """Appends entry by entry to one connection's line, of which it is the only writer.

    Attributes:
        written: The ids of its entries, in order.
        answers: How often it was answered how.
    """

    def __init__(self, store, name):
        self.written = []
        self.answers = Counter()
        self._store = store
        self._name = name
        self._at = 0

    async def append(self):
        """Appends one entry, through whatever happens."""
        entry_id = f"{self._name}-{len(self.written)}"
        value = json.dumps({"id": entry_id}).encode()
        while True:
            try:
                self._at = await self._store.append(self._name, value, self._at)
                self.answers["yes"] += 1
                break
            except (Refused, Unknown) as error:
                self.answers[f"{type(error).__name__}: {error}"] += 1
            if await self._stands(entry_id):
                self.answers["done all the same"] += 1
                break
        self.written.append(entry_id)

    async def _stands(self, entry_id):
        """Whether the entry is the last one, whatever was answered."""
        while True:
            try:
                stood = await self._store.last(self._name)
            except Unknown:
                await asyncio.sleep(0.02)
                continue
            last = None if stood is None else json.loads(stood.value)["id"]
            assert last in (None, entry_id, *self.written[-1:]), f"{last} stands behind {self.written[-3:]}"
            self._at = 0 if stood is None else stood.revision
            return last == entry_id
