"""The lines of the keys of a TOML text, which tomllib does not give."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, cast

__all__ = ["lines_of_keys", "toml_problem"]


def lines_of_keys(text: str) -> dict[tuple[str, ...], int]:
    r"""The line of each key in a valid TOML text, by the key's path; of a key that is named again, the first.

    Each statement is read by itself and once, so the time is linear in the length of the text.

    Example:
        >>> lines_of_keys('a = 1\n[b]\nc = [\n  2,\n]\n')
        {('a',): 1, ('b',): 2, ('b', 'c'): 3}
    """
    lines: dict[tuple[str, ...], int] = {}
    header: tuple[str, ...] = ()
    for line, statement in _statements(text):
        paths = list(_paths(tomllib.loads(statement)))
        if statement.lstrip().startswith("["):
            header = paths[-1]
        else:
            paths = [header + path for path in paths]
        for path in paths:
            lines.setdefault(path, line)
    return lines


#: Strings, comments and brackets, within which a line break ends nothing; and line breaks. A string in three quotes may
#: end in up to five.
_MARKS = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5} | '{3}.*?'{3,5} | "(?:\\.|[^"\\])*" | '[^']*' | \#[^\n]* | [\[\]{}\n]''',
    re.DOTALL | re.VERBOSE,
)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """The statements of a valid TOML text, each with the line on which it begins.

    A statement ends at the first line break outside brackets, strings and comments.
    """
    start, line, depth = 0, 1, 0
    for mark in _MARKS.finditer(text):
        if mark[0] in {"[", "{"}:
            depth += 1
        elif mark[0] in {"]", "}"}:
            depth -= 1
        elif mark[0] == "\n" and depth == 0:
            statement = text[start : mark.end()]
            yield line, statement
            start, line = mark.end(), line + statement.count("\n")
    yield line, text[start:]


def _paths(table: Mapping[str, Any], around: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all keys, each table before what it holds."""
    for key, value in table.items():
        path = (*around, key)
        yield path
        if isinstance(value, Mapping):
            yield from _paths(cast("Mapping[str, Any]", value), path)


def toml_problem(error: Exception, text: str) -> str:
    """The words for a text that is not valid TOML, to follow the file's name."""
    match = re.fullmatch(r"(.*) \((?:at line (\d+), column (\d+)|at end of document)\)", str(error), re.DOTALL)
    if match is None:
        return f": is not valid TOML: {error}"
    line = match[2] or len(text.rstrip().split("\n"))
    column = f" (column {match[3]})" if match[3] else ""
    return f", line {line}: is not valid TOML: {match[1]}{column}"
