"""A write that fails costs nothing of what the peer had sent before it left.

The whole matrix, over real sockets: both event loops, plain and over TLS, whatever is written, whatever the consumer does
meanwhile, and however the peer ends. The peer lives in a thread, so that it can end while the loop is held up.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import threading
import time
from collections import Counter

import pytest
from faults import ROOM, watched_sockets
from raw_peer import PATIENCE, Listener, Played

from rxnodes import Initiator, Project, Sent, Unsent, for_each_async
from rxnodes.lifecycle.events import Stopped
from rxnodes.testing import Frame, Opcode, close_payload
from rxnodes.websocket import on_receive, on_start, on_stop

SECURITY = ["plain", "tls 1.2", "tls 1.3"]
WRITTEN = ["message", "burst", "pong", "ping", "close"]
CONSUMERS = ["reading", "paused", "blocking"]
ENDS = ["fin", "reset behind its data", "close with our data unread", "half-close"]

#: What the peer says behind its first message.
COUNT = 600
LAST_WORDS = [f"message {number}" for number in range(1, COUNT + 1)]
ALL = ["first", *LAST_WORDS]

#: How many messages are a burst.
BURST = 50

CLOSE_TIMEOUT = 5.0


@pytest.fixture(scope="module")
def contexts(authority):
    """The server's context for each kind of security."""
    contexts = {"plain": None}
    for name, version in (("tls 1.2", ssl.TLSVersion.TLSv1_2), ("tls 1.3", ssl.TLSVersion.TLSv1_3)):
        contexts[name] = authority.server()
        contexts[name].minimum_version = contexts[name].maximum_version = version
    return contexts


@pytest.fixture(params=SECURITY)
def listener(request, contexts):
    """Listens for one cell's connection."""
    listener = Listener(contexts[request.param])
    yield listener
    listener.close()


@pytest.fixture
def make_cell(listener, authority):
    """Makes a cell of the loop and the security that the test is run with."""
    return functools.partial(Cell, listener, authority)


class Cell:
    """A peer that says its last words and ends, and a client that writes as if nothing had happened.

    `may_end` is set by the client when it has stopped reading, in its way; `has_ended` by the peer behind its end.
    """

    def __init__(self, listener, authority, written, consumer, end, *, never_goes_on=False):  # noqa: PLR0913 - a cell of a matrix
        self.listener, self.authority = listener, authority
        self.written, self.consumer, self.end = written, consumer, end
        self.never_goes_on = never_goes_on
        self.may_end = threading.Event()
        self.has_ended = threading.Event()
        self.received = []
        self.stopped = []
        self.receipts = []
        self.outcomes = []

    # The peer's thread

    def play(self, peer):
        if self.end == "close with our data unread":
            peer.wait_unread()
        first = [Frame(Opcode.TEXT, b"first")]
        if self.written == "pong":
            first += [Frame(Opcode.PING, b"%d" % number) for number in range(3)]
        last = [Frame(Opcode.TEXT, text.encode()) for text in LAST_WORDS]
        last.append(Frame(Opcode.CLOSE, close_payload(4001, "bye")))
        if self.consumer == "reading":
            peer.send(*first, *last)
        else:
            peer.send(*first)
            assert self.may_end.wait(PATIENCE)
            peer.send(*last)
        if self.end in ("reset behind its data", "close with our data unread"):
            # These throw away what is still here.
            peer.wait_arrived()
        match self.end:
            case "fin" | "close with our data unread":
                peer.close()
            case "reset behind its data":
                peer.reset()
            case "half-close":
                peer.half_close()
        self.has_ended.set()
        if self.end == "half-close":
            peer.hear_out()

    # The client's loop

    async def session(self):
        settings = {"url": self.listener.url, "close_timeout": CLOSE_TIMEOUT, "heartbeat": 60.0}
        if settings["url"].startswith("wss"):
            settings["tls"] = {"ca_file": str(self.authority.file)}
        played = Played(self.listener, self.play)
        played.start()
        with watched_sockets() as self.sockets:
            await self.run(settings)
        self.peer = await asyncio.to_thread(played.finish)

    async def run(self, settings):
        async with Project(websocket={"it": settings}) as project:
            self.it = it = project.websocket("it")
            it.messages.subscribe(self.receive)
            on_stop(it).subscribe(self.stopped.append)
            on_start(it).subscribe(self.open)
            if self.consumer == "paused":
                project.subscribe(on_receive(it, is_binary=False).pipe(for_each_async(self.dawdle, buffer=0)))
                on_receive(it, is_binary=False).subscribe(self.see_paused)
            it.start()
            async with asyncio.timeout(2 * PATIENCE):
                await it.wait_stopped()
            assert self.sockets.left() == []
            self.outcomes = [await receipt for receipt in self.receipts]

    def open(self, _):
        if self.end == "close with our data unread":
            self.send("never read")

    def receive(self, message):
        self.received.append(message)
        match self.consumer:
            case "reading":
                # Whenever the peer's end comes in between.
                if len(self.received) % 100 == 1:
                    self.write()
            case "blocking":
                if message == "first":
                    self.wait_for_end()
                    self.write()

    def wait_for_end(self):
        """Holds the event loop up until the peer has ended."""
        self.let_end()
        assert self.has_ended.wait(PATIENCE)

    def let_end(self):
        # Or else our system takes its time to say that it has what the peer waits for.
        self.sockets.opened[-1][0].setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self.may_end.set()

    async def dawdle(self, message):
        """A consumer that cannot keep up, and answers."""
        if message != "first" or self.written == "pong":
            return
        self.let_end()
        await asyncio.to_thread(self.has_ended.wait, PATIENCE)
        self.write()
        if self.never_goes_on:
            await asyncio.Event().wait()
        # The loop learns of the failure before reading goes on.
        for _ in range(5):
            await asyncio.sleep(0)

    def see_paused(self, message):
        """Is told each message behind the consumer."""
        if message == "first":
            assert self.it._driver.pause_control.is_paused
            if self.written == "pong":
                # Pongs are written behind the first message, with no turn of the loop in between.
                self.wait_for_end()

    def write(self):
        match self.written:
            case "message":
                self.send("an answer")
                self.send("and another")
            case "burst":
                for number in range(BURST):
                    self.send(f"answer {number}")
            case "ping":
                if self.it._driver.link is not None:
                    self.it._driver.link._keepalive._send_ping()
                    self.it._driver.link._keepalive._send_ping()
            case "close":
                self.it.stop(reason="enough")

    def send(self, text):
        self.receipts.append(self.it.send(text))


