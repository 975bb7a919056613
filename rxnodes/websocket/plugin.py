"""The WebSocket plugin: the node family as the toolbox shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rxnodes.catalogue.plugins import Attribute, Node, Plugin, Port
from rxnodes.websocket.action_nodes import SEND, START, STOP, client_send, client_start, client_stop
from rxnodes.websocket.event_nodes import on_error, on_receive, on_start, on_stop
from rxnodes.websocket.settings import WebSocketSettings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["plugin"]

CATEGORY = "WebSocket"
SCOPES = ("project", "scene")

CONNECTION = Attribute("connection", "Connection", description="The configuration to use.")
SWITCHES = (
    Attribute("enabled", "bool or Observable[bool]", default=True, description="Off: pulses end here."),
    Attribute(
        "pass_through",
        "bool or Observable[bool]",
        default=False,
        description="On: pulses pass, the node does not execute.",
    ),
)
CODEC = Attribute(
    "codec",
    "Codec or None",
    description="str, bytes, JSON, MessagePack, a type, or functions; None: as it is. Left out: the configuration's.",
)

PULSE_IN = Port("Input", "pulse", "Executes the node.")
PULSE_OUT = Port("Output", "pulse", "The same pulse, at once.")


def _action(
    name: str, function: Callable[..., Any], description: str, *attributes: Attribute, inputs: tuple[Port, ...] = ()
) -> Node:
    attributes = (CONNECTION, *attributes, *SWITCHES)
    return Node(name, CATEGORY, "action", description, attributes, (PULSE_IN, *inputs), (PULSE_OUT,), SCOPES, function)


def _event(name: str, function: Callable[..., Any], description: str, *attributes: Attribute, output: Port) -> Node:
    return Node(name, CATEGORY, "event", description, (CONNECTION, *attributes), (), (output,), SCOPES, function)


plugin = Plugin(
    name="websocket",
    title="WebSocket",
    settings=WebSocketSettings,
    nodes=(
        _action(START, client_start, "Starts a connection."),
        _action(
            SEND,
            client_send,
            "Sends a message.",
            Attribute(
                "is_binary", "bool or None", default=False, description="On: a binary message. In place of a codec."
            ),
            CODEC,
            Attribute("tag", "function or None", description="Gives the tag of a pulse's message."),
            inputs=(Port("Message", "str, bytes or the codec's", "What to send. Left out: the pulse."),),
        ),
        _action(
            STOP,
            client_stop,
            "Begins to close a connection, and does not wait.",
            Attribute("code", "int", default=1000, description="The close code."),
            Attribute("reason", "str", default="", description="The close reason."),
        ),
        _event(
            "On WebSocket Start",
            on_start,
            "Fires each time a connection is open.",
            output=Port("Opened", "Opened", "Subprotocol, time it took, whether it is a reconnect."),
        ),
        _event(
            "On WebSocket Receive",
            on_receive,
            "Fires for each message.",
            Attribute(
                "is_binary", "bool or None", default=False, description="On: bytes. Off: str. In place of a codec."
            ),
            CODEC,
            Attribute("batched", "bool", default=False, description="On: a list for each read of the socket."),
            output=Port("Message", "str, bytes or the codec's", "The message."),
        ),
        _event(
            "On WebSocket Stop",
            on_stop,
            "Fires when a connection has really ended, exactly once for each start.",
            output=Port("Stopped", "Stopped", "Code, reason, who ended it, and what was sent and received."),
        ),
        _event(
            "On WebSocket Error",
            on_error,
            "Fires when something went wrong.",
            output=Port("ErrorEvent", "ErrorEvent", "What was being done, what went wrong, and the exception."),
        ),
    ),
)
