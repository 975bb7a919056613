"""What `rxnodes.transport.base` asks of every transport, as one suite that every transport passes.

A `Stage` is a transport with the peers that its dials lead to. All play the same little scripts, and their sinks must get
the same calls. A transport of another kind joins by a class like those here, in `STAGES`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
from typing import Any
from unittest import mock

import pytest
from faults import ROOM
from raw_peer import Listener, RawPeer
from receipts import receipt

from rxnodes import ConnectError, ConnectionLost, ProtocolError
from rxnodes.lifecycle.events import Traffic
from rxnodes.testing import RSV1, Frame, Opcode, close_payload
from rxnodes.transport.aiohttp import AiohttpTransport
from rxnodes.transport.aiohttp import sockets as aiohttp_sockets
from rxnodes.transport.base import Target
from rxnodes.transport.receipts import SendQueue
from rxnodes.transport.scripted import ScriptedTransport
from rxnodes.wire.tunnel import Proxy

#: What fills the network between us and a peer that does not read, so that what is sent behind it waits.
FILLING = 512 * 1024
SMALL_BUFFER = 16 * 1024

#: In which whatever is under way on loopback has come.
A_MOMENT = 0.02

#: Python 3.12.0 to 3.12.8, 3.13.0 and 3.13.1: a transport that is closed while it still holds bytes forgets its writer.
#: What TLS then hands to it never leaves, and asyncio calls None instead, again and again (gh-115514).
FORGETS_ITS_WRITER = "_write_ready" in asyncio.selector_events._SelectorSocketTransport.close.__code__.co_names


async def until(is_so):
    """Waits until it is so."""
    async with asyncio.timeout(ROOM):
        while not is_so():
            await asyncio.sleep(0)


class Told:
    """A sink that keeps its calls, in order, without those for messages of the stage itself.

    It answers the peer's Close frame and violations as a connection does. `then` has what else it does at a call.
    """

    def __init__(self, *, answers=True, then=()):
        self.answers = answers
        self.then = dict(then)
        self.link = None
        self.has_aborted = False
        self.calls = []
        self.error = None
        self.all_traffic = None
        self.tcp_ended = None
        self.fillings = []
        self.fates_of_fillings = []

    def note(self, kind, *values):
        assert "lost" not in self.kinds, "nothing comes behind lost"
        self.calls.append((kind, *values))
        if kind in self.then:
            self.then[kind](self)

    def abort(self):
        self.has_aborted = True
        self.link.abort()

    @property
    def kinds(self):
        return [call[0] for call in self.calls]

    def opened(self, subprotocol, headers):
        self.headers = headers
        self.note("opened", subprotocol)

    def messages(self, messages):
        assert messages
        assert len({type(message) for message in messages}) == 1
        for message in messages:
            # What came together is delivered together, whatever is done about the first of it.
            if not self.has_aborted:
                self.note("message", message)

    def sent(self, receipts):
        self._note_fates("sent", receipts)

    def unsent(self, receipts):
        self._note_fates("unsent", receipts)

    def overflowed(self, receipts):
        self._note_fates("overflowed", receipts)

    def _note_fates(self, kind, receipts):
        assert receipts
        for one in receipts:
            if one in self.fillings:
                self.fates_of_fillings.append(kind)
            else:
                self.note(kind, one.payload.decode())

    def close_received(self, code, reason, *, tcp_ended=False):
        self.tcp_ended = tcp_ended
        self.note("close received", code, reason)
        if self.answers:
            self.link.close_now(code, "")

    def close_sent(self):
        self.note("close sent")

    def ponged(self, round_trip):
        assert round_trip >= 0
        self.note("ponged")

    def violated(self, error):
        assert isinstance(error, ProtocolError)
        self.note("violated", error.code)
        if self.answers:
            self.link.close_now(error.code, "")

    def lost(self, error, traffic):
        self.error, self.all_traffic = error, traffic
        self.note("lost", type(error) if error is not None else None)

    @property
    def told(self):
        """What was told of the connection, but for the fates of messages."""
        return [call for call in self.calls if call[0] not in ("sent", "unsent", "overflowed")]

    @property
    def fates(self):
        """What became of the messages."""
        return [call for call in self.calls if call[0] in ("sent", "unsent", "overflowed")]

    @property
    def traffic(self):
        """What the link counted, without what the stage has sent."""
        assert self.kinds.count("lost") == 1
        assert self.kinds[-1] == "lost"
        traffic = self.all_traffic
        sent, unsent = map(self.fates_of_fillings.count, ("sent", "unsent"))
        assert sent + unsent == len(self.fillings), "the outcome of every message is told before lost"
        return traffic.plus(Traffic(messages_sent=-sent, bytes_sent=-sent * FILLING, unsent=-unsent))

    async def until(self, kind, count=1):
        """Waits until something has been told so often."""
        await until(lambda: self.kinds.count(kind) >= count)


# The stages


class ScriptedStage:
    """The transport without sockets."""

    def __init__(self, _authority):
        self.transport = ScriptedTransport()
        self._taken = 0

    def target(self, **fields):
        return Target(url="ws://test/", redacted_url="ws://test/", **fields)

    async def next_peer(self):
        """The peer of the next dial."""
        peer = self.transport.peers[self._taken]
        self._taken += 1
        return ScriptedEnd(peer)

    async def settle(self):
        """Waits until whatever is under way has come."""
        for _ in range(10):
            await asyncio.sleep(0)

    async def aclose(self):
        await self.transport.aclose()


class ScriptedEnd:
    """A scripted peer, as the suite speaks of it."""

    def __init__(self, peer):
        self.peer = peer
        for verb in ("accept", "send", "close", "end", "reset", "resume_reading", "violate"):
            setattr(self, verb, getattr(peer, verb))

    def refuse(self, status, headers, body):
        self.peer.refuse(status=status, headers=headers, body=body)

    async def stop_reading(self, _send):
        self.peer.stop_reading()

    async def answer_ping(self):
        self.peer.pong(0.01)

    def behave(self, *, answers_close=True, ends_tcp=True):
        self.peer.answers_close, self.peer.ends_tcp = answers_close, ends_tcp

    @property
    def received(self):
        return self.peer.received

    @property
    def close_frame(self):
        return self.peer.close_frame


class AiohttpStage:
    """The transport over aiohttp, and a real server on loopback."""

    tls = False
    is_unix = False

    def __init__(self, authority):
        self.transport = AiohttpTransport()
        self._authority = authority
        self._stack = contextlib.ExitStack()
        self._path = f"{self._stack.enter_context(tempfile.TemporaryDirectory())}/socket" if self.is_unix else None
        self._listener = Listener(
            authority.server() if self.tls else None, receive_buffer=SMALL_BUFFER, path=self._path
        )
        create = aiohttp_sockets.create_socket
        self._stack.enter_context(
            mock.patch.object(aiohttp_sockets, "create_socket", lambda address: _with_small_buffers(create(address)))
        )
        self._ends = []

    def target(self, **fields):
        if self.tls:
            context = ssl.create_default_context(cafile=self._authority.file)
            fields["tls"] = lambda: context
        return Target(url=self._listener.url, redacted_url=self._listener.url, **fields)

    async def next_peer(self):
        def hear():
            peer = self._listener.accept()
            self.lie_between(peer)
            peer.hear_request()
            return peer

        end = AiohttpEnd(await asyncio.to_thread(hear), is_tls=self.tls)
        self._ends.append(end)
        return end

    def lie_between(self, peer):
        """Plays what lies between the client and its server."""

    async def settle(self):
        await asyncio.sleep(A_MOMENT)

    async def aclose(self):
        for end in self._ends:
            end.leave()
        self._listener.close()
        await self.transport.aclose()
        self._stack.close()


class AiohttpOverTlsStage(AiohttpStage):
    """Likewise, over TLS."""

    tls = True


class HttpProxyStage(AiohttpOverTlsStage):
    """TLS through the tunnel of an HTTP proxy, which adds and hides nothing: the peer plays it too."""

    def target(self, **fields):
        return super().target(proxy=Proxy(scheme="http", host="127.0.0.1", port=self._listener.port), **fields)

    def lie_between(self, peer):
        peer.be_http_proxy()


class SocksProxyStage(AiohttpStage):
    """Likewise, without TLS, and through a SOCKS proxy."""

    def target(self, **fields):
        return super().target(proxy=Proxy(scheme="socks5h", host="127.0.0.1", port=self._listener.port), **fields)

    def lie_between(self, peer):
        peer.be_socks_proxy()


class UnixSocketStage(AiohttpStage):
    """A server at a unix socket."""

    is_unix = True

    def target(self, **fields):
        return super().target(unix_socket=self._path, **fields)


def _with_small_buffers(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
    return sock


class AiohttpEnd:
    """A peer on a real socket, with the manners of a scripted one."""

    def __init__(self, peer: RawPeer, *, is_tls: bool) -> None:
        self.peer = peer
        self._is_tls = is_tls
        self._loop = asyncio.get_running_loop()
        self._is_reading = False
        self._answers_close = self._ends_tcp = True
        self._has_closed = self._has_violated = self._has_left = False
        self._answers_pings = False

    # What it does

    def accept(self, subprotocol=None, headers=None):
        self.peer.answer(subprotocol, headers)
        self.resume_reading()

    def refuse(self, status, headers, body):
        self.peer.refuse(status, headers, body)

    def send(self, message):
        text = isinstance(message, str)
        self._put(Frame(Opcode.TEXT if text else Opcode.BINARY, message.encode() if text else message))

    def close(self, code=1000, reason=""):
        self._has_closed = True
        self._put(Frame(Opcode.CLOSE, b"" if code == 1005 else close_payload(code, reason)))
        self._end_when_done()

    def violate(self, code):
        self._has_violated = True
        match code:
            case 1002:
                self._put(Frame(Opcode.TEXT, b"compressed, it says", rsv=RSV1))
            case 1007:
                self._put(Frame(Opcode.TEXT, b"\xff"))
            case 1009:
                self._put(Frame(Opcode.BINARY, bytes(2 * 1024 * 1024)))
        self._end_when_done()

    async def answer_ping(self):
        self._answers_pings = True
        await until(lambda: self.peer.heard.pings)

    def _put(self, frame):
        with contextlib.suppress(OSError):
            self.peer.put(frame)
            # What the network does not take at once goes out while the client reads.
            self._push()

    def _push(self):
        if not self._has_left and not self.peer.push():
            self._loop.call_later(0.001, self._push)

    def end(self):
        if not self._has_left:
            self.peer.half_close()

    def reset(self):
        # What is still with us would be destroyed.
        self.peer.wait_arrived()
        self._forget()
        self.peer.reset()

    def behave(self, *, answers_close=True, ends_tcp=True):
        self._answers_close, self._ends_tcp = answers_close, ends_tcp

    # What it reads

    async def stop_reading(self, send):
        """From here on nothing leaves the client: what lies between is filled up first."""
        self._forget()
        # A layer of TLS takes one write more before it says that the network is full.
        for _ in range(1 + self._is_tls):
            send(bytes(FILLING))
            await asyncio.sleep(0)

    def resume_reading(self):
        if not self._has_left:
            self._is_reading = True
            self._loop.add_reader(self.peer.fileno(), self._read)

    def _read(self):
        had_close = self.peer.heard.close is not None
        self.peer.read()
        for frame in self.peer.take_frames():
            if frame.opcode == Opcode.PING and self._answers_pings:
                self._put(Frame(Opcode.PONG, frame.payload))
        if self.peer.has_ended:
            self.leave()
        elif self.peer.heard.close is not None and not had_close:
            if self._answers_close and not self._has_closed:
                self.close(self.peer.heard.close.code)
            else:
                self._end_when_done()

    def _end_when_done(self):
        if self._ends_tcp and self.peer.heard.close is not None and (self._has_closed or self._has_violated):
            self.leave()

    def _forget(self):
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self.peer.fileno())

    def leave(self):
        """Closes its socket."""
        if not self._has_left:
            self._forget()
            self._has_left = True
            self.peer.close()

    @property
    def received(self):
        return [message for message in self.peer.heard.messages if len(message) != FILLING]

    @property
    def close_frame(self):
        return self.peer.heard.close


STAGES: dict[str, Any] = {
    "scripted": ScriptedStage,
    "aiohttp": AiohttpStage,
    "aiohttp over TLS": AiohttpOverTlsStage,
    "aiohttp over TLS through an HTTP proxy": HttpProxyStage,
    "aiohttp through a SOCKS proxy": SocksProxyStage,
    "aiohttp at a unix socket": UnixSocketStage,
}


@pytest.fixture(
    params=[pytest.param(name, marks=() if name in ("scripted", "aiohttp") else pytest.mark.slow) for name in STAGES]
)
async def stage(request, authority):
    stage = STAGES[request.param](authority)
    stage.links = []
    yield stage
    # Those of a test that has failed must not trouble others.
    for link in stage.links:
        link.abort()
    await stage.settle()
    await stage.aclose()


class Dialled:
    """A link of a stage's transport, its peer, and what was told."""

    def __init__(self, stage, told=None, **fields):
        self.stage = stage
        self.told = told or Told()
        self.link = self.told.link = stage.transport.dial(stage.target(**fields), self.told)
        stage.links.append(self.link)
        assert self.told.calls == [], "nothing is told before the dial returns"

    async def met(self):
        self.peer = await self.stage.next_peer()
        return self

    async def opened(self, subprotocol=None):
        """Opens it, and forgets the calls so far."""
        await self.met()
        self.peer.accept(subprotocol)
        await self.told.until("opened")
        self.told.calls.clear()
        return self

    def send(self, *texts):
        for text in texts:
            self.link.send(receipt(text.encode(), is_text=True))

    async def clogged(self):
        """From here on nothing leaves for the network."""
        await self.peer.stop_reading(self._fill)

    def _fill(self, data):
        filling = receipt(data, is_text=False)
        self.told.fillings.append(filling)
        self.link.send(filling)

    async def lost(self):
        """Waits for the end, and that nothing comes behind it."""
        await self.told.until("lost")
        await self.stage.settle()
        assert self.link.traffic == self.told.all_traffic
        return self.told.traffic


