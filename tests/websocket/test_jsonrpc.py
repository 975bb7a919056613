"""JSON-RPC 2.0, on a scripted transport in virtual time."""

from __future__ import annotations

import asyncio
import json
import pickle

import pytest
from conversing import Told, errors_of, idle
from virtual import Chat, virtual

from rxnodes import DecodeError, RequestTimeout
from rxnodes.websocket.jsonrpc import JsonRpcError, Notification, json_rpc


def answer(chat, number, **fields):
    chat.peer.send(json.dumps({"jsonrpc": "2.0", "id": number, **fields}))


def sent(chat):
    return [json.loads(message) for message in chat.peer.received]


@virtual
async def test_calls_are_numbered_and_answered_in_any_order():
    chat = await Chat().opened()
    peer = json_rpc(chat.connection)
    subtracting = peer.call("subtract", [42, 23])
    assert sent(chat) == []
    one, two, three = Told(subtracting), Told(subtracting), asyncio.ensure_future(peer.call("get", {"key": "a"}))
    await asyncio.sleep(0)
    assert sent(chat) == [
        {"jsonrpc": "2.0", "id": 1, "method": "subtract", "params": [42, 23]},
        {"jsonrpc": "2.0", "id": 2, "method": "subtract", "params": [42, 23]},
        {"jsonrpc": "2.0", "id": 3, "method": "get", "params": {"key": "a"}},
    ]
    # Of the peer's own call, and of a batch, nothing is an answer.
    answer(chat, 1, method="ping")
    chat.peer.send('[{"jsonrpc":"2.0","id":1,"result":0}]')
    answer(chat, 3, result=None)
    answer(chat, 2, result=2)
    answer(chat, 1, result=1, error=None)
    assert await three is None
    assert (one.all, two.all) == ([1, "completed"], [2, "completed"])
    assert idle(chat.connection)


@virtual
async def test_an_error_of_the_peer_is_one():
    chat = await Chat().opened()
    told = Told(json_rpc(chat.connection).call("foobar"))
    assert sent(chat) == [{"jsonrpc": "2.0", "id": 1, "method": "foobar"}]
    answer(chat, 1, error={"code": -32601, "message": "Method not\nfound", "data": [1]})
    (error,) = told.all
    assert isinstance(error, JsonRpcError)
    assert (error.code, error.message, error.data) == (-32601, "Method not\nfound", [1])
    assert str(error) == "Method not\\nfound (code -32601)"
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)  # noqa: S301


@pytest.mark.parametrize("fields", [{}, {"error": "no"}])
@virtual
async def test_what_is_neither_a_result_nor_an_error_is_no_answer_in_json_rpc(fields):
    chat = await Chat().opened()
    told = Told(json_rpc(chat.connection).call("foobar"))
    answer(chat, 1, **fields)
    assert [type(error) for error in told.all] == [DecodeError]


@virtual
async def test_the_timeout_is_that_of_all_calls():
    chat = await Chat().opened()
    with pytest.raises(RequestTimeout, match="no answer within 3 s"):
        await json_rpc(chat.connection, timeout=3).call("sleep")


@virtual
async def test_notifications_go_both_ways():
    chat = await Chat().opened()
    peer = json_rpc(chat.connection)
    told = Told(peer.notifications)
    await peer.notify("update", [1, 2])
    assert sent(chat) == [{"jsonrpc": "2.0", "method": "update", "params": [1, 2]}]
    for message in ('{"method":"tick","params":{"n":1}}', '{"method":"tock"}', '{"id":1,"method":"ask"}', "[]", "7"):
        chat.peer.send(message)
    assert told.all == [Notification("tick", {"n": 1}), Notification("tock", None)]
    assert errors_of(chat) == []


@virtual
async def test_what_json_cannot_hold_is_an_error():
    chat = await Chat().opened()
    peer = json_rpc(chat.connection)
    with pytest.raises(ValueError, match="cannot be encoded"):
        peer.notify("update", [object()])
    told = Told(peer.call("update", [object()]))
    assert [type(error) for error in told.all] == [ValueError]
