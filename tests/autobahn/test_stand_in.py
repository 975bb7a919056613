"""Autobahn's 517 cases, as a stand-in for its fuzzing server plays and judges them."""

from __future__ import annotations

import pytest

from autobahn.cases import CASES
from autobahn.client import FuzzingClient, check, read_reports, run_all
from autobahn.stand_in import FuzzingServer

#: Cases that only a client which checks UTF-8 before the end of a message passes strictly.
NON_STRICT = {"6.4.1", "6.4.2", "6.4.3", "6.4.4"}


def test_the_suite_is_whole():
    names = [case.name for case in CASES if not case.name.startswith("X.")]
    assert len(names) == len(set(names)) == 517


@pytest.mark.slow
async def test_rxnodes_passes_every_case(tmp_path):
    async with FuzzingServer(CASES, reports=tmp_path) as server:
        verdicts = await run_all(FuzzingClient(server.url))
    check(verdicts)
    reports = read_reports(tmp_path)
    check(reports)
    assert [report.name for report in reports] == [case.name for case in CASES]
    assert [report.behavior for report in reports] == [verdict.behavior for verdict in verdicts]
    assert {report.name for report in reports if report.behavior == "NON-STRICT"} <= NON_STRICT
