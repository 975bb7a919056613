"""The WebSocket node family: the seven nodes, and helpers: conversations, gaps, ends and `async for`."""

from rxnodes.websocket.action_nodes import client_send, client_start, client_stop
from rxnodes.websocket.channel import channel
from rxnodes.websocket.event_nodes import on_error, on_receive, on_start, on_stop
from rxnodes.websocket.expect import expect
from rxnodes.websocket.gaps import Gap, on_gap
from rxnodes.websocket.holding import holding
from rxnodes.websocket.iteration import messages
from rxnodes.websocket.request import request
from rxnodes.websocket.request_stream import request_stream
from rxnodes.websocket.waiting import all_stopped, until_stopped

__all__ = [
    "Gap",
    "all_stopped",
    "channel",
    "client_send",
    "client_start",
    "client_stop",
    "expect",
    "holding",
    "messages",
    "on_error",
    "on_gap",
    "on_receive",
    "on_start",
    "on_stop",
    "request",
    "request_stream",
    "until_stopped",
]
