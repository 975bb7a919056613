"""What the live page costs a program: `python -m benchmarks.inspector`.

One process serves, one is the program, and one follows the live page as a browser does. The program's own CPU time is
measured, in turns: without an inspector, with one that nobody looks at, and with one that is followed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import time
from typing import TYPE_CHECKING

import aiohttp

from rxnodes import Project, run
from rxnodes.inspector import Inspector
from rxnodes.testing import WebSocketServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rxnodes.testing import Peer

PAYLOAD = "x" * 100


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def serve(rate: float) -> None:
    """Sends each client so many messages a second, until standard input ends."""

    async def send(peer: Peer) -> None:
        await peer.accept()
        due = time.perf_counter()
        while True:
            await peer.send_text(PAYLOAD)
            due += 1 / rate
            await asyncio.sleep(max(0, due - time.perf_counter()))

    async with WebSocketServer(send) as server:
        say(server.url)
        await asyncio.to_thread(sys.stdin.read)


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


@contextlib.asynccontextmanager
async def helper(*arguments: str) -> AsyncIterator[str]:
    """One of the other processes; gives the first line that it prints."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "benchmarks.inspector", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        assert process.stdout is not None
        yield (await process.stdout.readline()).decode().strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def share(project: Project, seconds: float) -> tuple[float, float]:
    """The share of one core that this process takes, and how many messages come each second."""
    before = sum(connection.for_project.traffic[1].messages_received for connection in project.connections)
    began, used = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    elapsed, used = time.perf_counter() - began, time.process_time() - used
    after = sum(connection.for_project.traffic[1].messages_received for connection in project.connections)
    return used / elapsed, (after - before) / elapsed


async def measure(options: argparse.Namespace) -> None:
    """Measures, and prints."""
    shares: dict[str, list[float]] = {"alone": [], "nobody looks": [], "followed": []}
    each: dict[str, list[float]] = {kind: [] for kind in shares}
    rates: list[float] = []
    async with helper("--serve", str(options.messages / options.connections)) as url:
        names = [f"feed {number:04}" for number in range(options.connections)]
        async with Project(websocket={name: {"url": url, "connect_timeout": 60} for name in names}) as project:
            for name in names:
                connection = project.websocket(name)
                connection.messages.subscribe(len)
                connection.start()
            await asyncio.gather(*(project.websocket(name).wait_started() for name in names))
            for _ in range(options.rounds):
                for kind, found in shares.items():
                    async with contextlib.AsyncExitStack() as stack:
                        if kind != "alone":
                            inspector = await stack.enter_async_context(Inspector(project))
                            if kind == "followed":
                                await stack.enter_async_context(helper("--follow", inspector.url))
                        used, rate = await share(project, options.seconds)
                    found.append(used)
                    each[kind].append(1e6 * used / rate)
                    rates.append(rate)
            # The server goes on sending, whatever the clients say.
            project.abort()
    say(f"{options.connections:,} connections, {statistics.mean(rates):,.0f} messages a second, CPU of the program:")
    for kind, found in shares.items():
        # Each beside its neighbour in time: what else the machine does changes.
        more = statistics.median(one - other for one, other in zip(found, shares["alone"], strict=True))
        message = statistics.median(each[kind])
        say(
            f"{kind:<13} {statistics.median(found):7.2%} of a core   {more:+.2%} of a core   {message:.2f} µs a message"
        )


def main() -> None:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=10_000, help="each second, over all connections")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=7)
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
