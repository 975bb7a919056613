"""Publishes by MQTT 3.1.1, and prints what is published: python examples/mqtt.py ws://127.0.0.1:9001 TOPIC TEXT."""

import contextlib
import sys
from uuid import uuid4

from reactivex import operators as ops

import rxnodes
from rxnodes import GiveUp, Greeting, Project
from rxnodes.websocket import channel, client_send, on_start

CONNECT, CONNACK, PUBLISH, SUBSCRIBE = 0x10, 0x20, 0x30, 0x82
MORE = 0x80


def string(text: str) -> bytes:
    """A string, behind its length."""
    return len(text.encode()).to_bytes(2, "big") + text.encode()


def packet(kind: int, body: bytes) -> bytes:
    """A packet: its kind, the length of what follows in groups of seven bits, and what follows."""
    length, rest = b"", len(body)
    while rest >= MORE:
        length, rest = length + bytes([rest % MORE | MORE]), rest // MORE
    return bytes([kind]) + length + bytes([rest]) + body


def body_of(data: bytes) -> bytes:
    """What follows the length of a packet."""
    return data[next(at for at in range(1, 5) if data[at] < MORE) + 1 :]


async def log_in(greeting: Greeting) -> None:
    """Asks for a clean session. The heartbeat is the WebSocket's, so there is none of MQTT."""
    await greeting.send(packet(CONNECT, string("MQTT") + bytes([4, 2, 0, 0]) + string(f"rxnodes-{uuid4()}")))
    answer = await greeting.receive(lambda data: data[0] == CONNACK, codec=bytes)
    if code := body_of(answer)[1]:
        raise GiveUp(f"the broker refuses, code {code}")


async def main(url: str, topic: str, text: str) -> None:
    """Subscribes and publishes whenever the connection opens, until Ctrl+C."""
    settings = {"url": url, "subprotocols": ["mqtt"], "after_connect": log_in, "reconnect": {"enabled": True}}
    async with Project(websocket={"broker": settings}) as project:
        broker = project.websocket("broker")
        subscribe = packet(SUBSCRIBE, bytes([0, 1]) + string(topic) + bytes([0]))
        published = channel(broker, subscribe=subscribe, match=lambda data: data[0] & 0xF0 == PUBLISH, codec=bytes)
        texts = published.pipe(ops.map(lambda data: body_of(data).removeprefix(string(topic)).decode()))
        publish = packet(PUBLISH, string(topic) + text.encode())
        project.subscribe(texts.pipe(ops.do_action(print)), on_start(broker).pipe(client_send(broker, publish)))
        broker.start()
        await broker.wait_stopped()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        rxnodes.run(main(*sys.argv[1:]))
