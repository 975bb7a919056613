"""A deadline that strikes reads the socket first, because a program that was held up must not judge its peer before that.

The peer lives in a thread, and goes on while the client's loop is held up.
"""

from __future__ import annotations

import asyncio
import threading
from unittest import mock

import pytest
from faults import LOCAL, NETWORK, watched_sockets
from raw_peer import PATIENCE, Played, RawPeer

from rxnodes import Project
from rxnodes.testing import Frame, Opcode, close_payload
from rxnodes.transport.aiohttp import reader
from rxnodes.transport.aiohttp.pongs import MAX_OWED_PONGS
from rxnodes.transport.aiohttp.sockets import PeerSystem

SHORT = 0.1


def texts(count, size=8):
    return [str(number).rjust(size) for number in range(count)]


def frames(messages, close=None):
    told = [Frame(Opcode.TEXT, message.encode()) for message in messages]
    return told if close is None else [*told, Frame(Opcode.CLOSE, close_payload(*close))]


def read_little(connection, size):
    """Lets so little be read in a turn, on asyncio's own loop and without TLS. Returns whether that is so."""
    is_possible = (
        isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop) and not connection._driver.link._layers.is_tls
    )
    if is_possible:
        connection._driver.link._layers.lowest.max_size = size
    return is_possible


def hear(peer, is_so):
    """Reads until it is so."""
    while not is_so():
        peer.wait_readable(PATIENCE)
        peer.read()
        peer.take_frames()


def hear_close(peer):
    hear(peer, lambda: peer.heard.close is not None or peer.has_ended)


class HeldUp:
    """A connection whose loop is held up until its peer has done something, and for longer than a deadline lasts."""

    def __init__(self, place, script):
        self.listener, self.fields = place
        self.is_held_up, self.done = threading.Event(), threading.Event()
        self.played = Played(self.listener, lambda peer: script(peer, self.done.set))
        self.received = []

    async def session(self, test, **fields):
        settings = {"url": self.listener.url, "heartbeat": None, **self.fields, **fields}
        self.played.start()
        async with asyncio.timeout(3 * PATIENCE):
            with watched_sockets() as self.sockets:
                async with Project(websocket={"it": settings}) as project:
                    self.it = project.websocket("it")
                    self.it.messages.subscribe(self.received.append)
                    result = await test(self.it)
        await asyncio.to_thread(self.played.finish)
        return result

    def hold_up(self, seconds=2 * SHORT):
        self.is_held_up.set()
        assert self.done.wait(PATIENCE)
        threading.Event().wait(seconds)


@pytest.mark.slow
@pytest.mark.parametrize("deadline", [{"silence_timeout": SHORT}, {"heartbeat": SHORT}])
def test_what_has_come_while_the_loop_was_held_up_is_a_sign_of_life(run, place, deadline):
    def script(peer, done):
        peer.send(*frames(["first"]))
        peer.wait_arrived()
        assert case.is_held_up.wait(PATIENCE)
        peer.send(*frames(texts(36), (4001, "bye")))
        peer.wait_arrived()
        done()
        hear_close(peer)

    case = HeldUp(place, script)

    async def test(it):
        it.start()
        await it.wait_started()
        if "heartbeat" in deadline:
            it._driver.link._keepalive._send_ping()
        timer = it._driver.link._keepalive._silence_timer or it._driver.link._keepalive._ping_timer
        # On asyncio's own loop in the very turn in which the deadline strikes, and before it. uvloop counts milliseconds.
        ahead = 1e-9 if isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop) else 0.01
        asyncio.get_running_loop().call_at(timer.when() - ahead, case.hold_up)
        return await it.wait_stopped()

    stopped = run(case.session(test, **deadline))
    assert case.received == ["first", *texts(36)]
    assert (stopped.code, stopped.reason, stopped.was_clean) == (4001, "bye", True), stopped


@pytest.mark.slow(but_every=3)
def test_an_answer_that_has_come_opens_the_connection(run, place):
    def script(peer, _done):
        hear_close(peer)

    # A busy machine, too, is to ask before it is over.
    timeout = 5 * SHORT
    case = HeldUp(place, script)
    shake_hands, answer, is_asked = RawPeer.shake_hands, threading.Event(), threading.Event()

    def shake_hands_late(peer):
        # The answer is sent while the loop is held up.
        peer.wait_request()
        is_asked.set()
        assert answer.wait(PATIENCE)
        shake_hands(peer)
        case.done.set()

    async def test(it):
        it.start()
        while not is_asked.is_set():
            await asyncio.sleep(0)
        answer.set()
        case.hold_up(timeout)
        opened = await it.wait_started()
        it.abort()
        return opened

    with mock.patch.object(RawPeer, "shake_hands", shake_hands_late):
        opened = run(case.session(test, connect_timeout=timeout))
    assert opened.elapsed > 2 * SHORT


