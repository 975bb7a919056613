"""Headers that nobody can change."""

from __future__ import annotations

import copy
import pickle

import pytest
from multidict import CIMultiDict

from rxnodes.headers import Headers

GIVEN = CIMultiDict([("Set-Cookie", "a=1"), ("set-cookie", "b=2")])

CHANGES = {
    "item": lambda headers: headers.__setitem__("X", "1"),
    "del": lambda headers: headers.__delitem__("Set-Cookie"),
    "or": lambda headers: headers.__ior__({"X": "1"}),
    "add": lambda headers: headers.add("X", "1"),
    "clear": lambda headers: headers.clear(),
    "extend": lambda headers: headers.extend({"X": "1"}),
    "merge": lambda headers: headers.merge({"X": "1"}),
    "pop": lambda headers: headers.pop("Set-Cookie"),
    "popall": lambda headers: headers.popall("Set-Cookie"),
    "popitem": lambda headers: headers.popitem(),
    "popone": lambda headers: headers.popone("Set-Cookie"),
    "setdefault": lambda headers: headers.setdefault("X", "1"),
    "update": lambda headers: headers.update({"X": "1"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_way_to_change_them_is_left_open(change):
    headers = Headers(GIVEN)
    with pytest.raises(TypeError, match="cannot be changed"):
        CHANGES[change](headers)
    assert headers == GIVEN


def test_every_method_of_multidict_is_tried_or_changes_nothing():
    reads = {"copy", "get", "getall", "getone", "items", "keys", "to_dict", "values"}
    assert {name for name in dir(CIMultiDict) if not name.startswith("_")} == reads | (
        set(CHANGES) - {"item", "del", "or"}
    )


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda headers: pickle.loads(pickle.dumps(headers))])  # noqa: S301
def test_a_copy_is_as_they_are(again):
    assert again(Headers(GIVEN)) == GIVEN
    assert isinstance(again(Headers(GIVEN)), Headers)