async def opened(stage, told=None, *, subprotocol=None, **fields):
    return await Dialled(stage, told, **fields).opened(subprotocol)


# Opening


@pytest.mark.parametrize("subprotocol", [None, "chat.v1"])
async def test_it_opens_and_messages_come_in_order(stage, subprotocol):
    it = await Dialled(stage, subprotocols=("chat.v1",)).met()
    it.peer.accept(subprotocol)
    for message in ("a", "b", b"c", "d", ""):
        it.peer.send(message)
    it.peer.reset()
    assert await it.lost() == Traffic(messages_received=5, bytes_received=4)
    assert it.told.calls == [
        ("opened", subprotocol),
        ("message", "a"),
        ("message", "b"),
        ("message", b"c"),
        ("message", "d"),
        ("message", ""),
        ("lost", ConnectionLost),
    ]


async def test_the_headers_of_the_answer_are_told(stage):
    it = await Dialled(stage).met()
    it.peer.accept(headers={"X-Request-Id": "7"})
    await it.told.until("opened")
    assert it.told.headers["x-request-id"] == "7"
    it.link.abort()
    await it.lost()


async def test_a_dial_that_is_refused(stage):
    it = await Dialled(stage).met()
    it.peer.refuse(503, {"Retry-After": "7"}, b"busy")
    assert await it.lost() == Traffic()
    assert it.told.calls == [("lost", ConnectError)]
    error = it.told.error
    assert (error.status, error.headers["retry-after"], error.body, error.retry_after) == (503, "7", b"busy", 7.0)


