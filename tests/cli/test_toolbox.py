"""`rxnodes toolbox`."""

from __future__ import annotations

import json
import re

import pytest
from commands import fails

from rxnodes.cli import main as cli


def test_toolbox_lists_the_nodes(capsys):
    assert cli.main(["toolbox"]) == 0
    printed = capsys.readouterr().out
    titles = re.findall(r"^(\S.*) \((action|event), in project and scene\)$", printed, re.MULTILINE)
    assert titles == [
        ("WebSocket Client Start", "action"),
        ("WebSocket Client Send", "action"),
        ("WebSocket Client Stop", "action"),
        ("On WebSocket Start", "event"),
        ("On WebSocket Receive", "event"),
        ("On WebSocket Stop", "event"),
        ("On WebSocket Error", "event"),
    ]
    assert re.search(r"^  attributes  connection: Connection +The configuration to use\.$", printed, re.MULTILINE)
    assert "code: int = 1000" in printed


def test_toolbox_as_json(capsys):
    assert cli.main(["toolbox", "--json"]) == 0
    nodes = {node["name"]: node for node in json.loads(capsys.readouterr().out)}
    stop = nodes["WebSocket Client Stop"]
    assert len(nodes) == 7
    assert stop["scopes"] == ["project", "scene"]
    assert stop["function"] == "rxnodes.websocket.action_nodes:client_stop"
    assert {"name": "code", "type": "int", "default": 1000, "description": "The close code."} in stop["attributes"]


@pytest.mark.parametrize("arguments", [[], ["--settings", "elsewhere"]])
def test_toolbox_of_a_disabled_plugin(arguments, settings, capsys):
    settings(folder=arguments[1] if arguments else "settings", plugins="websocket = false")
    assert cli.main(["toolbox", *arguments]) == 0
    assert cli.main(["toolbox", "--json", *arguments]) == 0
    assert capsys.readouterr().out == "The toolbox is empty: every plugin is switched off.\n[]\n"


def test_toolbox_with_bad_settings(settings, capsys):
    settings("nonsense = 1")
    assert "nonsense" in fails(["toolbox"], capsys)
    assert "no such folder" in fails(["toolbox", "--settings", "nowhere"], capsys)
