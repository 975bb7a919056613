"""The checklist's lines 27 to 40: the peer ends the connection with a Close frame, right or wrong."""

from __future__ import annotations

import asyncio

import faults
import pytest
from faults import LOCAL, REMOTE, clean, run_session
from websockets.asyncio.server import serve

from rxnodes import CloseTimeout, Closing, ConnectionState, ProtocolError
from rxnodes.testing import ChaosProxy, Frame, Opcode, WebSocketServer, close_payload, talk_after_own_close
from rxnodes.websocket import on_stop

SHORT = 0.15


def closes(payload, *before, then=b"", end="close"):
    """A script that sends some frames and a Close frame of any payload, and gives what it heard and how it ended."""

    async def script(peer):
        await peer.accept()
        frames = (*before, Frame(Opcode.CLOSE, payload))
        await peer.send_raw(b"".join(frame.encode() for frame in frames) + then)
        heard = await peer.expect_close()
        if end == "close":
            await peer.half_close()
        return heard, await peer.wait_closed()

    return script


async def refused(payload, code, *, says=""):
    """The Close frame breaks the protocol: we answer with that code, and say so."""
    outcome = await run_session(closes(payload), initiator=LOCAL, error=ProtocolError, messages=[])
    assert outcome.heard == [((code, ""), "fin")]
    assert outcome.stopped.error.code == code
    (event,) = outcome.errors
    assert event.phase == "receive"
    assert event.error is outcome.stopped.error
    assert says in event.message
    assert outcome.journal.kinds == ["Connecting", "Opened", "ErrorEvent", "Closing", "Stopped"]
    return outcome


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
async def test_27_code_and_reason_are_delivered_as_they_are(code):
    reason = "au revoir, à bientôt 👋"
    outcome = await run_session(closes(close_payload(code, reason)), **clean(REMOTE, code, reason), messages=[])
    assert outcome.heard == [((code, ""), "fin")], "the code is echoed"
    assert outcome.journal.kinds == ["Connecting", "Opened", "Closing", "Stopped"]
    assert [event.initiator for event in outcome.watch.of(Closing)] == [REMOTE]
    assert outcome.journal.states[1:] == [
        ConnectionState.CONNECTING,
        ConnectionState.OPEN,
        ConnectionState.CLOSING,
        ConnectionState.CLOSED,
    ]


async def test_28_an_empty_close_frame():
    outcome = await run_session(closes(b""), **clean(REMOTE, 1005), close_timeout=5)
    assert outcome.heard == [((1005, ""), "fin")], "an empty frame is answered by an empty one"
    assert outcome.took < faults.ROOM


async def test_29_a_payload_of_one_byte():
    await refused(b"\x03", 1002, says="half")


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999])
async def test_30_a_code_that_must_not_be_sent(code):
    await refused(close_payload(code, "because"), 1002, says=str(code))


@pytest.mark.parametrize("code", [5000, 9999, 65535])
async def test_31_a_code_beyond_all(code):
    await refused(close_payload(code, "because"), 1002, says=str(code))


@pytest.mark.parametrize("reason", ["x" * 123, "é" * 61 + "x"], ids=["ascii", "two bytes each"])
async def test_32_a_reason_of_123_bytes_is_fine(reason):
    await run_session(closes(close_payload(1000, reason)), **clean(REMOTE, 1000, reason))


@pytest.mark.parametrize("length", [124, 125, 70_000])
async def test_32_a_longer_reason(length):
    await refused(close_payload(1000, "x" * length), 1002)


@pytest.mark.parametrize(
    "reason",
    [b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"cut \xe2\x82"],
    ids=["0xff", "latin-1", "surrogate", "overlong", "beyond", "cut"],
)
async def test_33_a_reason_that_is_not_utf_8(reason):
    await refused(close_payload(1000, reason), 1007, says="UTF-8")


@pytest.mark.parametrize(
    "what",
    [
        Frame(Opcode.TEXT, b"late"),
        Frame(Opcode.BINARY, b"late"),
        Frame(Opcode.PING, b"late"),
        Frame(Opcode.PONG, b"late"),
        Frame(Opcode.TEXT, b"\xff"),
        Frame(11, b"reserved"),
    ],
    ids=lambda frame: f"{frame.opcode}",
)
async def test_34_what_comes_after_close_is_ignored(what):
    outcome = await run_session(
        closes(close_payload(1000, "bye"), then=what.encode()), **clean(REMOTE, 1000, "bye"), messages=[]
    )
    assert outcome.errors == []
    assert outcome.heard == [((1000, ""), "fin")]