async def test_a_dial_that_is_aborted(stage):
    it = await Dialled(stage).met()
    it.link.abort()
    assert it.told.calls == [], "the end comes in a turn of its own"
    it.link.abort()
    assert await it.lost() == Traffic()
    assert it.told.calls == [("lost", None)]


# Closing in order


async def test_we_close_and_the_peer_answers(stage):
    it = await opened(stage)
    it.send("hi", "there")
    it.peer.send("a")
    await it.told.until("message")
    assert it.link.traffic == Traffic(1, 1, 2, 7, 0)
    it.link.close(4000, "done")
    assert await it.lost() == Traffic(1, 1, 2, 7, 0)
    assert it.told.fates == [("sent", "hi"), ("sent", "there")]
    assert it.told.told == [("message", "a"), ("close sent",), ("close received", 4000, ""), ("lost", None)]
    assert (it.peer.received, it.peer.close_frame) == (["hi", "there"], (4000, "done"))


async def test_the_peer_closes_and_we_answer(stage):
    it = await opened(stage)
    it.peer.send("a")
    it.peer.close(4001, "bye")
    it.peer.send("behind the Close frame")
    assert await it.lost() == Traffic(messages_received=1, bytes_received=1)
    assert it.told.calls == [("message", "a"), ("close received", 4001, "bye"), ("close sent",), ("lost", None)]
    assert it.peer.close_frame == (4001, "")


