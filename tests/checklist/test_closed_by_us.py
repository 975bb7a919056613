"""The checklist's lines 41 to 60: we end the connection, and the peer is well-mannered or not."""

from __future__ import annotations

import asyncio
import functools

import faults
import pytest
from faults import LOCAL, TIMEOUT, clean, run_session, stop_when_open
from websockets.asyncio.server import serve

from rxnodes import (
    CloseTimeout,
    Closing,
    ConnectionLost,
    ConnectionState,
    Project,
    ProtocolError,
    SendError,
)
from rxnodes.testing import (
    ChaosProxy,
    CloseReceived,
    Frame,
    Opcode,
    WebSocketServer,
    close_payload,
    echo,
    keep_tcp_open,
    never_answer_close,
    never_read,
    talk_after_close,
)
from rxnodes.websocket import client_stop, on_start, on_stop

SHORT = 0.15


async def answer(peer):
    """Answers our Close with its code and a reason of its own, and gives what it heard and how TCP ended."""
    await peer.accept()
    heard = await peer.expect_close()
    await peer.send_close(None if heard.code == 1005 else heard.code, "as you wish")
    return heard, await peer.close()


def stop_with(**words):
    async def act(connection, _watch):
        await connection.wait_started()
        connection.stop(**words)

    return act


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        *((code, "") for code in [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 4999]),
        (4000, "x" * 123),
        (4000, "tschüß 👋"),
    ],
)
async def test_41_code_and_reason_are_sent_and_the_reply_awaited(code, reason):
    outcome = await run_session(
        answer, act=stop_with(code=code, reason=reason), **clean(LOCAL, code, "as you wish"), messages=[]
    )
    assert outcome.heard == [((code, reason), "fin")]
    assert outcome.journal.kinds == ["Connecting", "Opened", "Closing", "Stopped"]


async def test_42_then_the_end_of_tcp_is_awaited():
    replied = asyncio.Event()
    let_go = asyncio.Event()

    async def slow_to_end(peer):
        await peer.accept()
        await peer.send_close((await peer.expect_close()).code)
        replied.set()
        await let_go.wait()

    async def act(connection, watch):
        await stop_when_open(connection, watch)
        await replied.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        assert connection.state is ConnectionState.CLOSING
        assert watch.stopped == []
        let_go.set()

    await run_session(slow_to_end, act=act, **clean(LOCAL), close_timeout=5)


async def test_43_no_reply():
    outcome = await run_session(
        never_answer_close, act=stop_when_open, initiator=TIMEOUT, error=CloseTimeout, close_timeout=SHORT
    )
    assert outcome.watch.closing_took[0] >= SHORT * 0.9
    (event,) = outcome.errors
    assert event.phase == "close"
    assert outcome.journal.kinds == ["Connecting", "Opened", "Closing", "ErrorEvent", "Stopped"]


async def test_43_fin_instead_of_a_reply():
    async def fin(peer):
        await peer.accept()
        return await peer.expect_close()

    outcome = await run_session(fin, act=stop_when_open, initiator=LOCAL, error=ConnectionLost, close_timeout=5)
    assert outcome.took < faults.ROOM
    assert [event.phase for event in outcome.errors] == ["close"]


async def test_43_rst_instead_of_a_reply():
    async def rst(peer):
        await peer.accept()
        await peer.expect_close()
        peer.reset()

    await run_session(rst, act=stop_when_open, initiator=LOCAL, error=ConnectionLost, close_timeout=5)


async def test_44_a_reply_but_tcp_left_open():
    outcome = await run_session(keep_tcp_open, act=stop_when_open, **clean(LOCAL), close_timeout=SHORT)
    assert outcome.errors == []


@pytest.mark.parametrize("talk", [talk_after_close, "flood"])
async def test_45_endless_data_does_not_extend_the_deadline(talk):
    async def flood(peer):
        await peer.accept()
        await peer.expect_close()
        frame = Frame(Opcode.BINARY, bytes(50_000)).encode()
        while True:
            await peer.send_raw(frame)

    outcome = await run_session(
        flood if talk == "flood" else talk,
        act=stop_when_open,
        initiator=TIMEOUT,
        error=CloseTimeout,
        close_timeout=SHORT,
    )
    assert outcome.stopped.messages_received == len(outcome.journal.messages) > 0


async def test_45_nor_do_pings():
    async def pings(peer):
        await peer.accept()
        await peer.expect_close()
        while True:
            await peer.ping(b"?")
            await asyncio.sleep(0.01)

    await run_session(pings, act=stop_when_open, initiator=TIMEOUT, error=CloseTimeout, close_timeout=SHORT)


