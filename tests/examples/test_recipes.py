"""What all recipes have in common. Each has tests of its own beside this file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.name.removeprefix("test_recipes_") for path in Path(__file__).parent.glob("test_recipes_*.py"))


@pytest.mark.parametrize("name", RECIPES)
def test_it_is_short(name):
    lines = (ROOT / "examples" / name).read_text().splitlines()
    assert len([line for line in lines if line]) < 50


def test_a_page_shows_each_of_them_as_it_is():
    pages = [page.read_text() for page in (ROOT / "docs/recipes").glob("*.md")]
    shown = [text for page in pages for text in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)]
    names = [*RECIPES, "trading_feed.py"]
    assert sorted(shown) == sorted((ROOT / "examples" / name).read_text() for name in names)
