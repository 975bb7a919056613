"""Beyond one machine: the same program as many workers, which share their connections over NATS.

The names are imported when they are first used: the rules, which lie below, know none of what these need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rxnodes.fleet.remote.connection import RemoteConnection
    from rxnodes.fleet.remote.fleet import Fleet
    from rxnodes.fleet.settings import FleetSettings

__all__ = ["Fleet", "FleetSettings", "RemoteConnection"]

_HOMES = {"Fleet": "remote.fleet", "FleetSettings": "settings", "RemoteConnection": "remote.connection"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"rxnodes.fleet.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
