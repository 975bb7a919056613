"""The state diagram of a hold, drawn from the table.

Run `python -m rxnodes.fleet.rules.diagram` to print what belongs into the documentation.
"""

from __future__ import annotations

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
from rxnodes.lifecycle.diagram import drawn, name_of, written

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
    return drawn(Phase.AWAY, ((row.source, row.target, _label(row)) for row in rows if row.source is not row.target))


def phases() -> str:
    """What the phases mean, as Markdown."""
    return "".join(f"- `{phase.name}`: {phase.value}.\n" for phase in Phase)


def table(rows: Iterable[Transition] = TABLE) -> str:
    """Every transition of the table, as Markdown."""
    return written(row for row in rows if row.on is not RecordSeen)


def _label(row: Transition) -> str:
    if row.on is Always:
        assert row.when is not None
        return _REASONS[row.when]
    name = name_of(row.on, _NAMES)
    if row.on is Ended and row.source is Phase.FENCED:
        return f"{name}, {'without' if row.when is is_away else 'with'} a lease"
    return name


if __name__ == "__main__":
    print(mermaid())  # noqa: T201
    print(phases())  # noqa: T201
    print(table())  # noqa: T201
