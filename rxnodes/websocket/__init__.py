"""The WebSocket node family: seven nodes, and two ways to wait for the end within a pipeline."""

from rxnodes.websocket.actions import client_send, client_start, client_stop
from rxnodes.websocket.ends import all_stopped, until_stopped
from rxnodes.websocket.events import on_error, on_receive, on_start, on_stop

__all__ = [
    "all_stopped",
    "client_send",
    "client_start",
    "client_stop",
    "on_error",
    "on_receive",
    "on_start",
    "on_stop",
    "until_stopped",
]
