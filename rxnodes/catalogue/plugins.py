"""Node families: what a plugin offers, and how the installed ones are found.

WebSocket comes with rxnodes. Any other plugin is a package that names a `Plugin` under the entry-point group
`rxnodes.catalogue.plugins`:

    [project.entry-points."rxnodes.catalogue.plugins"]
    osc = "rxnodes_osc:plugin"
"""

from __future__ import annotations

import functools
import re
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rxnodes.errors import RxNodesError, text_of, with_type

if TYPE_CHECKING:
    from collections.abc import Callable

    import pydantic

__all__ = ["GROUP", "Attribute", "Node", "Plugin", "Port", "discover"]

#: The entry-point group under which plugins are found.
GROUP = "rxnodes.catalogue.plugins"

#: Two underscores would separate the parts of an environment variable.
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

#: `plugins.toml` holds the switches, so it can be no plugin's section.
_RESERVED = "plugins"


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output of a node.

    Attributes:
        name: As in the editor, such as "Message".
        type: The type of its values, as text.
        description: Its values.
    """

    name: str
    type: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A setting of a node, made once, when the node is placed.

    Attributes:
        name: The name of the function's parameter.
        type: The type of its values, as text.
        default: The value if it is not set.
        description: Its effect.
    """

    name: str
    type: str
    default: Any = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A node, as the toolbox describes it.

    Attributes:
        name: As in the editor, such as "WebSocket Client Stop".
        category: The group that lists it, such as "WebSocket".
        kind: "action" executes per pulse; "event" listens.
        description: What it does, in one sentence.
        attributes: Its settings.
        inputs: Its inputs.
        outputs: Its outputs.
        scopes: Where it may be used: "project", "scene".
        function: The function that makes it in Python.
    """

    name: str
    category: str
    kind: Literal["action", "event"]
    description: str
    attributes: tuple[Attribute, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    scopes: tuple[str, ...]
    function: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Plugin:
    """A node family.

    Attributes:
        name: Lower-case words joined by single underscores; it names the settings file `<name>.toml` too.
        title: Its name for people.
        settings: The model of its section of the settings. `rxnodes.settings.loading` says what a model can declare.
        nodes: Its nodes in the toolbox.
    """

    name: str
    title: str
    settings: type[pydantic.BaseModel]
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a plugin's name is lower-case words joined by single underscores, not {self.name!r}")
        if self.name == _RESERVED:
            raise ValueError(f"no plugin can be named {self.name!r}: {self.name}.toml holds the switches")


def discover(*built_in: Plugin) -> dict[str, Plugin]:
    """All plugins, by name: those given, which need no entry point, and those that are installed.

    Args:
        *built_in: The plugins that come with rxnodes. An entry point may lead to one of them again.

    Raises:
        RxNodesError: If an entry point cannot be loaded, leads to no `Plugin`, or to one with a name that is taken.
    """
    plugins = {plugin.name: plugin for plugin in built_in}
    origins = {plugin.name: "the one that comes with rxnodes" for plugin in built_in}
    for entry in _entries(tuple((place, _modified_at(place)) for place in sys.path)):
        plugin = _load(entry)
        if any(plugin is it for it in built_in):
            continue
        if plugin.name in plugins:
            raise RxNodesError(
                f"two plugins are named {plugin.name!r}: {origins[plugin.name]} and {_described(entry)};"
                " uninstall one of them"
            )
        plugins[plugin.name] = plugin
        origins[plugin.name] = _described(entry)
    return plugins


@functools.lru_cache(maxsize=1)
def _entries(_search_path: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    """The entry points of plugins, in the order of their names.

    They are read again only when a folder of the search path has changed, because reading the metadata of all installed
    packages takes milliseconds.
    """
    return tuple(sorted(entry_points(group=GROUP), key=lambda entry: entry.name))


def _modified_at(place: str) -> int:
    try:
        return Path(place).stat().st_mtime_ns
    except OSError:
        return 0


def _load(entry: EntryPoint) -> Plugin:
    try:
        plugin: object = entry.load()
    except Exception as error:
        raise RxNodesError(f"the plugin {_described(entry)} cannot be loaded: {text_of(error, with_type)}") from error
    if not isinstance(plugin, Plugin):
        raise RxNodesError(
            f"the plugin {_described(entry)} is of type {type(plugin).__name__}, not rxnodes.catalogue.plugins.Plugin"
        )
    return plugin


def _described(entry: EntryPoint) -> str:
    package = f", package {entry.dist.name}" if entry.dist else ""
    return f"{entry.name!r} ({entry.value}{package})"
