"""The checklist's lines 61 to 72: an open connection ends, or hangs, without a Close frame."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from datetime import UTC, datetime, timedelta

import faults
import pytest
from faults import LOCAL, NETWORK, TIMEOUT, clean, run_session, stop_when_open

from rxnodes import CloseTimeout, ConnectionLost, ConnectionState, Opened
from rxnodes.testing import (
    ChaosProxy,
    Frame,
    Opcode,
    WebSocketServer,
    echo,
    hang_up,
    never_answer_handshake,
    never_read,
    vanish,
)
from rxnodes.websocket import on_stop

HEARTBEAT = 0.2


async def lost(where, *, messages=None, **options):
    """An open connection that is lost, and announced so, without Closing."""
    outcome = await run_session(where, initiator=NETWORK, error=ConnectionLost, messages=messages, **options)
    (event,) = outcome.errors
    assert event.phase == "receive"
    assert event.error is outcome.stopped.error
    assert outcome.journal.kinds == ["Connecting", "Opened", "ErrorEvent", "Stopped"]
    assert outcome.journal.states[1:] == [ConnectionState.CONNECTING, ConnectionState.OPEN, ConnectionState.CLOSED]
    return outcome


def after_accept(octets=b"", end="fin"):
    async def script(peer):
        await peer.accept(then=octets)
        if end == "reset":
            peer.reset()
        elif end == "no close_notify":
            await peer.drop_tls()

    return script


async def test_61_fin_without_close():
    outcome = await lost(hang_up, messages=[])
    assert "without a Close frame" in outcome.errors[0].message


async def test_61_what_came_before_fin_is_delivered():
    octets = b"".join(Frame(Opcode.TEXT, str(number).encode()).encode() for number in range(1000))
    await lost(after_accept(octets), messages=[str(number) for number in range(1000)])


async def test_62_rst():
    await lost(vanish, messages=[])


async def test_62_rst_after_a_while():
    async with WebSocketServer(echo) as server, ChaosProxy(server.url) as proxy:

        async def act(connection, _watch):
            await connection.wait_started()
            connection.messages.subscribe(lambda _: proxy.reset_all())
            connection.send("hello")

        outcome = await lost(proxy.url, act=act, messages=["hello"])
    assert "reset" in outcome.errors[0].message


async def test_62_rst_while_we_are_sending():
    async def resets(peer):
        await peer.accept()
        await peer.receive_message()
        peer.reset()

    async def act(connection, watch):
        await connection.wait_started()
        while not watch.stopped and connection.state is ConnectionState.OPEN:
            connection.send(bytes(10_000))
            await asyncio.sleep(0)

    outcome = await lost(resets, act=act)
    assert outcome.stopped.messages_sent + outcome.stopped.unsent > 0


@pytest.mark.parametrize("end", ["fin", "reset"])
@pytest.mark.parametrize(
    "part",
    [
        Frame(Opcode.TEXT, b"cut off").encode()[:-1],
        Frame(Opcode.TEXT, b"cut off").encode()[:1],
        Frame(Opcode.BINARY, bytes(70_000)).encode()[:-1],
        Frame(Opcode.TEXT, b"first part", fin=False).encode(),
        Frame(Opcode.TEXT, b"a", fin=False).encode() + Frame(Opcode.CONTINUATION, b"b", fin=False).encode(),
        Frame(Opcode.CLOSE, b"\x03\xe8").encode()[:-1],
    ],
    ids=["payload", "header", "long", "message", "fragments", "close"],
)
async def test_63_a_part_is_not_delivered(part, end):
    outcome = await lost(after_accept(Frame(Opcode.TEXT, b"whole").encode() + part, end))
    # A reset throws away what was not read yet; what was read is whole.
    assert outcome.journal.messages in ([["whole"]] if end == "fin" else [["whole"], []])


async def test_64_half_close_by_the_peer():
    async def half(peer):
        await peer.accept()
        await peer.half_close()
        return await peer.wait_closed()

    outcome = await lost(half)
    assert len(outcome.heard) == 1


async def test_64_half_close_on_the_way():
    async with WebSocketServer(echo) as server, ChaosProxy(server.url) as proxy:

        async def act(connection, _watch):
            await connection.wait_started()
            proxy.to_client.half_close = True

        await lost(proxy.url, act=act)


@pytest.mark.parametrize("end", ["fin", "no close_notify", "reset"])
async def test_65_tls_end_with_and_without_close_notify(authority, end):
    outcome = await lost(after_accept(Frame(Opcode.TEXT, b"last words").encode(), end), **authority.session())
    if end != "reset":
        assert outcome.journal.messages == ["last words"]


@pytest.mark.parametrize("direction", ["both", "to_server", "to_client"])
async def test_66_a_black_hole_is_found_by_the_heartbeat(direction):
    async with WebSocketServer(echo) as server, ChaosProxy(server.url) as proxy:
        since = []

        async def act(connection, _watch):
            await connection.wait_started()
            if direction != "to_client":
                proxy.to_server.black_hole = True
            if direction != "to_server":
                proxy.to_client.black_hole = True
            since.append(time.monotonic())
            on_stop(connection).subscribe(lambda _: since.append(time.monotonic()))

        outcome = await lost(proxy.url, act=act, heartbeat=HEARTBEAT)
    assert "sign of life" in outcome.errors[0].message
    assert HEARTBEAT <= since[1] - since[0] <= 1.5 * HEARTBEAT + faults.ROOM


@pytest.mark.slow
async def test_66_half_an_interval_after_the_ping_and_not_later():
    heartbeat = 0.8

    async def silent(peer):
        await peer.accept()
        assert (await peer.receive()).opcode == Opcode.PING
        loop = asyncio.get_running_loop()
        pinged = loop.time()
        await peer.wait_closed()
        return loop.time() - pinged

    outcome = await lost(silent, heartbeat=heartbeat)
    (waited,) = outcome.heard
    assert 0.45 * heartbeat < waited < 0.9 * heartbeat


@pytest.mark.slow
async def test_66_a_black_hole_that_heals_in_time_is_no_end():
    async with WebSocketServer(echo) as server, ChaosProxy(server.url) as proxy:

        async def act(connection, _watch):
            await connection.wait_started()
            proxy.to_client.latency = HEARTBEAT / 4
            await asyncio.sleep(4 * HEARTBEAT)
            proxy.to_client.latency = 0
            connection.send("still here")
            connection.messages.subscribe(lambda _: connection.stop())

        await run_session(proxy.url, act=act, **clean(LOCAL), messages=["still here"], heartbeat=HEARTBEAT)


async def test_66_a_black_hole_while_the_write_buffer_is_full():
    async with WebSocketServer(never_read, receive_buffer=4096) as server:

        async def act(connection, _watch):
            await connection.wait_started()
            connection.send(bytes(20_000_000))

        outcome = await lost(server.url, act=act, heartbeat=HEARTBEAT, within=3)
    assert outcome.stopped.unsent == 1


@pytest.mark.slow
async def test_67_a_large_slow_frame_does_not_trip_the_heartbeat():
    size = 60_000

    async def large(peer):
        await peer.accept()
        frame = Frame(Opcode.BINARY, bytes(size)).encode()
        for start in range(0, len(frame), 2_000):
            await peer.send_raw(frame[start : start + 2_000])
            await asyncio.sleep(0.03)
        await peer.send_close(1000)

    outcome = await run_session(large, **clean(faults.REMOTE), messages=[bytes(size)], heartbeat=HEARTBEAT)
    assert outcome.took > 3 * HEARTBEAT


@pytest.mark.slow
async def test_67_nor_does_a_large_slow_frame_of_ours():
    """The peer reads all the time, only slowly; it cannot see a ping before it has read what lies ahead of it."""
    size = 6_000_000

    async def slow(peer):
        await peer.accept()
        message = await peer.receive_message()
        assert len(message) == size
        await peer.send_close((await peer.expect_close()).code)

    async with WebSocketServer(slow) as server, ChaosProxy(server.url) as proxy:

        async def act(connection, _watch):
            await connection.wait_started()
            proxy.to_server.bandwidth = 5_000_000
            connection.send(bytes(size))
            connection.stop()

        outcome = await run_session(proxy.url, act=act, **clean(LOCAL), heartbeat=HEARTBEAT, close_timeout=10)
    assert outcome.took > 3 * HEARTBEAT


@pytest.mark.slow
async def test_67_nor_does_a_slow_reader():
    """It takes all the time what lies ahead of the ping, and says nothing else."""
    heartbeat, count, size = 0.5, 80, 100_000

    async def slow(peer):
        await peer.accept()
        for _ in range(count):
            assert len(await peer.receive_message()) == size
            await asyncio.sleep(0.02)
        await peer.send_text("got it all")
        await peer.send_close((await peer.expect_close()).code)

    async def act(connection, _watch):
        await connection.wait_started()
        connection.messages.subscribe(lambda _: connection.stop())
        for _ in range(count):
            connection.send(bytes(size))

    outcome = await run_session(
        slow,
        act=act,
        **clean(LOCAL),
        messages=["got it all"],
        heartbeat=heartbeat,
        close_timeout=10,
        receive_buffer=65536,
    )
    assert outcome.took > 3 * heartbeat


@pytest.mark.slow
async def test_67_a_subscriber_that_blocks_the_loop_does_not_trip_it():
    async with WebSocketServer(echo) as server:

        async def act(connection, _watch):
            await connection.wait_started()
            for _ in range(3):
                await asyncio.sleep(1.2 * HEARTBEAT)
                time.sleep(2 * HEARTBEAT)  # noqa: ASYNC251 - blocking is the point
            connection.stop()

        await run_session(server.url, act=act, **clean(LOCAL), heartbeat=HEARTBEAT)


@pytest.mark.slow
@pytest.mark.parametrize("script", [hang_up, vanish, echo, never_read, never_answer_handshake])
async def test_68_no_timer_is_left_after_the_end(script, links):
    """The helper looks for timers and tasks; this one looks for the link itself as well."""

    async def act(connection, _watch):
        if script in (echo, never_read):
            await connection.wait_started()
            connection.send("hello")
            connection.abort()
        elif script is never_answer_handshake:
            connection.stop()

    is_lost = script in (hang_up, vanish)
    outcome = await run_session(
        script,
        act=act,
        initiator=NETWORK if is_lost else LOCAL,
        error=ConnectionLost if is_lost else None,
        opened=script is not never_answer_handshake,
        script_ends=False,
        heartbeat=30,
    )
    # That the session has ended does not have to be noticed with the help of the garbage collector's luck.
    del outcome
    gc.collect()
    assert list(links) == []


async def test_69_an_unasked_pong_is_ignored():
    async def pongs(peer):
        await peer.accept()
        for payload in (b"", b"unasked", b"x" * 125):
            await peer.pong(payload)
        await peer.send_text("and on it goes")
        await peer.send_close((await peer.expect_close()).code)

    async def act(connection, _watch):
        connection.messages.subscribe(lambda _: connection.stop())

    outcome = await run_session(pongs, act=act, **clean(LOCAL), messages=["and on it goes"])
    assert outcome.errors == []


async def test_70_a_peer_process_that_is_stopped():
    """As with SIGSTOP: its kernel goes on taking what we send, and nobody answers."""
    outcome = await lost(never_read, heartbeat=HEARTBEAT, script_ends=False)
    assert "sign of life" in outcome.errors[0].message


async def test_70_the_link_goes_down_while_we_close():
    async with WebSocketServer(echo) as server, ChaosProxy(server.url) as proxy:

        async def act(connection, _watch):
            await connection.wait_started()
            proxy.to_server.black_hole = proxy.to_client.black_hole = True
            connection.stop()

        await run_session(proxy.url, act=act, initiator=TIMEOUT, error=CloseTimeout, close_timeout=0.3)


async def pongs_only(peer):
    """Answers pings, and says nothing else."""
    await peer.accept()
    while True:
        frame = await peer.receive()
        if frame.opcode == Opcode.PING:
            await peer.pong(frame.payload)


@pytest.mark.slow
@pytest.mark.parametrize("talk", ["", "pings", "half a message"])
async def test_71_a_peer_that_answers_pings_but_says_nothing_more(talk):
    async def script(peer):
        await peer.accept()
        if talk == "half a message":
            await peer.send_frame(Frame(Opcode.TEXT, b"half", fin=False))
        while True:
            frame = await peer.receive()
            if frame.opcode == Opcode.PING:
                await peer.pong(frame.payload)
            if talk == "pings":
                await peer.ping(b"I am here")

    outcome = await lost(script, messages=[], heartbeat=HEARTBEAT, silence_timeout=3 * HEARTBEAT)
    assert "silence_timeout" in outcome.errors[0].message
    assert outcome.took >= 3 * HEARTBEAT


@pytest.mark.slow
async def test_71_each_message_begins_the_silence_anew():
    async def script(peer):
        await peer.accept()
        for number in range(5):
            await peer.send_text(str(number))
            await asyncio.sleep(HEARTBEAT)
        await peer.send_close(1000)

    await run_session(script, **clean(faults.REMOTE), messages=list("01234"), silence_timeout=3 * HEARTBEAT)


@pytest.mark.slow
async def test_71_without_it_a_peer_may_be_silent():
    async def act(connection, _watch):
        await connection.wait_started()
        await asyncio.sleep(4 * HEARTBEAT)
        connection.abort()

    outcome = await run_session(pongs_only, act=act, initiator=LOCAL, heartbeat=HEARTBEAT, script_ends=False)
    assert outcome.errors == []


async def test_72_a_clock_that_jumps_changes_nothing(monkeypatch):
    class Jumping(datetime):
        jumps = 0

        @classmethod
        def now(cls, _zone=None):
            cls.jumps += 1
            return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(days=365) * (-1) ** cls.jumps

    monkeypatch.setattr("rxnodes.rx.schedulers.datetime", Jumping)
    monkeypatch.setattr(time, "time", lambda: 0.0)

    async def silent(peer):
        await peer.accept()
        await peer.wait_closed()

    outcome = await run_session(
        silent, act=stop_when_open, initiator=TIMEOUT, error=CloseTimeout, close_timeout=0.3, within=1
    )
    assert Jumping.jumps > 3
    assert 0.3 <= outcome.stopped.duration <= 0.3 + faults.ROOM
    assert outcome.watch.of(Opened)[0].elapsed >= 0


@pytest.mark.slow
async def test_72_a_coarse_clock_does_not_make_a_quick_answer_look_like_none():
    """The clock of some loops stands still for a millisecond or more, in which a pong can come."""
    loop = asyncio.get_running_loop()
    fine = loop.time
    loop.time = lambda: math.floor(fine() * 20) / 20

    async def act(connection, _watch):
        await connection.wait_started()
        await asyncio.sleep(5 * HEARTBEAT)
        connection.stop()

    await run_session(echo, act=act, **clean(LOCAL), heartbeat=HEARTBEAT)
