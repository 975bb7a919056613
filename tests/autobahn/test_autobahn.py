"""The gate: the Autobahn test suite, where somebody runs its fuzzing server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autobahn.client import FuzzingClient, check, read_reports, run_all

URL = os.environ.get("RXNODES_AUTOBAHN_URL", "")
REPORTS = os.environ.get("RXNODES_AUTOBAHN_REPORTS", "")

HOW = (
    "no fuzzing server is given. Start Autobahn|Testsuite on this machine (`wstest -m fuzzingserver`), then set"
    " RXNODES_AUTOBAHN_URL=ws://127.0.0.1:9001; with RXNODES_AUTOBAHN_REPORTS, the folder of its reports, how each"
    " connection was closed is judged too. It takes some ten minutes"
)


@pytest.mark.skipif(not URL, reason=HOW)
async def test_every_case_of_the_suite():
    verdicts = await run_all(FuzzingClient(URL))
    check(verdicts)
    if REPORTS:
        reports = read_reports(Path(REPORTS))
        assert len(reports) == len(verdicts)
        check(reports)
