"""Sessions in which both sides do anything at any moment, and the account that is kept of each.

The peer knows which of its frames the client's system had acknowledged when it left: those, and no other thing, must
have been delivered, once and in order. Where it cannot know, since something was still in its own system when it left, or
a write of the client's may have drawn the reset that destroyed it, what was delivered must lie between what is certain
and what was handed over.

Each session is decided by the run's seed and its number, but for the moments at which the system does its part.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import ssl
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from faults import ROOM, Authority, complaints, own_tasks
from raw_peer import GoneError, Listener, RawPeer, TookTooLongError

from rxnodes import CloseTimeout, Initiator, Project, SendDropped, Sent, Unsent, for_each_async
from rxnodes.lifecycle.events import Closing, Stopped
from rxnodes.testing import Frame, Opcode, close_payload
from rxnodes.websocket import on_receive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOOPS = ("asyncio", "uvloop")
SECURITY = ("plain", "tls 1.2", "tls 1.3")

CLOSE_TIMEOUT = 0.3

#: How many sessions are under way at once.
CONCURRENCY = 16

#: How many share one event loop, whose descriptors and tasks are counted behind them.
CHUNK = 200

#: How long a peer tries to hand over what the client does not read.
PATIENCE = 0.05

#: How long before the client's end the peer must have fallen silent, for that end not to have come in between.
SILENCE = 0.05

#: What uvloop's TLS says of a write behind an end that it has seen and not told yet, and so nobody can avoid.
UVLOOPS_COMPLAINTS = {"asyncio: SSL connection is closed"}

#: How a peer leaves: what it does with TCP, with or without a Close frame before.
WAYS_TO_LEAVE = ("fin", "unread", "reset", "half-close", "stay", "vanish")


@dataclass
class Plan:
    """What a session is to be.

    Attributes:
        seed: The run's.
        number: The session's.
    """

    seed: int
    number: int
    security: str = ""
    consumer: str = ""
    heartbeat: float | None = None
    answers: float = 0.0
    client: list[tuple[float, str, int, int]] = field(default_factory=list)
    peer: list[tuple[str, float, int, int]] = field(default_factory=list)
    closes: tuple[int, str] | None = None
    waits_for_arrival: bool = False
    leaves: str = ""
    answers_close: bool = True
    answers_pings: bool = True

    @classmethod
    def make(cls, seed: int, number: int) -> Plan:
        dice = random.Random(f"{seed}/{number}")
        plan = cls(seed, number)
        plan.security = dice.choice(SECURITY)
        plan.consumer = dice.choice(["reading", "reading", "paused", "blocking"])
        plan.heartbeat = dice.choice([None, None, 0.02, 0.05])
        plan.answers = dice.choice([0.0, 0.0, 0.02, 0.5])
        for _ in range(dice.randrange(4)):
            delay = dice.choice([0.0, 0.0, 0.002, 0.01])
            act = dice.choice(["send"] * 8 + ["stop", "abort"])
            plan.client.append((delay, act, dice.choice([1, 2, 50]), dice.choice([0, 10, 1000, 60_000])))
        for _ in range(dice.randrange(5)):
            act = dice.choice(["send", "send", "send", "ping", "read", "sleep"])
            amount = dice.choice([1, 3, 100, 600]) if act == "send" else dice.choice([1, 20])
            plan.peer.append((act, dice.choice([0.0, 0.0, 0.002, 0.01]), amount, dice.choice([10, 100, 100, 1000])))
        plan.closes = dice.choice([None, (4000 + number % 1000, f"bye {number}")])
        plan.waits_for_arrival = dice.random() < 0.6
        plan.leaves = dice.choice(WAYS_TO_LEAVE)
        plan.answers_close, plan.answers_pings = dice.random() < 0.7, dice.random() < 0.7
        return plan

    def __str__(self) -> str:
        return (
            f"seed {self.seed}, session {self.number}: {loop_of(self.number)}, {self.security}, {self.consumer}, heartbeat "
            f"{self.heartbeat}, answers {self.answers}\n  the client: {self.client}\n  the peer:   {self.peer}, Close "
            f"{self.closes}, {'waits until all has arrived, ' if self.waits_for_arrival else ''}leaves by {self.leaves}"
            f"{'' if self.answers_close else ', answers no Close'}{'' if self.answers_pings else ', answers no ping'}"
        )


def loop_of(number: int) -> str:
    """The event loop of a session."""
    return LOOPS[number // CHUNK % len(LOOPS)]


@dataclass
class PeersAccount:
    """What the peer knows of a session.

    Attributes:
        certain: The frames of its that the client's system had when it left, or fell silent.
        possible: The frames that its own system had taken.
        silent_since: Since when it has sent nothing, by the system's clock.
        was_left: Whether the client was gone before it had done what it was to do.
        stayed: Whether it was there to the client's end, so that nothing of its was destroyed by it.
        heard: The messages that it has read.
        heard_close: Whether it has read the client's Close frame.
    """

    certain: list[Frame] = field(default_factory=list)
    possible: list[Frame] = field(default_factory=list)
    silent_since: float = 0.0
    was_left: bool = False
    stayed: bool = False
    heard: list[str] = field(default_factory=list)
    heard_close: bool = False


def messages_in(frames: list[Frame]) -> int:
    return sum(frame.opcode == Opcode.TEXT for frame in frames)


def has_close(frames: list[Frame]) -> bool:
    return any(frame.opcode == Opcode.CLOSE for frame in frames)


class PlayedPeer:
    """Does the peer's part of a plan, in a thread."""

    def __init__(self, plan: Plan, listener: Listener) -> None:
        self._plan = plan
        self._listener = listener
        self._next = 0
        self.account = PeersAccount()
        #: Set when the client has ended. A peer that does not read cannot see an end behind what it has not read.
        self.client_has_ended = threading.Event()

    def play(self) -> PeersAccount:
        peer = self._listener.accept()
        try:
            peer.shake_hands()
            self._act(peer)
            self._leave(peer)
        except GoneError:
            self.account.was_left = True
            self.account.possible = peer.handed_over()
        finally:
            peer.close()
        peer.take_frames()
        self.account.heard = [str(message) for message in peer.heard.messages]
        self.account.heard_close = peer.heard.close is not None
        return self.account

    def _act(self, peer: RawPeer) -> None:
        for act, seconds, amount, size in self._plan.peer:
            match act:
                case "send":
                    for _ in range(amount):
                        peer.put(Frame(Opcode.TEXT, f"{self._next}:{'x' * size}".encode()))
                        self._next += 1
                    self._hand_over(peer)
                case "ping":
                    peer.put(*[Frame(Opcode.PING, b"%d" % number) for number in range(amount)])
                    self._hand_over(peer)
                case "read":
                    peer.wait_readable(seconds)
                    self._read(peer)
                case _:
                    time.sleep(seconds)

    def _read(self, peer: RawPeer) -> bool:
        """Reads once, and answers pings; returns whether there was anything."""
        is_there = peer.read()
        pings = [frame for frame in peer.take_frames() if frame.opcode == Opcode.PING]
        if self._plan.answers_pings:
            peer.put(*[Frame(Opcode.PONG, ping.payload) for ping in pings])
        return is_there

    def _hand_over(self, peer: RawPeer) -> None:
        with contextlib.suppress(TookTooLongError):
            peer.flush(PATIENCE)

    def _leave(self, peer: RawPeer) -> None:
        if self._plan.closes is not None:
            peer.put(Frame(Opcode.CLOSE, close_payload(*self._plan.closes)))
        self._hand_over(peer)
        leaves = self._plan.leaves
        if leaves == "fin":
            # Or else it would be a reset.
            while self._read(peer) and not peer.has_ended:
                self._hand_over(peer)
        if self._plan.waits_for_arrival:
            with contextlib.suppress(TookTooLongError):
                peer.wait_arrived(PATIENCE)
        self._take_stock(peer)
        match leaves:
            case "fin" | "unread":
                peer.close()
            case "reset":
                peer.reset()
            case "half-close":
                peer.half_close()
                self._stay(peer)
            case "stay":
                self._stay(peer)
            case _:
                self._wait(peer, lambda: peer.wait_gone(0.02) or self.client_has_ended.is_set())

    def _take_stock(self, peer: RawPeer) -> None:
        certain = peer.arrived()
        if len(certain) > len(self.account.certain) or not self.account.silent_since:
            self.account.silent_since = time.monotonic()
        self.account.certain = certain
        self.account.possible = peer.handed_over()

    def _stay(self, peer: RawPeer) -> None:
        """Reads to the client's end, and answers its Close frame, unless it is one that never does."""
        self.account.stayed = True
        has_answered = (
            self._plan.closes is not None or self._plan.leaves == "half-close" or not self._plan.answers_close
        )

        def read() -> bool:
            nonlocal has_answered
            peer.wait_readable(0.02)
            self._read(peer)
            if peer.heard.close is not None and not has_answered:
                has_answered = True
                self._plan.closes = (peer.heard.close.code, "as you wish")
                peer.put(Frame(Opcode.CLOSE, close_payload(*self._plan.closes)))
            if self._plan.leaves != "half-close":
                peer.push()
            return peer.has_ended

        self._wait(peer, read)
        self.account.possible = peer.handed_over()

    def _wait(self, peer: RawPeer, act: Callable[[], bool]) -> None:
        """Acts until that says that the client has ended, and keeps the account until then."""
        deadline = time.monotonic() + CLOSE_TIMEOUT + 5 * ROOM
        has_ended = peer.has_ended
        while not has_ended and time.monotonic() < deadline:
            self._take_stock(peer)
            has_ended = act()


