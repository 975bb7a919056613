"""The gate, against a stand-in for the suite's server: it passes for rxnodes, and for nothing that is wrong."""

from __future__ import annotations

import asyncio
import zlib
from urllib.parse import urlsplit

import pytest
from reactivex import operators as ops

from autobahn.cases import CASES
from autobahn.client import FuzzingClient, Verdict, check, read_reports, run_all
from autobahn.stand_in import Case, FuzzingServer
from rxnodes.testing import RSV1, Frame, Opcode, close_payload
from rxnodes.websocket import client_send, on_receive

TEXT, BINARY, PONG, CLOSE = Opcode.TEXT, Opcode.BINARY, Opcode.PONG, Opcode.CLOSE
MASK = b"\x01\x02\x03\x04"
GOODBYE = Frame(CLOSE, close_payload(1000), mask=MASK)

#: A client that checks UTF-8 at the end of a message only.
NON_STRICT = {"6.4.1", "6.4.2", "6.4.3", "6.4.4"}


def named(*names: str) -> list[Case]:
    return [case for case in CASES if case.name in names]


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


@pytest.mark.parametrize("behavior", ["FAILED", "UNIMPLEMENTED", "WRONG CODE", "whatever may come"])
async def test_the_gate_fails_when_the_server_says_so(behavior):
    async with FuzzingServer(named("2.1", "7.9.5", "7.9.6"), lies={"7.9.5": behavior}) as server:
        verdicts = await run_all(FuzzingClient(server.url))
    with pytest.raises(AssertionError, match=rf"^1 of 3 cases: 7\.9\.5: {behavior}$"):
        check(verdicts)


@pytest.mark.parametrize("behavior", ["OK", "NON-STRICT", "INFORMATIONAL"])
async def test_the_gate_passes_what_is_no_fault(behavior):
    async with FuzzingServer(named("2.1", "7.9.5"), lies={"7.9.5": behavior}) as server:
        verdicts = await run_all(FuzzingClient(server.url))
    check(verdicts)
    assert [verdict.behavior for verdict in verdicts] == ["OK", behavior]


def test_the_gate_looks_at_how_a_connection_was_closed():
    with pytest.raises(AssertionError, match=r"^1 of 2 cases: 1\.1\.2: OK, close UNCLEAN$"):
        check([Verdict(1, "OK", "1.1.1", "OK"), Verdict(2, "OK", "1.1.2", "UNCLEAN")])


def test_the_gate_does_not_pass_for_want_of_cases():
    with pytest.raises(AssertionError, match="no cases"):
        check([])


@pytest.mark.parametrize("url", ["ws://192.0.2.1:9001", "ws://[2001:db8::1]:9001"])
def test_a_fuzzing_server_elsewhere_is_refused(url):
    with pytest.raises(ValueError, match="must be on this machine"):
        FuzzingClient(url)


def in_capitals(connection):
    return on_receive(connection).pipe(ops.map(str.upper), client_send(connection))


def as_binary(connection):
    return on_receive(connection).pipe(client_send(connection, is_binary=True))


def twice(connection):
    return on_receive(connection).pipe(client_send(connection), client_send(connection))


@pytest.mark.parametrize("behave", [in_capitals, as_binary, twice])
async def test_a_wrong_echo_fails(behave):
    async with FuzzingServer(named("6.2.1")) as server:
        verdicts = await run_all(FuzzingClient(server.url, behave=behave))
    assert [verdict.behavior for verdict in verdicts] == ["FAILED"]


@pytest.mark.slow
async def test_a_case_that_does_not_end_is_given_up():
    """The server waits for an echo that does not come, until the client loses patience."""
    async with FuzzingServer(named("6.2.1")) as server:
        client = FuzzingClient(server.url, behave=on_receive, patience=0.5)
        verdicts = await run_all(client)
    assert [verdict.behavior for verdict in verdicts] == ["FAILED"]


