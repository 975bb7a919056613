"""WebSocket nodes for RxPY that know when a connection has really ended.

The names are imported when they are first used, so that importing the package alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rxnodes.codecs import Codec
    from rxnodes.connection.before_connect import Attempt, BeforeConnect, ConnectOptions
    from rxnodes.connection.connection import Connection
    from rxnodes.connection.greeting import AfterConnect, Greeting
    from rxnodes.connection.hook_task import GiveUp
    from rxnodes.errors import (
        BufferOverflow,
        CloseTimeout,
        ConnectError,
        ConnectionLost,
        DecodeError,
        HandlerError,
        HolderLost,
        PluginDisabled,
        ProtocolError,
        RequestTimeout,
        RxNodesError,
        SendError,
        SendUnknown,
        SettingsError,
        UnknownConfiguration,
    )
    from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, LifecycleEvent, Opened, Stopped
    from rxnodes.lifecycle.states import CloseCode, ConnectionState, Initiator
    from rxnodes.project.project import Project
    from rxnodes.project.run import run
    from rxnodes.project.scope import Scene, Scope
    from rxnodes.rx.async_iterator import ObservableIterator, aiter_observable
    from rxnodes.rx.async_operators import for_each_async, map_async
    from rxnodes.rx.buffer import Drops
    from rxnodes.rx.trigger import Trigger, pulse
    from rxnodes.transport.receipts import Receipt, SendDropped, SendOutcome, Sent, Unsent
    from rxnodes.websocket.holding import holding

__all__ = [
    "AfterConnect",
    "Attempt",
    "BeforeConnect",
    "BufferOverflow",
    "CloseCode",
    "CloseTimeout",
    "Closing",
    "Codec",
    "ConnectError",
    "ConnectOptions",
    "Connecting",
    "Connection",
    "ConnectionLost",
    "ConnectionState",
    "DecodeError",
    "Dropped",
    "Drops",
    "ErrorEvent",
    "GiveUp",
    "Greeting",
    "HandlerError",
    "HolderLost",
    "Initiator",
    "LifecycleEvent",
    "ObservableIterator",
    "Opened",
    "PluginDisabled",
    "Project",
    "ProtocolError",
    "Receipt",
    "RequestTimeout",
    "RxNodesError",
    "Scene",
    "Scope",
    "SendDropped",
    "SendError",
    "SendOutcome",
    "SendUnknown",
    "Sent",
    "SettingsError",
    "Stopped",
    "Trigger",
    "UnknownConfiguration",
    "Unsent",
    "__version__",
    "aiter_observable",
    "for_each_async",
    "holding",
    "map_async",
    "pulse",
    "run",
]

#: Here and nowhere else, so that a copy without metadata knows it too.
__version__ = "0.1.0"

_HOMES = {
    "codecs": "Codec",
    "connection.before_connect": "Attempt BeforeConnect ConnectOptions",
    "connection.connection": "Connection",
    "connection.greeting": "AfterConnect Greeting",
    "connection.hook_task": "GiveUp",
    "errors": (
        "BufferOverflow CloseTimeout ConnectError ConnectionLost DecodeError HandlerError HolderLost PluginDisabled "
        "ProtocolError RequestTimeout RxNodesError SendError SendUnknown SettingsError UnknownConfiguration"
    ),
    "lifecycle.events": "Closing Connecting Dropped ErrorEvent LifecycleEvent Opened Stopped",
    "lifecycle.states": "CloseCode ConnectionState Initiator",
    "project.project": "Project",
    "project.run": "run",
    "project.scope": "Scene Scope",
    "rx.async_iterator": "ObservableIterator aiter_observable",
    "rx.async_operators": "for_each_async map_async",
    "rx.buffer": "Drops",
    "rx.trigger": "Trigger pulse",
    "transport.receipts": "Receipt SendDropped SendOutcome Sent Unsent",
    "websocket.holding": "holding",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"rxnodes.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
