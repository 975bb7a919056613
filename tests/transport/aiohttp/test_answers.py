"""The server's answer to the handshake, on real sockets."""

from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rxnodes import ConnectError, Opened, Project
from rxnodes.testing import WebSocketServer, accept_key
from rxnodes.transport.aiohttp import answers

MANY = [f"X-{number}: {number}" for number in range(200)]


def answering(*pieces, pause=0.0, then=None):
    """A server that answers with this, where {accept} is what the handshake asks for."""

    async def script(peer):
        request = await peer.read_request()
        accept = accept_key(request.header("Sec-WebSocket-Key")).encode()
        for piece in pieces:
            await peer.send_raw(piece.replace(b"{accept}", accept))
            await asyncio.sleep(pause)
        if then is not None:
            await then(peer)

    return script


async def waits(peer):
    """A server that leaves TCP open."""
    await peer.wait_closed()


async def outcome_of(script, **fields):
    """The `Opened`, or the error in its place."""
    async with WebSocketServer(script) as server:
        settings = {"url": server.url, "connect_timeout": 5, "close_timeout": 1, **fields}
        async with Project(websocket={"it": settings}) as project:
            project.websocket("it").start()
            try:
                opened = await project.websocket("it").wait_started()
            except ConnectError as error:
                return error
            project.websocket("it").abort()
            return opened


def switching(*lines, first="HTTP/1.1 101 Switching Protocols", end="\r\n"):
    """The head of an answer that opens, with these lines in it."""
    usual = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: {accept}"]
    return end.join([first, *usual, *lines, "", ""]).encode("latin-1")


OPENS = {
    "usual": switching(),
    "200 headers": switching(*MANY),
    "a header of 9,000 bytes": switching("X: " + "x" * 9000),
    "a header of 60,000 bytes": switching("X: " + "x" * 60_000),
    "folded lines": switching("X: 1", " 2", "\t3"),
    "LF alone": switching("X: 1", end="\n"),
    "no reason phrase": switching(first="HTTP/1.1 101"),
    "a long reason phrase": switching(first="HTTP/1.1 101 " + "x" * 9000),
    "bytes above 127": switching("X: \xe9\xff"),
    "control characters": switching("X: \x01\x7f"),
    "Content-Length twice": switching("Content-Length: 0", "Content-Length: 0"),
    "Content-Length that contradicts": switching("Content-Length: 0", "Content-Length: 7"),
    "Content-Type twice": switching("Content-Type: a/b", "Content-Type: c/d"),
    "Server, Date and Host twice": switching(*["Server: a", "Date: b", "Host: c"] * 2),
    "Transfer-Encoding": switching("Transfer-Encoding: chunked"),
    "spaces before a colon": switching("X : 1"),
    "an empty header": switching("X:"),
    "an interim answer": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + switching(),
    "HTTP/1.0": switching(first="HTTP/1.0 101 OK"),
}
REFUSED = {
    "no colon": (switching("X"), "not HTTP"),
    "a name with a space": (switching("X Y: 1"), "not HTTP"),
    "NUL": (switching("X: \0"), "not HTTP"),
    "CR alone": (switching("X: 1\r2"), "not HTTP"),
    "HTTP/2": (switching(first="HTTP/2 101"), "not HTTP"),
    "more than 64 KiB in one header": (switching("X: " + "x" * 2**16), "max_header_size (65536 bytes)"),
    "more than 64 KiB in all": (switching(*[f"X: {'x' * 700}"] * 100), "max_header_size (65536 bytes)"),
    "a status that is final": (b"HTTP/1.1 404\nContent-Length: 0\nContent-Length: 1\n\n", "404 instead of 101"),
}


@pytest.mark.parametrize("head", OPENS.values(), ids=OPENS)
async def test_a_verdict_that_it_opens(head):
    assert isinstance(await outcome_of(answering(head, then=waits)), Opened)


@pytest.mark.parametrize(("head", "says"), REFUSED.values(), ids=REFUSED)
async def test_a_verdict_that_it_is_refused(head, says, monkeypatch):
    monkeypatch.setattr(answers, "BODY_TIMEOUT", 0.01)
    error = await outcome_of(answering(head, then=waits))
    assert isinstance(error, ConnectError)
    assert says in str(error)
    assert error.retryable


