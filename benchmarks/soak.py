"""`python -m benchmarks.soak`: hundreds of connections started, used, stopped and broken at random, for a while.

All of them live in one project, against servers that misbehave, most of them through proxies that fail. It runs in
rounds; after each, when every session is over, nothing may be left of any, and memory is taken. At the end the last
rounds are compared with the first. All is on 127.0.0.1. The exit status is 1 if anything is wrong.

Every decision is drawn from the seed: what a user does, what a server does with a connection's n-th attempt, and which
faults a proxy has when. The same seed gives the same decisions; how they meet in time is the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import logging
import os
import random
import statistics
import sys
import threading
import time
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reactivex import operators as ops

from benchmarks import say
from benchmarks.clock import resident_bytes
from benchmarks.limits import allow_many_files, may_open
from rxnodes import (
    Closing,
    ConnectError,
    Connecting,
    Connection,
    ConnectionState,
    Dropped,
    ErrorEvent,
    Opened,
    Project,
    Stopped,
    pulse,
)
from rxnodes.testing import (
    RSV2,
    ChaosProxy,
    Frame,
    Opcode,
    Peer,
    WebSocketServer,
    close_payload,
    close_with,
    echo,
    hang_up,
    keep_tcp_open,
    never_answer_close,
    refuse,
    refusing_port,
    talk_after_close,
    talk_after_own_close,
    vanish,
)
from rxnodes.websocket import client_send, client_start, client_stop, on_receive, on_start

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from faults import own_tasks, own_timers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from rxnodes import LifecycleEvent

MIB: Final = 1024 * 1024

ROUNDS: Final = 12
PROXIES: Final = 8

#: Seconds between lines of progress.
PROGRESS: Final = 5.0

#: Seconds by which something may be late on a machine that has this much to do.
ROOM: Final = 3.0

#: Seconds that the other side has, after the last `Stopped`, to see its ends of the connections end.
GRACE: Final = 15.0

#: Seconds after its time in which the run has to be over.
PATIENCE: Final = 60.0

#: What memory may grow by from the first rounds to the last: a part, and something besides.
GROWTH: Final = 0.10
RSS_ROOM: Final = 16 * MIB
BLOCKS_ROOM: Final = 20_000

#: Findings that are written out.
SHOWN: Final = 20

MAX_MESSAGE_SIZE: Final = MIB
CODES: Final = (1000, 1001, 1008, 1011, 1012, 3000, 4999)


class Findings:
    """What is wrong."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, finding: str) -> None:
        """Adds one; the first few are kept."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(finding)

    def expect(self, right: bool, finding: str) -> None:  # noqa: FBT001 - an assertion that goes on
        """Adds one unless all is right."""
        if not right:
            self.add(finding)


class EndlessError(Exception):
    """A session does not end, so that the run cannot go on."""


class Complaints(logging.Handler):
    """Whatever anybody logs as a warning or worse is wrong here."""

    def __init__(self, findings: Findings) -> None:
        super().__init__(logging.WARNING)
        self._findings = findings

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a record."""
        error = record.exc_info[1] if record.exc_info else None
        self._findings.add(f"logged by {record.name}: {record.getMessage()} {error!r:.300}")


@contextlib.contextmanager
def complaints(findings: Findings) -> Iterator[None]:
    """Listens to the loggers of everybody involved, and to what cannot be raised anywhere."""
    handler = Complaints(findings)
    loggers = [logging.getLogger(name) for name in ("rxnodes", "asyncio", "aiohttp")]
    unraisable = sys.unraisablehook
    sys.unraisablehook = lambda what: findings.add(f"unraisable: {what.exc_value!r} in {what.object!r:.200}")
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
            gc.collect()
    finally:
        sys.unraisablehook = unraisable
        for logger in loggers:
            logger.removeHandler(handler)
            logger.propagate = True


@dataclass
class Totals:
    """What happened, over all connections."""

    events: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    messages_received: int = 0
    messages_sent: int = 0
    longest_closing: float = 0.0
    live: int = 0

    @property
    def starts(self) -> int:
        """How many sessions began."""
        return self.events["sessions"]

    @property
    def stops(self) -> int:
        """How many `Stopped` came."""
        return self.events["Stopped"]


