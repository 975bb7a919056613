"""A consumer that cannot keep up, over real sockets: TCP holds up the peer, memory is bounded, and no promise breaks.

On asyncio's own loop and on uvloop, in plain text and over TLS, since each has a way of its own to pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import ssl
import tracemalloc

import pytest
from faults import (
    A_MOMENT,
    LOCAL,
    NETWORK,
    REMOTE,
    ROOM,
    TIMEOUT,
    Watch,
    held_up,
    own_tasks,
    own_timers,
    watched_sockets,
)
from reactivex import operators as ops

from rxnodes import BufferOverflow, CloseTimeout, ConnectionLost, Drops, Project, for_each_async
from rxnodes.testing import (
    ChaosProxy,
    CloseReceived,
    Frame,
    Opcode,
    WebSocketServer,
    close_payload,
    echo,
    never_answer_close,
)
from rxnodes.transport.aiohttp import reader
from rxnodes.transport.aiohttp.sockets import PeerSystem
from rxnodes.websocket import messages, on_receive, on_stop

SIZE = 16 * 1024
#: What one read of a socket brings at most; over TLS, what its records were packed in comes on top.
ONE_READ = 256 * 1024 + 64 * 1024
HEARTBEAT = 0.1
#: Longer than any heartbeat or silence here lasts.
LONG = 5 * HEARTBEAT


@pytest.fixture(params=itertools.product(["asyncio", "uvloop"], ["ws", "wss"]), ids="-".join)
def way(request, authority):
    loop, scheme = request.param
    uvloop = pytest.importorskip("uvloop") if loop == "uvloop" else None
    return Way(uvloop and uvloop.new_event_loop, authority if scheme == "wss" else None)


class Way:
    """An event loop and a scheme."""

    def __init__(self, loop_factory=None, authority=None):
        self.loop_factory = loop_factory
        self.tls = authority and authority.server()
        self.fields = {"tls": {"ca_file": str(authority.file)}} if authority else {}

    def run(self, script, test, **fields):
        """Runs `test` with a connection that is not started yet, and looks at what is left at its end."""
        with asyncio.Runner(loop_factory=self.loop_factory) as runner:
            return runner.run(self.session(script, test, **fields))

    async def session(self, script, test, **fields):
        async with asyncio.timeout(30):
            async with WebSocketServer(script, tls=self.tls) as server:
                url = server.url.replace("127.0.0.1", "localhost")
                with watched_sockets() as sockets:
                    return await self.connected(url, test, sockets, **fields)

    async def connected(self, url, test, sockets=None, **fields):
        async with Project(websocket={"it": {"url": url, "heartbeat": None, **self.fields, **fields}}) as project:
            it = project.websocket("it")
            watch = Watch(it, sockets)
            result = await test(it)
        watch.check()
        assert own_tasks() == own_timers() == []
        return result


@pytest.fixture
def plain():
    """asyncio's own loop and plain text."""
    return Way()


class Flood:
    """A server's script that sends numbered messages, without a rest.

    Args:
        count: How many messages; `None`: without end.
        size: How long each is.
        close: Whether a Close frame follows.
    """

    def __init__(self, count=None, size=SIZE, *, close=True):
        self.count, self.size, self.close = count, size, close
        self.sent = 0

    async def __call__(self, peer):
        await peer.accept()
        sending = asyncio.create_task(self.send(peer))
        try:
            await self.listen(peer)
        finally:
            sending.cancel()
            await asyncio.wait([sending])

    async def listen(self, peer):
        close = await peer.expect_close()
        if not self.close:
            await peer.send_close(close.code)

    async def send(self, peer):
        for number in itertools.count() if self.count is None else range(self.count):
            await peer.send_frame(Frame(Opcode.BINARY, number.to_bytes(4) + bytes(self.size - 4)))
            self.sent += 1
            # In a turn of its own, as where the server is another process.
            await asyncio.sleep(0)
        if self.close:
            await peer.send_close(1000, "that was all")

    async def held_up(self, it):
        """Waits until the connection has paused, and this can send no more."""
        await held_up(it, lambda: self.sent)


async def started(it):
    it.start()
    await it.wait_started()


def number_of(message):
    return int.from_bytes(message[:4])


# TCP holds up the peer