async def test_the_peer_closes_and_ends_tcp_with_it(stage):
    it = await opened(stage)
    it.peer.close(4001, "bye")
    it.peer.end()
    await it.lost()
    assert it.told.calls == [("close received", 4001, "bye"), ("close sent",), ("lost", None)]
    assert it.told.tcp_ended is False, "our Close frame had not left"


async def test_an_empty_close_frame_of_the_peer(stage):
    it = await opened(stage)
    it.peer.close(1005)
    await it.lost()
    assert it.told.calls == [("close received", 1005, ""), ("close sent",), ("lost", None)]
    assert it.peer.close_frame == (1005, "")


async def test_an_empty_close_frame_of_ours(stage):
    it = await opened(stage)
    it.link.close(1005, "")
    await it.lost()
    assert it.told.calls == [("close sent",), ("close received", 1005, ""), ("lost", None)]
    assert it.peer.close_frame == (1005, "")


async def test_a_peer_that_never_answers_is_left_by_abort(stage):
    it = await opened(stage)
    it.peer.behave(answers_close=False)
    it.link.close(1000, "")
    await it.stage.settle()
    assert it.told.calls == [("close sent",)]
    it.peer.send("still talking")
    await it.told.until("message")
    it.link.abort()
    assert await it.lost() == Traffic(messages_received=1, bytes_received=13)
    assert it.told.calls == [("close sent",), ("message", "still talking"), ("lost", None)]


