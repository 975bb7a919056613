"""The gate, against a stand-in for the suite's server."""

from __future__ import annotations

import pytest
from reactivex import operators as ops

from autobahn.cases import CASES
from autobahn.client import FuzzingClient, Verdict, check, read_reports, run_all
from autobahn.stand_in import FuzzingServer
from rxnodes.websocket import client_send, on_receive

#: A client that checks UTF-8 at the end of a message only.
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


def in_capitals(connection):
    return on_receive(connection).pipe(ops.map(str.upper), client_send(connection))


async def test_a_client_that_is_wrong_does_not_pass():
    async with FuzzingServer([case for case in CASES if case.name == "6.2.1"]) as server:
        verdicts = await run_all(FuzzingClient(server.url, behave=in_capitals))
    with pytest.raises(AssertionError, match=r"^1 of 1 cases: 6\.2\.1: FAILED$"):
        check(verdicts)


def test_the_gate_looks_at_how_a_connection_was_closed():
    with pytest.raises(AssertionError, match=r"^1 of 2 cases: 1\.1\.2: OK, close UNCLEAN$"):
        check([Verdict(1, "OK", "1.1.1", "OK"), Verdict(2, "OK", "1.1.2", "UNCLEAN")])
