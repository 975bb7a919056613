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
import os
import random
import statistics
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import say
from benchmarks.clock import resident_bytes
from benchmarks.limits import allow_many_files, may_open
from benchmarks.soak_actors import MAX_MESSAGE_SIZE, Fates, User, chance_of, weather
from benchmarks.soak_witness import EndlessError, Findings, Totals, Witness, complaints
from rxnodes import Project
from rxnodes.testing import ChaosProxy, WebSocketServer, refusing_port

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from faults import own_tasks, own_timers

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Sequence

MIB: Final = 1024 * 1024

ROUNDS: Final = 12
PROXIES: Final = 8

#: Seconds between lines of progress.
PROGRESS: Final = 5.0

#: Seconds that the other side has, after the last `Stopped`, to see its ends of the connections end.
GRACE: Final = 15.0

#: Seconds after its time in which the run has to be over.
PATIENCE: Final = 60.0

#: What memory may grow by from the first rounds to the last: a part, and something besides.
GROWTH: Final = 0.10
RSS_ROOM: Final = 16 * MIB
BLOCKS_ROOM: Final = 20_000


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
            chance = chance_of(self._seed, "configuration", number)
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
            asyncio.create_task(weather(proxy, chance_of(self._seed, "weather", number, index)))
            for index, proxy in enumerate(proxies)
        ]
        storms.append(asyncio.create_task(self._report(number)))
        try:
            async with asyncio.TaskGroup() as users:
                for index, witness in enumerate(witnesses):
                    chance = chance_of(self._seed, "user", number, index)
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
