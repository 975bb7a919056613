"""What the live page costs a program: `python -m benchmarks.inspector`.

One process serves, one is the program, and one follows the live page as a browser does. What is measured is the CPU
time of the program's thread, in many short rounds: without an inspector, with one that nobody looks at, and with one
that is followed. Each is compared with its neighbour in time, because what else the machine does changes. Where that
still tells little, what the inspector's own tasks take does: it is measured by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import time
import types
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from benchmarks import say
from rxnodes import Project, run
from rxnodes.inspector import Inspector
from rxnodes.testing import Frame, Opcode, WebSocketServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Generator, Sequence

    from rxnodes.testing import Peer

#: What the server sends, made once: it must not be what is too slow.
FRAME = Frame(Opcode.TEXT, b"x" * 100).encode()

#: Seconds between two bursts of the server. Each goes to the next few clients.
BURST_EVERY = 0.01

#: Seconds that an inspector, or a page, is given to settle.
SETTLE = 0.3

ALONE, UNSEEN, FOLLOWED = KINDS = ("alone", "nobody looks", "followed")


# The server


async def serve(rate: float) -> None:
    """Sends so many messages a second, to one client after the other, until standard input ends."""
    peers: deque[Peer] = deque()

    async def hold(peer: Peer) -> None:
        await peer.accept()
        peers.append(peer)
        # Pings are answered meanwhile.
        close = await peer.expect_close()
        peers.remove(peer)
        await peer.send_close(close.code)

    async def send() -> None:
        due = time.perf_counter()
        owed = 0.0
        while True:
            due += BURST_EVERY
            await asyncio.sleep(max(0, due - time.perf_counter()))
            owed += rate * BURST_EVERY
            while owed >= 1:
                owed -= 1
                if peers:
                    await peers[0].send_raw(FRAME)
                    peers.rotate(-1)

    async with WebSocketServer(hold) as server:
        sending = asyncio.create_task(send())
        say(server.url)
        await asyncio.to_thread(sys.stdin.read)
        sending.cancel()


# Who looks


async def follow(url: str) -> None:
    """Follows a live page, and throws away what comes."""
    origin, _, token = url.partition("/#")
    timeout = aiohttp.ClientTimeout(total=None)
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
        session.get(f"{origin}/api/events") as response,
    ):
        say("following")
        async for _ in response.content.iter_any():
            pass


# The program


@contextlib.asynccontextmanager
async def helper(*arguments: str) -> AsyncIterator[str]:
    """One of the other processes; gives the first line that it prints."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "benchmarks.inspector", *arguments)
    # In a session of its own: Ctrl+C is for the program, which ends its connections before their server goes.
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, start_new_session=True)
    try:
        assert process.stdout is not None
        yield (await process.stdout.readline()).decode().strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Clock:
    """Takes the CPU time of the tasks of aiohttp's server, which are all the inspector's.

    Attributes:
        used: All of it, in seconds.
        longest: The longest of one step of a task.
    """

    def __init__(self) -> None:
        self.used = 0.0
        self.longest = 0.0

    def make_task(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        """Makes a task of the program."""
        is_the_inspectors = getattr(work, "__qualname__", "").startswith("RequestHandler.")
        return asyncio.Task(self._timed(work) if is_the_inspectors else work, loop=loop, **options)

    async def _timed(self, work: Coroutine[Any, Any, None]) -> None:
        await self._steps(work)

    @types.coroutine
    def _steps(self, work: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
        step, given = work.send, None
        while True:
            began = time.thread_time()
            try:
                awaited = step(given)  # pyright: ignore[reportArgumentType]
            except StopIteration:
                return
            finally:
                took = time.thread_time() - began
                self.used += took
                self.longest = max(self.longest, took)
            try:
                step, given = work.send, (yield awaited)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is for the work
                step, given = work.throw, error


@dataclass
class Round:
    """What was measured of one kind in one round.

    Attributes:
        share: What the program's thread took of one core.
        page_share: How much of that went into what the inspector sends.
        page_longest: The longest time that it took in one turn of the event loop, in seconds.
        rate: How many messages came each second.
    """

    share: float
    page_share: float
    page_longest: float
    rate: float


async def measure_round(project: Project, clock: Clock, seconds: float) -> Round:
    """Measures for so many seconds."""

    def received() -> int:
        return sum(it.for_project.traffic[1].messages_received for it in project.connections)

    messages = received()
    clock.used = clock.longest = 0.0
    began, used = time.perf_counter(), time.thread_time()
    await asyncio.sleep(seconds)
    elapsed, used = time.perf_counter() - began, time.thread_time() - used
    return Round(used / elapsed, clock.used / elapsed, clock.longest, (received() - messages) / elapsed)


async def measure_kind(project: Project, clock: Clock, kind: str, seconds: float) -> Round:
    """Measures with the inspector, and with the page, that are wanted."""
    async with contextlib.AsyncExitStack() as stack:
        if kind != ALONE:
            inspector = await stack.enter_async_context(Inspector(project))
            if kind == FOLLOWED:
                await stack.enter_async_context(helper("--follow", inspector.url))
        await asyncio.sleep(SETTLE)
        return await measure_round(project, clock, seconds)


async def measure(options: argparse.Namespace) -> None:
    """Measures, and prints."""
    rounds: dict[str, list[Round]] = {kind: [] for kind in KINDS}
    clock = Clock()
    asyncio.get_running_loop().set_task_factory(clock.make_task)
    async with helper("--serve", str(options.messages)) as url:
        names = [f"feed {number:04}" for number in range(options.connections)]
        async with Project(websocket={name: {"url": url, "connect_timeout": 60} for name in names}) as project:
            for name in names:
                connection = project.websocket(name)
                connection.messages.subscribe(len)
                connection.start()
            await asyncio.gather(*(project.websocket(name).wait_started() for name in names))
            for number in range(options.rounds):
                for kind in KINDS if number % 2 else KINDS[::-1]:
                    rounds[kind].append(await measure_kind(project, clock, kind, options.seconds))
    report(rounds, options.connections)


def report(rounds: dict[str, list[Round]], connections: int) -> None:
    """Prints what was found."""
    rate = statistics.median(it.rate for found in rounds.values() for it in found)
    say(f"{connections:,} connections, {rate:,.0f} messages a second. The program's thread, in CPU time of one core:")
    for kind, found in rounds.items():
        say(f"{kind:<13}{spread([it.share for it in found])}")
        if kind != ALONE:
            more = spread([one.share - other.share for one, other in zip(found, rounds[ALONE], strict=True)])
            say(f"  more        {more}")
    followed = rounds[FOLLOWED]
    say(f"  by itself   {spread([it.page_share for it in followed])}")
    say(f"  in one turn {1000 * statistics.median(it.page_longest for it in followed):6.2f} ms at most")


def spread(shares: Sequence[float]) -> str:
    """The median, and between what the middle half of them lies."""
    lower, middle, upper = statistics.quantiles(shares, n=4)
    return f"{middle:7.2%}  ({lower:.2%} to {upper:.2%})"


def main() -> None:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=10_000, help="each second, over all connections")
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=15, help="two at least")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--follow", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        run(serve(options.serve))
    elif options.follow is not None:
        run(follow(options.follow))
    else:
        run(measure(options))


if __name__ == "__main__":
    main()
