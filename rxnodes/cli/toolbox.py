"""`rxnodes toolbox`: the nodes with their attributes, inputs, outputs and scopes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rxnodes import settings
from rxnodes.catalogue.toolbox import Toolbox
from rxnodes.cli.output import BOLD
from rxnodes.project.plugin_settings import installed_plugins

if TYPE_CHECKING:
    import argparse

    from rxnodes.catalogue.plugins import Node, Port
    from rxnodes.cli.output import Output

__all__ = ["run"]


def run(options: argparse.Namespace, out: Output, _err: Output) -> int:
    """Prints the nodes of the plugins that are switched on."""
    toolbox = _load(options.settings)
    if options.json:
        out.lines(json.dumps([_node_as_json(node) for node in toolbox], indent=2, default=str))
    elif toolbox:
        _print_toolbox(toolbox, out)
    else:
        out.line("The toolbox is empty: every plugin is switched off.")
    return 0


def _load(folder: str | None) -> Toolbox:
    if folder is None and Path("settings").is_dir():
        folder = "settings"
    installed = installed_plugins()
    loaded = settings.from_values({}, installed) if folder is None else settings.load(folder, installed)
    return Toolbox(loaded.enabled)


def _print_toolbox(toolbox: Toolbox, out: Output) -> None:
    for node in toolbox:
        out.line(out.painted(node.name, BOLD) + f" ({node.kind}, in {' and '.join(node.scopes)})")
        out.line(f"  {node.description}")
        out.line(f"  {'Python':<10}  {node.function.__name__}")
        attributes = [
            (
                f"{attribute.name}: {attribute.type}"
                + ("" if attribute.default is None else f" = {attribute.default!r}"),
                attribute.description,
            )
            for attribute in node.attributes
        ]
        _print_parts(out, "attributes", attributes)
        _print_parts(out, "inputs", [_port(port) for port in node.inputs])
        _print_parts(out, "outputs", [_port(port) for port in node.outputs])
        out.line()


def _port(port: Port) -> tuple[str, str]:
    return f"{port.name}: {port.type}", port.description


def _print_parts(out: Output, title: str, parts: list[tuple[str, str]]) -> None:
    for number, (what, description) in enumerate(parts):
        out.line(f"  {title if number == 0 else '':<10}  {what:<46}  {description}")


def _node_as_json(node: Node) -> dict[str, Any]:
    function = node.function
    return dataclasses.asdict(node) | {"function": f"{function.__module__}:{function.__qualname__}"}
