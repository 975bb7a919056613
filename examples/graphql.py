"""Runs GraphQL operations: python examples/graphql.py ws://HOST/graphql '{ hello }' 'subscription { ticks }'."""

import contextlib
import sys
from typing import Any
from uuid import uuid4

from reactivex import Observable, of
from reactivex import operators as ops

import rxnodes
from rxnodes import Connection, Greeting, Project
from rxnodes.websocket import client_send, on_receive, on_start, request_stream

RECONNECT = {"enabled": True, "final_codes": [1000, "4400-4499"]}


async def log_in(greeting: Greeting) -> None:
    """Waits until the server has accepted us."""
    await greeting.send({"type": "connection_init"})
    await greeting.receive(lambda message: message["type"] == "connection_ack")


def run(api: Connection, query: str) -> Observable[Any]:
    """Emits the results of a query, a mutation or a subscription. Disposed, it is ended at the server too."""
    key = str(uuid4())
    ask, end = {"id": key, "type": "subscribe", "payload": {"query": query}}, {"id": key, "type": "complete"}
    reply = request_stream(api, ask, match=("id", key), until=lambda it: it["type"] != "next", cancel=end, codec="json")
    return reply.pipe(ops.filter(lambda it: "payload" in it), ops.map(lambda it: it["payload"]))


async def main(url: str, *queries: str) -> None:
    """Runs them whenever the connection opens, until the server closes it for good, or Ctrl+C."""
    settings = {"url": url, "subprotocols": ["graphql-transport-ws"], "codec": "json", "after_connect": log_in}
    async with Project(websocket={"api": {**settings, "reconnect": RECONNECT}}) as project:
        api = project.websocket("api")
        for query in queries:
            results = run(api, query).pipe(ops.catch(lambda error, _: of(error)))
            project.subscribe(on_start(api).pipe(ops.flat_map(results), ops.do_action(print)))
        pings = on_receive(api, codec="json").pipe(ops.filter(lambda it: it["type"] == "ping"))
        project.subscribe(pings.pipe(client_send(api, {"type": "pong"}, codec="json")))
        api.start()
        await api.wait_stopped()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        rxnodes.run(main(*sys.argv[1:]))