class PlayedClient:
    """Does the client's part of a plan, and keeps its account."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._dice = random.Random(f"{plan.seed}/{plan.number}/client")
        self._next = 0
        self._blocks = 3
        self.received: list[str] = []
        self.receipts: list[Any] = []
        self.outcomes: list[Any] = []
        self.events: list[Any] = []
        self.has_aborted = False
        self.closing_at: float | None = None
        self.stopped_at = 0.0

    async def play(self, url: str, ca_file: Path) -> None:
        settings = {"url": url, "close_timeout": CLOSE_TIMEOUT, "heartbeat": self._plan.heartbeat}
        if url.startswith("wss"):
            settings["tls"] = {"ca_file": str(ca_file)}
        async with Project(websocket={"it": settings}) as project:
            self._it = it = project.websocket("it")
            it.lifecycle.subscribe(self._note)
            it.messages.subscribe(self._receive)
            if self._plan.consumer == "paused":
                project.subscribe(on_receive(it, is_binary=False).pipe(for_each_async(self._dawdle, buffer=4)))
            it.start()
            await it.wait_started()
            await self._act()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await it.wait_stopped()
            it.stop()
            async with asyncio.timeout(CLOSE_TIMEOUT + 5 * ROOM):
                await it.wait_stopped()
            self.outcomes = [await receipt for receipt in self.receipts]

    def _note(self, event: Any) -> None:
        if event.session == 0:
            # A message that was sent behind the end.
            return
        self.events.append(event)
        if isinstance(event, Closing):
            self.closing_at = time.monotonic()
        elif isinstance(event, Stopped):
            self.stopped_at = time.monotonic()

    def _receive(self, message: str) -> None:
        self.received.append(message)
        if self._plan.consumer == "blocking" and self._blocks and self._dice.random() < 0.1:
            self._blocks -= 1
            time.sleep(self._dice.choice([0.001, 0.005]))
        if self._dice.random() < self._plan.answers:
            self._send(1, 10)

    async def _dawdle(self, _message: str) -> None:
        await asyncio.sleep(self._dice.choice([0, 0, 0, 0, 0, 0, 0, 0, 0.001, 0.005]))

    async def _act(self) -> None:
        for delay, act, amount, size in self._plan.client:
            await asyncio.sleep(delay)
            match act:
                case "send":
                    self._send(amount, size)
                case "stop":
                    self._it.stop()
                case "abort":
                    self.has_aborted = True
                    self._it.abort()

    def _send(self, amount: int, size: int) -> None:
        for _ in range(amount):
            self.receipts.append(self._it.send(f"{self._next}:{'y' * size}"))
            self._next += 1


@dataclass
class Result:
    """What came of a session.

    Attributes:
        plan: What it was to be.
        faults: What is wrong.
        is_exact: Whether it was known to the last message what must have been delivered.
        kind: Why, or why not.
        story: What happened, for whoever looks for the cause.
    """

    plan: Plan
    faults: list[str]
    is_exact: bool
    kind: str
    story: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [str(self.plan), *self.story, *(f"WRONG: {fault}" for fault in self.faults)]
        return "\n  ".join(lines)


def numbers_of(messages: list[str]) -> list[int]:
    return [int(message.partition(":")[0]) for message in messages]


def settle(plan: Plan, client: PlayedClient, peer: PeersAccount) -> Result:  # noqa: PLR0915 - a list of demands
    """Compares both accounts."""
    faults: list[str] = []

    def demand(is_so: bool, fault: Callable[[], str]) -> None:
        if not is_so:
            faults.append(fault())

    ends = [event for event in client.events if isinstance(event, Stopped)]
    demand(len(ends) == 1 and client.events[-1] is ends[0], lambda: f"not one Stopped, at last: {client.events}")
    if not ends:
        return Result(plan, faults, is_exact=False, kind="no end")
    stopped = ends[0]
    undelivered = getattr(stopped, "undelivered", 0)

    # What the peer sent
    count = len(client.received)
    is_cut = isinstance(stopped.error, CloseTimeout) or "no sign of life" in str(stopped.error)
    least, most, kind = messages_in(peer.certain), messages_in(peer.possible), "all had arrived"
    close_is_certain, close_is_possible = has_close(peer.certain), has_close(peer.possible)
    if peer.stayed and not is_cut:
        least, close_is_certain = most, close_is_possible
        kind = "the peer stayed"
    if client.has_aborted:
        least, close_is_certain, kind = 0, False, "we aborted"
    elif is_cut and (peer.was_left or client.stopped_at - peer.silent_since < SILENCE):
        least, close_is_certain, kind = 0, False, "a deadline struck while it was sending"
    elif peer.was_left:
        least, close_is_certain, kind = 0, False, "we left first"
    elif least < most or close_is_certain is not close_is_possible:
        kind = "something was still with the peer"
    is_exact = least == most and close_is_certain is close_is_possible
    if is_exact and kind in ("we aborted", "a deadline struck while it was sending", "we left first"):
        kind = "nothing was sent"
    numbers = numbers_of(client.received)
    demand(numbers == list(range(count)), lambda: f"not in order, or not once: {numbers}")
    demand(
        least <= count + undelivered <= most,
        lambda: f"{count} messages were delivered ({undelivered} not), of at least {least} and at most {most}; {kind}",
    )
    demand(
        stopped.messages_received == count,
        lambda: f"{count} messages were delivered, {stopped.messages_received} counted",
    )

    # Its Close frame
    said = (stopped.code, stopped.reason)
    if close_is_certain:
        demand(said == plan.closes, lambda: f"its Close frame had arrived, and Stopped says {said}; {kind}")
        demand(
            stopped.initiator is not Initiator.TIMEOUT, lambda: "its Close frame had arrived, and Stopped says TIMEOUT"
        )
    elif not close_is_possible:
        demand(said == (1006, ""), lambda: f"it sent no Close frame, and Stopped says {said}")
    else:
        demand(said in ((1006, ""), plan.closes), lambda: f"Stopped says {said}")
    demand(
        stopped.was_clean or stopped.error is not None or client.has_aborted,
        lambda: f"neither clean nor an error: {stopped}",
    )

    # What we sent
    fates = Counter(type(outcome) for outcome in client.outcomes)
    demand(
        (fates[Sent], fates[Unsent]) == (stopped.messages_sent, stopped.unsent)
        and fates[Sent] + fates[Unsent] + fates[SendDropped] == client._next,
        lambda: (
            f"of {client._next} messages {dict(fates)}; Stopped says {stopped.messages_sent}, {stopped.unsent} unsent"
        ),
    )
    heard = numbers_of(peer.heard)
    demand(heard == list(range(len(heard))), lambda: f"the peer heard, not in order or not once: {heard}")
    # What lies below uvloop's TLS cannot be asked: there a message counts as sent when the peer's system has it.
    most_heard = (
        client._next if loop_of(plan.number) == "uvloop" and plan.security != "plain" else stopped.messages_sent
    )
    least_heard = stopped.messages_sent if peer.heard_close else 0
    demand(
        least_heard <= len(heard) <= most_heard,
        lambda: f"the peer heard {len(heard)} messages, of at least {least_heard} and at most {most_heard}",
    )

    if client.closing_at is not None:
        took = client.stopped_at - client.closing_at
        demand(took < CLOSE_TIMEOUT + ROOM, lambda: f"closing took {took:.2f} s")
    story = [
        f"the end:    {stopped.code} {stopped.reason!r}, clean {stopped.was_clean}, {stopped.initiator}, {stopped.error!r}",
        f"the client: received {count}, sent {stopped.messages_sent}, unsent {stopped.unsent}; "
        + ", ".join(type(event).__name__ for event in client.events),
        f"the peer:   certain {len(peer.certain)} frames, possible {len(peer.possible)}, heard {len(heard)} messages and "
        + ("a Close frame" if peer.heard_close else "no Close frame"),
    ]
    return Result(plan, faults, is_exact=is_exact, kind=kind, story=story)


def _factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if loop == "asyncio":
        return None
    import uvloop

    return uvloop.new_event_loop


class Arena:
    """Where sessions are played.

    Args:
        folder: For certificates.
    """

    def __init__(self, folder: Path) -> None:
        self._authority = Authority(folder)
        self._contexts: dict[str, ssl.SSLContext | None] = {"plain": None}
        for name, version in (("tls 1.2", ssl.TLSVersion.TLSv1_2), ("tls 1.3", ssl.TLSVersion.TLSv1_3)):
            context = self._authority.server()
            context.minimum_version = context.maximum_version = version
            self._contexts[name] = context
        # What an event loop makes once in a process is not left behind by sessions.
        for loop in LOOPS:
            with asyncio.Runner(loop_factory=_factory(loop)) as runner:
                runner.run(asyncio.sleep(0))

    def play(self, seed: int, numbers: list[int], loop: str) -> Iterator[Result]:
        """Plays sessions on one event loop, and gives what came of them; what is left behind them is a fault, too."""
        gc.collect()
        before = set(os.listdir("/proc/self/fd")), threading.active_count()
        with complaints() as logged, asyncio.Runner(loop_factory=_factory(loop)) as runner:
            results, tasks = runner.run(self._play_all(seed, numbers))
        gc.collect()
        after = set(os.listdir("/proc/self/fd")), threading.active_count()
        left = []
        # The one descriptor that is open to list them all may have another number.
        if len(after[0]) > len(before[0]):
            left.append(f"descriptors are left: {sorted(after[0] - before[0])}")
        if tasks:
            left.append(f"tasks are left: {tasks}")
        if found := [one for one in logged.found if one not in UVLOOPS_COMPLAINTS]:
            left.append(f"was logged: {Counter(found)}")
        if left:
            results[-1].faults += [f"behind sessions {numbers[0]} to {numbers[-1]} {fault}" for fault in left]
        yield from results

    async def _play_all(self, seed: int, numbers: list[int]) -> tuple[list[Result], list[Any]]:
        room = asyncio.Semaphore(CONCURRENCY)
        with ThreadPoolExecutor(CONCURRENCY) as pool:

            async def play(number: int) -> Result:
                async with room:
                    return await self._play(Plan.make(seed, number), pool)

            results = await asyncio.gather(*map(play, numbers))
        # What was cancelled has one more turn.
        await asyncio.sleep(0)
        return results, own_tasks()

    async def _play(self, plan: Plan, pool: ThreadPoolExecutor) -> Result:
        listener = Listener(self._contexts[plan.security])
        peer, client = PlayedPeer(plan, listener), PlayedClient(plan)
        played = asyncio.get_running_loop().run_in_executor(pool, peer.play)
        try:
            await client.play(listener.url, self._authority.file)
            peer.client_has_ended.set()
            account = await played
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault of this session
            return Result(plan, [f"{type(error).__name__}: {error}"], is_exact=False, kind="failed")
        finally:
            listener.close()
        return settle(plan, client, account)
