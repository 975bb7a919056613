"""rxnodes, as its documentation shows it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict

from benchmarks.clock import WAVE, Counter, blasts, now, percentiles, pulses, rates, resident_bytes
from benchmarks.contenders.through import one_by_one
from benchmarks.limits import may_open
from rxnodes import Project, Trigger
from rxnodes.lifecycle.events import Traffic
from rxnodes.lifecycle.inputs import CloseReceived, CloseSent, Delivered, HandshakeDone, Input, Lost, Now, Start, Stop
from rxnodes.lifecycle.machine import Profile, State
from rxnodes.lifecycle.machine import step as machine_step
from rxnodes.websocket import client_send, client_stop, on_receive, on_start, on_stop, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reactivex import Observable

    from benchmarks.job import Job, Metrics
    from rxnodes import Connection

#: The nodes in the pipeline through which a pulse goes.
NODES = 10


#: Watches a project for as long as a block lasts.
Watch = Callable[[Project], AbstractContextManager[object]]


@asynccontextmanager
async def connected(job: Job, watch: Watch = nullcontext) -> AsyncIterator[Connection]:
    """A connection that is open; the project stops it at the end."""
    settings: dict[str, object] = {"url": job.url, "compression": job.is_deflated}
    if job.is_tls:
        # The server's certificate is made on the spot.
        settings["tls"] = {"verify": False}
    async with Project(websocket={"server": settings}) as project:
        with watch(project):
            connection = project.websocket("server")
            connection.start()
            await connection.wait_started()
            yield connection


def received(connection: Connection, job: Job) -> Observable[Any]:
    """The messages, as what they are."""
    return on_receive(connection) if job.is_text else on_receive(connection, codec=bytes)


async def receive(job: Job, watch: Watch = nullcontext) -> Metrics:
    """Counts messages, in so many subscribers."""
    counters = [Counter() for _ in range(job.subscribers)]
    async with connected(job, watch) as connection:
        for counter in counters:
            received(connection, job).subscribe(counter.on_next)
        return await blasts(job, connection.send, *counters)


async def pipeline(job: Job) -> Metrics:
    """Counts messages behind map, filter, map."""
    counter = Counter()
    async with connected(job) as connection:
        one_by_one(on_receive(connection)).subscribe(counter.on_next)
        return await blasts(job, connection.send, counter)


async def send(job: Job) -> Metrics:
    """Sends bursts, and lets the loop take a turn after each."""
    text = job.text
    counter = Counter()
    async with connected(job) as connection:
        on_receive(connection).subscribe(counter.on_next)

        async def run(count: int) -> None:
            done = counter.expect(1)
            connection.send(job.sink(count))
            for first in range(0, count, job.burst):
                for _ in range(min(job.burst, count - first)):
                    connection.send(text)
                await asyncio.sleep(0)
            await done

        return {"rate": await rates(job, run)}


async def echo(job: Job) -> Metrics:
    """Sends the next message when the last one has come back."""
    text = job.text
    took: list[int] = []
    begun = 0
    done = asyncio.get_running_loop().create_future()
    async with connected(job) as connection:
        connection.send("echo")

        def send_next() -> None:
            nonlocal begun
            begun = now()
            connection.send(text)

        def on_answer(_message: str) -> None:
            took.append(now() - begun)
            if len(took) < job.count:
                send_next()
            else:
                done.set_result(None)

        on_receive(connection).subscribe(on_answer)
        send_next()
        await done
    return percentiles("echo", took)


async def requests(job: Job) -> Metrics:
    """Asks many questions at once, and awaits all answers."""
    async with connected(job) as connection:
        connection.send("echo")

        async def run(count: int) -> None:
            for first in range(0, count, job.burst):
                last = min(first + job.burst, count)
                await asyncio.gather(*(asked(connection, number) for number in range(first, last)))

        return {"rate": await rates(job, run)}


async def requests_sequential(job: Job) -> Metrics:
    """Asks the next question when the last one is answered."""
    async with connected(job) as connection:
        connection.send("echo")

        async def run(count: int) -> None:
            for number in range(count):
                await asked(connection, number)

        return {"rate": await rates(job, run)}


def asked(connection: Connection, number: int) -> Observable[Any]:
    """A question, which the server repeats."""
    return request(connection, {"id": number, "ask": "time"}, match=("id", number), codec="json")


async def lifecycle(job: Job) -> Metrics:
    """Starts and stops one connection; On Start and On Stop tell when it is done."""
    opening: list[int] = []
    stopping: list[int] = []
    begun = 0
    async with Project(websocket={"server": job.url}) as project:
        connection = project.websocket("server")
        on_start(connection).subscribe(lambda _: opening.append(now() - begun))
        on_stop(connection).subscribe(lambda _: stopping.append(now() - begun))
        for _ in range(job.count):
            begun = now()
            connection.start()
            await connection.wait_started()
            begun = now()
            connection.stop()
            await connection.wait_stopped()
    return percentiles("open", opening) | percentiles("stop", stopping)


async def connections(job: Job) -> Metrics:
    """Opens many connections, holds them, reads from all of them, and stops all at once."""
    number = may_open(job.connections)
    counter = Counter()
    ends = Counter()
    # What the first connection alone brings in, such as modules, is no connection's.
    async with connected(job):
        pass
    before = resident_bytes()
    async with Project(websocket={f"server-{index}": job.url for index in range(number)}) as project:
        held = [project.websocket(name) for name in project.configurations]
        made = resident_bytes() - before
        begun = now()
        for first in range(0, number, WAVE):
            wave = held[first : first + WAVE]
            for connection in wave:
                connection.start()
            await asyncio.gather(*(connection.wait_started() for connection in wave))
        opened = now() - begun
        size = resident_bytes() - before
        for connection in held:
            on_receive(connection).subscribe(counter.on_next)
            on_stop(connection).subscribe(ends.on_next)
        each = max(1, job.messages // number)
        took: list[int] = []
        for _ in range(job.rounds):
            begun = now()
            seen = counter.expect(each * number)
            held[0].send(job.blast_all(each))
            await seen
            took.append(now() - begun)
        begun = now()
        all_ended = ends.expect(number)
        for connection in held:
            connection.stop()
        await all_ended
        stopped = now() - begun
    return {
        "open_ms": [opened / 1e6],
        "held_kib": [size / 1024 / number],
        "opened_kib": [(size - made) / 1024 / number],
        "message_ns": [nanoseconds / each / number for nanoseconds in took],
        "stop_ms": [stopped / 1e6],
    }


async def step(job: Job) -> Metrics:
    """Steps the machine alone through whole lives: start, open, stop, both Close frames, lost, delivered."""
    profile = Profile(name="server", url=job.url)

    def life(session: int) -> tuple[Input, ...]:
        return (
            Start(),
            HandshakeDone(session, 1, None, CIMultiDict()),
            Stop(),
            CloseSent(session, 1),
            CloseReceived(session, 1, 1000, ""),
            Lost(session, 1, None, Traffic()),
            Delivered(),
        )

    async def run(count: int) -> None:
        state = State(profile=profile)
        moment = Now(datetime.now(UTC), 0.0, random.random())  # noqa: S311 - no secret
        for session in range(1, count // len(life(1)) + 1):
            for input_ in life(session):
                state = machine_step(state, input_, moment).state

    return {"rate": await rates(job, run)}


async def pulse(job: Job) -> Metrics:
    """Fires pulses through ten action nodes, each of which executes and finds nothing to do."""
    return await _through(job, client_stop)


async def pulse_gated(job: Job) -> Metrics:
    """Fires pulses through ten nodes with `pass_through` on: what a node costs by itself."""
    return await _through(job, partial(client_send, message="hello", pass_through=True))


async def _through(job: Job, node: Callable[[Connection], Callable[[Observable[Any]], Observable[Any]]]) -> Metrics:
    async with Project(websocket={"server": job.url}) as project:
        source: Observable[None]
        trigger = source = Trigger[None]()
        for _ in range(NODES):
            source = source.pipe(node(project.websocket("server")))
        return await pulses(job, trigger.fire, source)
