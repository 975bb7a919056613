"""Sends an event: python examples/socket_io.py 'ws://HOST/socket.io/?EIO=4&transport=websocket' EVENT DATA."""

import contextlib
import itertools
import json
import sys

from reactivex import Observable, merge, of
from reactivex import operators as ops

import rxnodes
from rxnodes import Connection, GiveUp, Greeting, Project
from rxnodes.websocket import client_send, on_receive, on_start, request

numbers = itertools.count(1)


async def log_in(greeting: Greeting) -> None:
    """Waits for the packet "open" of Engine.IO, and joins the namespace "/" of Socket.IO."""
    await greeting.receive(lambda text: text.startswith("0"), codec=str)
    await greeting.send("40")
    answer = await greeting.receive(lambda text: text.startswith(("40", "44")), codec=str)
    if answer.startswith("44"):
        raise GiveUp(answer[2:])


def kind_and_number(text: str) -> str:
    """What stands before the data: 42 is an event, 43 the answer to one, and what follows is its number."""
    return text.partition("[")[0]


def call(server: Connection, event: str, data: str) -> Observable[object]:
    """Sends an event, and emits the answer, or what went wrong."""
    number = next(numbers)
    answer = request(server, f"42{number}{json.dumps([event, data])}", match=(kind_and_number, f"43{number}"))
    return answer.pipe(ops.catch(lambda error, _: of(str(error))))


async def main(url: str, event: str, data: str) -> None:
    """Sends it whenever the connection opens, and prints the answer and all events that come, until Ctrl+C."""
    settings = {"url": url, "after_connect": log_in, "reconnect": {"enabled": True}}
    async with Project(websocket={"server": settings}) as project:
        server = project.websocket("server")
        events = on_receive(server).pipe(ops.filter(lambda text: kind_and_number(text) == "42"))
        answers = on_start(server).pipe(ops.flat_map(lambda _: call(server, event, data)))
        pings = on_receive(server).pipe(ops.filter(lambda text: text == "2"))
        project.subscribe(merge(events, answers).pipe(ops.do_action(print)), pings.pipe(client_send(server, "3")))
        server.start()
        await server.wait_stopped()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        rxnodes.run(main(*sys.argv[1:]))
