"""What users see of a connection, and what nodes and projects need of it beyond that."""

from __future__ import annotations

import asyncio

import pytest
from reactivex import operators as ops
from virtual import Chat, virtual

from rxnodes import Connection, pulse
from rxnodes.connection.protocols import ConnectionLike, NodeSide, ProjectSide, check_connection
from rxnodes.testing import record
from rxnodes.websocket import (
    all_stopped,
    channel,
    client_send,
    client_start,
    client_stop,
    messages,
    on_error,
    on_gap,
    on_receive,
    on_start,
    on_stop,
    request,
    until_stopped,
)

FACE = {
    *("name", "codec", "state", "session", "attempt", "is_live", "last_opened", "last_stopped"),
    *("states", "lifecycle", "messages", "errors", "latency", "sends"),
    *("start", "send", "stop", "abort", "wait_started", "wait_stopped"),
    *("for_nodes", "for_project"),
}


def public(it):
    return {name for name in dir(it) if not name.startswith("_")}


def test_a_connection_shows_users_what_they_need_and_two_doors():
    assert public(Connection) == FACE
    assert public(ConnectionLike) < FACE


@virtual
async def test_behind_the_doors_is_what_the_protocols_say():
    connection = Chat().connection
    assert public(connection.for_nodes) == public(NodeSide)
    assert public(connection.for_project) == public(ProjectSide)


class Another:
    """Another kind of connection: it has what the protocol says, which it passes on, and nothing else."""

    def __init__(self, connection):
        self._connection = connection


def _passed_on(name):
    return property(lambda self: getattr(self._connection, name))


for _name in public(ConnectionLike):
    setattr(Another, _name, _passed_on(_name))


@virtual
async def test_nodes_take_whatever_keeps_the_protocol():
    def script(peer):
        peer.accept()
        peer.send("hello")

    chat = Chat(script)
    it = Another(chat.connection)
    seen = []
    for name, stream in {
        "on_start": on_start(it),
        "on_receive": on_receive(it),
        "as bytes": on_receive(it, codec=bytes),
        "on_stop": on_stop(it),
        "until_stopped": on_stop(it).pipe(until_stopped(it)),
        "all_stopped": on_stop(it).pipe(ops.flat_map(lambda _: all_stopped(it))),
        "channel": channel(it, subscribe="subscribe", match=bool),
        "request": on_start(it).pipe(ops.flat_map(lambda _: request(it, "ask", match=bool))),
    }.items():
        stream.subscribe(lambda _, name=name: seen.append(name), seen.append)
    for stream in (on_error(it), on_gap(it)):
        stream.subscribe(seen.append)
    recording = record(it)
    pulse().pipe(client_start(it)).subscribe()
    async with messages(it) as heard:
        assert await anext(heard) == "hello"
    pulse().pipe(client_send(it, {"a": 1}, codec="json"), client_stop(it, code=4000)).subscribe()
    await chat.connection.wait_stopped()
    await asyncio.sleep(0)
    assert sorted(set(seen)) == sorted(
        ["on_start", "on_receive", "as bytes", "on_stop", "until_stopped", "all_stopped", "channel", "request"]
    )
    assert chat.peer.received == ["subscribe", "ask", '{"a":1}']
    assert chat.peer.close_frame[0] == 4000
    assert recording.messages == ["hello"]


@virtual
async def test_start_stop_and_error_are_filters_over_the_one_lifecycle():
    chat = Chat()
    order = []
    on_stop(chat.connection).subscribe(lambda it: order.append(("on_stop", it)))
    on_start(chat.connection).subscribe(lambda it: order.append(("on_start", it)))
    on_error(chat.connection).subscribe(lambda it: order.append(("on_error", it)))
    chat.connection.lifecycle.subscribe(lambda it: order.append(("lifecycle", it)))
    await chat.opened()
    chat.peer.reset()
    await chat.connection.wait_stopped()
    names = [(stream, type(event).__name__) for stream, event in order]
    assert names == [
        ("lifecycle", "Connecting"),
        ("on_start", "Opened"),
        ("lifecycle", "Opened"),
        ("on_error", "ErrorEvent"),
        ("lifecycle", "ErrorEvent"),
        ("on_stop", "Stopped"),
        ("lifecycle", "Stopped"),
    ]


@virtual
async def test_subscribers_to_opened_can_read_last_opened():
    chat = Chat()
    seen = []
    chat.connection.lifecycle.subscribe(lambda event: seen.append(chat.connection.last_opened is event))
    await chat.opened()
    assert seen == [False, True]


@pytest.mark.parametrize("value", ["chat", None, object(), Connection])
def test_what_is_no_connection_is_refused(value):
    with pytest.raises(TypeError, match=rf'expected a Connection, got {type(value).__name__}; .*websocket\("chat"\)'):
        check_connection(value)
