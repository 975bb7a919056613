"""The documentation shows the table as it is."""

from __future__ import annotations

from pathlib import Path

from rxnodes.lifecycle.diagram import mermaid, table

ROOT = Path(__file__).parents[2]


def test_the_diagram_is_up_to_date():
    assert mermaid() in (ROOT / "docs/lifecycle.md").read_text(), "run: python -m rxnodes.lifecycle.diagram"


def test_the_table_is_up_to_date():
    assert table() in (ROOT / "docs/lifecycle.md").read_text(), "run: python -m rxnodes.lifecycle.diagram"