async def test_34_a_ping_in_a_segment_of_its_own_after_close_is_not_answered():
    async def script(peer):
        await peer.accept()
        await peer.send_close(1000)
        await peer.expect_close()
        await peer.ping(b"are you there")
        await peer.half_close()
        try:
            return await peer.receive()
        except ConnectionError as end:
            return type(end).__name__

    outcome = await run_session(script, **clean(REMOTE))
    assert outcome.heard != [Frame(Opcode.PONG, b"are you there")]


@pytest.mark.parametrize("second", [close_payload(1001, "second"), b"", b"\x03", close_payload(1006)])
async def test_35_two_close_frames(second):
    outcome = await run_session(
        closes(close_payload(1000, "first"), then=Frame(Opcode.CLOSE, second).encode()), **clean(REMOTE, 1000, "first")
    )
    assert outcome.errors == []


async def test_36_close_inside_a_fragmented_message():
    outcome = await run_session(
        closes(
            close_payload(1001, "never mind"),
            Frame(Opcode.TEXT, b"whole"),
            Frame(Opcode.TEXT, b"half a ", fin=False),
            then=Frame(Opcode.CONTINUATION, b"message").encode(),
        ),
        **clean(REMOTE, 1001, "never mind"),
        messages=["whole"],
    )
    assert outcome.errors == []


@pytest.mark.parametrize("count", [1, 5000])
async def test_37_messages_queued_before_close_are_delivered_before_stopped(count):
    texts = [f"message {number}" for number in range(count)]
    outcome = await run_session(
        closes(close_payload(1000, "that was all"), *(Frame(Opcode.TEXT, text.encode()) for text in texts)),
        **clean(REMOTE, 1000, "that was all"),
        messages=texts,
    )
    assert outcome.stopped.messages_received == count
    assert outcome.stopped.bytes_received == sum(len(text) for text in texts)


async def test_37_nothing_is_lost_when_fin_comes_right_behind_close():
    texts = [f"message {number}" for number in range(500)]

    async def script(peer):
        await peer.accept()
        for text in texts:
            await peer.send_text(text)
        await peer.send_close(1001, "gone")
        await peer.half_close()
        return await peer.expect_close()

    outcome = await run_session(script, **clean(REMOTE, 1001, "gone"), messages=texts)
    assert outcome.heard == [(1001, "")]


async def test_38_tcp_left_open_after_close_is_bounded():
    outcome = await run_session(
        closes(close_payload(1001, "bye"), end="leave"), **clean(REMOTE, 1001, "bye"), close_timeout=SHORT
    )
    assert outcome.errors == []
    assert outcome.heard[0][0] == (1001, "")


@pytest.mark.slow
async def test_38_and_not_as_long_as_close_timeout_allows():
    outcome = await run_session(
        closes(close_payload(1001, "bye"), end="leave"), **clean(REMOTE, 1001, "bye"), close_timeout=20
    )
    assert outcome.watch.closing_took[0] < 2 * faults.ROOM


async def test_39_endless_data_after_close_is_bounded():
    outcome = await run_session(talk_after_own_close, **clean(REMOTE), messages=[], close_timeout=SHORT)
    assert outcome.errors == []


async def test_39_a_flood_after_close_is_bounded():
    async def flood(peer):
        await peer.accept()
        await peer.send_close(1000, "but first")
        frame = Frame(Opcode.BINARY, bytes(60_000)).encode()
        while True:
            await peer.send_raw(frame)

    await run_session(flood, **clean(REMOTE, 1000, "but first"), messages=[], close_timeout=SHORT)


async def test_40_both_sides_close_at_once_and_ours_was_first():
    async def act(connection, _watch):
        connection.messages.subscribe(lambda _: connection.stop(code=3001, reason="ours"))

    outcome = await run_session(
        closes(close_payload(4001, "theirs"), Frame(Opcode.TEXT, b"now")),
        act=act,
        **clean(LOCAL, 4001, "theirs"),
        messages=["now"],
    )
    assert outcome.heard == [((3001, "ours"), "fin")]
    assert outcome.errors == []


