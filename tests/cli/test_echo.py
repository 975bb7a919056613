"""`rxnodes echo`, as clients that we did not write meet it."""

from __future__ import annotations

import re
import signal
import socket
import urllib.error
import urllib.request

import pytest
from commands import child, fails, read_until
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.sync.client import connect

pytestmark = pytest.mark.slow


@pytest.fixture
def server():
    """A server that listens, and its URL."""
    with child("echo", "--port", "0") as process:
        url = re.fullmatch(r"listening on (ws://127\.0\.0\.1:\d+/) \(Ctrl\+C ends it\)\n", process.stdout.readline())[1]
        yield process, url


def told(process):
    """The next line, without the time of day."""
    return process.stdout.readline()[14:].rstrip("\n")


def test_it_sends_back_what_comes_and_says_what_happens(server):
    process, url = server
    with connect(f"{url}path?query", subprotocols=["v2", "v1"], max_size=None) as client:
        assert client.subprotocol == "v2"
        assert told(process) == "1 open: /path?query, subprotocol v2"
        for message in ("text", "", b"\x00\xff", "x" * 1_000_000):
            client.send(message)
            assert client.recv() == message
        assert client.ping("are you there?").wait(10)
        client.close(4000, "seen \x1b[2J enough")
    assert told(process) == '1 closed: 4000 "seen \\x1b[2J enough"; 4 messages (1000006 bytes)'


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_closes_every_connection(number, status, server):
    process, url = server
    with connect(url) as first, connect(url) as second:
        read_until(process.stdout, "2 open: ")
        process.send_signal(number)
        for client in (first, second):
            with pytest.raises(ConnectionClosedOK, match="1001"):
                client.recv()
        assert sorted(line[14:] for line in process.stdout) == [
            "1 closed: 1001; 0 messages (0 bytes)\n",
            "2 closed: 1001; 0 messages (0 bytes)\n",
        ]
        assert process.wait() == status
        assert not process.stderr.read()


def test_a_second_signal_waits_for_nobody(server):
    process, url = server
    host, port = url[5:-1].split(":")
    with connect(url), socket.create_connection((host, port)):
        read_until(process.stdout, "1 open: ")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert not process.stderr.read()


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        (b"\x81\x81\0\0\0\0\xff", 1007, "refused with 1007"),
        (b"\x81\x01x", 1002, "did not mask"),
        (b"\x88\x81\0\0\0\0x", 1002, "refused with 1002"),
    ],
)
def test_a_client_that_breaks_the_protocol(frame, code, words, server):
    process, url = server
    with connect(url) as client:
        read_until(process.stdout, "open: ")
        client.socket.sendall(frame)
        with pytest.raises(ConnectionClosedError, match=str(code)):
            client.recv()
    assert words in told(process)


def test_a_client_that_vanishes(server):
    process, url = server
    with connect(url) as client:
        read_until(process.stdout, "open: ")
        client.socket.shutdown(socket.SHUT_RDWR)
    assert told(process) == "1 lost: the client has ended its side; 0 messages (0 bytes)"


def test_a_browser_is_told_what_this_is(server):
    process, url = server
    with pytest.raises(urllib.error.HTTPError, match="426") as refused:
        urllib.request.urlopen(f"http{url[2:]}page")  # noqa: S310 - ours
    assert refused.value.read() == b"This is a WebSocket server.\n"
    assert told(process) == "1 refused: GET /page is no WebSocket handshake"


def test_it_ends_when_nobody_reads_what_it_prints(server):
    process, url = server
    process.stdout.close()
    with connect(url) as client, pytest.raises(ConnectionClosedOK, match="1001"):
        client.recv()
    assert process.wait() == 0
    assert not process.stderr.read()


def test_a_port_that_is_taken(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        errors = fails(["echo", "--port", str(taken.getsockname()[1])], capsys)
    assert errors.startswith("rxnodes: Address already in use")