async def test_a_peer_that_keeps_tcp_is_left_by_abort(stage):
    it = await opened(stage)
    it.peer.behave(ends_tcp=False)
    it.link.close(1000, "")
    await it.told.until("close received")
    await it.stage.settle()
    assert it.told.kinds == ["close sent", "close received"]
    it.link.abort()
    await it.lost()
    assert it.told.kinds == ["close sent", "close received", "lost"]
    assert it.told.error is None


@pytest.mark.parametrize("leaves", [True, False])
async def test_only_the_first_close_counts(stage, leaves):
    it = await opened(stage)
    if not leaves:
        await it.clogged()
    it.link.close(4000, "first")
    it.link.close(4001, "second")
    if leaves:
        it.link.close_now(4002, "third")
    else:
        it.peer.resume_reading()
    await it.lost()
    assert it.told.kinds.count("close sent") == 1
    assert it.peer.close_frame == (4000, "first")


@pytest.mark.parametrize("waits", [False, True])
async def test_what_is_sent_behind_a_close_is_unsent(stage, waits):
    it = await opened(stage)
    if waits:
        await it.clogged()
    it.send("in time")
    it.link.close(1000, "")
    it.send("too late", "much too late")
    it.peer.resume_reading()
    assert await it.lost() == Traffic(0, 0, 1, 7, 2)
    assert it.told.fates == [("sent", "in time"), ("unsent", "too late"), ("unsent", "much too late")]
    assert it.told.kinds[-3:] == ["unsent", "unsent", "lost"], "told with the end"
    assert it.peer.received == ["in time"]


async def test_it_is_told_that_the_peer_has_ended_tcp_behind_its_close_frame(stage):
    it = await opened(stage)
    it.link.pause_reading()
    it.peer.behave(answers_close=False)
    it.peer.send("a")
    it.peer.close(4001, "bye")
    it.peer.end()
    await it.stage.settle()
    assert it.told.calls == []
    it.link.close(1000, "")
    assert await it.lost() == Traffic(messages_received=1, bytes_received=1)
    assert it.told.calls == [("close sent",), ("message", "a"), ("close received", 4001, "bye"), ("lost", None)]
    assert it.told.tcp_ended is True


# Ends without a Close frame


@pytest.mark.parametrize("end", ["end", "reset"])
async def test_tcp_ends_behind_what_was_sent(stage, end):
    it = await opened(stage)
    it.send("x")
    await until(lambda: it.peer.received == ["x"])
    it.peer.send("a")
    getattr(it.peer, end)()
    assert await it.lost() == Traffic(1, 1, 1, 1, 0)
    assert it.told.calls == [("sent", "x"), ("message", "a"), ("lost", ConnectionLost)]


