"""Tables of transitions in which one row is wrong, and whether the tests of a machine notice.

Each mutant differs from the table in one row: it is missing, leads elsewhere, leaves out an action, or loses its guard.
A mutant that survives is a rule that nothing holds.
"""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


class MachineTests:
    """The tests of a machine, to be run on any table.

    Args:
        path: Of the module with the tests. It has a class `Machine` with the table as `rows`, indexed.
        index: Indexes a table.
    """

    def __init__(self, path: Path, index) -> None:
        self._module = load(path)
        self._index = index
        self.calls = list(calls(self._module))

    def survives(self, table) -> bool:
        """Whether all tests pass with this table."""
        machine = self._module.Machine
        before, machine.rows = machine.rows, self._index(table)
        try:
            for call in self.calls:
                test, arguments = call
                test(**arguments)
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 - however it fails, the mutant is caught
            # It is the likeliest to catch the next one, too.
            self.calls.remove(call)
            self.calls.insert(0, call)
            return False
        finally:
            machine.rows = before
        return True


def load(path: Path):
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_machine_tests", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def calls(module):
    """Every test of the module with every combination of its parameters."""
    for name, test in vars(module).items():
        if not name.startswith("test_"):
            continue
        marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
        choices = []
        for mark in marks:
            names, values = mark.args[0], mark.args[1]
            names = [part.strip() for part in names.split(",")] if isinstance(names, str) else list(names)
            choices.append([dict(zip(names, value if len(names) > 1 else [value], strict=True)) for value in values])
        for combination in itertools.product(*choices):
            yield test, {key: value for part in combination for key, value in part.items()}


def rows(table):
    """The rows of a table, as the parameters of a test: each one's number, and its name."""
    names = [f"{row.source.name} {row.on.__name__} -> {row.target.name}" for row in table]
    return [pytest.param(number, id=name) for number, name in enumerate(names)]


def mutants(table, number, phases, *, whole=lambda row: False):
    """The tables in which this one row is wrong, by what is wrong with it.

    Args:
        table: The table.
        number: The row's place in it.
        phases: Where a row may lead.
        whole: Whether a row can only be missing.
    """
    row = table[number]
    changed = {"missing": ()}
    if not whole(row):
        changed |= {f"to {phase.name}": (replace(row, target=phase),) for phase in phases if phase is not row.target}
        changed |= {
            f"without {action.__name__}": (replace(row, actions=row.actions[:place] + row.actions[place + 1 :]),)
            for place, action in enumerate(row.actions)
        }
        if row.when is not None:
            changed["without its guard"] = (replace(row, when=None),)
    return {what: (*table[:number], *mutant, *table[number + 1 :]) for what, mutant in changed.items()}
