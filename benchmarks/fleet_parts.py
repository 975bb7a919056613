"""The processes that `benchmarks.fleet` measures: `python -m benchmarks.fleet_parts PART …`.

`build` is the application that its workers run.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import nats
from reactivex import operators as ops

from benchmarks import say
from benchmarks.clock import Counter, resident_bytes
from benchmarks.limits import allow_many_files
from rxnodes import Project
from rxnodes.fleet.nats import nats_store
from rxnodes.fleet.worker.lease_guard import LeaseGuard
from rxnodes.fleet.worker.worker import Worker
from rxnodes.transport.aiohttp import AiohttpTransport
from rxnodes.websocket import all_stopped, on_receive

if TYPE_CHECKING:
    from collections.abc import Coroutine

#: Connections of one process are opened so many at a time.
WAVE = 100
#: Seconds for an attempt: the machine is busy.
CONNECT_TIMEOUT = 60
#: Seconds for one round of a rate, and how many rounds there are.
ROUND = 0.5
ROUNDS = 5


def build(project: Project) -> None:
    """The application: it is there, and wires nothing."""


def main(arguments: list[str]) -> None:
    """Runs one of the parts."""
    allow_many_files()
    part, *rest = arguments
    parts: dict[str, Any] = {"one": one_process, "local": local, "publisher": publisher}
    work: Coroutine[Any, Any, dict[str, float]] = parts[part](*rest)
    say(json.dumps(asyncio.run(work)))


async def one_process(port: str, count: str) -> dict[str, float]:
    """As many connections in one process, without a fleet."""
    fields = {"url": f"ws://127.0.0.1:{port}/", "connect_timeout": CONNECT_TIMEOUT}
    names = [name_of(number) for number in range(int(count))]
    async with Project(websocket=dict.fromkeys(names, fields)) as project:
        before = resident_bytes()
        connections = [project.websocket(name) for name in names]
        begun = time.perf_counter()
        for first in range(0, len(connections), WAVE):
            wave = connections[first : first + WAVE]
            for connection in wave:
                connection.start()
            await asyncio.gather(*(connection.wait_started() for connection in wave))
        opened = time.perf_counter()
        held = resident_bytes() - before
        for connection in connections:
            connection.stop()
        await all_stopped(*connections)
        return {"open": opened - begun, "stop": time.perf_counter() - opened, "bytes": held / len(connections)}


async def local(url: str, port: str, fleet: str) -> dict[str, float]:
    """The rate of a pipeline where the connection is: on the worker that holds it, or without a fleet (no URL).

    In messages for each second of this process's own CPU time, for the machine is busy with the rest.
    """
    guard = LeaseGuard()
    transport = AiohttpTransport(guard.is_allowed) if url else AiohttpTransport()
    async with Project(websocket={"local": f"ws://127.0.0.1:{port}/"}, transport=transport) as project:
        worker = Worker(project, nats_store(url, fleet=fleet), guard, settle=0.1) if url else None
        connection = project.websocket("local")
        counter = Counter()
        on_receive(connection).pipe(ops.map(len), ops.filter(bool)).subscribe(counter.on_next)
        connection.start()
        if worker is None:
            return {"rate": await _rate(connection, counter)}
        async with worker:
            return {"rate": await _rate(connection, counter)}


async def _rate(connection: Any, counter: Counter) -> float:
    await connection.wait_started()
    count, rates = 20_000, []
    for _ in range(ROUNDS + 1):
        begun = time.process_time()
        seen = counter.expect(count)
        connection.send(f"blast text 32 {count}")
        await seen
        took = time.process_time() - begun
        rates.append(count / took)
        count = max(1_000, int(rates[-1] * ROUND))
    return sorted(rates[1:])[ROUNDS // 2]


async def publisher(url: str, size: str, count: str) -> dict[str, float]:
    """nats-py alone: publishes so many messages one by one when it is told to begin."""
    client = await nats.connect(url)
    begin = await client.subscribe("bare.begin")
    await client.flush()
    await client.publish("bare.ready", b"")
    payload = b"x" * int(size)
    async for _ in begin.messages:
        for number in range(int(count)):
            await client.publish("bare.messages", payload)
            if number % 512 == 0:
                # As every program has to, which reads besides.
                await asyncio.sleep(0)
        await client.flush()
    return {}


def name_of(number: int) -> str:
    """What a connection is called."""
    return f"c{number:05}"


if __name__ == "__main__":
    main(sys.argv[1:])