@pytest.mark.slow
def test_the_peer_can_send_no_more_and_nothing_is_lost(way):
    count, buffer = 2000, 16
    flood = Flood(count)

    async def test(it):
        received = messages(it, codec=bytes, buffer=buffer)
        await started(it)
        await flood.held_up(it)
        kept = it._driver.link._reader.bytes_received
        assert kept <= buffer * SIZE + ONE_READ
        assert flood.sent < count
        assert [number_of(message) async for message in received] == list(range(count))
        return it.last_stopped

    stopped = way.run(flood, test)
    assert (stopped.code, stopped.reason, stopped.initiator) == (1000, "that was all", REMOTE)
    assert stopped.messages_received == count


@pytest.mark.slow
def test_many_pauses_lose_nothing_and_keep_the_order(way):
    count = 3000
    flood, seen = Flood(count, size=1000), []

    async def save(message):
        if len(seen) % 7 == 0:
            await asyncio.sleep(0)
        seen.append(number_of(message))

    async def test(it):
        done = asyncio.ensure_future(
            on_receive(it, codec=bytes).pipe(
                ops.take_until(on_stop(it)), for_each_async(save, buffer=3, max_concurrent=2)
            )
        )
        await started(it)
        await done
        return it.last_stopped

    assert way.run(flood, test).was_clean
    assert seen == list(range(count))


@pytest.mark.slow(but_every=3)
def test_a_pause_that_comes_before_the_connection_is_open(way):
    async def script(peer):
        await peer.accept(then=Frame(Opcode.TEXT, b"with the handshake").encode())
        assert await peer.receive_message() == "go on"
        await peer.send_text("behind it")
        sent.set()
        await peer.send_close((await peer.expect_close()).code)

    sent = asyncio.Event()

    async def test(it):
        seen = []
        it.messages.subscribe(seen.append)
        it._driver.pause_control.pause("a consumer")
        await started(it)
        it.send("go on")
        await sent.wait()
        await asyncio.sleep(A_MOMENT)
        assert seen == ["with the handshake"]
        it._driver.pause_control.resume("a consumer")
        while len(seen) < 2:
            await asyncio.sleep(0)
        assert seen == ["with the handshake", "behind it"]
        it.stop()
        assert (await it.wait_stopped()).was_clean

    way.run(script, test)


@pytest.mark.slow(but_every=5)
@pytest.mark.parametrize("comes", ["message by message", "in one read"])
@pytest.mark.parametrize("end", ["close", "fin", "drop_tls"])
def test_what_came_before_the_peers_end_is_read_when_the_consumer_goes_on(way, end, comes):
    count = 300
    if way.tls and comes == "in one read":
        # Later versions send tickets behind the handshake, and nothing is read behind these.
        way.tls.maximum_version = ssl.TLSVersion.TLSv1_2

    async def script(peer):
        await peer.accept()
        await peer.receive_message()
        frames = [Frame(Opcode.BINARY, number.to_bytes(4)).encode() for number in range(count)]
        for data in [b"".join(frames)] if comes == "in one read" else frames:
            await peer.send_raw(data)
        if end == "close":
            await peer.send_close(4000, "bye")
        await (peer.half_close() if end == "fin" else peer.drop_tls())
        ended.set()
        await peer.wait_closed()

    ended = asyncio.Event()

    async def test(it):
        it._driver.pause_control.pause("until it has ended")
        received = messages(it, codec=bytes, buffer=1)
        await started(it)
        it.send("go on")
        await ended.wait()
        await asyncio.sleep(A_MOMENT)
        assert it.state.name == "OPEN"
        it._driver.pause_control.resume("until it has ended")
        assert [number_of(message) async for message in received] == list(range(count))
        return it.last_stopped

    stopped = way.run(script, test)
    assert stopped.messages_received == count
    assert (stopped.code, stopped.initiator) == ((4000, REMOTE) if end == "close" else (1006, NETWORK))
    assert stopped.was_clean is (end == "close")


# Signs of life


@pytest.mark.slow
def test_a_paused_consumer_does_not_make_the_peer_look_dead(way):
    """The peer's program is stuck in sending, and answers no ping."""
    flood = Flood(2000)

    async def test(it):
        received = messages(it, codec=bytes)
        await started(it)
        await flood.held_up(it)
        await asyncio.sleep(LONG)
        assert it.state.name == "OPEN"
        assert [number_of(message) async for message in received] == list(range(2000))
        return it.last_stopped

    assert way.run(flood, test, heartbeat=HEARTBEAT, silence_timeout=4 * HEARTBEAT).was_clean


