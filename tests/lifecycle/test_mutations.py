"""Changing any one transition of the table makes a test fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutants import MachineTests, mutants, rows

from rxnodes.lifecycle.inputs import Reported
from rxnodes.lifecycle.machine import TABLE, Phase, index

TESTS = MachineTests(Path(__file__).with_name("test_machine.py"), index)


def test_the_table_itself_survives():
    assert len(TESTS.calls) > 90
    assert TESTS.survives(TABLE)


@pytest.mark.slow(but_every=20)
@pytest.mark.parametrize("number", rows(TABLE))
def test_every_mutant_of_a_row_is_caught(number):
    wrong = mutants(TABLE, number, Phase, whole=lambda row: row.on is Reported)
    assert [what for what, table in wrong.items() if TESTS.survives(table)] == []