@pytest.mark.parametrize("end", ["end", "reset"])
async def test_tcp_ends_in_place_of_an_answer_to_our_close(stage, end):
    if end == "reset" and isinstance(stage, UnixSocketStage):
        pytest.skip("a unix socket knows of no reset where everything was read")
    it = await opened(stage)
    it.peer.behave(answers_close=False)
    it.link.close(1000, "")
    await until(lambda: it.peer.close_frame is not None)
    getattr(it.peer, end)()
    await it.lost()
    assert it.told.calls == [("close sent",), ("lost", None if end == "end" else ConnectionLost)]


async def test_a_link_that_is_over_takes_every_command_and_tells_nothing_more(stage):
    it = await opened(stage)
    it.peer.reset()
    await it.lost()
    it.link.close(1000, "")
    it.link.close_now(1000, "")
    it.link.pause_reading()
    it.link.resume_reading()
    it.link.abort()
    it.send("too late")
    await it.stage.settle()
    assert it.told.calls == [("lost", ConnectionLost)]


# A peer that does not read


async def test_what_waits_leaves_in_order_when_the_peer_reads_on(stage):
    it = await opened(stage)
    it.send("before")
    await until(lambda: it.peer.received == ["before"])
    await it.clogged()
    it.send("waits", "likewise")
    it.link.close(1000, "in order")
    await it.stage.settle()
    assert it.told.calls == [("sent", "before")]
    assert it.peer.close_frame is None
    it.peer.resume_reading()
    assert await it.lost() == Traffic(0, 0, 3, 19, 0)
    assert it.told.fates == [("sent", "before"), ("sent", "waits"), ("sent", "likewise")]
    assert it.told.told == [("close sent",), ("close received", 1000, ""), ("lost", None)]
    assert it.peer.received == ["before", "waits", "likewise"]
    assert it.peer.close_frame == (1000, "in order")


async def test_what_waits_when_the_peer_closes_is_unsent_at_once(stage):
    it = await opened(stage)
    await it.clogged()
    it.send("waits", "likewise")
    it.peer.close(4001, "bye")
    await it.told.until("close received")
    await it.stage.settle()
    assert it.told.calls == [("close received", 4001, "bye"), ("unsent", "waits"), ("unsent", "likewise")]
    it.peer.resume_reading()
    assert await it.lost() == Traffic(unsent=2)
    assert it.told.kinds[3:] == ["close sent", "lost"]
    assert it.told.error is None
    assert (it.peer.received, it.peer.close_frame) == ([], (4001, ""))


async def test_what_waits_when_the_peer_breaks_the_protocol_is_unsent_at_once(stage):
    it = await opened(stage)
    await it.clogged()
    it.send("waits")
    it.peer.violate(1002)
    await it.told.until("violated")
    assert it.told.calls == [("violated", 1002), ("unsent", "waits")]
    it.send("too late")
    it.peer.resume_reading()
    assert await it.lost() == Traffic(unsent=2)
    assert it.told.calls[2:] == [("close sent",), ("unsent", "too late"), ("lost", None)]
    assert (it.peer.received, it.peer.close_frame) == ([], (1002, ""))


async def test_the_peer_closes_while_our_close_waits_behind_messages(stage):
    it = await opened(stage)
    await it.clogged()
    it.send("waits")
    it.link.close(1000, "ours")
    it.send("too late")
    it.peer.close(4001, "bye")
    await it.told.until("close received")
    it.peer.resume_reading()
    assert await it.lost() == Traffic(unsent=2)
    assert sorted(it.told.fates) == [("unsent", "too late"), ("unsent", "waits")]
    assert it.told.told == [("close received", 4001, "bye"), ("close sent",), ("lost", None)]
    assert (it.peer.received, it.peer.close_frame) == ([], (4001, ""))


@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("end", ["end", "reset", "abort"])
async def test_what_waits_at_the_end_is_unsent(stage, end, closes):
    it = await opened(stage)
    await it.clogged()
    it.send("waits", "likewise")
    if closes:
        it.link.close(1000, "")
    await it.stage.settle()
    getattr(it.link if end == "abort" else it.peer, end)()
    assert await it.lost() == Traffic(unsent=2)
    assert it.told.calls == [
        ("unsent", "waits"),
        ("unsent", "likewise"),
        ("lost", None if end == "abort" else ConnectionLost),
    ]
    assert (it.peer.received, it.peer.close_frame) == ([], None)


