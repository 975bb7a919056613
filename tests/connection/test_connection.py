"""Connection: the machine, a transport and the streams together, in virtual time."""

from __future__ import annotations

import logging

import pytest
from virtual import Chat, virtual

from rxnodes import ConnectionState, RxNodesError
from rxnodes.connection.connection import Connection
from rxnodes.lifecycle.policy import Policy
from rxnodes.transport.base import Target
from rxnodes.transport.scripted import ScriptedTransport


def test_before_its_project_is_open_commands_are_refused_at_once():
    connection = Connection("chat", Target(url="ws://test/", redacted_url="ws://test/"), Policy(), ScriptedTransport())
    for command in (connection.start, connection.stop, connection.abort, lambda: connection.send("x")):
        with pytest.raises(RxNodesError, match="'chat': its project is not open"):
            command()
    seen = []
    connection.states.subscribe(seen.append)
    assert seen == [ConnectionState.IDLE]
    assert repr(connection) == "<Connection 'chat' idle, session 0>"


@virtual
async def test_messages_go_both_ways():
    chat = await Chat().opened()
    chat.connection.send("text")
    chat.connection.send(b"binary")
    chat.connection.send("as bytes", is_binary=True)
    chat.connection.send("as text", is_binary=False)
    chat.connection.send(bytearray(b"array"))
    chat.connection.send(memoryview(b"view"))
    chat.peer.send("hello")
    chat.peer.send(b"\x00")
    assert chat.peer.received == ["text", b"binary", b"as bytes", "as text", b"array", b"view"]
    assert chat.journal.messages == ["hello", b"\x00"]
    chat.connection.stop()
    stopped = await chat.connection.wait_stopped()
    assert (stopped.messages_sent, stopped.bytes_sent) == (6, 4 + 6 + 8 + 7 + 5 + 4)
    assert (stopped.messages_received, stopped.bytes_received) == (2, 6)


@virtual
async def test_what_the_caller_got_wrong_is_raised_at_once():
    chat = await Chat().opened()
    connection = chat.connection
    with pytest.raises(TypeError, match="must be str or bytes, not int"):
        connection.send(7)
    for data in (b"x", bytearray(b"x"), memoryview(b"x")):
        with pytest.raises(TypeError, match=f"must be str, not {type(data).__name__}; is_binary=True sends bytes"):
            connection.send(data, is_binary=False)
    with pytest.raises(TypeError, match="a close code must be an int, not str"):
        connection.stop(code="1000")
    with pytest.raises(TypeError, match="a close reason must be a str, not bytes"):
        connection.stop(reason=b"bye")
    with pytest.raises(ValueError, match="close code 1006 must not be sent"):
        connection.stop(code=1006)
    with pytest.raises(ValueError, match="124 bytes of UTF-8; at most 123 fit"):
        connection.stop(reason="é" * 62)
    assert connection.state is ConnectionState.OPEN


@virtual
async def test_commands_after_the_close_do_nothing(caplog):
    chat = await Chat().opened()
    chat.connection.for_project.shutdown()
    await chat.connection.wait_stopped()
    chat.connection.for_project.detach()
    chat.connection.start()
    chat.connection.stop()
    chat.connection.abort()
    with caplog.at_level(logging.WARNING):
        chat.connection.send("lost")
    assert "message not sent" in caplog.text
    assert len(chat.transport.peers) == 1
