"""Publishes to a subject of NATS, and prints what comes: python examples/nats.py ws://127.0.0.1:8080 SUBJECT TEXT."""

import contextlib
import re
import sys

from reactivex import operators as ops

import rxnodes
from rxnodes import GiveUp, Greeting, Project
from rxnodes.websocket import client_send, on_receive, on_start

Split = tuple[bytes, list[tuple[bytes, bytes]]]
START: Split = (b"", [])
OPERATION = re.compile(rb"(?:MSG \S+ \S+ (?:\S+ )?(\d+)|[^\r]*)\r\n")


async def log_in(greeting: Greeting) -> None:
    """Connects, and waits until the server has taken it."""
    await greeting.receive(lambda data: data.startswith(b"INFO"), codec=bytes)
    await greeting.send(b'CONNECT {"verbose":false}\r\nPING\r\n')
    answer = await greeting.receive(lambda data: data.startswith((b"PONG", b"-ERR")), codec=bytes)
    if answer.startswith(b"-ERR"):
        raise GiveUp(answer.decode())


def split(before: Split, data: bytes) -> Split:
    """Takes operations apart. Several may come in one message, or one in several."""
    rest, found = before[0] + data, list[tuple[bytes, bytes]]()
    while line := OPERATION.match(rest):
        end = line.end() + (int(line[1]) + 2 if line[1] else 0)
        if end > len(rest):
            break
        found.append((line[0], rest[line.end() : end - 2]))
        rest = rest[end:]
    return rest, found


async def main(url: str, subject: str, text: str) -> None:
    """Subscribes and publishes whenever the connection opens, until Ctrl+C."""
    settings = {"url": url, "after_connect": log_in, "reconnect": {"enabled": True}}
    async with Project(websocket={"server": settings}) as project:
        server = project.websocket("server")
        received = on_receive(server, codec=bytes).pipe(ops.scan(split, START), ops.flat_map(lambda it: it[1]))
        operations = on_start(server).pipe(ops.flat_map_latest(lambda _: received), ops.share())
        payloads = operations.pipe(ops.filter(lambda it: it[0].startswith(b"MSG")), ops.map(lambda it: it[1].decode()))
        publish = f"SUB {subject} 1\r\nPUB {subject} {len(text.encode())}\r\n{text}\r\n".encode()
        project.subscribe(
            payloads.pipe(ops.do_action(print)),
            operations.pipe(ops.filter(lambda it: it[0] == b"PING\r\n"), client_send(server, b"PONG\r\n")),
            on_start(server).pipe(client_send(server, publish)),
        )
        server.start()
        await server.wait_stopped()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        rxnodes.run(main(*sys.argv[1:]))