@pytest.mark.slow(but_every=3)
def test_a_close_frame_that_has_come_counts_and_so_do_the_messages_before_it(run, place, monkeypatch):
    # Several reads are needed for them.
    count, read_size = 20, 8192
    monkeypatch.setattr(reader, "READ_SIZE", read_size)

    def script(peer, done):
        peer.wait_unread()
        # Our Close frame has come.
        peer.send(*frames(texts(count, 4096), (4002, "and bye")))
        peer.wait_arrived()
        done()
        hear_close(peer)

    case = HeldUp(place, script)

    async def test(it):
        it.start()
        await it.wait_started()
        read_little(it, read_size)
        it.stop()
        # uvloop writes behind the turn.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        case.hold_up()
        return await it.wait_stopped()

    stopped = run(case.session(test, close_timeout=SHORT))
    assert case.received == texts(count, 4096)
    assert (stopped.code, stopped.reason, stopped.was_clean, stopped.initiator) == (4002, "and bye", True, LOCAL)
    assert stopped.undelivered == 0


@pytest.mark.slow(but_every=3)
def test_what_a_paused_consumer_does_not_take_in_time_is_counted(run, place, monkeypatch):
    count, size, read_size = 200, 256, 4096
    monkeypatch.setattr(reader, "READ_TO_END", 16 * 1024)
    monkeypatch.setattr(reader, "READ_SIZE", read_size)

    may_send = threading.Event()

    def script(peer, done):
        # Not in one read with the handshake's answer.
        assert may_send.wait(PATIENCE)
        peer.send(*frames(texts(count, size), (4003, "full")))
        peer.wait_arrived()
        done()
        hear_close(peer)

    case = HeldUp(place, script)

    async def test(it):
        it._driver.pause_control.pause("a consumer")
        it.start()
        await it.wait_started()
        is_small = read_little(it, read_size)
        may_send.set()
        await asyncio.to_thread(case.done.wait, PATIENCE)
        it.stop()
        return await it.wait_stopped(), is_small

    stopped, is_small = run(case.session(test, close_timeout=SHORT))
    assert stopped.undelivered > 0 or not is_small
    assert stopped.messages_received + stopped.undelivered == count
    assert case.received == texts(count, size)[: stopped.messages_received]
    assert (stopped.code, stopped.reason) == (4003, "full")


@pytest.mark.slow(but_every=3)
def test_what_came_before_a_peer_is_given_up_while_paused_is_delivered(run, place, monkeypatch):
    monkeypatch.setattr(reader, "ask_system", lambda _: PeerSystem(has_ended=False, owes_answer=True, quiet_for=60))

    def script(peer, done):
        peer.send(*frames(texts(50)))
        peer.wait_arrived()
        done()
        hear_close(peer)

    case = HeldUp(place, script)

    async def test(it):
        it._driver.pause_control.pause("a consumer")
        it.start()
        await it.wait_started()
        await asyncio.to_thread(case.done.wait, PATIENCE)
        it._driver.link._keepalive._send_ping()
        return await it.wait_stopped()

    stopped = run(case.session(test, heartbeat=SHORT))
    assert case.received == texts(50)
    assert (stopped.code, stopped.initiator) == (1006, NETWORK)
    assert "no sign of life" in str(stopped.error)


@pytest.mark.slow(but_every=3)
def test_an_unasked_pong_is_no_latency_whatever_it_holds(run, place):
    """RFC 6455 section 5.5.3 allows one, and it may be empty."""

    def script(peer, done):
        hear(peer, lambda: peer.heard.pings)
        ping = peer.heard.pings[0]
        pongs = [Frame(Opcode.PONG, payload) for payload in (b"", ping, b"", ping)]
        peer.send(*pongs, *frames([], (1000, "")))
        done()
        hear_close(peer)

    case = HeldUp(place, script)
    latencies = []

    async def test(it):
        it.latency.subscribe(latencies.append)
        it.start()
        await it.wait_started()
        it._driver.link._keepalive._send_ping()
        return await it.wait_stopped()

    run(case.session(test, heartbeat=60))
    assert len(latencies) == 1


@pytest.mark.slow(but_every=3)
def test_pongs_are_given_in_order_and_ahead_of_what_is_sent_because_of_what_came_with_the_pings(run, place):
    count = 2000

    def script(peer, done):
        pings = [Frame(Opcode.PING, str(number).encode()) for number in range(count)]
        peer.send(*pings, *frames(["that was all"]))
        hear(peer, lambda: peer.heard.messages)
        peer.send(*frames([], (1000, "")))
        hear_close(peer)

    case = HeldUp(place, script)

    async def test(it):
        it.messages.subscribe(it.send)
        it.start()
        return await it.wait_stopped()

    run(case.session(test))
    pongs = [int(pong) for pong in case.played.peer.heard.pongs]
    assert case.played.peer.heard.messages == ["that was all"]
    # Of more than 1,024 that came in one read, the latest.
    assert pongs == list(range(count))[-len(pongs) :]
    assert len(pongs) >= MAX_OWED_PONGS