async def blurt(url: str, *frames: Frame, offer: str = "") -> None:
    """A client that sends, without listening, what it is told to; then it ends TCP, and waits for the server's end."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    extensions = f"Sec-WebSocket-Extensions: {offer}\r\n" if offer else ""
    head = (
        "GET /runCase?case=1&agent=rxnodes HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n{extensions}\r\n"
    )
    writer.write(head.encode() + b"".join(frame.encode() for frame in frames))
    writer.write_eof()
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def judged(name: str, *frames: Frame, offer: str = "") -> str:
    async with FuzzingServer(named(name)) as server:
        await blurt(server.url, *frames, offer=offer)
        return (await FuzzingClient(server.url).verdict(1)).behavior


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> Frame:
    return Frame(opcode, payload, fin=fin, rsv=rsv, mask=MASK)


HELLO = b"Hello World!"


@pytest.mark.parametrize(
    ("name", "frames", "behavior"),
    [
        ("7.1.1", [masked(TEXT, HELLO), GOODBYE], "OK"),
        ("7.1.1", [masked(TEXT, HELLO[:5], fin=False), masked(0, HELLO[5:]), GOODBYE], "OK"),
        ("7.1.1", [], "FAILED"),
        ("7.1.1", [GOODBYE], "FAILED"),
        ("7.1.1", [masked(TEXT, HELLO)], "FAILED"),
        ("7.1.1", [masked(TEXT, HELLO), masked(CLOSE, close_payload(1002))], "FAILED"),
        ("7.1.1", [masked(TEXT, HELLO), masked(CLOSE, b"x")], "FAILED"),
        ("7.1.1", [masked(TEXT, HELLO), masked(CLOSE, close_payload(1000, b"\xff"))], "FAILED"),
        ("7.1.1", [masked(TEXT, HELLO), masked(PONG), GOODBYE], "FAILED"),
        ("7.1.1", [masked(BINARY, HELLO), GOODBYE], "FAILED"),
        ("7.1.1", [Frame(TEXT, HELLO), GOODBYE], "FAILED"),
        ("7.1.1", [masked(TEXT, HELLO, rsv=RSV1), GOODBYE], "FAILED"),
        ("7.1.1", [masked(TEXT, HELLO[:5], fin=False), masked(TEXT, HELLO[5:]), GOODBYE], "FAILED"),
        ("7.1.1", [masked(0, HELLO), GOODBYE], "FAILED"),
        ("7.1.1", [masked(3, HELLO), GOODBYE], "FAILED"),
        ("2.1", [masked(PONG), GOODBYE], "OK"),
        ("2.1", [masked(PONG, b"?"), GOODBYE], "FAILED"),
        ("2.1", [masked(PONG, fin=False), GOODBYE], "FAILED"),
        ("2.4", [masked(PONG, b"\xfe" * 125), GOODBYE], "OK"),
        ("2.4", [masked(PONG, b"\xfe" * 126), GOODBYE], "FAILED"),
        ("3.2", [masked(CLOSE, close_payload(1002))], "NON-STRICT"),
        ("5.18", [masked(TEXT, b"fragment2"), masked(CLOSE, close_payload(1002))], "FAILED"),
        ("6.3.1", [masked(CLOSE, close_payload(1007))], "OK"),
        ("7.1.4", [masked(TEXT, HELLO), GOODBYE], "FAILED"),
        ("7.7.5", [masked(CLOSE, close_payload(1007))], "OK"),
        ("7.7.5", [masked(CLOSE, close_payload(1002))], "FAILED"),
        ("7.9.5", [masked(CLOSE, close_payload(1002))], "OK"),
        ("7.9.5", [], "OK"),
        ("7.9.5", [masked(CLOSE, close_payload(1006))], "FAILED"),
        ("12.1.1", [GOODBYE], "UNIMPLEMENTED"),
    ],
)
async def test_the_stand_in_judges(name, frames, behavior):
    assert await judged(name, *frames) == behavior


@pytest.mark.parametrize(
    ("name", "window", "is_fresh", "behavior"),
    [
        ("13.1.6", 15, False, "OK"),
        ("13.2.6", 15, True, "OK"),
        ("13.2.6", 15, False, "FAILED"),
        ("13.3.6", 9, False, "OK"),
        ("13.3.6", 15, False, "FAILED"),
        ("13.5.6", 9, True, "OK"),
        ("13.5.6", 9, False, "FAILED"),
        ("13.5.6", 15, True, "FAILED"),
    ],
)
async def test_the_stand_in_holds_a_client_to_the_compression_agreed(name, window, is_fresh, behavior):
    (case,) = named(name)
    compressor = zlib.compressobj(wbits=-window)
    frames = []
    for message in case.messages():
        if is_fresh:
            compressor = zlib.compressobj(wbits=-window)
        packed = compressor.compress(message.payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        frames.append(masked(TEXT, packed.removesuffix(b"\x00\x00\xff\xff"), rsv=RSV1))
    assert await judged(name, *frames, GOODBYE, offer="permessage-deflate; client_max_window_bits") == behavior
