"""A short run of sessions in which both sides do anything at any moment; `python -m benchmarks.chaos` does many.

To replay one that failed: python -m benchmarks.chaos --seed <seed> --only <session> --sessions 200
"""

from __future__ import annotations

import random

import pytest
from chaos_accounts import CHUNK, LOOPS, Arena

pytestmark = pytest.mark.slow

SESSIONS = 60


@pytest.fixture(scope="module")
def arena(tmp_path_factory):
    return Arena(tmp_path_factory.mktemp("arena"))


@pytest.mark.parametrize("loop", LOOPS)
def test_the_accounts_of_both_sides_agree(arena, loop):
    pytest.importorskip("uvloop")
    seed = random.randrange(2**32)
    first = CHUNK * LOOPS.index(loop)
    results = list(arena.play(seed, list(range(first, first + SESSIONS)), loop))
    faulty = [str(result) for result in results if result.faults]
    assert not faulty, "\n".join(faulty)
    assert sum(result.is_exact for result in results) > SESSIONS / 2, "the account says too little"
