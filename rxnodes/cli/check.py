"""`rxnodes check`: checks the project settings, and prints them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from pydantic import BaseModel

from rxnodes import settings
from rxnodes.cli.output import printable
from rxnodes.codecs import Codec
from rxnodes.fleet.settings import FleetSettings
from rxnodes.fleet.settings import plugin as fleet_plugin
from rxnodes.project.plugin_settings import installed_plugins
from rxnodes.websocket.settings import WebSocketSettings
from rxnodes.wire.tunnel import Proxy

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from rxnodes.cli.output import Output

__all__ = ["run"]


def run(options: argparse.Namespace, out: Output, _err: Output) -> int:
    """Prints the settings. Problems are raised."""
    installed = installed_plugins()
    found = settings.load(options.settings, installed)
    out.line(f"The settings in {options.settings} are good.")
    out.line()
    out.line("Plugins")
    for name, plugin in installed.items():
        state = "on" if name in found.sections else f"off, by {found.switches[name]}"
        # Most projects have no fleet, so that it is shown only if it is off.
        if plugin is not fleet_plugin or state != "on":
            out.line(f"  {plugin.title}: {state}")
    section = found.sections.get("websocket")
    if isinstance(section, WebSocketSettings):
        out.line()
        _print_connections(section, out)
    fleet = found.sections.get("fleet")
    if isinstance(fleet, FleetSettings) and fleet != FleetSettings():
        out.line()
        _print_fleet(fleet, out)
    return 0


def _print_fleet(section: FleetSettings, out: Output) -> None:
    out.line("Fleet")
    out.line(printable(f"  {', '.join(section.servers) or 'its servers are given where it is joined'}"))
    for note in _notes(section):
        out.line(printable(f"    - {note}"))


def _print_connections(section: WebSocketSettings, out: Output) -> None:
    out.line("WebSocket connections" if section.connections else "WebSocket connections: none")
    width = max(map(len, section.connections), default=0)
    for name, connection in section.connections.items():
        out.line(f"  {name:<{width}}  {connection.target().redacted_url}")
        for note in _notes(connection):
            out.line(printable(f"  {'':<{width}}  - {note}"))


#: The fields that the redacted URL shows.
_IN_URL: Final = frozenset({"url", "port", "query"})

#: The warning behind a value.
_WARNINGS: Final = {
    ("tls.verify", "off"): " (NOT VERIFIED: anyone can pose as the server)",
    ("tls.check_hostname", "off"): " (NAME NOT CHECKED: whoever has a trusted certificate can pose as the server)",
}


def _notes(model: BaseModel, around: str = "") -> Iterator[str]:
    """The settings that differ from their defaults."""
    for name, info in type(model).model_fields.items():
        value: object = getattr(model, name)
        path = around + name
        if path in _IN_URL or value == info.get_default(call_default_factory=True, validated_data={}):
            continue
        if isinstance(value, BaseModel):
            yield from _notes(value, f"{path}.")
        else:
            text = _shown(value)
            yield f"{path}: {text}{_WARNINGS.get((path, text), '')}"


def _shown(value: object) -> str:
    """A value as it is written in settings. Of a table it shows the names alone, and of a secret nothing."""
    match value:
        case None:
            text = "none"
        case bool():
            text = "on" if value else "off"
        case float():
            text = f"{value:.10g}"
        case str() | int() | Path() | Proxy():
            text = str(value)
        case Codec():
            text = value.name
        case Mapping():
            text = ", ".join(cast("Mapping[str, object]", value))
        case frozenset():
            text = ", ".join(sorted(map(str, cast("frozenset[int | str]", value))))
        case tuple():
            text = ", ".join(map(str, cast("tuple[object, ...]", value)))
        case _:
            text = "***"
    return text