async def test_45_nor_does_data_followed_by_the_reply_at_last():
    async def late(peer):
        await peer.accept()
        await peer.expect_close()
        for number in range(20):
            await peer.send_text(str(number))
            await asyncio.sleep(0.005)
        await peer.send_close(1000, "at last")

    await run_session(
        late,
        act=stop_when_open,
        **clean(LOCAL, 1000, "at last"),
        messages=[str(number) for number in range(20)],
        close_timeout=5,
    )


async def test_46_stop_two_and_three_times():
    async def act(connection, _watch):
        await connection.wait_started()
        connection.stop(code=4001)
        connection.stop(code=4002)
        await asyncio.sleep(0)
        connection.stop(code=4003)

    outcome = await run_session(answer, act=act, **clean(LOCAL, 4001, "as you wish"))
    assert outcome.heard == [((4001, ""), "fin")]
    assert len(outcome.watch.of(Closing)) == 1


async def test_47_stop_inside_on_stop():
    async def act(connection, watch):
        on_stop(connection).subscribe(lambda _: connection.stop())
        await stop_when_open(connection, watch)

    await run_session(answer, act=act, **clean(LOCAL, 1000, "as you wish"))


async def refused_where_the_call_is_made(says, *words):
    """Nothing of these may be in a Close frame, and nothing changes."""

    async def act(connection, watch):
        await connection.wait_started()
        told = len(watch.told)
        for word in words:
            for call in (connection.stop, functools.partial(client_stop, connection)):
                with pytest.raises(ValueError, match=says):
                    call(**word)
        assert connection.state is ConnectionState.OPEN
        assert len(watch.told) == told
        connection.stop(code=3333)

    await run_session(answer, act=act, **clean(LOCAL, 3333, "as you wish"))


async def test_48_a_code_that_must_not_be_sent_is_refused_where_the_call_is_made():
    codes = [-1, 0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535, 65536]
    await refused_where_the_call_is_made("close code", *({"code": code} for code in codes))


async def test_49_a_reason_over_123_bytes_is_refused_before_anything_changes():
    reasons = ["x" * 124, "é" * 62, "👋" * 31]
    await refused_where_the_call_is_made("bytes", *({"reason": reason} for reason in reasons))


async def test_50_a_reason_without_a_code_means_1000():
    outcome = await run_session(answer, act=stop_with(reason="done"), **clean(LOCAL, 1000, "as you wish"))
    assert outcome.heard == [((1000, "done"), "fin")]


async def test_51_unpaired_surrogates():
    async def act(connection, _watch):
        await connection.wait_started()
        with pytest.raises(ValueError, match="surrogate"):
            connection.stop(reason="half \ud83d")
        with pytest.raises(ValueError, match="surrogate"):
            connection.send("half \ud83d")
        assert connection.state is ConnectionState.OPEN
        connection.stop()

    outcome = await run_session(answer, act=act, **clean(LOCAL, 1000, "as you wish"))
    assert outcome.errors == []


async def test_52_stop_while_opened_is_being_delivered():
    async def act(connection, _watch):
        on_start(connection).subscribe(lambda _: connection.stop())

    outcome = await run_session(answer, act=act, **clean(LOCAL, 1000, "as you wish"))
    assert outcome.journal.kinds == ["Connecting", "Opened", "Closing", "Stopped"]


@pytest.mark.parametrize("size", [10, 200_000])
async def test_53_stop_with_sends_waiting(size):
    async def slow_reader(peer):
        await peer.accept()
        heard = 0
        try:
            while True:
                assert len(await peer.receive_message()) == size
                heard += 1
        except CloseReceived as close:
            await peer.send_close(close.code)
            return heard

    async def act(connection, _watch):
        await connection.wait_started()
        for _ in range(50):
            connection.send(bytes(size))
        connection.stop()

    outcome = await run_session(slow_reader, act=act, **clean(LOCAL), receive_buffer=4096, close_timeout=10)
    assert outcome.heard == [50]
    assert (outcome.stopped.messages_sent, outcome.stopped.bytes_sent) == (50, 50 * size)
    assert outcome.stopped.unsent == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", ["stop", "abort"])
