"""The transport over aiohttp, link by link: the corners that whole sessions do not reach at will."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import pytest
from faults import ROOM, TIMEOUT, run_session
from receipts import receipt

from rxnodes import CloseTimeout, ConnectError, ConnectionLost, Project, Sent
from rxnodes.testing import Frame, Opcode, WebSocketServer, close_payload, echo, never_answer_close, never_read
from rxnodes.transport.aiohttp import AiohttpTransport, layers, writer
from rxnodes.transport.base import Target


class Told:
    """A sink that keeps its calls, in order, and can be waited for."""

    def __init__(self):
        self.calls = []
        self.open = asyncio.Event()
        self.over = asyncio.Event()

    def __getattr__(self, kind):
        return lambda *values, **_: self.calls.append((kind, *values))

    def opened(self, _subprotocol, _headers):
        self.calls.append("opened")
        self.open.set()

    def messages(self, messages):
        self.calls += messages

    def sent(self, receipts):
        """What the counts of the end tell is enough."""

    unsent = overflowed = sent

    def lost(self, error, traffic):
        assert not self.over.is_set(), "lost twice"
        self.error, self.traffic = error, traffic
        self.calls.append("lost")
        self.over.set()


class Dialled:
    """A link to a server."""

    def __init__(self, transport, url, **target):
        self.told = Told()
        self.link = transport.dial(Target(url=url, redacted_url="ws://redacted/", **target), self.told)

    async def opened(self):
        async with asyncio.timeout(ROOM):
            await self.told.open.wait()
        return self

    async def lost(self):
        async with asyncio.timeout(ROOM):
            await self.told.over.wait()
        assert self.told.calls.count("lost") == 1
        assert self.told.calls[-1] == "lost"
        return self.told


@pytest.fixture
async def transport():
    transport = AiohttpTransport()
    yield transport
    await transport.aclose()


# What has left, by the layers there are


@pytest.fixture(params=["asyncio", "opaque", "uvloop"])
def run(request, monkeypatch):
    """Runs a coroutine where the layer below TLS can be asked, as with asyncio, or cannot, as with uvloop."""
    if request.param == "opaque":
        monkeypatch.setattr(layers, "below_tls", lambda _transport: None)
    uvloop = pytest.importorskip("uvloop") if request.param == "uvloop" else None
    with asyncio.Runner(loop_factory=uvloop and uvloop.new_event_loop) as runner:
        yield runner.run


@contextlib.asynccontextmanager
async def secured(authority, script, **fields):
    """An open connection over TLS to a server whose system takes little."""
    async with WebSocketServer(script, tls=authority.server(), receive_buffer=8192) as server:
        settings = {
            "url": server.url.replace("127.0.0.1", "localhost"),
            "tls": {"ca_file": str(authority.file)},
            **fields,
        }
        async with Project(websocket={"it": settings}) as project, asyncio.timeout(5 * ROOM):
            it = project.websocket("it")
            it.start()
            await it.wait_started()
            yield it


@pytest.mark.slow
def test_over_tls_a_message_counts_as_sent_when_it_has_left(run, authority):
    reads_on = asyncio.Event()

    async def script(peer):
        await peer.accept()
        await reads_on.wait()
        for _ in range(3):
            await peer.receive_message()
        heard = await peer.expect_close()
        await peer.send_close(heard.code)
        await peer.close()

    async def main():
        async with secured(authority, script, close_timeout=ROOM) as it:
            for size in (10, 8_000_000, 20):
                it.send(bytes(size))
            counted = it._driver.link._writer.messages_sent
            reads_on.set()
            it.stop()
            assert counted <= 1, "the kernel cannot hold so much"
            return await it.wait_stopped()

    stopped = run(main())
    assert stopped.was_clean
    assert (stopped.messages_sent, stopped.bytes_sent, stopped.unsent) == (3, 8_000_030, 0)


def test_over_tls_what_a_peer_never_took_is_unsent(run, authority):
    async def main():
        async with secured(authority, never_read) as it:
            it.send(bytes(8_000_000))
            it.send(b"behind it")
            it.abort()
            return await it.wait_stopped()

    stopped = run(main())
    assert (stopped.messages_sent, stopped.unsent, stopped.code) == (0, 2, 1006)


@pytest.mark.slow
@pytest.mark.parametrize("size", [10, 8_000_000])
def test_over_tls_a_receipt_of_the_last_message_is_settled_when_it_has_left(run, size, authority):
    """Nothing is sent behind it that would bring the matter up."""
    reads_on = asyncio.Event()

    async def script(peer):
        await peer.accept()
        await reads_on.wait()
        await peer.receive_message()
        await peer.hang()

    async def main():
        async with secured(authority, script, close_timeout=0.1) as it:
            receipt = it.send(bytes(size))
            reads_on.set()
            return await receipt

    assert isinstance(run(main()), Sent)


def test_over_tls_reading_goes_on_in_the_turn_of_the_loop_in_which_the_end_is_on_its_way(run, authority):
    is_paused = asyncio.Event()

    async def script(peer):
        await peer.accept()
        await is_paused.wait()
        await peer.send_text("not read")
        peer.reset()

    async def session(transport, url):
        context = ssl.create_default_context(cafile=authority.file)
        dialled = await Dialled(transport, url, tls=lambda: context).opened()
        link = dialled.link
        link.pause_reading()
        is_paused.set()
        async with asyncio.timeout(ROOM):
            # A link that does not read learns of the end only when it writes.
            while link._transport is not None and not link._transport.is_closing():
                link.send(receipt(b"into the void", is_text=False))
                await asyncio.sleep(0)
        link.resume_reading()
        link.pause_reading()
        await dialled.lost()

    async def main():
        transport = AiohttpTransport()
        async with WebSocketServer(script, tls=authority.server()) as server:
            await session(transport, server.url.replace("127.0.0.1", "localhost"))
        await transport.aclose()

    run(main())


async def test_messages_that_have_left_are_not_kept_until_the_end(transport, authority, monkeypatch):
    """Where the layer below TLS cannot be asked, and the network takes a moment to acknowledge each message."""
    monkeypatch.setattr(layers, "below_tls", lambda _transport: None)
    monkeypatch.setattr(layers, "count_unacknowledged", lambda _sock: 1)
    async with WebSocketServer(echo, tls=authority.server()) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        context = ssl.create_default_context(cafile=authority.file)
        dialled = await Dialled(transport, url, tls=lambda: context).opened()
        for _ in range(100):
            dialled.link.send(receipt(bytes(1000), is_text=False))
            await asyncio.sleep(0)
        kept = len(dialled.link._writer._in_flight)
        dialled.link.abort()
        await dialled.lost()
    assert kept <= 2 * layers.TLS_RECORD_SIZE / 1000


async def test_what_is_sent_while_others_are_told_as_sent_comes_behind_those_that_wait(transport):
    def answers(_receipts):
        dialled.told.sent = dialled.told.unsent
        # As long after the burst as if a subscriber took its time.
        dialled.link._writer._sent_at = -1.0
        dialled.link.send(receipt(b"last"))

    async with WebSocketServer(echo) as server:
        dialled = await Dialled(transport, server.url).opened()
        dialled.told.sent = answers
        # The next one is part of a burst, however slow the machine is.
        dialled.link._writer._sent_at = asyncio.get_running_loop().time() + ROOM
        for letter in (b"a", b"b", b"c"):
            dialled.link.send(receipt(letter * writer.WRITE_SIZE))
        async with asyncio.timeout(ROOM):
            while len(dialled.told.calls) < len(["opened", "a", "b", "c", "last"]):
                await asyncio.sleep(0)
        dialled.link.abort()
        await dialled.lost()
    assert [call[:1] for call in dialled.told.calls[1:5]] == ["a", "b", "c", "l"]


# What goes wrong on our side


class BrokenError(Exception):
    pass


async def test_a_failure_of_ours_behind_the_handshake_is_logged_and_leaves_nothing(transport, caplog):
    def fails(_subprotocol, _headers):
        raise BrokenError

    async with WebSocketServer(echo) as server:
        dialled = Dialled(transport, server.url)
        dialled.told.opened = fails
        told = await dialled.lost()
        assert not dialled.link._sockets, "no descriptor is left"
    assert isinstance(told.error, ConnectError)
    assert str(told.error) == "an internal error, see the log"
    assert [(record.message, record.exc_info[0]) for record in caplog.records] == [("a link failed", BrokenError)]


async def test_what_cannot_be_dialled_fails_without_telling_a_secret(transport):
    async with WebSocketServer(echo) as server:
        broken = [
            await Dialled(transport, server.url, headers={"X-Token": "secret\r\nX-Other: secret"}).lost(),
            await Dialled(transport, "ws://127.0.0.1:secret/").lost(),
        ]
    for told in broken:
        assert told.calls == ["lost"]
        assert isinstance(told.error, ConnectError)
        assert str(told.error).startswith("nothing was sent, because url, headers or tls hold a value")
        assert not told.error.retryable
        assert "secret" not in str(told.error)
        assert told.error.__cause__ is told.error.__context__ is None


# Commands and callbacks that come late


async def test_a_link_that_is_over_takes_every_call_and_tells_nothing_more(transport):
    async with WebSocketServer(echo) as server:
        dialled = await Dialled(transport, server.url).opened()
        dialled.link.abort()
        # The end of TCP comes in a later turn, and the event loop may still call as if nothing had happened.
        dialled.link.close(1000, "")
        dialled.link.close_now(1000, "")
        dialled.link.pause_writing()
        dialled.link.resume_writing()
        dialled.link.pause_reading()
        dialled.link.resume_reading()
        dialled.link.send(receipt(b"too late", is_text=True))
        told = await dialled.lost()
        dialled.link.abort()
        dialled.link.resume_writing()
        dialled.link.pause_reading()
        dialled.link.resume_reading()
    assert told.calls == ["opened", "lost"]
    assert told.error is None
    assert told.traffic.unsent == 1


async def test_our_close_frame_has_left_once_however_often_the_network_pauses(transport):
    async with WebSocketServer(never_answer_close) as server:
        dialled = await Dialled(transport, server.url).opened()
        dialled.link.pause_writing()
        dialled.link.close(1000, "")
        assert dialled.told.calls == ["opened"]
        for _ in range(3):
            dialled.link.resume_writing()
            dialled.link.pause_writing()
        assert dialled.told.calls == ["opened", ("close_sent",)]
        dialled.link.abort()
        await dialled.lost()


async def test_a_link_that_is_aborted_as_it_opens_begins_nothing(transport):
    async def accepts(peer):
        await peer.accept(then=Frame(Opcode.TEXT, b"with the handshake").encode())
        await peer.wait_closed()

    async with WebSocketServer(accepts) as server:
        dialled = Dialled(transport, server.url, heartbeat=1.0, silence_timeout=1.0)
        dialled.told.opened = lambda _subprotocol: dialled.link.abort()
        told = await dialled.lost()
    assert told.calls == ["lost"]
    assert dialled.link._keepalive is None


@pytest.mark.parametrize("wait", [False, True], ids=["at once", "behind the 101"])
async def test_the_peer_ends_tcp_right_behind_its_101(transport, wait):
    async def script(peer):
        await peer.accept(then=b"" if wait else Frame(Opcode.TEXT, b"early").encode())
        await peer.half_close()
        await peer.wait_closed()

    async with WebSocketServer(script) as server:
        told = await Dialled(transport, server.url).lost()
    assert told.calls == (["opened", "lost"] if wait else ["opened", "early", "lost"])
    assert isinstance(told.error, ConnectionLost)


async def test_71_the_silence_of_a_peer_that_is_being_left_is_no_loss():
    """The closing has its own deadline, which is the one that counts."""

    async def stop(connection, _watch):
        await connection.wait_started()
        connection.stop()

    outcome = await run_session(
        never_answer_close,
        act=stop,
        initiator=TIMEOUT,
        error=CloseTimeout,
        silence_timeout=0.05,
        close_timeout=0.15,
        script_ends=False,
    )
    assert outcome.took >= 0.15


# Abort within a delivery


async def test_nothing_comes_behind_an_abort(transport, caplog):
    """Not even what the same read has brought (the rules of `rxnodes.transport.base`)."""
    read = b"".join(
        frame.encode()
        for frame in (
            Frame(Opcode.TEXT, b"one"),
            Frame(Opcode.BINARY, b"two"),
            *[Frame(Opcode.PING)] * 20,
            Frame(Opcode.CLOSE, close_payload(4000)),
        )
    )

    async def script(peer):
        await peer.accept()
        await peer.send_raw(read)
        await peer.wait_closed()

    async with WebSocketServer(script) as server:
        dialled = Dialled(transport, server.url)
        told = dialled.told

        def messages(messages):
            told.calls.extend(messages)
            dialled.link.abort()

        told.messages = messages
        await dialled.lost()
    assert told.calls == ["opened", "one", "lost"]
    assert told.error is None
    assert caplog.records == [], "nothing is written to what was aborted"
