"""Plugins are found by their entry points, and broken ones are named."""

from __future__ import annotations

import pydantic
import pytest

from rxnodes.catalogue.plugins import Plugin, discover
from rxnodes.errors import RxNodesError
from rxnodes.fleet.settings import plugin as fleet
from rxnodes.project.plugin_settings import installed_plugins
from rxnodes.websocket.plugin import plugin as websocket

FAMILY = """
import pydantic
from rxnodes.catalogue.plugins import Plugin

class Settings(pydantic.BaseModel):
    pass

plugin = Plugin("{name}", "A family", Settings, ())
other = 42

def __getattr__(name):
    raise ValueError("two" + chr(10) + "lines")
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package with one entry point, as an installer would."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(package, target, *, entry="family", plugin="family"):
        (tmp_path / f"{package}.py").write_text(FAMILY.format(name=plugin))
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[rxnodes.catalogue.plugins]\n{entry} = {target}\n")

    return install


@pytest.mark.slow
def test_an_installed_plugin_is_found_by_its_name(install):
    before = set(discover())
    install("found_family", "found_family:plugin", entry="anything", plugin="osc")
    plugins = discover()
    assert set(plugins) == before | {"osc"}
    assert plugins["osc"].title == "A family"


def test_the_metadata_of_packages_is_read_once_and_not_for_every_project(install, monkeypatch):
    install("once_family", "once_family:plugin")
    found = discover()
    monkeypatch.setattr("rxnodes.catalogue.plugins.entry_points", None)
    assert discover() == found


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no_such_module_at_all:plugin", "ModuleNotFoundError"),
        ("broken_family:no_such_name", r"cannot be loaded: ValueError: two\nlines"),
        ("broken_family:plugin.no_such_name", "AttributeError"),
        ("broken_family:other", "is of type int, not rxnodes.catalogue.plugins.Plugin"),
    ],
)
def test_a_broken_entry_point_is_named(install, target, reason):
    install("broken_family", target)
    with pytest.raises(RxNodesError, match="family") as caught:
        discover()
    message = str(caught.value)
    assert target in message
    assert "package broken_family" in message
    assert reason in message


def test_a_plugin_with_an_impossible_name_is_a_broken_one(install):
    install("named_family", "named_family:plugin", plugin="plugins")
    with pytest.raises(RxNodesError, match="no plugin can be named 'plugins'"):
        discover()


def test_two_plugins_of_one_name_are_an_error_that_names_both(install):
    install("one_family", "one_family:plugin", entry="one")
    install("two_family", "two_family:plugin", entry="two")
    with pytest.raises(RxNodesError, match="two plugins are named 'family'") as caught:
        discover()
    assert "package one_family" in str(caught.value)
    assert "package two_family" in str(caught.value)


def test_the_family_that_comes_with_rxnodes_needs_no_entry_point():
    assert "websocket" not in discover()
    assert list(discover(websocket)) == ["websocket"]


def test_an_entry_point_that_leads_to_our_own_is_the_same_plugin(install):
    """An installation of an older version has one."""
    install("old_rxnodes", "rxnodes.websocket.plugin:plugin", entry="websocket")
    assert discover(websocket) == {"websocket": websocket}
    assert installed_plugins() == {"websocket": websocket, "fleet": fleet}


def test_another_plugin_of_our_name_is_named(install):
    install("other_websocket", "other_websocket:plugin", plugin="websocket")
    with pytest.raises(RxNodesError, match=r"the one that comes with rxnodes and .*package other_websocket"):
        discover(websocket)


@pytest.mark.parametrize("name", ["WebSocket", "web__socket", "web-socket", "_web", "web_", "1web", ""])
def test_a_plugins_name_must_fit_files_and_variables(name):
    with pytest.raises(ValueError, match="lower-case words"):
        Plugin(name, "A family", pydantic.BaseModel, ())


def test_a_plugins_name_may_have_several_words():
    assert Plugin("web_socket2", "A family", pydantic.BaseModel, ()).name == "web_socket2"