async def test_tcp_is_kept_for_a_close_frame_of_ours_that_is_still_to_leave(stage):
    """The peer has ended its direction, and reads on."""
    if FORGETS_ITS_WRITER and isinstance(stage, AiohttpOverTlsStage):
        pytest.skip("this Python's TLS loses what waits when the peer ends its direction")
    it = await opened(stage)
    await it.clogged()
    it.send("waits")
    it.peer.close(4001, "bye")
    it.peer.end()
    await it.told.until("unsent")
    await it.stage.settle()
    assert it.told.calls == [("close received", 4001, "bye"), ("unsent", "waits")]
    it.peer.resume_reading()
    assert await it.lost() == Traffic(unsent=1)
    assert it.told.calls[2:] == [("close sent",), ("lost", None)]
    assert it.peer.close_frame == (4001, "")


@pytest.mark.parametrize("overflow", ["error", "drop_newest", "drop_oldest"])
@pytest.mark.parametrize(
    ("bounds", "texts", "room"),
    [
        ({"max_messages": 2, "max_bytes": 2 * FILLING}, ["a", "b", "c", "d"], 2),
        ({"max_messages": None, "max_bytes": 3}, ["aa", "bb", "cc", "dd"], 1),
    ],
    ids=["messages", "bytes"],
)
async def test_what_has_no_room_overflows(stage, overflow, bounds, texts, room):
    kept, dropped = (texts[-room:], texts[:-room]) if overflow == "drop_oldest" else (texts[:room], texts[room:])
    it = await opened(stage, send_queue=SendQueue(**bounds, overflow=overflow))
    await it.clogged()
    it.send(*texts)
    assert it.told.calls == [("overflowed", text) for text in dropped]
    it.peer.resume_reading()
    await until(lambda: it.peer.received == kept)
    it.link.close(1000, "")
    assert await it.lost() == Traffic(0, 0, len(kept), sum(map(len, kept)), len(dropped))
    assert it.told.fates[len(dropped) :] == [("sent", text) for text in kept]


# Pings


async def test_an_answered_ping_is_told(stage):
    it = await opened(stage, heartbeat=0.1)
    await it.peer.answer_ping()
    await it.told.until("ponged")
    it.link.abort()
    await it.lost()
    assert set(it.told.kinds[:-1]) == {"ponged"}


# Violations


@pytest.mark.parametrize("code", [1002, 1007, 1009])
async def test_nothing_comes_behind_a_violation(stage, code):
    it = await opened(stage)
    it.peer.send("before")
    it.peer.violate(code)
    it.peer.send("behind it")
    it.peer.close(4001, "bye")
    assert await it.lost() == Traffic(messages_received=1, bytes_received=6)
    assert it.told.calls == [("message", "before"), ("violated", code), ("close sent",), ("lost", None)]
    assert it.peer.close_frame == (code, "")


async def test_a_violation_in_place_of_an_answer_to_our_close(stage):
    it = await opened(stage)
    it.peer.behave(answers_close=False)
    it.link.close(1000, "")
    await until(lambda: it.peer.close_frame is not None)
    it.peer.violate(1002)
    await it.lost()
    assert it.told.calls == [("close sent",), ("violated", 1002), ("lost", None)]
    assert it.peer.close_frame == (1000, "")


# A consumer that wants no more


async def test_what_comes_waits_while_nobody_reads(stage):
    it = await opened(stage)
    it.link.pause_reading()
    it.link.pause_reading()
    it.peer.send("a")
    it.peer.send(b"b")
    it.peer.close(4000, "bye")
    await it.stage.settle()
    assert it.told.calls == []
    it.link.resume_reading()
    it.link.resume_reading()
    assert it.told.calls == [], "it comes in a turn of its own"
    await it.lost()
    assert it.told.calls == [
        ("message", "a"),
        ("message", b"b"),
        ("close received", 4000, "bye"),
        ("close sent",),
        ("lost", None),
    ]


async def test_a_pause_before_it_is_open(stage):
    it = Dialled(stage)
    it.link.pause_reading()
    it.link.resume_reading()
    it.link.pause_reading()
    await it.opened()
    it.peer.send("a")
    await it.stage.settle()
    assert it.told.calls == []
    it.link.resume_reading()
    await it.told.until("message")
    it.link.abort()
    await it.lost()


