"""Changing any one transition of the table makes a test fail."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest
from mutants import MachineTests, mutants, with_mutant

from rxnodes.lifecycle.inputs import Reported
from rxnodes.lifecycle.machine import TABLE, Phase, index

TESTS = MachineTests(Path(__file__).with_name("test_machine.py"), index)


def test_the_table_itself_survives():
    assert len(TESTS.calls) > 90
    assert TESTS.survives(TABLE)


def mutants_by_row():
    """The mutants of each row, as the parameters of a test: the row's number, and what takes its place."""
    found = mutants(TABLE, Phase, whole=lambda row: row.on is Reported)
    for number, group in groupby(found, key=lambda it: it.values[0]):
        row = TABLE[number]
        name = f"{row.source.name} {row.on.__name__} -> {row.target.name}"
        yield pytest.param(number, {it.id: it.values[1] for it in group}, id=name)


@pytest.mark.slow(but_every=20)
@pytest.mark.parametrize(("number", "changed"), list(mutants_by_row()))
def test_every_mutant_of_a_row_is_caught(number, changed):
    assert [what for what, mutant in changed.items() if TESTS.survives(with_mutant(TABLE, number, mutant))] == []
