"""The toolbox is a sequence of nodes that also finds them by name."""

from __future__ import annotations

from collections.abc import Sequence

import pydantic
import pytest

from rxnodes.catalogue.plugins import Attribute, Node, Plugin, Port
from rxnodes.catalogue.toolbox import Toolbox


def node(name, category="WebSocket"):
    return Node(
        name=name,
        category=category,
        kind="action",
        description="Does something.",
        attributes=(Attribute("enabled", "bool", default=True),),
        inputs=(Port("Pulse", "pulse"),),
        outputs=(Port("Pulse", "pulse"),),
        scopes=("project", "scene"),
        function=print,
    )


START, STOP, TICK = node("WebSocket Client Start"), node("WebSocket Client Stop"), node("On Tick", "Time")
WEBSOCKET = Plugin("websocket", "WebSocket", pydantic.BaseModel, (START, STOP))
TIME = Plugin("time", "Time", pydantic.BaseModel, (TICK,))


@pytest.fixture
def toolbox():
    return Toolbox([WEBSOCKET, TIME])


def test_it_is_a_sequence_in_the_plugins_order(toolbox):
    assert isinstance(toolbox, Sequence)
    assert list(toolbox) == [START, STOP, TICK]
    assert len(toolbox) == 3
    assert toolbox[-1] is TICK
    assert list(toolbox[:2]) == [START, STOP]


def test_it_finds_nodes_by_name_and_knows_which_it_has(toolbox):
    assert toolbox["WebSocket Client Stop"] is STOP
    assert "WebSocket Client Stop" in toolbox
    assert STOP in toolbox
    assert "WebSocket Client" not in toolbox
    assert node("Another") not in toolbox


@pytest.mark.parametrize("name", ["WebSocket Client Stopp", "websocket client stop"])
def test_an_unknown_name_is_a_lookup_error_that_names_the_nearest(toolbox, name):
    with pytest.raises(LookupError, match=f"'{name}'; did you mean 'WebSocket Client Stop'\\?"):
        toolbox[name]


def test_a_name_like_no_other_lists_what_there_is(toolbox):
    with pytest.raises(LookupError, match="known: 'WebSocket Client Start', 'WebSocket Client Stop', 'On Tick'"):
        toolbox["xyz"]


def test_categories_are_given_once_in_order(toolbox):
    assert toolbox.categories == ("WebSocket", "Time")


def test_the_repr_lists_the_nodes(toolbox):
    assert repr(toolbox) == "<Toolbox of 3 nodes: WebSocket Client Start, WebSocket Client Stop, On Tick>"
    assert repr(Toolbox([TIME])) == "<Toolbox of 1 node: On Tick>"


def test_without_plugins_it_is_empty():
    toolbox = Toolbox([])
    assert not toolbox
    assert repr(toolbox) == "<Toolbox of 0 nodes: none>"
    with pytest.raises(LookupError, match="known: none"):
        toolbox["On Tick"]


def test_two_nodes_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two nodes have the same name: 'On Tick'"):
        Toolbox([TIME, Plugin("clock", "Clock", pydantic.BaseModel, (TICK,))])
