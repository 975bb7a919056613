"""Changing any one transition of the table makes a test fail.

Each mutant differs from the table in one row: it is missing, leads elsewhere, leaves out an action, or loses its guard.
The tests of the machine are run against each. A mutant that survives is a rule that nothing holds.
"""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from rxnodes.lifecycle.inputs import Reported
from rxnodes.lifecycle.machine import TABLE, Phase, index


def load_machine_tests():
    spec = importlib.util.spec_from_file_location("machine_tests", Path(__file__).with_name("test_machine.py"))
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


MODULE = load_machine_tests()
CALLS = list(calls(MODULE))


def survives(table):
    """Whether all tests of the machine pass with this table."""
    MODULE.Machine.rows = index(table)
    try:
        for test, arguments in CALLS:
            test(**arguments)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - however it fails, the mutant is caught
        return False
    finally:
        MODULE.Machine.rows = index(TABLE)
    return True


def mutants_of(row):
    """What takes the place of a row, by what is changed in it; `None`: nothing."""
    mutants = {"missing": None}
    if row.on is Reported:
        return mutants
    mutants |= {f"to {phase.name}": replace(row, target=phase) for phase in Phase if phase is not row.target}
    mutants |= {
        f"without {action.__name__}": replace(row, actions=row.actions[:place] + row.actions[place + 1 :])
        for place, action in enumerate(row.actions)
    }
    if row.when is not None:
        mutants["without its guard"] = replace(row, when=None)
    return mutants


def test_the_table_itself_survives():
    assert len(CALLS) > 90
    assert survives(TABLE)


def name_of(row):
    return f"{row.source.name} {row.on.__name__} -> {row.target.name}"


@pytest.mark.slow(but_every=20)
@pytest.mark.parametrize("number", range(len(TABLE)), ids=map(name_of, TABLE))
def test_every_mutant_of_a_row_is_caught(number):
    before, row, behind = TABLE[:number], TABLE[number], TABLE[number + 1 :]
    tables = {
        what: [*before, *([] if mutant is None else [mutant]), *behind] for what, mutant in mutants_of(row).items()
    }
    assert [what for what, table in tables.items() if survives(table)] == []
