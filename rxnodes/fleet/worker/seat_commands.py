"""What is commanded on a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rxnodes.fleet.remote.commander import Command

if TYPE_CHECKING:
    from rxnodes.fleet.rules.values import Record, Tail, Wish
    from rxnodes.fleet.worker.seat import Seat

__all__ = ["Look", "SeatCommand"]


@dataclass(slots=True, kw_only=True)
class SeatCommand(Command):
    """A command that was given to a worker.

    Attributes:
        seat: Its connection's. Where that is held here, the worker knows what the log will have.
        about: The id of the wish that it is about: a newer one is not touched; `None`: of any.
    """

    seat: Seat
    about: str | None = None

    def wish(self, record: Record, tail: Tail) -> Wish | None:
        """What it makes of the wish; `None`: nothing."""
        if self.about not in (None, record.wish.id):
            return None
        state = self.seat.state
        return Command.wish(self, record, state.ahead if state.is_held else tail)


@dataclass(slots=True, kw_only=True)
class Look(SeatCommand):
    """Finds out how a connection stands. It changes nothing, and is written behind what was commanded before."""

    is_start: bool = False

    def wish(self, record: Record, tail: Tail) -> None:
        """Nothing."""