async def test_40_both_sides_close_at_once_and_theirs_was_first():
    async def act(connection, _watch):
        connection.lifecycle.subscribe(lambda event: connection.stop(code=3001) if isinstance(event, Closing) else None)

    outcome = await run_session(closes(close_payload(4001, "theirs")), act=act, **clean(REMOTE, 4001, "theirs"))
    assert outcome.heard == [((4001, ""), "fin")]


async def test_40_the_frames_cross_on_the_way():
    ours = asyncio.Event()

    async def script(peer):
        await peer.accept()
        await ours.wait()
        await peer.send_close(4001, "theirs")
        heard = await peer.expect_close()
        return heard, await peer.close()

    async def act(connection, _watch):
        await connection.wait_started()
        connection.stop(code=3001, reason="ours")
        ours.set()

    outcome = await run_session(script, act=act, **clean(LOCAL, 4001, "theirs"))
    assert outcome.heard == [((3001, "ours"), "fin")]


async def test_what_waited_when_the_peer_closed_is_unsent():
    """Promise 4: we answer at once, and what still waited is counted."""
    paused = asyncio.Event()

    async def script(peer):
        await peer.accept()
        await paused.wait()
        await peer.send_close(1001, "enough")
        heard = 0
        try:
            while True:
                await peer.receive_message()
                heard += 1
        except ConnectionError as end:
            return heard, type(end).__name__

    async def act(connection, _watch):
        await connection.wait_started()
        for _ in range(400):
            connection.send(bytes(100_000))
        paused.set()

    outcome = await run_session(script, act=act, **clean(REMOTE, 1001, "enough"), receive_buffer=4096, close_timeout=3)
    stopped = outcome.stopped
    ((heard, end),) = outcome.heard
    assert end == "CloseReceived"
    assert stopped.messages_sent + stopped.unsent == 400
    assert stopped.unsent > 0
    assert heard == stopped.messages_sent


@pytest.mark.slow
@pytest.mark.parametrize("is_tls", [False, True], ids=["ws", "wss"])
async def test_an_answer_that_never_left_is_no_exchange(authority, is_tls):
    """Promise 9: `was_clean` says whether both Close frames were exchanged, not whether we meant to."""
    paused = asyncio.Event()
    ended = asyncio.Event()

    async def closes_and_does_not_read(peer):
        await peer.accept()
        await paused.wait()
        await peer.send_close(1001, "enough")
        await ended.wait()
        try:
            while True:
                await peer.receive_message()
        except ConnectionError as end:
            return type(end).__name__

    async def act(connection, _watch):
        on_stop(connection).subscribe(lambda _: ended.set())
        await connection.wait_started()
        connection.send(bytes(20_000_000))
        paused.set()

    outcome = await run_session(
        closes_and_does_not_read,
        act=act,
        initiator=REMOTE,
        code=1001,
        reason="enough",
        was_clean=False,
        error=CloseTimeout,
        receive_buffer=4096,
        close_timeout=SHORT,
        **(authority.session() if is_tls else {}),
    )
    assert outcome.heard != ["CloseReceived"]


@pytest.mark.parametrize("slice_size", [1, 7])
async def test_37_over_a_slow_and_sliced_network(slice_size):
    texts = [f"m{number}" for number in range(40)]
    script = closes(close_payload(1001, "bye"), *(Frame(Opcode.TEXT, text.encode()) for text in texts))
    async with WebSocketServer(script) as server, ChaosProxy(server.url) as proxy:
        proxy.to_client.slice_size = slice_size
        proxy.to_client.latency = 0.02
        await run_session(proxy.url, **clean(REMOTE, 1001, "bye"), messages=texts)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going away"), (3000, ""), (4999, "x" * 123)])
async def test_27_from_a_server_that_we_did_not_write(code, reason):
    closed = []

    async def handler(connection):
        await connection.send("hello")
        await connection.send(b"bytes")
        await connection.close(code, reason)
        closed.append((connection.close_code, connection.close_reason))

    async with serve(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await run_session(f"ws://127.0.0.1:{port}/", **clean(REMOTE, code, reason), messages=["hello", b"bytes"])
    assert closed[0][0] == code
