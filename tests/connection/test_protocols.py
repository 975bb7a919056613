"""What users see of a connection, and what nodes and projects need of it beyond that."""

from __future__ import annotations

import pytest
from virtual import Chat, virtual

from rxnodes import Connection
from rxnodes.connection.protocols import NodeSide, ProjectSide, check_connection
from rxnodes.websocket import on_error, on_start, on_stop

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


@virtual
async def test_behind_the_doors_is_what_the_protocols_say():
    connection = Chat().connection
    assert public(connection.for_nodes) == public(NodeSide)
    assert public(connection.for_project) == public(ProjectSide)


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
async def test_the_last_opened_is_known_to_those_who_are_told_of_it():
    chat = Chat()
    seen = []
    chat.connection.lifecycle.subscribe(lambda event: seen.append(chat.connection.last_opened is event))
    await chat.opened()
    assert seen == [False, True]


@pytest.mark.parametrize("value", ["chat", None, object(), Connection])
def test_what_is_no_connection_is_refused(value):
    with pytest.raises(TypeError, match=rf'expected a Connection, got {type(value).__name__}; .*websocket\("chat"\)'):
        check_connection(value)