@pytest.mark.slow
def test_nor_where_each_side_waits_for_the_other_to_read(way):
    """A server that answers each message waits until we read, and then does not read what we send: nor our pings."""
    count, size = 600, 64 * 1024

    async def test(it):
        received = messages(it, codec=bytes, buffer=8)
        await started(it)
        for number in range(count):
            it.send(number.to_bytes(4) + bytes(size))
        await asyncio.sleep(LONG)
        assert it._driver.link._writer.messages_sent < count, "it does not take all of it"
        assert it.state.name == "OPEN"
        seen = []
        async for message in received:
            seen.append(number_of(message))
            if len(seen) == count:
                it.stop()
        assert seen == list(range(count))
        return it.last_stopped

    assert way.run(echo, test, heartbeat=HEARTBEAT).was_clean


@pytest.mark.slow
@pytest.mark.parametrize("tells", [True, False])
def test_an_idle_connection_that_is_paused_is_not_lost(way, monkeypatch, tells):
    """Also where the system does not tell that the peer's system is there."""
    if not tells:
        monkeypatch.setattr(reader, "ask_system", lambda _: None)

    async def test(it):
        await started(it)
        it._driver.pause_control.pause("a consumer")
        await asyncio.sleep(LONG)
        assert it.state.name == "OPEN"
        it._driver.pause_control.resume("a consumer")
        await asyncio.sleep(3 * HEARTBEAT)
        it.stop()
        return await it.wait_stopped()

    assert way.run(echo, test, heartbeat=HEARTBEAT).was_clean


@pytest.mark.slow
def test_a_pong_that_waited_for_us_to_read_is_no_round_trip(plain):
    answered = asyncio.Event()

    async def script(peer):
        await peer.accept()
        ping = await peer.receive()
        await peer.pong(ping.payload)
        answered.set()
        await peer.send_close((await peer.expect_close()).code)

    async def test(it):
        latencies = []
        it.latency.subscribe(latencies.append)
        await started(it)
        it._driver.pause_control.pause("a consumer")
        await answered.wait()
        await asyncio.sleep(HEARTBEAT)
        it._driver.pause_control.resume("a consumer")
        while not it._driver.link._reader.has_heard:
            await asyncio.sleep(0)
        assert latencies == []
        while not latencies:
            await asyncio.sleep(0)
        it.stop()
        return await it.wait_stopped()

    assert plain.run(script, test, heartbeat=4 * HEARTBEAT).was_clean


@pytest.mark.slow
def test_silence_counts_from_where_reading_goes_on(plain):
    silence = 3 * HEARTBEAT

    async def test(it):
        await started(it)
        it._driver.pause_control.pause("a consumer")
        await asyncio.sleep(LONG)
        assert it.state.name == "OPEN"
        went_on = asyncio.get_running_loop().time()
        it._driver.pause_control.resume("a consumer")
        stopped = await it.wait_stopped()
        assert asyncio.get_running_loop().time() - went_on >= silence - 0.01
        return stopped

    stopped = plain.run(never_answer_close, test, silence_timeout=silence)
    assert stopped.initiator is NETWORK
    assert "silence_timeout" in str(stopped.error)


def test_a_peer_whose_system_is_gone_is_found_while_paused(plain, monkeypatch):
    """Loopback acknowledges everything; so the system's answer is played here."""
    monkeypatch.setattr(reader, "ask_system", lambda _: PeerSystem(has_ended=False, owes_answer=True, quiet_for=60))

    async def test(it):
        await started(it)
        it._driver.pause_control.pause("a consumer")
        return await it.wait_stopped()

    stopped = plain.run(never_answer_close, test, heartbeat=HEARTBEAT)
    assert type(stopped.error) is ConnectionLost
    assert "no sign of life" in str(stopped.error)


@pytest.mark.slow
def test_a_black_hole_is_found_once_reading_goes_on(plain):
    """The proxy's system takes what we send, as that of a peer whose program hangs would."""

    async def test(it):
        await started(it)
        it._driver.pause_control.pause("a consumer")
        proxy.to_server.black_hole = proxy.to_client.black_hole = True
        await asyncio.sleep(LONG)
        assert it.state.name == "OPEN"
        it._driver.pause_control.resume("a consumer")
        return await it.wait_stopped()

    async def main():
        nonlocal proxy
        async with WebSocketServer(echo) as server, ChaosProxy(server.url) as proxy:
            return await plain.connected(proxy.url, test, heartbeat=HEARTBEAT)

    proxy = None
    assert "no sign of life" in str(asyncio.run(main()).error)