class Witness:
    """Sees everything that one connection tells, and holds it to what is promised. It keeps counts only."""

    def __init__(self, connection: Connection, close_timeout: float, findings: Findings, totals: Totals) -> None:
        self.connection = connection
        self.close_timeout = close_timeout
        self._findings = findings
        self._totals = totals
        self._session = 0
        self._attempt = 0
        self._is_live = False
        self._was_open = False
        self._is_closing = False
        self._closing_since = 0.0
        self._messages = 0
        self._sends = 0
        connection.lifecycle.subscribe(self._on_event)
        connection.messages.subscribe(self._on_message)

    def send(self, message: str | bytes) -> None:
        """Sends a message, and remembers to ask what became of it."""
        self.connection.send(self.counted(message))

    def counted(self, message: str | bytes) -> Any:
        """Notes that a message is about to be sent."""
        if self.connection.state is ConnectionState.OPEN:
            self._sends += 1
        return message

    def _wrong(self, what: str) -> None:
        self._findings.add(f"{self.connection!r}, attempt {self._attempt}: {what}")

    def _on_message(self, _message: str | bytes) -> None:
        self._messages += 1
        if not (self._is_live and self._was_open):
            self._wrong("a message outside an open session")

    def _on_event(self, event: LifecycleEvent) -> None:
        self._totals.events[type(event).__name__] += 1
        if isinstance(event, ErrorEvent) and event.session == 0:
            return
        if isinstance(event, Connecting):
            self._on_connecting(event)
        if not self._is_live or (event.session, event.attempt) != (self._session, self._attempt):
            self._wrong(f"{event} in session {self._session}, live: {self._is_live}")
        if self._is_closing and isinstance(event, Opened | Dropped | Closing):
            self._wrong(f"{type(event).__name__} after Closing")
        if isinstance(event, Opened):
            self._was_open = True
        elif isinstance(event, Closing):
            self._is_closing = True
            self._closing_since = time.monotonic()
        elif isinstance(event, Stopped):
            self._on_stopped(event)

    def _on_connecting(self, event: Connecting) -> None:
        if event.attempt == 1:
            if self._is_live:
                self._wrong("a session begins within another")
            if event.session != self._session + 1:
                self._wrong(f"session {event.session} follows {self._session}")
            self._session, self._is_live, self._was_open, self._is_closing = event.session, True, False, False
            self._messages = 0
            self._totals.events["sessions"] += 1
            self._totals.live += 1
        elif event.attempt != self._attempt + 1 or self._is_closing:
            self._wrong(f"attempt {event.attempt} follows {self._attempt}")
        self._attempt = event.attempt

    def _on_stopped(self, event: Stopped) -> None:
        self._is_live = False
        totals = self._totals
        totals.live -= 1
        totals.ends[f"{event.initiator.value}{', clean' if event.was_clean else ''}"] += 1
        totals.messages_received += event.messages_received
        totals.messages_sent += event.messages_sent
        if self.connection.state is not ConnectionState.CLOSED:
            self._wrong(f"the state at Stopped is {self.connection.state.value}")
        if event.opened is not self._was_open:
            self._wrong(f"Stopped says opened={event.opened}")
        if event.messages_received != self._messages:
            self._wrong(f"{self._messages} messages came, Stopped says {event.messages_received}")
        if event.messages_sent + event.unsent != self._sends:
            self._wrong(
                f"{self._sends} messages were sent, Stopped says {event.messages_sent} and {event.unsent} unsent"
            )
        self._sends = 0
        if self._is_closing:
            took = time.monotonic() - self._closing_since
            totals.longest_closing = max(totals.longest_closing, took - self.close_timeout)
            if took > self.close_timeout + ROOM:
                self._wrong(f"closing took {took:.2f} s, with close_timeout {self.close_timeout:g} s")

    def check_rest(self) -> None:
        """Nothing is live any more."""
        connection = self.connection
        if self._is_live or connection.state not in (ConnectionState.IDLE, ConnectionState.CLOSED):
            self._wrong("a session is left")
        if connection.session != self._session:
            self._wrong(f"session {connection.session} was never told of")


