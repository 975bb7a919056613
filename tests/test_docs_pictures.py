"""The pictures of the documentation: marble diagrams are those of the runs that they are drawn from."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

import rxnodes
import rxnodes.websocket

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "pictures"


def loaded(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MARBLES = loaded(FOLDER / "marbles.py")


@pytest.mark.parametrize("operator", MARBLES.PICTURES)
def test_a_picture_is_current(operator):
    shown = (FOLDER / f"marbles/{operator}.svg").read_text()
    assert MARBLES.draw(operator) == shown, "run: python docs/pictures/marbles.py"


def test_each_operator_has_a_picture():
    names = [(module, name) for module in (rxnodes, rxnodes.websocket) for name in module.__all__]
    functions = [it for module, name in names if inspect.isfunction(it := getattr(module, name))]
    operators = {it.__name__ for it in functions if "::\n" in (inspect.getdoc(it) or "")}
    assert operators == {*MARBLES.PICTURES} == {path.stem for path in (FOLDER / "marbles").iterdir()}


def test_the_site_draws_what_is_mermaid():
    texts = [page.read_text() for page in DOCS.glob("**/*.md")]
    sources = [it for text in texts for it in re.findall(r"^```mermaid\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)]
    drawn = [loaded(DOCS / "mkdocs/diagrams.py").drawn(source) for source in sources]
    for source, picture in zip(sources, drawn, strict=True):
        # A state that nothing leads to from outside has no text of its own to look for.
        words = {word for line in source.splitlines() for word in re.findall(r"^\s*(?:participant )?(\w+)", line)[:1]}
        assert words - {"sequenceDiagram", "stateDiagram"} <= {*re.findall(r">(\w+)<", picture)}
        assert source.count(": ") == picture.count("marker-end") - source.count("[*] --> ")
    assert len(drawn) >= 3
