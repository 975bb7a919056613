"""The state diagram, drawn from the table.

Run `python -m rxnodes.lifecycle.diagram` to print what belongs into the documentation.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from rxnodes.lifecycle.inputs import Delivered, Elapsed, HandshakeDone, Lost, Reported, Shutdown, Violated
from rxnodes.lifecycle.machine import TABLE, Phase, open_, will_retry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rxnodes.lifecycle.inputs import Input
    from rxnodes.lifecycle.machine import Transition
    from rxnodes.lifecycle.states import ConnectionState

__all__ = ["mermaid", "table"]


_NAMES: dict[type[Input], str] = {
    HandshakeDone: "handshake done",
    Lost: "connection gone",
    Elapsed: "time is up",
    Delivered: "start",
    Violated: "protocol violated",
    Shutdown: "project left",
}


def mermaid(rows: Iterable[Transition] = TABLE) -> str:
    """The states that users see, and what leads from one to another, as a Mermaid diagram."""
    labels: defaultdict[tuple[ConnectionState, ConnectionState], list[str]] = defaultdict(list)
    for row in rows:
        # Where the peer closed during the login, the attempt opens first, and what follows is as while open.
        opens = open_ in row.actions
        edge = (row.source.state, Phase.OPEN.state if opens else row.target.state)
        if edge[0] is not edge[1]:
            label = _name(row) if opens else _label(row)
            if label not in labels[edge]:
                labels[edge].append(label)
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.IDLE.state.name}"]
    lines += [f"    {source.name} --> {target.name}: {', '.join(names)}" for (source, target), names in labels.items()]
    return "\n".join(lines) + "\n"


def table(rows: Iterable[Transition] = TABLE) -> str:
    """Every transition of the table, as Markdown."""
    lines = ["| Phase | Input | If | Then | Next phase |", "|---|---|---|---|---|"]
    for row in rows:
        if row.on is Reported:
            continue
        guard = _words(row.when.__name__) if row.when else ""
        actions = ", ".join(_words(action.__name__) for action in row.actions)
        lines.append(f"| {row.source.name} | {row.on.__name__} | {guard} | {actions} | {row.target.name} |")
    return "\n".join(lines) + "\n"


def _label(row: Transition) -> str:
    return f"{_name(row)} and {_words(will_retry.__name__)}" if row.when is will_retry else _name(row)


def _name(row: Transition) -> str:
    return _NAMES.get(row.on) or _words(re.sub(r"(?<!^)(?=[A-Z])", "_", row.on.__name__)).lower()


def _words(name: str) -> str:
    return name.strip("_").replace("_", " ")


if __name__ == "__main__":
    print(mermaid())  # noqa: T201
    print(table())  # noqa: T201
