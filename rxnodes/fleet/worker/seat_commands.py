"""What is commanded on a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rxnodes.fleet.remote.commander import Command
from rxnodes.fleet.rules.values import Tail

if TYPE_CHECKING:
    from rxnodes.fleet.rules.values import Record, Wish
    from rxnodes.fleet.worker.seat import Seat

__all__ = ["Look", "SeatCommand"]

NO_TAIL = Tail()


@dataclass(slots=True, kw_only=True)
class SeatCommand(Command):
    """A command that was given to a worker.

    Attributes:
        seat: Its connection's. Where that is held here, the worker knows what the log will have.
        about: The id of the wish that it is about: a newer one is not touched; `None`: of any.
        seen: Of a start: how the connection stood when it was given, with what the log had not taken yet.
    """

    seat: Seat
    about: str | None = None
    seen: Tail = NO_TAIL

    def wish(self, record: Record, tail: Tail) -> Wish | None:
        """The wish that it leads to; `None`: it changes nothing.

        What waits for the log may never get there, or long after the worker has lost its hold. So the command is judged
        with it and without it, and what either asks for is written.
        """
        if self.about not in (None, record.wish.id):
            return None
        state = self.seat.state
        stands = [state.ahead, state.tail] if state.is_held else [tail]
        if self.seen.session == stands[0].session:
            stands.append(self.seen)
        wishes = (Command.wish(self, record, it) for it in stands)
        return next((wish for wish in wishes if wish is not None), None)


@dataclass(slots=True, kw_only=True)
class Look(SeatCommand):
    """Finds out how a connection stands. It changes nothing, and is written behind what was commanded before."""

    is_start: bool = False

    def wish(self, record: Record, tail: Tail) -> None:
        """Nothing."""