@pytest.mark.parametrize(
    ("end", "calls"),
    [
        (("end",), [("lost", ConnectionLost)]),
        (("reset",), [("lost", ConnectionLost)]),
        (("violate", 1002), [("violated", 1002), ("close sent",), ("lost", None)]),
    ],
    ids=["end", "reset", "violation"],
)
async def test_an_end_waits_as_well_and_comes_behind_the_messages(stage, end, calls):
    it = await opened(stage)
    it.link.pause_reading()
    it.peer.send("a")
    getattr(it.peer, end[0])(*end[1:])
    await it.stage.settle()
    assert it.told.calls == []
    it.link.resume_reading()
    assert await it.lost() == Traffic(messages_received=1, bytes_received=1)
    assert it.told.calls == [("message", "a"), *calls]


async def test_a_close_reads_to_the_end_though_the_consumer_has_paused(stage):
    it = await opened(stage)
    it.link.pause_reading()
    it.peer.send("a")
    await it.stage.settle()
    it.link.close(1000, "")
    it.link.pause_reading()
    assert await it.lost() == Traffic(messages_received=1, bytes_received=1)
    assert it.told.calls == [("close sent",), ("message", "a"), ("close received", 1000, ""), ("lost", None)]


async def test_a_message_to_a_peer_that_has_gone_is_unsent_and_costs_nothing_of_what_came(stage):
    it = await opened(stage)
    it.link.pause_reading()
    it.peer.send("a")
    it.peer.send("b")
    it.peer.reset()
    await it.stage.settle()
    it.send("too late")
    assert await it.lost() == Traffic(2, 2, 0, 0, 1)
    assert it.told.fates == [("unsent", "too late")]
    assert it.told.told == [("message", "a"), ("message", "b"), ("lost", ConnectionLost)]


async def test_a_close_to_a_peer_that_has_gone_costs_nothing_of_what_came(stage):
    it = await opened(stage)
    it.link.pause_reading()
    it.peer.send("a")
    it.peer.close(4001, "bye")
    it.peer.reset()
    await it.stage.settle()
    it.link.close(1000, "")
    await it.lost()
    told = [call for call in it.told.told if call != ("close sent",)]
    assert told[:-1] == [("message", "a"), ("close received", 4001, "bye")]


# Abort at any moment


async def opens(it):
    it.peer.send("behind it")


async def comes(it):
    it.peer.send("a")
    it.peer.send("b")
    it.peer.close(4001)


async def leaves(it):
    it.send("x", "y")


async def overflows(it):
    await it.clogged()
    it.send("x", "y")


async def is_unsent(it):
    await it.clogged()
    it.send("x")
    it.peer.close(4001)


async def closes(it):
    it.peer.close(4001, "bye")


async def is_closed(it):
    it.link.close(1000, "")


async def is_pinged(it):
    await it.peer.answer_ping()


async def breaks_the_protocol(it):
    it.peer.violate(1002)


@pytest.mark.parametrize(
    ("kind", "act", "calls"),
    [
        ("opened", opens, []),
        ("message", comes, [("message", "a")]),
        ("sent", leaves, [("sent", "x"), ("unsent", "y")]),
        ("overflowed", overflows, [("overflowed", "y"), ("unsent", "x")]),
        ("unsent", is_unsent, [("close received", 4001, ""), ("unsent", "x")]),
        ("close received", closes, [("close received", 4001, "bye")]),
        ("close sent", is_closed, [("close sent",)]),
        ("ponged", is_pinged, [("ponged",)]),
        ("violated", breaks_the_protocol, [("violated", 1002)]),
    ],
)
async def test_nothing_but_the_fates_of_messages_comes_behind_an_abort(stage, kind, act, calls):
    queue = SendQueue(max_messages=1, max_bytes=2 * FILLING)
    it = await Dialled(stage, Told(then={kind: Told.abort}), send_queue=queue, heartbeat=0.1).met()
    it.peer.accept()
    await it.told.until("opened")
    await act(it)
    await it.lost()
    told = [call for call in it.told.calls if call[0] != "ponged"] if kind != "ponged" else it.told.calls
    assert told == [("opened", None), *calls, ("lost", None)]


async def test_an_abort_while_what_waited_leaves(stage):
    it = await opened(stage, Told(then={"sent": Told.abort}))
    await it.clogged()
    it.send("x", "y")
    it.link.close(1000, "")
    it.peer.resume_reading()
    traffic = await it.lost()
    assert traffic.messages_sent + traffic.unsent == 2
    assert [text for _, text in it.told.fates] == ["x", "y"]
    assert it.told.told == [("lost", None)]