# The other side


async def good(peer: Peer, _chance: random.Random) -> None:
    """Echoes, compressed as it came where that was offered."""
    if peer.request is None or peer.request.header("Sec-WebSocket-Extensions") is None:
        await echo(peer)
        return
    await peer.accept(extensions="permessage-deflate; client_no_context_takeover; server_no_context_takeover")
    while (frame := await peer.receive()).opcode != Opcode.CLOSE:
        opcode = Opcode.PONG if frame.opcode == Opcode.PING else frame.opcode
        await peer.send_frame(Frame(opcode, frame.payload, rsv=frame.rsv))
    await peer.send_frame(Frame(Opcode.CLOSE, frame.payload))


async def closes(peer: Peer, chance: random.Random) -> None:
    """Says a few words and closes."""
    words = ["word"] * chance.randrange(20)
    await close_with(chance.choice((*CODES, None)), "that was all", *words)(peer)


async def refuses(peer: Peer, chance: random.Random) -> None:
    """Answers no, or nonsense."""
    if chance.random() < 0.5:  # noqa: PLR2004 - heads or tails
        await refuse(chance.choice((200, 302, 401, 404, 500, 503)))(peer)
    else:
        await peer.send_raw(chance.randbytes(chance.randrange(1, 200)))


async def stalls(peer: Peer, chance: random.Random) -> None:
    """Answers nothing, or half of it."""
    await peer.send_raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webs"[: chance.choice((0, 12, 47))])
    await peer.wait_closed()


async def breaks_the_protocol(peer: Peer, chance: random.Random) -> None:
    """Sends a few words, and then what no server may."""
    await peer.accept()
    frame = chance.choice(
        (
            Frame(Opcode.TEXT, b"\xff"),
            Frame(Opcode.TEXT, b"x", rsv=RSV2),
            Frame(Opcode.TEXT, b"x", mask=b"mask"),
            Frame(Opcode.PING, b"x", fin=False),
            Frame(Opcode.CLOSE, close_payload(1006)),
            Frame(Opcode.CLOSE, b"x"),
            Frame(Opcode.CONTINUATION, b"x"),
            Frame(3),
        )
    )
    for _ in range(chance.randrange(4)):
        await peer.send_text("a word")
    await peer.send_frame(frame)
    await peer.wait_closed()


async def is_too_much(peer: Peer, chance: random.Random) -> None:
    """Sends a message that is too large, or declares one."""
    await peer.accept()
    if chance.random() < 0.5:  # noqa: PLR2004 - heads or tails
        await peer.send_frame(Frame(Opcode.BINARY), length=MAX_MESSAGE_SIZE + 1)
    else:
        await peer.send_binary(bytes(MAX_MESSAGE_SIZE + 1))
    await peer.wait_closed()


async def babbles(peer: Peer, chance: random.Random) -> None:
    """Opens, and sends octets of any kind."""
    await peer.accept(then=chance.randbytes(chance.randrange(200)))
    await peer.wait_closed()


async def is_deaf(peer: Peer, chance: random.Random) -> None:
    """Reads nothing for a while, and then resets the connection, or reads again."""
    await peer.accept()
    await asyncio.sleep(chance.random())
    if chance.random() < 0.5:  # noqa: PLR2004 - heads or tails
        peer.reset()


async def floods(peer: Peer, chance: random.Random) -> None:
    """Sends much, and ends in one way or another."""
    await peer.accept()
    for _ in range(chance.randrange(300)):
        await peer.send_binary(bytes(4096))
    if chance.random() < 0.5:  # noqa: PLR2004 - heads or tails
        peer.reset()


def _always(script: Callable[[Peer], Awaitable[None]]) -> Callable[[Peer, random.Random], Awaitable[None]]:
    async def fate(peer: Peer, _chance: random.Random) -> None:
        await script(peer)

    fate.__name__ = script.__name__
    return fate


