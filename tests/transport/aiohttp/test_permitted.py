"""A link that may not read and write any more: nothing is delivered, nothing is sent, and it ends at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import pytest
from faults import own_tasks, own_timers, watched_sockets

from rxnodes import ConnectionLost, Project, Unsent
from rxnodes.testing import RSV1, EndOfStream, Frame, Opcode, WebSocketServer, deflate
from rxnodes.transport.aiohttp import AiohttpTransport

DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
COUNT = 200


@pytest.fixture(params=itertools.product(["asyncio", "uvloop"], ["ws", "wss"], ["as it is", "deflated"]), ids="-".join)
def run(request, authority):
    """A run on this loop, over this scheme, with compression or without."""
    loop, scheme, form = request.param
    uvloop = pytest.importorskip("uvloop") if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=uvloop and uvloop.new_event_loop) as runner:
        yield Run(runner, authority if scheme == "wss" else None, is_deflated=form == "deflated")


class Run:
    """A connection whose transport asks for permission, and a peer that keeps the frames that it hears."""

    def __init__(self, runner, authority, *, is_deflated):
        self._runner = runner
        self._tls = authority and authority.server()
        self._is_deflated = is_deflated
        self._fields = {"compression": is_deflated, **({"tls": {"ca_file": str(authority.file)}} if authority else {})}
        self.is_permitted = True
        self.asked = 0
        self.may_send = asyncio.Event()
        self.frames = []
        self.messages = []

    def permit(self):
        self.asked += 1
        return self.is_permitted

    def text(self, text):
        if self._is_deflated:
            return Frame(Opcode.TEXT, deflate(text.encode()), rsv=RSV1)
        return Frame(Opcode.TEXT, text.encode())

    def play(self, act, *frames, before_accept=lambda: None):
        """The peer sends the frames once it may, all in one write. Gives what `act(connection)` gives."""

        async def script(peer):
            await peer.read_request()
            before_accept()
            await peer.accept(extensions=DEFLATE if self._is_deflated else None)
            hearing = asyncio.create_task(self._hear(peer))
            await self.may_send.wait()
            await peer.send_raw(b"".join(frame.encode() for frame in frames))
            await hearing

        return self._runner.run(self._session(script, act))

    async def _hear(self, peer):
        with contextlib.suppress(EndOfStream, ConnectionError):
            while not self.frames or self.frames[-1].opcode != Opcode.CLOSE:
                self.frames.append(await peer.receive())

    async def _session(self, script, act):
        async with asyncio.timeout(30), WebSocketServer(script, tls=self._tls) as server:
            url = server.url.replace("127.0.0.1", "localhost")
            with watched_sockets() as sockets:
                settings = {"it": {"url": url, "heartbeat": None, **self._fields}}
                async with Project(websocket=settings, transport=AiohttpTransport(self.permit)) as project:
                    it = project.websocket("it")
                    it.messages.subscribe(self.messages.append)
                    it.start()
                    result = await act(it)
                assert sockets.left() == own_tasks() == own_timers() == []
        return result


def given_up(stopped):
    assert isinstance(stopped.error, ConnectionLost)
    assert "may be another's by now" in str(stopped.error)
    assert (stopped.code, stopped.was_clean, stopped.messages_received) == (1006, False, 0)


@pytest.mark.slow(but_every=3)
def test_while_it_may_it_is_asked_once_a_read_and_a_write(run):
    async def act(it):
        await it.wait_started()
        before = run.asked
        run.may_send.set()
        stopped = await it.wait_stopped()
        assert run.asked - before < COUNT / 10
        return stopped

    words = [str(number) for number in range(COUNT)]
    stopped = run.play(act, *map(run.text, words), Frame(Opcode.CLOSE, b"\x03\xe8bye"))
    assert (stopped.was_clean, stopped.reason) == (True, "bye")
    assert run.messages == words


@pytest.mark.slow(but_every=3)
@pytest.mark.parametrize("what", ["message", "ping", "close"])
def test_nothing_that_comes_is_delivered_or_answered(run, what):
    async def act(it):
        await it.wait_started()
        run.is_permitted = False
        run.may_send.set()
        return await it.wait_stopped()

    frame = {
        "message": run.text("too late"),
        "ping": Frame(Opcode.PING, b"?"),
        "close": Frame(Opcode.CLOSE, b"\x03\xe8"),
    }
    given_up(run.play(act, frame[what]))
    assert run.messages == run.frames == []


@pytest.mark.slow(but_every=3)
@pytest.mark.parametrize("what", ["message", "burst", "close"])
def test_nothing_leaves(run, what):
    async def act(it):
        await it.wait_started()
        run.is_permitted = False
        receipts = [it.send("too late") for _ in range({"message": 1, "burst": 50, "close": 0}[what])]
        if what == "close":
            it.stop()
        stopped = await it.wait_stopped()
        outcomes = [await receipt for receipt in receipts]
        assert {type(outcome) for outcome in outcomes} <= {Unsent}
        assert stopped.unsent == len(receipts)
        assert stopped.messages_sent == 0
        return stopped

    given_up(run.play(act))
    assert run.frames == []


@pytest.mark.slow(but_every=3)
def test_a_permission_that_comes_back_is_too_late(run):
    async def act(it):
        await it.wait_started()
        run.is_permitted = False
        receipt = it.send("too late")
        run.is_permitted = True
        it.send("later still")
        run.may_send.set()
        stopped = await it.wait_stopped()
        assert isinstance(await receipt, Unsent)
        return stopped

    given_up(run.play(act, run.text("hello")))
    assert run.messages == run.frames == []


@pytest.mark.slow(but_every=3)
def test_an_attempt_that_may_not_be_any_more_when_it_is_accepted_never_opens(run):
    async def act(it):
        return await it.wait_stopped()

    def forbid():
        run.is_permitted = False

    stopped = run.play(act, before_accept=forbid)
    given_up(stopped)
    assert not stopped.opened
    assert run.frames == []
