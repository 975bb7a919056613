"""Changing any one transition of the table makes a test fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutants import MachineTests, mutants, with_mutant

from rxnodes.fleet.rules.machine import TABLE, Phase, index

TESTS = MachineTests(Path(__file__).with_name("test_machine.py"), index)


def test_the_table_itself_survives():
    assert len(TESTS.calls) > 140
    assert TESTS.survives(TABLE)


@pytest.mark.slow(but_every=40)
@pytest.mark.parametrize(("number", "mutant"), list(mutants(TABLE, Phase)))
def test_a_mutant_is_caught(number, mutant, request):
    assert not TESTS.survives(with_mutant(TABLE, number, mutant)), f"no test holds: {request.node.callspec.id}"
