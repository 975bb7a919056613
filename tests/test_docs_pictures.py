"""The marble diagrams of the documentation are those of the runs that they are drawn from."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

import pytest

import rxnodes
import rxnodes.websocket

FOLDER = Path(__file__).parents[1] / "docs/pictures"


def loaded():
    spec = importlib.util.spec_from_file_location("marbles", FOLDER / "marbles.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MARBLES = loaded()


@pytest.mark.parametrize("operator", MARBLES.PICTURES)
def test_a_picture_is_current(operator):
    shown = (FOLDER / f"marbles/{operator}.svg").read_text()
    assert MARBLES.draw(operator) == shown, "run: python docs/pictures/marbles.py"


def test_each_operator_has_a_picture():
    names = [(module, name) for module in (rxnodes, rxnodes.websocket) for name in module.__all__]
    functions = [it for module, name in names if inspect.isfunction(it := getattr(module, name))]
    operators = {it.__name__ for it in functions if "::\n" in (inspect.getdoc(it) or "")}
    assert operators == {*MARBLES.PICTURES} == {path.stem for path in (FOLDER / "marbles").iterdir()}
