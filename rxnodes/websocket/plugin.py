"""The WebSocket plugin: the node family as the toolbox shows it."""

from __future__ import annotations

from rxnodes.catalogue.plugins import Attribute, Node, Plugin, Port
from rxnodes.websocket.action_nodes import client_send, client_start, client_stop
from rxnodes.websocket.event_nodes import on_error, on_receive, on_start, on_stop
from rxnodes.websocket.settings import WebSocketSettings

__all__ = ["plugin"]

CATEGORY = "WebSocket"
SCOPES = ("project", "scene")

CONNECTION = Attribute("connection", "Connection", description="The configuration to use.")
ENABLED = Attribute("enabled", "bool or Observable[bool]", default=True, description="Off: pulses end here.")
PASS_THROUGH = Attribute(
    "pass_through", "bool or Observable[bool]", default=False, description="On: pulses pass, the node does not execute."
)

CODEC = Attribute(
    "codec",
    "Codec or None",
    description="str, bytes, JSON, MessagePack, a type, or functions; None: as it is. Left out: the configuration's.",
)

PULSE_IN = Port("Input", "pulse", "Executes the node.")
PULSE_OUT = Port("Output", "pulse", "The same pulse, at once.")

plugin = Plugin(
    name="websocket",
    title="WebSocket",
    settings=WebSocketSettings,
    nodes=(
        Node(
            name="WebSocket Client Start",
            category=CATEGORY,
            kind="action",
            description="Starts a connection.",
            attributes=(CONNECTION, ENABLED, PASS_THROUGH),
            inputs=(PULSE_IN,),
            outputs=(PULSE_OUT,),
            scopes=SCOPES,
            function=client_start,
        ),
        Node(
            name="WebSocket Client Send",
            category=CATEGORY,
            kind="action",
            description="Sends a message.",
            attributes=(
                CONNECTION,
                Attribute(
                    "is_binary", "bool or None", default=False, description="On: a binary message. In place of a codec."
                ),
                CODEC,
                Attribute("tag", "function or None", description="Gives the tag of a pulse's message."),
                ENABLED,
                PASS_THROUGH,
            ),
            inputs=(PULSE_IN, Port("Message", "str, bytes or the codec's", "What to send. Left out: the pulse.")),
            outputs=(PULSE_OUT,),
            scopes=SCOPES,
            function=client_send,
        ),
        Node(
            name="WebSocket Client Stop",
            category=CATEGORY,
            kind="action",
            description="Begins to close a connection, and does not wait.",
            attributes=(
                CONNECTION,
                Attribute("code", "int", default=1000, description="The close code."),
                Attribute("reason", "str", default="", description="The close reason."),
                ENABLED,
                PASS_THROUGH,
            ),
            inputs=(PULSE_IN,),
            outputs=(PULSE_OUT,),
            scopes=SCOPES,
            function=client_stop,
        ),
        Node(
            name="On WebSocket Start",
            category=CATEGORY,
            kind="event",
            description="Fires each time a connection is open.",
            attributes=(CONNECTION,),
            inputs=(),
            outputs=(Port("Opened", "Opened", "Subprotocol, time it took, whether it is a reconnect."),),
            scopes=SCOPES,
            function=on_start,
        ),
        Node(
            name="On WebSocket Receive",
            category=CATEGORY,
            kind="event",
            description="Fires for each message.",
            attributes=(
                CONNECTION,
                Attribute(
                    "is_binary", "bool or None", default=False, description="On: bytes. Off: str. In place of a codec."
                ),
                CODEC,
                Attribute("batched", "bool", default=False, description="On: a list for each read of the socket."),
            ),
            inputs=(),
            outputs=(Port("Message", "str, bytes or the codec's", "The message."),),
            scopes=SCOPES,
            function=on_receive,
        ),
        Node(
            name="On WebSocket Stop",
            category=CATEGORY,
            kind="event",
            description="Fires when a connection has really ended, exactly once for each start.",
            attributes=(CONNECTION,),
            inputs=(),
            outputs=(Port("Stopped", "Stopped", "Code, reason, who ended it, and what was sent and received."),),
            scopes=SCOPES,
            function=on_stop,
        ),
        Node(
            name="On WebSocket Error",
            category=CATEGORY,
            kind="event",
            description="Fires when something went wrong.",
            attributes=(CONNECTION,),
            inputs=(),
            outputs=(Port("ErrorEvent", "ErrorEvent", "What was being done, what went wrong, and the exception."),),
            scopes=SCOPES,
            function=on_error,
        ),
    ),
)
