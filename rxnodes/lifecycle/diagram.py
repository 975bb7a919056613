"""The state diagram, drawn from the table.

Run `python -m rxnodes.lifecycle.diagram` to print what belongs into the documentation.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Protocol

from rxnodes.lifecycle.inputs import Delivered, Elapsed, HandshakeDone, Lost, Reported, Shutdown, Violated
from rxnodes.lifecycle.machine import TABLE, Phase, open_, will_retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from enum import Enum

    from rxnodes.lifecycle.inputs import Input
    from rxnodes.lifecycle.machine import Transition

__all__ = ["drawn", "mermaid", "name_of", "table", "words_of", "written"]


class _Row(Protocol):
    """A row of any machine's table of transitions."""

    @property
    def source(self) -> Enum: ...
    @property
    def on(self) -> type[Any]: ...
    @property
    def target(self) -> Enum: ...
    @property
    def actions(self) -> Sequence[Callable[..., object]]: ...
    @property
    def when(self) -> Callable[..., bool] | None: ...


_NAMES: dict[type[Input], str] = {
    HandshakeDone: "handshake done",
    Lost: "connection gone",
    Elapsed: "time is up",
    Delivered: "start",
    Violated: "protocol violated",
    Shutdown: "project left",
}


def mermaid(rows: Iterable[Transition] = TABLE) -> str:
    """The states that users see, and the inputs that lead from one to another, as a Mermaid diagram."""
    return drawn(Phase.IDLE.state, filter(None, map(_edge, rows)))


def _edge(row: Transition) -> tuple[Enum, Enum, str] | None:
    # If the peer closed during the login, the attempt opens first. The edge from OPEN is in the diagram anyway.
    opens = open_ in row.actions
    source, target = row.source.state, Phase.OPEN.state if opens else row.target.state
    return None if source is target else (source, target, _name(row) if opens else _label(row))


def table(rows: Iterable[Transition] = TABLE) -> str:
    """Every transition of the table, as Markdown."""
    return written(row for row in rows if row.on is not Reported)


def _label(row: Transition) -> str:
    return f"{_name(row)} and {words_of(will_retry)}" if row.when is will_retry else _name(row)


def _name(row: Transition) -> str:
    return name_of(row.on, _NAMES)


# For any machine's table


def drawn(first: Enum, edges: Iterable[tuple[Enum, Enum, str]]) -> str:
    """A Mermaid diagram of edges with their labels. It begins in the state `first`, and shows each label once."""
    labels: defaultdict[tuple[Enum, Enum], dict[str, None]] = defaultdict(dict)
    for source, target, label in edges:
        labels[source, target][label] = None
    lines = ["stateDiagram-v2", f"    [*] --> {first.name}"]
    lines += [f"    {source.name} --> {target.name}: {', '.join(names)}" for (source, target), names in labels.items()]
    return "\n".join(lines) + "\n"


def written(rows: Iterable[_Row]) -> str:
    """Transitions as a table in Markdown."""
    lines = ["| Phase | Input | If | Then | Next phase |", "|---|---|---|---|---|"]
    for row in rows:
        guard = words_of(row.when) if row.when else ""
        actions = ", ".join(map(words_of, row.actions))
        lines.append(f"| {row.source.name} | {row.on.__name__} | {guard} | {actions} | {row.target.name} |")
    return "\n".join(lines) + "\n"


def name_of(input_: type[Any], names: Mapping[type[Any], str]) -> str:
    """The name of an input in a diagram: one of `names`, or else the name of its class in words."""
    return names.get(input_) or re.sub(r"(?<!^)(?=[A-Z])", " ", input_.__name__).lower()


def words_of(function: Callable[..., object]) -> str:
    """The name of an action or a guard in words."""
    return function.__name__.strip("_").replace("_", " ")


if __name__ == "__main__":
    print(mermaid())  # noqa: T201
    print(table())  # noqa: T201
