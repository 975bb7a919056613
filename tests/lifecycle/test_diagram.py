"""The documentation shows the table as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from rxnodes.lifecycle.diagram import mermaid, table

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("drawn", [mermaid, table])
def test_the_page_is_up_to_date(drawn):
    assert drawn() in (ROOT / "docs/lifecycle.md").read_text(), "run: python -m rxnodes.lifecycle.diagram"
