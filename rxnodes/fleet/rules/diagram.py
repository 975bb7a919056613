"""The state diagram of a hold, drawn from the table.

Run `python -m rxnodes.fleet.rules.diagram` to print what belongs into the documentation.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from rxnodes.fleet.rules.inputs import (
    Always,
    Appended,
    Claim,
    Cut,
    Ended,
    Joined,
    LastRead,
    NotBegun,
    RecordRead,
    RecordSeen,
    Unsure,
    Written,
)
from rxnodes.fleet.rules.machine import (
    TABLE,
    Phase,
    is_away,
    is_left_behind,
    is_ours,
    is_overtaken,
    may_begin,
    may_go,
    must_end,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rxnodes.fleet.rules.inputs import Input
    from rxnodes.fleet.rules.machine import Transition

__all__ = ["mermaid", "phases", "table"]

_NAMES: dict[type[Input], str] = {
    Joined: "lease taken",
    Claim: "its share",
    Cut: "lease lost",
    Written: "record written",
    RecordRead: "record read",
    Unsure: "no sure answer",
    Appended: "log has it",
    LastRead: "log read",
    Ended: "session over",
    NotBegun: "session never begun",
}
_REASONS: dict[Callable[..., bool], str] = {
    is_overtaken: "not the holder any more",
    is_left_behind: "session left behind",
    may_go: "draining",
    may_begin: "session wished",
    must_end: "session not wished",
    is_ours: "record read",
}


def mermaid(rows: Iterable[Transition] = TABLE) -> str:
    """Where a worker stands towards a connection, and what leads from one to another, as a Mermaid diagram."""
    labels: defaultdict[tuple[Phase, Phase], list[str]] = defaultdict(list)
    for row in rows:
        if row.source is not row.target:
            label = _label(row)
            if label not in labels[row.source, row.target]:
                labels[row.source, row.target].append(label)
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.AWAY.name}"]
    lines += [f"    {source.name} --> {target.name}: {', '.join(names)}" for (source, target), names in labels.items()]
    return "\n".join(lines) + "\n"


def phases() -> str:
    """What the phases mean, as Markdown."""
    return "".join(f"- `{phase.name}`: {phase.value}.\n" for phase in Phase)


def table(rows: Iterable[Transition] = TABLE) -> str:
    """Every transition of the table, as Markdown."""
    lines = ["| Phase | Input | If | Then | Next phase |", "|---|---|---|---|---|"]
    for row in rows:
        if row.on is RecordSeen:
            continue
        guard = _words(row.when.__name__) if row.when else ""
        actions = ", ".join(_words(action.__name__) for action in row.actions)
        lines.append(f"| {row.source.name} | {row.on.__name__} | {guard} | {actions} | {row.target.name} |")
    return "\n".join(lines) + "\n"


def _label(row: Transition) -> str:
    if row.on is Always:
        assert row.when is not None
        return _REASONS[row.when]
    name = _NAMES.get(row.on) or _words(re.sub(r"(?<!^)(?=[A-Z])", "_", row.on.__name__)).lower()
    if row.on is Ended and row.source is Phase.FENCED:
        return f"{name}, {'without' if row.when is is_away else 'with'} a lease"
    return name


def _words(name: str) -> str:
    return name.strip("_").replace("_", " ")


if __name__ == "__main__":
    print(mermaid())  # noqa: T201
    print(phases())  # noqa: T201
    print(table())  # noqa: T201