@pytest.mark.slow(but_every=3)
def test_a_ping_at_a_peer_that_has_left_does_not_cost_what_it_sent(way):
    """Its system answers with a reset, and ours would then fail to send and give up what we have not read."""
    count = 300

    async def script(peer):
        await peer.accept()
        await peer.receive_message()
        # In one turn of the loop, so that no ping falls in between on a busy machine.
        frames = [Frame(Opcode.BINARY, number.to_bytes(4)) for number in range(count)]
        frames.append(Frame(Opcode.CLOSE, close_payload(4000, "gone")))
        await peer.send_raw(b"".join(frame.encode() for frame in frames))
        peer._tcp.close()
        left.set()

    left = asyncio.Event()

    async def test(it):
        gate = asyncio.Event()
        seen = []

        async def save(message):
            await gate.wait()
            seen.append(number_of(message))

        it._driver.pause_control.pause("until it has left")
        done = asyncio.ensure_future(
            on_receive(it, codec=bytes).pipe(ops.take_until(on_stop(it)), for_each_async(save, buffer=1))
        )
        await started(it)
        it.send("go on")
        await left.wait()
        stopped = await it.wait_stopped()
        gate.set()
        it._driver.pause_control.resume("until it has left")
        await done
        assert seen == list(range(count))
        return stopped

    stopped = way.run(script, test, heartbeat=HEARTBEAT)
    assert (stopped.code, stopped.reason, stopped.messages_received) == (4000, "gone", count)


# The end


@pytest.mark.slow(but_every=3)
def test_a_stop_while_paused_is_clean_and_quick(way):
    flood = Flood(close=False)

    async def test(it):
        received = messages(it, codec=bytes)
        await started(it)
        await flood.held_up(it)
        loop = asyncio.get_running_loop()
        began = loop.time()
        it.stop(reason="enough")
        stopped = await it.wait_stopped()
        assert loop.time() - began < ROOM
        seen = [number_of(message) async for message in received]
        assert seen == list(range(stopped.messages_received)), "what was received is delivered"
        return stopped

    stopped = way.run(flood, test, close_timeout=10)
    assert (stopped.was_clean, stopped.initiator) == (True, LOCAL)


@pytest.mark.slow(but_every=3)
@pytest.mark.parametrize("heartbeat", [None, HEARTBEAT])
def test_an_abort_while_paused(way, heartbeat):
    class Aborted(Flood):
        async def listen(self, peer):
            # Unless it is ended before it has seen the reset.
            with pytest.raises(AssertionError, match="no Close frame"):
                await peer.expect_close()

    flood = Aborted(close=False)

    async def test(it):
        received = messages(it, codec=bytes)
        await started(it)
        await flood.held_up(it)
        it.abort()
        stopped = await it.wait_stopped()
        assert len([message async for message in received]) == stopped.messages_received
        return stopped

    stopped = way.run(flood, test, heartbeat=heartbeat)
    assert (stopped.code, stopped.initiator, stopped.error) == (1006, LOCAL, None)


@pytest.mark.slow(but_every=3)
def test_a_reset_while_paused_is_found_by_the_heartbeat(way):
    async def script(peer):
        await peer.accept()
        await peer.receive_message()
        peer.reset()

    async def test(it):
        it._driver.pause_control.pause("a consumer")
        await started(it)
        it.send("go on")
        return await it.wait_stopped()

    stopped = way.run(script, test, heartbeat=HEARTBEAT)
    assert (stopped.code, stopped.initiator) == (1006, NETWORK)
    assert type(stopped.error) is ConnectionLost


@pytest.mark.slow(but_every=3)
def test_leaving_the_project_while_paused_is_clean(way):
    flood = Flood(close=False)
    stopped = []

    async def test(it):
        on_stop(it).subscribe(stopped.append)
        on_receive(it, codec=bytes).pipe(for_each_async(lambda _: asyncio.sleep(1000))).subscribe()
        await started(it)
        await flood.held_up(it)

    way.run(flood, test, close_timeout=10)
    assert stopped[0].was_clean


