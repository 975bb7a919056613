"""The WebSocket node family: seven nodes, two ways to wait for the end, and messages for `async for`."""

from rxnodes.websocket.actions import client_send, client_start, client_stop
from rxnodes.websocket.ends import all_stopped, until_stopped
from rxnodes.websocket.events import on_error, on_receive, on_start, on_stop
from rxnodes.websocket.iteration import messages

__all__ = [
    "all_stopped",
    "client_send",
    "client_start",
    "client_stop",
    "messages",
    "on_error",
    "on_receive",
    "on_start",
    "on_stop",
    "until_stopped",
]
