"""The connections of a worker: where it stands towards each, filed by who holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxnodes.fleet.rules.machine import HELD, Phase, State, step
from rxnodes.fleet.rules.sharing import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from rxnodes.fleet.rules.inputs import Effect, Input

__all__ = ["AT_WORK", "FREE", "OURS", "REMOVED", "Share", "Shares"]

CLAIMING = (Phase.CLAIMING, Phase.CHECKING, Phase.READING, Phase.TAKING)

#: Nobody holds it.
FREE = ""
#: The record says that we do, but we do not: anew, then.
OURS = "\0ours"
#: We hold it, or are about to, or are getting rid of what is left of it.
AT_WORK = "\0at work"
#: It is not in the project any more.
REMOVED = "\0removed"


class Share:
    """What a worker knows of one connection.

    Attributes:
        key: Where it is filed: the holder's id, or one of the words above.
        free_since: Since when it could be claimed.
        is_removed: Whether it is to be claimed no more.
    """

    __slots__ = ("free_since", "is_removed", "key", "state")

    def __init__(self, state: State) -> None:
        self.state = state
        self.key = FREE
        self.free_since: float | None = None
        self.is_removed = False


class Shares:
    """All of them, filed so that nobody looks at 10,000 when nothing has changed.

    Attributes:
        all: Each by its name.
        filed: The same by who holds them, without those that hold none.
        digest: What is the same for workers of the same connections only.
        own_ids: All ids that this worker has had.
        claiming: How many are being claimed.
        held: How many are held.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.all = {name: Share(State(name)) for name in names}
        self.filed: dict[str, dict[str, Share]] = {FREE: dict(self.all)}
        self.digest = digest(self.all)
        self.own_ids: set[str] = set()
        self.claiming = 0
        self.held = 0

    @property
    def taken(self) -> int:
        """How many are held, or are being claimed."""
        return self.held + self.claiming

    def step(self, name: str, input_: Input, at: datetime) -> Sequence[Effect]:
        """Steps the machine of a connection, and files that anew."""
        share = self.all[name]
        before = share.state.phase
        share.state, effects = step(share.state, input_, at)
        after = share.state.phase
        self.claiming += (after in CLAIMING) - (before in CLAIMING)
        self.held += (after in HELD) - (before in HELD)
        self._file(name, share)
        return effects

    def _file(self, name: str, share: Share) -> None:
        key = self._key(share)
        if key != share.key:
            filed = self.filed[share.key]
            del filed[name]
            if not filed:
                del self.filed[share.key]
            self.filed.setdefault(key, {})[name] = share
            share.key = key
            share.free_since = None

    def _key(self, share: Share) -> str:
        if share.state.phase not in (Phase.AWAY, Phase.WATCHING):
            return AT_WORK
        if share.is_removed:
            return REMOVED
        holder = share.state.record.holder
        return FREE if holder is None else OURS if holder in self.own_ids else holder
