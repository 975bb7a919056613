"""The WebSocket node family: seven nodes, two ways to wait for the end within a pipeline, and what was missed."""

from rxnodes.websocket.actions import client_send, client_start, client_stop
from rxnodes.websocket.ends import all_stopped, until_stopped
from rxnodes.websocket.events import on_error, on_receive, on_start, on_stop
from rxnodes.websocket.gaps import Gap, on_gap

__all__ = [
    "Gap",
    "all_stopped",
    "client_send",
    "client_start",
    "client_stop",
    "on_error",
    "on_gap",
    "on_receive",
    "on_start",
    "on_stop",
    "until_stopped",
]