@pytest.mark.slow
def test_debug_mode_judges_alike():
    """aiohttp decides how strict it is when it is imported. So this runs in another process."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pytest", "-q", "-n0", "-k", "verdict", "-p", "no:cacheprovider", __file__],
        env=os.environ | {"PYTHONASYNCIODEBUG": "1", "PYTEST_ADDOPTS": ""},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"{len(OPENS) + len(REFUSED)} passed" in done.stdout


@pytest.mark.parametrize("size", [300, 64 * 1024, 1024 * 1024])
async def test_max_header_size_is_the_heads(size):
    fits = switching(first="HTTP/1.1 101", end="\n").replace(b"{accept}", b"x" * 28)
    padded = switching("X: " + "x" * (size - len(fits) - len("X: \n")), first="HTTP/1.1 101", end="\n")
    assert isinstance(await outcome_of(answering(padded, then=waits), max_header_size=size), Opened)
    error = await outcome_of(answering(padded, then=waits), max_header_size=size - 1)
    assert str(error) == f"the head of the server's answer is longer than max_header_size ({size - 1} bytes)"


async def test_the_headers_of_an_answer_that_opens_are_told():
    opened = await outcome_of(answering(switching("Set-Cookie: a=1", "set-cookie: b=2", "X: 1", " 2"), then=waits))
    assert opened.headers.getall("SET-COOKIE") == ["a=1", "b=2"]
    assert opened.headers["x"] == "1 2"
    assert "a=1" not in repr(opened)


async def test_all_of_a_refusal_can_be_read():
    lines = [
        "HTTP/1.1 401 No",
        "WWW-Authenticate: Basic",
        "www-authenticate: Bearer",
        "Location: /login",
        "Retry-After: 7",
        "Content-Length: 5",
    ]
    error = await outcome_of(answering("\r\n".join([*lines, "", "sorry"]).encode()))
    assert (str(error), error.status) == ("the server answered 401 instead of 101", 401)
    assert error.headers.getall("WWW-Authenticate") == ["Basic", "Bearer"]
    assert error.headers["location"] == "/login"
    assert (error.body, error.retry_after) == (b"sorry", 7.0)


async def test_an_answer_that_is_not_one_to_our_handshake_has_its_headers_too():
    error = await outcome_of(answering(switching("X: 1").replace(b"{accept}", b"wrong"), then=waits))
    assert (error.status, error.headers["X"], error.body) == (101, "1", b"")


HEAD = b"HTTP/1.1 503 Busy\r\n"
LARGE = bytes(range(256)) * 4000


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ([HEAD + b"\r\n", b"until ", b"the end"], b"until the end"),
        ([HEAD + b"Content-Length: 5\r\n\r\nshort"], b"short"),
        ([HEAD + b"Content-Length: 5\r\n\r\nshort, is it?"], b""),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nin \r\n", b"6\r\npieces\r\n0\r\n\r\n"], b"in pieces"),
        ([HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"packed")], b"packed"),
        ([HEAD + b"Content-Encoding: gzip\r\n\r\nnot gzip"], b""),
        ([HEAD + f"Content-Length: {len(LARGE)}\r\n\r\n".encode() + LARGE], LARGE[:8192]),
        ([HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(10_000_000))], bytes(8192)),
        ([b"HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n"], b""),
    ],
    ids=["end of TCP", "length", "wrong length", "chunks", "gzip", "no gzip", "large", "bomb", "none"],
)
async def test_the_beginning_of_the_body_is_kept(pieces, body):
    assert (await outcome_of(answering(*pieces, pause=0.02))).body == body


@pytest.mark.parametrize(
    "head",
    [HEAD, HEAD + b"Content-Length: 100\r\n", HEAD + b"Transfer-Encoding: chunked\r\n"],
    ids=["", "length", "chunks"],
)
async def test_a_body_that_never_ends_holds_nothing_up(head, monkeypatch):
    monkeypatch.setattr(answers, "BODY_TIMEOUT", 0.1)
    piece = b"4\r\npart\r\n" if b"chunked" in head else b"part"
    error = await outcome_of(answering(head + b"\r\n" + piece, then=waits))
    assert (error.status, error.body) == (503, b"part")


async def test_connect_timeout_in_the_midst_of_a_body_does_not_hide_the_refusal():
    script = answering(HEAD + b"Retry-After: 3\r\nContent-Length: 100\r\n\r\npart", then=waits)
    error = await outcome_of(script, connect_timeout=0.2)
    assert (error.status, error.retry_after, error.body) == (503, 3.0, b"part")


async def test_a_stop_in_the_midst_of_a_body_is_no_error():
    async with WebSocketServer(answering(HEAD + b"Content-Length: 100\r\n\r\n", then=waits)) as server:
        async with Project(websocket={"it": server.url}) as project:
            it = project.websocket("it")
            it.start()
            await asyncio.sleep(0.1)
            it.stop()
            async with asyncio.timeout(0.5):
                stopped = await it.wait_stopped()
    assert (stopped.error, stopped.opened) == (None, False)


async def test_an_answer_that_comes_before_it_was_asked_for_is_read_alike():
    async def hasty(peer):
        await peer.send_raw(b"HTTP/1.1 503 Full\nRetry-After: 9\n\nnot now")
        await peer.half_close()

    error = await outcome_of(hasty)
    assert (error.status, error.retry_after, error.body) == (503, 9.0, b"not now")