#: What a server does with a connection, and how often.
FATES: Final[dict[Callable[[Peer, random.Random], Awaitable[None]], int]] = {
    good: 30,
    closes: 8,
    floods: 4,
    breaks_the_protocol: 4,
    refuses: 4,
    is_deaf: 3,
    babbles: 3,
    stalls: 2,
    is_too_much: 2,
    **dict.fromkeys(map(_always, (hang_up, vanish, keep_tcp_open)), 3),
    **dict.fromkeys(map(_always, (never_answer_close, talk_after_close, talk_after_own_close)), 2),
}


class Fates:
    """The server's script: the n-th attempt of a connection always meets the same fate."""

    def __init__(self, seed: int, totals: Totals) -> None:
        self._seed = seed
        self._totals = totals
        self._attempts: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)

    async def __call__(self, peer: Peer) -> None:
        """Serves a connection."""
        name = (await peer.read_request()).target
        chance = _chance(self._seed, name, next(self._attempts[name]))
        (fate,) = chance.choices(list(FATES), list(FATES.values()))
        self._totals.fates[fate.__name__] += 1
        await fate(peer, chance)


async def weather(proxy: ChaosProxy, chance: random.Random) -> None:
    """Switches a proxy's faults, one after the other."""
    while True:
        faults = chance.choice((proxy.to_server, proxy.to_client))
        match chance.randrange(9):
            case 0:
                faults.latency = chance.uniform(0, 0.2)
            case 1:
                faults.bandwidth = chance.choice((0, 2_000, 50_000, 1_000_000))
            case 2:
                faults.slice_size = chance.choice((1, 7, 500))
            case 3:
                faults.black_hole = True
            case 4:
                faults.half_close = True
            case 5:
                faults.reset_after = chance.randrange(5_000)
            case 6:
                proxy.reset_all()
            case _:
                pass
        await asyncio.sleep(chance.uniform(0.05, 0.4))
        faults.clear()
        await asyncio.sleep(chance.uniform(0, 0.4))


# This side


class User:
    """Starts, uses and stops one connection, again and again."""

    def __init__(self, witness: Witness, project: Project, chance: random.Random, findings: Findings) -> None:
        self._witness = witness
        self._connection = witness.connection
        self._project = project
        self._chance = chance
        self._findings = findings

    async def run(self, until: float) -> None:
        """Goes on until that moment, by the monotonic clock, and then until the session is over."""
        while time.monotonic() < until:
            (session,) = self._chance.choices(
                (self._by_hand, self._by_nodes, self._in_a_hurry, self._impatiently), (5, 3, 2, 2)
            )
            await session()
            await self._end()
            await asyncio.sleep(self._chance.uniform(0, 0.5))

    async def _by_hand(self) -> None:
        """Opens, talks, and stops or waits a little for the end to come."""
        self._connection.start()
        with contextlib.suppress(ConnectError, TimeoutError):
            async with asyncio.timeout(2):
                await self._connection.wait_started()
        for _ in range(self._chance.randrange(5)):
            self._talk()
            await asyncio.sleep(self._chance.uniform(0, 0.2))
        if self._chance.random() < 0.3:  # noqa: PLR2004 - now and then
            await self._wait_a_little()

    async def _by_nodes(self) -> None:
        """The same with nodes, in a scene that ends with it."""
        connection, witness = self._connection, self._witness
        async with self._project.scene(connection.name) as scene:
            scene.subscribe(
                on_start(connection).pipe(client_send(connection, lambda _: witness.counted("hello"))),
                on_receive(connection, codec=None).pipe(ops.take(1), client_stop(connection)),
                pulse().pipe(client_start(connection)),
            )
            await self._wait_a_little()

    async def _in_a_hurry(self) -> None:
        """Commands in any order, with little or nothing in between."""
        connection = self._connection
        commands = (connection.start, connection.start, connection.stop, connection.abort, self._talk)
        for _ in range(self._chance.randrange(1, 8)):
            self._chance.choice(commands)()
            for _ in range(self._chance.randrange(4)):
                await asyncio.sleep(0)

    async def _impatiently(self) -> None:
        """Waits in several tasks, and gives up some of them."""
        self._connection.start()
        waiters = [asyncio.create_task(self._connection.wait_stopped()) for _ in range(3)]
        await asyncio.sleep(self._chance.uniform(0, 0.3))
        waiters[0].cancel()
        self._talk()
        await self._end()
        await asyncio.wait(waiters, timeout=ROOM)
        self._findings.expect(all(waiter.done() for waiter in waiters), f"{self._connection!r}: a waiter is left")

    def _talk(self) -> None:
        chance = self._chance
        size = int(10 ** chance.uniform(0, 5))
        message = chance.choice(("x" * size, bytes(size)))
        for _ in range(chance.choice((1, 1, 3, 20))):
            self._witness.send(message)

    async def _wait_a_little(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._chance.uniform(0, 2)):
                await self._connection.wait_stopped()

    async def _end(self) -> None:
        """Stops, in one way or another, and waits until it is over, which has to be soon."""
        connection, bound = self._connection, self._witness.close_timeout + 2 * ROOM
        while connection.is_live:
            connection.stop(code=self._chance.choice(CODES), reason="enough")
            if self._chance.random() < 0.1:  # noqa: PLR2004 - rarely
                # A start while closing: another session follows, which the next turn stops.
                connection.start()
            if self._chance.random() < 0.1:  # noqa: PLR2004 - rarely
                connection.abort()
            try:
                async with asyncio.timeout(bound):
                    await connection.wait_stopped()
            except TimeoutError:
                raise EndlessError(f"{connection!r} is not over {bound:g} s after its stop") from None


