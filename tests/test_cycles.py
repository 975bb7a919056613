"""What has ended is gone at once: nothing of an attempt is left in a cycle, or in the context of a task or a timer.

The collector is off meanwhile. A program that makes few objects of its own runs it rarely, and then what is left of each
attempt, over TLS a quarter of a megabyte, adds up.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import weakref

import pytest
from websockets.asyncio.server import serve

from rxnodes import ConnectError, ConnectionLost, ConnectionState, ConnectOptions, GiveUp, Project, RequestTimeout
from rxnodes.testing import WebSocketServer
from rxnodes.transport.aiohttp import AiohttpTransport
from rxnodes.transport.aiohttp.sockets import WatchedSocket
from rxnodes.transport.scripted import ScriptedTransport
from rxnodes.websocket import channel, expect, on_gap, on_receive, request

pytestmark = pytest.mark.slow

SESSIONS = 2
RECONNECT = {"enabled": True, "initial_delay": 0.001, "jitter": False}


class Watched:
    """A transport, and weak references to the links that it has made and what they call."""

    def __init__(self, transport):
        self._transport = transport
        self._links = []

    def dial(self, target, sink):
        link = self._transport.dial(target, sink)
        self._links.append(weakref.ref(link))
        return link

    async def aclose(self):
        await self._transport.aclose()

    @property
    def dials(self):
        return len(self._links)

    def left(self):
        """The links that are still there."""
        return [link for reference in self._links if (link := reference()) is not None]


def is_ours(thing):
    """Whether it is of a connection, or what asyncio has for TLS, whose buffers are large.

    Each of asyncio's own transports is a cycle by itself, and from it hangs the closed socket.
    """
    module = type(thing).__module__
    if module.startswith("rxnodes.testing") or isinstance(thing, WatchedSocket):
        return False
    return module.startswith("rxnodes") or module == "asyncio.sslproto"


@contextlib.contextmanager
def no_collector():
    """Keeps the collector off, so that a cycle stays; what it would have collected is asserted to be of others."""
    # Of what other tests have left, some goes only behind the finalizers of the rest.
    while gc.collect():
        pass
    gc.disable()
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        ours = [thing for thing in gc.garbage if is_ours(thing)]
        assert not ours, f"in cycles: {[type(thing).__qualname__ for thing in ours]}"
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def turns():
    """Lets what is on its way come to its end."""
    for _ in range(5):
        await asyncio.sleep(0)


# --- The ways ---------------------------------------------------------------------------------------------------------


def scripted(end):
    """A scripted peer that greets, and then ends it so."""

    def script(peer):
        if end == "refuse":
            peer.refuse("busy")
            return
        peer.accept()
        peer.send("hello")
        if end == "close":
            peer.close(1012, "restarting")
        elif end == "reset":
            peer.reset()

    return script


def served(end):
    """The same of a server."""

    async def script(peer):
        if end == "refuse":
            await peer.respond(503)
            return
        await peer.accept()
        await peer.send_text("hello")
        if end == "close":
            await peer.send_close(1012, "restarting")
        elif end == "reset":
            peer.reset()
            return
        # Where the client aborts, there is none.
        with contextlib.suppress(AssertionError):
            close = await peer.expect_close()
            if end is None:
                await peer.send_close(close.code)

    return script


class Scripted:
    """A connection on a scripted transport."""

    def run(self, test, end=None, **fields):
        async def main():
            async with opened("ws://it.test/", ScriptedTransport(scripted(end)), fields) as (it, transport):
                await test(it, transport)

        asyncio.run(main())


class Served:
    """A connection over real sockets."""

    def __init__(self, loop_factory, authority):
        self._loop_factory = loop_factory
        self._tls = authority and authority.server()
        self._fields = {"tls": {"ca_file": str(authority.file)}} if authority else {}

    def run(self, test, end=None, **fields):
        async def main():
            async with WebSocketServer(served(end), tls=self._tls) as server:
                url = server.url.replace("127.0.0.1", "localhost") if self._tls else server.url
                async with opened(url, AiohttpTransport(), self._fields | fields) as (it, transport):
                    await test(it, transport)

        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            runner.run(main())


@contextlib.asynccontextmanager
async def opened(url, transport, fields):
    watched = Watched(transport)
    async with Project(websocket={"it": {"url": url, "heartbeat": 60, **fields}}, transport=watched) as project:
        yield project.websocket("it"), watched


@pytest.fixture(params=["scripted", "asyncio-ws", "asyncio-wss", "uvloop-ws", "uvloop-wss"])
def way(request, authority):
    if request.param == "scripted":
        return Scripted()
    loop, scheme = request.param.split("-")
    uvloop = pytest.importorskip("uvloop") if loop == "uvloop" else None
    return Served(uvloop and uvloop.new_event_loop, authority if scheme == "wss" else None)


# --- The tests --------------------------------------------------------------------------------------------------------


async def repeat(it, transport, session):
    """Runs sessions, the first of which fills caches, and asserts that nothing is left of the others."""
    await session()
    await turns()
    with no_collector():
        for _ in range(SESSIONS):
            await session()
        await turns()
        assert transport.dials > SESSIONS
        assert transport.left() == []


@pytest.mark.parametrize("end", ["stop", "abort"])
def test_a_session_that_we_end(way, end):
    async def test(it, transport):
        async def session():
            it.start()
            await it.wait_started()
            await it.send("hello")
            getattr(it, end)()
            await it.wait_stopped()

        await repeat(it, transport, session)

    way.run(test)


@pytest.mark.parametrize("end", ["close", "reset", "refuse"])
def test_attempts_that_end_and_are_followed_by_others(way, end):
    async def test(it, transport):
        async def session():
            enough = transport.dials + 3
            is_enough = asyncio.Event()
            following = it.lifecycle.subscribe(lambda _: is_enough.set() if transport.dials >= enough else None)
            it.start()
            await is_enough.wait()
            it.stop()
            await it.wait_stopped()
            following.dispose()

        await repeat(it, transport, session)

    way.run(test, end, reconnect=RECONNECT)


async def ask(it):
    with pytest.raises(RequestTimeout):
        await request(it, "question", match=lambda _: False, timeout=0.001, codec="json")


async def hear(it):
    with expect(it, lambda _: True) as greeting:
        await greeting


async def follow(it):
    channel(it, subscribe="news", match=lambda _: True).subscribe()


async def watch_gaps(it):
    on_gap(it, sequence=len).subscribe()


@pytest.mark.parametrize("use", [ask, hear, follow, watch_gaps])
def test_a_connection_that_is_removed(use):
    async def main():
        transport = ScriptedTransport(scripted(None))
        async with Project(transport=transport) as project:

            async def life():
                it = project.add_websocket("it", "ws://it.test/")
                it.start()
                await it.wait_started()
                asyncio.get_running_loop().call_soon(transport.peer.send, "hello")
                await use(it)
                await project.remove_websocket("it")
                return weakref.ref(it)

            await life()
            with no_collector():
                lives = [await life() for _ in range(SESSIONS)]
                await turns()
                assert [life() for life in lives] == [None] * SESSIONS

    asyncio.run(main())


def test_who_waits_for_a_start_that_does_not_come(way):
    async def test(it, transport):
        async def session():
            it.start()
            with pytest.raises(ConnectError):
                await it.wait_started()
            await it.wait_stopped()

        await repeat(it, transport, session)

    way.run(test, "refuse")


def test_conversations_that_fail_and_receipts_that_nobody_waits_for_any_more(way):
    async def test(it, transport):
        async def session():
            it.start()
            await it.wait_started()
            with pytest.raises(RequestTimeout):
                await request(it, "question", match=lambda _: False, timeout=0.001)
            unanswered = asyncio.ensure_future(request(it, "question", match=lambda _: False))
            await asyncio.sleep(0)
            it.stop()
            receipt = asyncio.ensure_future(it.send("too late"))
            await asyncio.sleep(0)
            receipt.cancel()
            with pytest.raises(ConnectionLost):
                await unanswered
            await it.wait_stopped()
            # It knows this frame by its traceback.
            del unanswered, receipt

        await repeat(it, transport, session)

    way.run(test)


def test_a_hook_that_answers(way):
    async def hook(_attempt):
        return ConnectOptions(query={"a": "b"})

    async def test(it, transport):
        async def session():
            it.start()
            await it.wait_started()
            it.stop()
            await it.wait_stopped()

        await repeat(it, transport, session)

    way.run(test, before_connect=hook)


async def fail(how, lets_go):
    """What a hook does that comes to nothing."""
    if how == "raises":
        raise ValueError("no")
    if how == "gives up":
        raise GiveUp
    if how == "is cancelled":
        raise asyncio.CancelledError
    while not lets_go.is_set():
        try:
            await lets_go.wait()
        except asyncio.CancelledError:
            if how == "is stopped":
                raise


@pytest.mark.parametrize("how", ["raises", "gives up", "is cancelled", "is stopped", "is left behind"])
def test_a_hook_that_leads_to_no_dial(how, caplog):
    lets_go = asyncio.Event()

    async def hook(_attempt):
        await fail(how, lets_go)

    async def test(it, transport):
        with no_collector():
            for _ in range(SESSIONS):
                it.start()
                if how.startswith("is "):
                    await turns()
                    it.stop()
                if how == "is left behind":
                    it.abort()
                await it.wait_stopped()
                caplog.clear()
            lets_go.set()
            await turns()
            assert transport.dials == 0

    Scripted().run(test, before_connect=hook)


@pytest.mark.parametrize("end", [None, "close", "reset"])
def test_a_login(way, end):
    async def hook(greeting):
        await greeting.receive()
        if end is not None:
            await greeting.receive()

    async def test(it, transport):
        async def session():
            it.start()
            if end is None:
                await it.wait_started()
                it.stop()
            await it.wait_stopped()

        await repeat(it, transport, session)

    way.run(test, end, after_connect=hook)


@pytest.mark.parametrize("how", ["raises", "gives up", "is cancelled", "is stopped", "is left behind"])
def test_a_login_that_fails(how, caplog):
    lets_go = asyncio.Event()

    async def hook(greeting):
        await greeting.receive()
        await fail(how, lets_go)

    async def test(it, transport):
        with no_collector():
            for _ in range(SESSIONS):
                it.start()
                if how in ("is stopped", "is left behind"):
                    await turns()
                    it.stop()
                    await turns()
                if how == "is left behind":
                    it.abort()
                await it.wait_stopped()
                caplog.clear()
            lets_go.set()
            await turns()

    Scripted().run(test, after_connect=hook)


def test_a_transport_that_raises(caplog):
    class Broken(ScriptedTransport):
        def dial(self, target, sink):
            raise ValueError("no")

    async def main():
        async with opened("ws://it.test/", Broken(), {}) as (it, _):
            with no_collector():
                for _ in range(SESSIONS):
                    it.start()
                    await it.wait_stopped()
                caplog.clear()

    asyncio.run(main())


def test_a_task_that_a_handler_starts_does_not_keep_the_link(way):
    async def test(it, transport):
        goes_on = asyncio.Event()
        tasks, timers = [], []

        def begin(_):
            tasks.append(asyncio.ensure_future(goes_on.wait()))
            timers.append(asyncio.get_running_loop().call_later(60, goes_on.set))

        on_receive(it).subscribe(begin)
        it.lifecycle.subscribe(begin)
        received = asyncio.Event()
        on_receive(it).subscribe(lambda _: received.set())

        async def session():
            received.clear()
            it.start()
            await received.wait()
            it.stop()
            await it.wait_stopped()

        await repeat(it, transport, session)
        assert len(tasks) > SESSIONS
        goes_on.set()
        for timer in timers:
            timer.cancel()

    way.run(test)


# --- Many sessions ----------------------------------------------------------------------------------------------------


async def test_200_rounds_leave_nothing_behind():
    async def rounds(count):
        for _ in range(count):
            chat.start()
            await chat.wait_started()
            chat.send("hello")
            chat.stop()
            await chat.wait_stopped()
        gc.collect()
        timers = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]
        return len(asyncio.all_tasks()), len(timers), len(gc.get_objects()), sys.getallocatedblocks()

    async with serve(lambda websocket: websocket.wait_closed(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Project(websocket={"chat": f"ws://127.0.0.1:{port}/"}) as project:
            chat = project.websocket("chat")
            # CPython's own caches and free lists fill up first.
            tasks, timers, objects, blocks = await rounds(200)
            files = len(os.listdir("/dev/fd"))
            tasks_after, timers_after, objects_after, blocks_after = await rounds(200)
            assert (chat.session, chat.state) == (400, ConnectionState.CLOSED)
            # The server's side of the last round may still be ending.
            assert tasks_after <= tasks + 1
            assert timers_after <= timers + 1
            assert len(os.listdir("/dev/fd")) <= files + 2
            # A session that stayed would be dozens of objects and hundreds of blocks.
            assert objects_after - objects < 200
            assert blocks_after - blocks < 200 * 5
