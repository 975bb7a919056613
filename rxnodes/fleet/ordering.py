"""What a worker is asked to do as a whole: to leave, or to let connections go."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from rxnodes.fleet.letters import Unreadable, dumped, loaded, token

__all__ = ["TAKEN", "Leave", "LetGo", "WorkerOrder", "order_letter", "order_of", "order_subject"]

#: The answer of a worker that does what it was asked.
TAKEN = dumped({"taken": True})


class Leave(NamedTuple):
    """Drain: end the sessions in order, let everything go, and leave the fleet."""


class LetGo(NamedTuple):
    """Let these connections go, as when draining. Who claims them is decided as ever.

    Attributes:
        names: Their names.
    """

    names: list[str]


WorkerOrder: TypeAlias = Leave | LetGo


def order_subject(worker: str) -> str:
    """Where a worker is asked."""
    return f"orders.{token(worker)}"


def order_letter(order: WorkerOrder) -> bytes:
    """It as a letter."""
    if isinstance(order, Leave):
        return dumped({"order": "leave"})
    return dumped({"order": "let go", "names": order.names})


def order_of(letter: bytes) -> WorkerOrder:
    """What a letter asks.

    Raises:
        Unreadable: If that cannot be told.

    Example:
        >>> order_of(order_letter(LetGo(["chat"])))
        LetGo(names=['chat'])
    """
    plain = loaded(letter)
    names = plain.get("names")
    if plain.get("order") == "leave":
        return Leave()
    if plain.get("order") == "let go" and isinstance(names, list):
        return LetGo([str(name) for name in names])  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    raise Unreadable("no order that is known")