# What is left


def timers() -> list[Any]:
    """The timers that have not been cancelled; known of asyncio's own loops only."""
    handles = getattr(asyncio.get_running_loop(), "_scheduled", ())
    return [handle for handle in handles if not handle.cancelled()]


def descriptors() -> int:
    """How many files are open; 0 where the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.exists() else 0  # noqa: PTH208 - counted, not used


@dataclass(frozen=True, slots=True)
class Memory:
    """How much is in use."""

    rss: int
    blocks: int

    @classmethod
    def take(cls) -> Memory:
        """Takes it, after what can be freed has been."""
        return cls(resident_bytes(), sys.getallocatedblocks())


class Baseline:
    """What there was before the first session, and must be all there is when none is live."""

    def __init__(self) -> None:
        self._tasks = asyncio.all_tasks()
        self._descriptors = descriptors()

    def left_of_sessions(self) -> list[str]:
        """What is left of connections, which may be nothing from the moment of the last `Stopped`."""
        return [*map(repr, own_tasks()), *map(repr, own_timers())]

    async def left_of_all(self) -> list[str]:
        """What is left of anything, after a grace in which the other side may see its ends end."""
        deadline = time.monotonic() + GRACE
        while (left := self._left()) and time.monotonic() < deadline:  # noqa: ASYNC110 - a descriptor tells nobody
            await asyncio.sleep(0.05)
        return left

    def _left(self) -> list[str]:
        left = [repr(task) for task in asyncio.all_tasks() - self._tasks]
        left += map(repr, timers())
        if descriptors() > self._descriptors:
            left.append(f"{descriptors() - self._descriptors} descriptors")
        return left


def growth(samples: Sequence[int], room: int) -> tuple[float, bool]:
    """By how much the last third is above the first, and whether that is too much. The first round warms up."""
    settled = samples[1:] or samples
    third = max(1, len(settled) // 3)
    early, late = statistics.median(settled[:third]), statistics.median(settled[-third:])
    return late - early, late > early * (1 + GROWTH) + room


# The run


class Soak:
    """The whole run."""

    def __init__(self, seconds: float, connections: int, seed: int) -> None:
        self._seconds = seconds
        self._seed = seed
        self._count = connections
        self.findings = Findings()
        self.totals = Totals()
        self.memory: list[Memory] = []
        self._begun = time.monotonic()

    async def run(self) -> None:
        """Runs to the end."""
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: self.findings.add(f"the loop's exception handler: {context}")
        )
        before = Baseline()
        try:
            await self._run()
        except* (AssertionError, EndlessError) as group:
            # A server's script failed because of what a client sent, or the run was ended early.
            for error in _leaves(group):
                self.findings.add(f"{error!r:.500}")
        for left in await before.left_of_all():
            self.findings.add(f"left at the end: {left:.300}")
        self.findings.expect(
            self.totals.starts == self.totals.stops,
            f"{self.totals.starts} sessions began, {self.totals.stops} Stopped came",
        )
        self._judge_memory()

    async def _run(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            dead = stack.enter_context(refusing_port())
            server = await stack.enter_async_context(WebSocketServer(Fates(self._seed, self.totals)))
            proxies = [await stack.enter_async_context(ChaosProxy(server.url)) for _ in range(PROXIES)]
            configurations = self._configurations(server.url, [proxy.url for proxy in proxies], dead)
            project = await stack.enter_async_context(Project(websocket=configurations))
            witnesses = [
                Witness(project.websocket(name), values["close_timeout"], self.findings, self.totals)
                for name, values in configurations.items()
            ]
            baseline = Baseline()
            for number in range(ROUNDS):
                until = self._begun + self._seconds * (number + 1) / ROUNDS
                await self._round(number, until, project, witnesses, proxies)
                for left in baseline.left_of_sessions():
                    self.findings.add(f"left of the sessions of round {number}: {left:.300}")
                for witness in witnesses:
                    witness.check_rest()
                left_of_all = await baseline.left_of_all()
                for left in left_of_all:
                    self.findings.add(f"left after round {number}: {left:.300}")
                self.memory.append(Memory.take())
                if left_of_all:
                    # The rounds that follow would find it again, each after the whole grace.
                    return
            # The last ones are stopped by leaving the project.
            for witness in witnesses:
                witness.connection.start()
                await asyncio.sleep(0)

    def _configurations(self, server: str, proxies: list[str], dead: int) -> dict[str, dict[str, Any]]:
        configurations: dict[str, dict[str, Any]] = {}
        for number in range(self._count):
            chance = _chance(self._seed, "configuration", number)
            place = chance.choice([server, *proxies]) if chance.random() < 0.97 else f"ws://127.0.0.1:{dead}/"  # noqa: PLR2004
            configurations[f"c{number}"] = {
                "url": f"{place}c{number}",
                "connect_timeout": chance.uniform(0.3, 1.5),
                "close_timeout": chance.uniform(0.1, 1.0),
                "heartbeat": chance.choice((None, 0.2, 1.0)),
                "silence_timeout": chance.choice((None, None, 0.5)),
                "max_message_size": MAX_MESSAGE_SIZE,
                "compression": chance.random() < 0.3,  # noqa: PLR2004
                "reconnect": {
                    "enabled": chance.random() < 0.5,  # noqa: PLR2004
                    "initial_delay": 0.05,
                    "max_delay": 0.5,
                    "max_attempts": chance.choice((None, 3)),
                },
            }
        return configurations

    async def _round(
        self, number: int, until: float, project: Project, witnesses: list[Witness], proxies: list[ChaosProxy]
    ) -> None:
        storms = [
            asyncio.create_task(weather(proxy, _chance(self._seed, "weather", number, index)))
            for index, proxy in enumerate(proxies)
        ]
        storms.append(asyncio.create_task(self._report(number)))
        try:
            async with asyncio.TaskGroup() as users:
                for index, witness in enumerate(witnesses):
                    chance = _chance(self._seed, "user", number, index)
                    users.create_task(User(witness, project, chance, self.findings).run(until))
        finally:
            for storm in storms:
                storm.cancel()
            for outcome in await asyncio.gather(*storms, return_exceptions=True):
                if not isinstance(outcome, asyncio.CancelledError):
                    self.findings.add(f"the weather failed: {outcome!r}")
            for proxy in proxies:
                proxy.to_server.clear()
                proxy.to_client.clear()

    async def _report(self, number: int) -> None:
        while True:
            now = time.monotonic() - self._begun
            await asyncio.sleep(PROGRESS - now % PROGRESS)
            totals = self.totals
            say(
                f"{time.monotonic() - self._begun:6.0f} s  round {number + 1}/{ROUNDS}"
                f"  live {totals.live}  sessions {totals.starts}  attempts {totals.events['Connecting']}"
                f"  messages {totals.messages_received}  resident {resident_bytes() / MIB:.0f} MiB"
                f"  findings {self.findings.count}"
            )

    def _judge_memory(self) -> None:
        for what, samples, room in self._memory_samples():
            grown, is_too_much = growth(samples, room)
            self.findings.expect(not is_too_much, f"{what} grew by {grown:,.0f}: {samples}")

    def _memory_samples(self) -> list[tuple[str, list[int], int]]:
        if not self.memory:
            # The run was ended early.
            return []
        return [
            ("resident memory", [sample.rss for sample in self.memory], RSS_ROOM),
            ("allocated blocks", [sample.blocks for sample in self.memory], BLOCKS_ROOM),
        ]

    def summary(self) -> str:
        """What happened, and what is wrong."""
        totals, events = self.totals, self.totals.events
        took = time.monotonic() - self._begun
        lines = [
            f"soak: {self._count} connections, {took:.0f} s, seed {self._seed}",
            f"  sessions     {totals.starts} started, {totals.stops} stopped",
            f"  attempts     {events['Connecting']}, {events['Opened']} opened, {events['Dropped']} tried again",
            f"  ends         {_counts(totals.ends)}",
            f"  messages     {totals.messages_received} received, {totals.messages_sent} sent",
            f"  error events {events['ErrorEvent']}",
            f"  fates        {_counts(totals.fates)}",
            f"  closing      at most {totals.longest_closing:+.3f} s against close_timeout",
        ]
        for what, samples, room in self._memory_samples():
            grown, _ = growth(samples, room)
            first, last = f"{samples[0]:,} after the first round", f"{samples[-1]:,} after the last"
            lines.append(f"  {what:<16} {first}, {last}; the thirds differ by {grown:+,.0f}")
        if self.findings.count:
            lines.append(f"FAILED: {self.findings.count} findings; again with --seed {self._seed}")
            lines += [f"  - {finding}" for finding in self.findings.first]
        else:
            lines.append("passed: starts equal stops, nothing is left, memory is flat")
        return "\n".join(lines)


def _chance(*of: object) -> random.Random:
    """Chance of one's own for everyone, so that none depends on who comes first."""
    return random.Random(" ".join(map(str, of)))  # noqa: S311 - chaos is no secret


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="many connections, for a while")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long; default: %(default)g")
    parser.add_argument("--connections", type=int, default=200, help="how many at once; default: %(default)s")
    parser.add_argument("--seed", type=int, help="repeat the decisions of an earlier run")
    return parser.parse_args()


def main() -> int:
    """Runs as the command line asks, and gives the exit status."""
    options = _options()
    seed: int = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    random.seed(seed)  # what reconnection draws its delays from
    allow_many_files()
    # A connection has two ends, and twice as many through a proxy, all of them in this process.
    connections = may_open(4 * options.connections) // 4
    if connections < options.connections:
        say(f"only {connections} connections: the system allows no more open files")
    say(f"seed {seed}")
    soak = Soak(options.seconds, connections, seed)
    limit = threading.Timer(options.seconds + PATIENCE, give_up, [soak])
    limit.daemon = True
    limit.start()
    with complaints(soak.findings):
        asyncio.run(soak.run())
    limit.cancel()
    say(soak.summary())
    return 1 if soak.findings.count else 0


def give_up(soak: Soak) -> None:
    """Ends the process: what should have ended has not, and would keep it for ever."""
    soak.findings.add(f"the run did not end within {PATIENCE:g} s after its time")
    try:
        say(soak.summary())
    finally:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
