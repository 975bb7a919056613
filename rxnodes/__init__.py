"""WebSocket nodes for RxPY that know when a connection has really ended.

The names are imported when they are first used, so that importing the package alone costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rxnodes.awaiting import for_each_async, map_async
    from rxnodes.before_connect import Attempt, BeforeConnect, ConnectOptions, GiveUp
    from rxnodes.buffers import Drops
    from rxnodes.codecs import Codec
    from rxnodes.connection import Connection
    from rxnodes.errors import (
        BufferOverflow,
        CloseTimeout,
        ConnectError,
        ConnectionLost,
        DecodeError,
        HandlerError,
        PluginDisabled,
        ProtocolError,
        RequestTimeout,
        RxNodesError,
        SendError,
        SettingsError,
        UnknownConfiguration,
    )
    from rxnodes.iterating import ObservableIterator, aiter_observable
    from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, LifecycleEvent, Opened, Stopped
    from rxnodes.lifecycle.states import CloseCode, ConnectionState, Initiator
    from rxnodes.project import Project
    from rxnodes.pulse import Trigger, pulse
    from rxnodes.running import run
    from rxnodes.scope import Scene, Scope
    from rxnodes.sends import Receipt, SendDropped, SendOutcome, Sent, Unsent

__all__ = [
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
    "HandlerError",
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
    "Sent",
    "SettingsError",
    "Stopped",
    "Trigger",
    "UnknownConfiguration",
    "Unsent",
    "__version__",
    "aiter_observable",
    "for_each_async",
    "map_async",
    "pulse",
    "run",
]

#: Here and nowhere else, so that a copy without metadata knows it too.
__version__ = "0.1.0"

_HOMES = {
    "awaiting": ("for_each_async", "map_async"),
    "before_connect": ("Attempt", "BeforeConnect", "ConnectOptions", "GiveUp"),
    "buffers": ("Drops",),
    "codecs": ("Codec",),
    "connection": ("Connection",),
    "errors": (
        "BufferOverflow",
        "CloseTimeout",
        "ConnectError",
        "ConnectionLost",
        "DecodeError",
        "HandlerError",
        "PluginDisabled",
        "ProtocolError",
        "RequestTimeout",
        "RxNodesError",
        "SendError",
        "SettingsError",
        "UnknownConfiguration",
    ),
    "iterating": ("ObservableIterator", "aiter_observable"),
    "lifecycle.events": ("Closing", "Connecting", "Dropped", "ErrorEvent", "LifecycleEvent", "Opened", "Stopped"),
    "lifecycle.states": ("CloseCode", "ConnectionState", "Initiator"),
    "project": ("Project",),
    "pulse": ("Trigger", "pulse"),
    "running": ("run",),
    "scope": ("Scene", "Scope"),
    "sends": ("Receipt", "SendDropped", "SendOutcome", "Sent", "Unsent"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"rxnodes.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Keeps `rxnodes.pulse` the function: importing the module of that name would put itself there."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "pulse" and isinstance(value, ModuleType):
            value = value.pulse
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted(__all__)