@pytest.mark.slow
def test_a_peer_that_talks_without_end_is_read_so_far_and_no_further(way, monkeypatch):
    allowed = 2 * 1024 * 1024
    monkeypatch.setattr(reader, "READ_TO_END", allowed)

    async def listen(peer):
        with contextlib.suppress(CloseReceived):
            await peer.receive_message()
        await peer.hang()

    flood = Flood(close=False)
    flood.listen = listen

    async def test(it):
        received = messages(it, codec=bytes)
        await started(it)
        await flood.held_up(it)
        before = it._driver.link._reader.bytes_received
        it.stop()
        stopped = await it.wait_stopped()
        read = stopped.bytes_received - before
        assert allowed / 2 < read <= allowed + ONE_READ
        seen = [number_of(message) async for message in received]
        assert seen == list(range(stopped.messages_received))
        return stopped

    stopped = way.run(flood, test, close_timeout=0.5)
    assert (stopped.code, stopped.initiator) == (1006, TIMEOUT)
    assert type(stopped.error) is CloseTimeout


@pytest.mark.slow
def test_very_short_messages_count_for_what_they_cost(plain, monkeypatch):
    allowed = 256 * 1024
    monkeypatch.setattr(reader, "READ_TO_END", allowed)

    async def script(peer):
        await peer.accept()
        # More of them than one read brings.
        burst = Frame(Opcode.BINARY, b"x").encode() * 100_000
        with contextlib.suppress(CloseReceived):
            await peer.receive_message()
        while True:
            await peer.send_raw(burst)

    async def test(it):
        await started(it)
        it._driver.pause_control.pause("a consumer")
        it.stop()
        return await it.wait_stopped()

    stopped = plain.run(script, test, close_timeout=0.5)
    assert 0 < stopped.messages_received <= (allowed + ONE_READ * (reader.MESSAGE_COST + 1) / 3) / reader.MESSAGE_COST


# Memory


FLOOD = 32 * 1024 * 1024
BOUND = 6 * 1024 * 1024


async def peak_of(consume, **fields):
    """The most memory that was in use while a flood came, beyond what was before."""
    flood = Flood(FLOOD // SIZE)
    async with WebSocketServer(flood) as server:
        async with Project(websocket={"it": {"url": server.url, **fields}}) as project:
            it = project.websocket("it")
            gc.collect()
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                done = asyncio.create_task(consume(it))
                await asyncio.sleep(0)
                it.start()
                await done
                stopped = await it.wait_stopped()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert stopped.was_clean
    assert stopped.bytes_received == FLOOD
    return peak - before


async def slowly(count):
    """Takes a little longer than a message takes to come."""
    if next(count) % 32 == 0:
        await asyncio.sleep(0.001)


@pytest.mark.slow
@pytest.mark.parametrize("overflow", ["pause", "drop_oldest", "drop_newest", "latest", "error"])
@pytest.mark.parametrize("how", ["for_each_async", "messages"])
async def test_memory_is_bounded_under_a_flood(overflow, how):
    count, drops, seen = itertools.count(), Drops(), []

    async def save(message):
        seen.append(number_of(message))
        await (slowly(count) if overflow == "pause" else asyncio.sleep(0.005))

    async def as_operator(it):
        pipeline = on_receive(it, codec=bytes).pipe(
            ops.take_until(on_stop(it)), for_each_async(save, overflow=overflow, drops=drops)
        )
        await pipeline

    async def as_loop(it):
        async for message in messages(it, codec=bytes, overflow=overflow, drops=drops):
            await save(message)

    async def consume(it):
        expected = pytest.raises(BufferOverflow) if overflow == "error" else contextlib.nullcontext()
        with expected:
            await (as_operator if how == "for_each_async" else as_loop)(it)

    assert await peak_of(consume) < BOUND
    if overflow == "pause":
        assert (seen, drops.total) == (list(range(FLOOD // SIZE)), 0)
    elif overflow != "error":
        assert drops.total == FLOOD // SIZE - len(seen) > 0
        assert seen == sorted(seen)


@pytest.mark.slow
async def test_the_measure_sees_a_buffer_without_bound():
    gate = asyncio.Event()

    async def consume(it):
        received = messages(it, codec=bytes, buffer=10**9)
        await it.wait_stopped()
        gate.set()
        assert len([message async for message in received]) == FLOOD // SIZE

    assert await peak_of(consume) > FLOOD
