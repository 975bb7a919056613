"""The plugins that a project can have, and their settings from Python values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

from rxnodes import settings
from rxnodes.catalogue import plugins
from rxnodes.fleet.settings import plugin as fleet_plugin
from rxnodes.websocket.plugin import plugin as websocket_plugin
from rxnodes.websocket.settings import WebSocketSettings

if TYPE_CHECKING:
    from rxnodes.project.connections import Fields

__all__ = ["Given", "installed_plugins", "settings_from_values"]

#: Connections by name.
Given: TypeAlias = "Mapping[str, Fields]"


def installed_plugins() -> dict[str, plugins.Plugin]:
    """The installed plugins, by name: WebSocket; the fleet, which has settings but no nodes; and other packages'.

    Raises:
        RxNodesError: If an installed plugin is broken.
    """
    return plugins.discover(websocket_plugin, fleet_plugin)


def settings_from_values(
    websocket: Given | WebSocketSettings | None, switches: Mapping[str, bool] | None
) -> settings.LoadedSettings:
    """Takes the settings of a project from Python values.

    Raises:
        SettingsError: With all problems that were found.
        TypeError: If `websocket` is no mapping.
    """
    # Callers without a type checker pass other types too.
    given = cast("object", {} if websocket is None else websocket)
    if isinstance(given, Mapping):
        given = {"connections": dict(cast("Given", given))}
    elif not isinstance(given, WebSocketSettings):
        kind = type(given).__name__
        raise TypeError(f'websocket must be a dict of connections by name, such as {{"chat": "ws://..."}}, not {kind}')
    values = {"websocket": given} if switches is None else {"websocket": given, "plugins": switches}
    return settings.from_values(values, installed_plugins())
