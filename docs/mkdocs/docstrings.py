"""Docstrings as the site shows them: the marble diagram of an operator is the picture of a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from griffe import Extension, Object

PICTURES: Final = Path(__file__).parents[1] / "pictures/marbles"
#: A block of text as it is: "::" alone on a line, and what is indented below it.
BLOCK: Final = re.compile(r"^::\n\n((?: {4}.*\n|\n)+)", re.MULTILINE)


class Docstrings(Extension):
    """Makes Markdown of what our docstrings write otherwise."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """A docstring, before it is parsed."""
        if obj.docstring is None:
            return
        text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
        picture = PICTURES / f"{obj.name}.svg"
        if obj.is_function and picture.exists():
            image = (
                f'<img src="../pictures/marbles/{obj.name}.svg" width="100%" alt="Marble diagram of {obj.name}">\n\n'
            )
            text = BLOCK.sub(image, text, count=1)
        obj.docstring.value = BLOCK.sub(lambda match: f"```text\n{_dedented(match[1])}```\n\n", text)


def _dedented(block: str) -> str:
    return re.sub(r"^ {4}", "", block.rstrip(), flags=re.MULTILINE) + "\n"