@pytest.mark.parametrize("is_tls", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("size", [1_000, 1_000_000])
async def test_54_stop_while_the_peer_does_not_read(authority, size, is_tls, command):
    """Bounded; and what the peer can still read afterwards is exactly what was said to be sent."""
    count = 20_000_000 // size
    ended = asyncio.Event()

    async def reads_at_last(peer):
        await peer.accept()
        await ended.wait()
        heard = 0
        try:
            while True:
                await peer.receive_message()
                heard += 1
        except ConnectionError:
            return heard

    async def act(connection, _watch):
        on_stop(connection).subscribe(lambda _: ended.set())
        await connection.wait_started()
        for _ in range(count):
            connection.send(bytes(size))
        getattr(connection, command)()

    outcome = await run_session(
        reads_at_last,
        act=act,
        initiator=TIMEOUT if command == "stop" else LOCAL,
        error=CloseTimeout if command == "stop" else None,
        close_timeout=SHORT,
        receive_buffer=4096,
        **(authority.session() if is_tls else {}),
    )
    assert outcome.stopped.unsent > 0
    assert outcome.stopped.messages_sent + outcome.stopped.unsent == count
    (heard,) = outcome.heard
    # What TLS still held is known up to a record only; a message is not called sent before its record has left.
    assert 0 <= heard - outcome.stopped.messages_sent <= (2 * 2**14 // size + 1 if is_tls else 0)
    assert outcome.stopped.bytes_sent == outcome.stopped.messages_sent * size


@pytest.mark.slow
async def test_54_a_close_that_waited_for_the_network_still_goes_out():
    async def reads_late(peer):
        await peer.accept()
        await asyncio.sleep(0.1)
        heard = await peer.expect_close()
        await peer.send_close(heard.code)
        return heard

    async def act(connection, _watch):
        await connection.wait_started()
        connection.send(bytes(10_000_000))
        connection.stop(code=3210)

    outcome = await run_session(reads_late, act=act, **clean(LOCAL, 3210), receive_buffer=4096, close_timeout=10)
    assert outcome.heard == [(3210, "")]


@pytest.mark.slow
async def test_55_stop_with_a_ping_in_flight():
    pinged = asyncio.Event()

    async def late_pong(peer):
        await peer.accept()
        ping = await peer.receive()
        assert ping.opcode == Opcode.PING
        pinged.set()
        heard = await peer.expect_close(answer_pings=False)
        await peer.pong(ping.payload)
        await peer.send_close(heard.code)
        return heard

    async def act(connection, _watch):
        await pinged.wait()
        connection.stop()

    outcome = await run_session(late_pong, act=act, **clean(LOCAL), heartbeat=0.5, close_timeout=5)
    assert outcome.heard == [(1000, "")]


@pytest.mark.slow
async def test_55_the_heartbeat_does_not_cut_a_closing_short():
    """The deadline of a closing is close_timeout, and nothing else."""

    async def thinks_it_over(peer):
        await peer.accept()
        heard = await peer.expect_close()
        await asyncio.sleep(0.4)
        await peer.send_close(heard.code, "well then")

    await run_session(
        thinks_it_over, act=stop_when_open, **clean(LOCAL, 1000, "well then"), heartbeat=0.1, close_timeout=5
    )


async def test_56_the_waiting_task_is_cancelled():
    async def act(connection, watch):
        await stop_when_open(connection, watch)
        waiting = asyncio.create_task(connection.wait_stopped())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    outcome = await run_session(answer, act=act, **clean(LOCAL, 1000, "as you wish"))
    assert outcome.heard == [((1000, ""), "fin")]


@pytest.mark.parametrize("wait", ["wait_started", "wait_stopped"])
async def test_57_a_cancelled_wait_never_spoils_a_later_clean_close(wait):
    async def act(connection, _watch):
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await getattr(connection, wait)()
        await connection.wait_started()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await connection.wait_stopped()
        connection.stop()

    await run_session(answer, act=act, **clean(LOCAL, 1000, "as you wish"))


async def test_58_send_after_stop_is_a_definite_error():
    async with WebSocketServer(answer) as server, Project(websocket={"it": server.url}) as project:
        connection = project.websocket("it")
        watch = faults.Watch(connection)
        connection.start()
        await connection.wait_started()
        connection.stop()
        stopped = await connection.wait_stopped()
        connection.send("too late")
        (event,) = watch.errors
        assert (event.phase, event.session, event.attempt) == ("send", 0, 0)
        assert isinstance(event.error, SendError)
        assert "closed" in event.message
        assert stopped.unsent == 0
        watch.check()


async def test_59_send_while_closing_is_a_definite_error():
    async def act(connection, watch):
        await stop_when_open(connection, watch)
        connection.send("too late")
        connection.send(b"too late")

    outcome = await run_session(answer, act=act, **clean(LOCAL, 1000, "as you wish"))
    assert [(event.phase, event.session, type(event.error)) for event in outcome.errors] == [("send", 1, SendError)] * 2
    assert outcome.heard == [((1000, ""), "fin")]
    assert outcome.stopped.messages_sent == 0


@pytest.mark.parametrize("when", ["idle", "connecting"])
async def test_59_so_is_one_before_it_is_open(when):
    async with WebSocketServer(answer) as server, Project(websocket={"it": server.url}) as project:
        connection = project.websocket("it")
        watch = faults.Watch(connection)
        if when == "connecting":
            connection.start()
        connection.send("too early")
        (event,) = watch.errors
        assert event.phase == "send"
        assert event.session == (1 if when == "connecting" else 0)
        assert when in event.message
    watch.check()


async def test_60_what_arrives_after_our_close_frame_is_delivered():
    texts = [f"still {number}" for number in range(200)]

    async def talkative(peer):
        await peer.accept()
        heard = await peer.expect_close()
        for text in texts:
            await peer.send_text(text)
        await peer.send_close(heard.code, "now I am done")

    outcome = await run_session(talkative, act=stop_when_open, **clean(LOCAL, 1000, "now I am done"), messages=texts)
    told = outcome.watch.told
    closing = next(index for index, what in enumerate(told) if isinstance(what, Closing))
    assert all(told.index(text) > closing for text in texts)


def replies(frame):
    """A script that answers our Close with a frame."""

    async def script(peer):
        await peer.accept()
        await peer.expect_close()
        await peer.send_frame(frame)
        await peer.half_close()
        return await peer.wait_closed()

    return script


@pytest.mark.parametrize(
    "frame",
    [
        Frame(Opcode.TEXT, b"\xff"),
        *(Frame(Opcode.CLOSE, payload) for payload in (b"\x03", close_payload(1006), close_payload(1000, b"\xff"))),
    ],
    ids=["text", "half a code", "a code that must not be sent", "a reason that is not UTF-8"],
)
async def test_60_a_violation_after_our_close_frame(frame):
    outcome = await run_session(replies(frame), act=stop_when_open, initiator=LOCAL, error=ProtocolError)
    assert [event.phase for event in outcome.errors] == ["receive"]


@pytest.mark.parametrize(
    ("payload", "told"),
    [(close_payload(4444, "my own words"), (4444, "my own words")), (b"", (1005,))],
    ids=["another code", "empty"],
)
async def test_a_reply_is_kept_as_it_is(payload, told):
    await run_session(replies(Frame(Opcode.CLOSE, payload)), act=stop_when_open, **clean(LOCAL, *told))


@pytest.mark.parametrize("script", [echo, never_answer_close, never_read, keep_tcp_open], ids=lambda s: s.__name__)
async def test_abort_is_at_once(script):
    async def act(connection, _watch):
        await connection.wait_started()
        connection.abort()

    outcome = await run_session(script, act=act, initiator=LOCAL, script_ends=False, close_timeout=20)
    assert outcome.took < faults.ROOM
    assert outcome.errors == []
    assert outcome.journal.kinds == ["Connecting", "Opened", "Closing", "Stopped"]


async def test_abort_cuts_a_closing_short():
    async def act(connection, watch):
        await stop_when_open(connection, watch)
        connection.abort()

    outcome = await run_session(never_answer_close, act=act, initiator=LOCAL, close_timeout=20)
    assert outcome.took < faults.ROOM
    assert outcome.errors == []


async def test_43_with_tls_at_a_peer_that_is_gone(authority):
    """TLS has its own ending and its own timeouts, which must not add to ours."""
    async with (
        WebSocketServer(echo, tls=authority.server()) as server,
        ChaosProxy(server.url.replace("127.0.0.1", "localhost")) as proxy,
    ):

        async def act(connection, _watch):
            await connection.wait_started()
            proxy.to_server.black_hole = proxy.to_client.black_hole = True
            connection.stop()

        await run_session(
            proxy.url,
            act=act,
            initiator=TIMEOUT,
            error=CloseTimeout,
            close_timeout=SHORT,
            within=1.0,
            tls={"ca_file": authority.file},
        )


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going"), (3000, "x" * 123), (4999, "ende gut")])
async def test_41_at_a_server_that_we_did_not_write(code, reason):
    heard = []

    async def handler(connection):
        said = (
            [message async for message in connection]
            if code in (1000, 1001)
            else [await connection.recv() for _ in "ab"]
        )
        await connection.wait_closed()
        heard.append((said, connection.close_code, connection.close_reason))

    async def act(connection, _watch):
        await connection.wait_started()
        connection.send("hello")
        connection.send(b"bytes")
        connection.stop(code=code, reason=reason)

    async with serve(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await run_session(f"ws://127.0.0.1:{port}/", act=act, **clean(LOCAL, code, reason))
    assert heard == [(["hello", b"bytes"], code, reason)]
    assert outcome.stopped.messages_sent == 2
