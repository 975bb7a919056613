"""The documentation shows the table as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from rxnodes.fleet.rules.diagram import mermaid, phases, table

PAGE = Path(__file__).parents[3] / "docs/fleet.md"


@pytest.mark.parametrize("shown", [mermaid, phases, table])
def test_the_page_is_up_to_date(shown):
    assert shown() in PAGE.read_text(), "run: python -m rxnodes.fleet.rules.diagram"
