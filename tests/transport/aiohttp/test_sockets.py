"""The sockets of links: what they tell, and what the system tells of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys

import pytest

from rxnodes.transport.aiohttp.sockets import (
    ESTABLISHED,
    TCP_INFO,
    PeerSystem,
    WatchedSocket,
    ask_system,
    count_unacknowledged,
)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


@pytest.fixture
def pair():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        theirs, _ = server.accept()
        with theirs:
            yield ours, theirs


@linux_only
def test_a_peer_that_is_there(pair):
    ours, _ = pair
    ours.sendall(b"ping")
    system = ask_system(ours)
    assert (system.has_ended, system.owes_answer) == (False, False)
    assert 0 <= system.quiet_for < 60


@linux_only
def test_a_peer_whose_program_does_not_read_owes_nothing(pair):
    ours, _ = pair
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(bytes(1_000_000))
    assert not ask_system(ours).owes_answer


@linux_only
@pytest.mark.parametrize("end", ["fin", "reset"])
def test_a_peer_that_has_ended_though_nothing_of_it_was_read(pair, end):
    ours, theirs = pair
    theirs.sendall(b"last words")
    if end == "reset":
        ours.sendall(b"not read")
        theirs.recv(1)
    theirs.close()
    assert ask_system(ours).has_ended
    assert ours.recv(100) == b"last words"


def test_a_socket_that_is_closed(pair):
    ours, _ = pair
    ours.close()
    assert ask_system(ours) is None
    assert count_unacknowledged(ours) == 0


def test_a_system_that_does_not_tell(pair, monkeypatch):
    monkeypatch.setattr(sys, "platform", "somewhere else")
    assert ask_system(pair[0]) is None


class Sock:
    def __init__(self, answer):
        self.answer = answer

    def getsockopt(self, _level, _option, _size):
        return self.answer


@linux_only
@pytest.mark.parametrize(
    ("numbers", "owes_answer"),
    [
        ((0, 0, 0, 500, 400), False),
        # Sent a moment ago, behind a long silence.
        ((0, 0, 1, 0, 60_000), False),
        ((1, 0, 1, 0, 60_000), False),
        # Sent again and again.
        ((2, 0, 1, 0, 60_000), True),
        ((5, 0, 3, 4000, 12_000), True),
        # Each time there was an answer, though not the one that was wanted: the peer has no memory for it.
        ((5, 0, 3, 4000, 4000), False),
        # A window that is closed: its probes are answered, or are not.
        ((0, 1, 0, 60_000, 30_000), False),
        ((0, 3, 0, 60_000, 30_000), True),
    ],
)
def test_what_the_numbers_mean(numbers, owes_answer):
    """They are: retransmits, probes, segments in flight, milliseconds since anything was sent, and since anything came."""
    sock = Sock(TCP_INFO.pack(ESTABLISHED, *numbers))
    assert ask_system(sock) == PeerSystem(has_ended=False, owes_answer=owes_answer, quiet_for=numbers[-1] / 1000)


@linux_only
def test_a_kernel_that_tells_less():
    assert ask_system(Sock(bytes(TCP_INFO.size - 1))) is None


# What the system tells of what was sent


def test_what_the_system_holds_of_what_was_sent(monkeypatch):
    left, right = socket.socketpair()
    with left, right:
        left.send(b"x" * 1000)
        held = count_unacknowledged(left)
        if sys.platform == "linux":
            assert held >= 1000
        with monkeypatch.context() as patch:
            patch.setattr(sys, "platform", "darwin")
            assert count_unacknowledged(left) == 0


def test_the_system_holds_nothing_of_what_is_no_socket(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        assert count_unacknowledged(file) == 0


# The proof that a connection has ended: its descriptor is gone


class Watcher:
    """What a socket tells."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.closed = []
        self.may_drain = False

    def on_socket_closed(self, sock):
        self.closed.append(sock)


def watched():
    sock, watcher = WatchedSocket(), Watcher()
    sock.link = watcher
    return sock, watcher


async def test_a_socket_tells_once_that_it_was_closed():
    sock, watcher = watched()
    sock.close()
    assert watcher.closed == [sock]
    assert sock.fileno() == -1
    sock.close()
    assert watcher.closed == [sock]


async def test_a_socket_that_is_detached_tells_when_its_new_owner_has_closed_the_descriptor():
    sock, watcher = watched()
    descriptor = sock.detach()
    assert watcher.closed == []
    os.close(descriptor)
    await asyncio.sleep(0)
    assert watcher.closed == [sock]
    sock.close()
    assert watcher.closed == [sock]


async def test_a_socket_that_outlives_its_loop_tells_nobody():
    sock, watcher = watched()
    watcher.loop = asyncio.new_event_loop()
    watcher.loop.close()
    os.close(sock.detach())
    await asyncio.sleep(0)
    assert watcher.closed == []


def test_a_socket_that_nobody_watches():
    sock = WatchedSocket()
    os.close(sock.detach())
    WatchedSocket().close()