@pytest.mark.slow(but_every=30)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("written", WRITTEN)
def test_all_that_the_peer_sent_before_it_left_is_delivered(request, run, make_cell, written, consumer, end):  # noqa: PLR0913, PLR0917 - a cell
    cell = make_cell(written, consumer, end)
    began = time.monotonic()
    run(cell.session())
    took = time.monotonic() - began

    assert cell.received == ALL
    [stopped] = cell.stopped
    assert isinstance(stopped, Stopped)
    assert (stopped.code, stopped.reason) == (4001, "bye")
    assert stopped.initiator is Initiator.REMOTE or written == "close"
    assert stopped.messages_received == len(ALL)
    assert stopped.was_clean or stopped.error is not None
    assert took < CLOSE_TIMEOUT + ROOM

    fates = Counter(type(outcome) for outcome in cell.outcomes)
    assert fates[Sent] + fates[Unsent] == len(cell.receipts), fates
    assert (stopped.messages_sent, stopped.unsent) == (fates[Sent], fates[Unsent])
    if end == "half-close":
        # It still reads, so that nothing of ours may be withheld that was written before its Close frame was seen.
        assert stopped.was_clean
        heard = len(cell.peer.heard.messages)
        # uvloop's TLS drops in silence what is written behind an end that it has not told yet: docs/reliability.md.
        may_drop = "uvloop" in request.node.callspec.id and "tls" in request.node.callspec.id
        assert heard <= stopped.messages_sent if may_drop else heard == stopped.messages_sent
        if consumer != "reading":
            assert fates[Unsent] == 0


def test_it_is_so_however_python_keeps_the_attributes_of_a_transport(run, make_cell):
    """In a dict of its own: so does Python 3.13 always, and an earlier one as soon as anybody asks for that."""
    cell = make_cell("message", "blocking", "reset behind its data")
    cell.open = lambda _: getattr(cell.it._driver.link._layers.transport, "__dict__", None)
    run(cell.session())
    assert cell.received == ALL
    assert [stopped.code for stopped in cell.stopped] == [4001]


@pytest.mark.slow(but_every=5)
@pytest.mark.parametrize("end", ["fin", "reset behind its data"])
def test_a_consumer_that_never_goes_on_does_not_hold_up_the_end(run, make_cell, end):
    cell = make_cell("burst", "paused", end, never_goes_on=True)
    began = time.monotonic()
    run(cell.session())
    assert time.monotonic() - began < CLOSE_TIMEOUT + ROOM
    [stopped] = cell.stopped
    assert cell.received == ALL[: stopped.messages_received], "in order, and counted as delivered"
    assert stopped.messages_sent + stopped.unsent == len(cell.receipts) == BURST
