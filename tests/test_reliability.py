"""docs/reliability.md accounts for every line of the checklist, and the tests that it names are there."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TEXT = (DOCS / "reliability.md").read_text()

LINES = range(1, 124)
ROWS = re.findall(r"^\| (\d+) \| (.+)$", TEXT, re.MULTILINE)
#: What stands behind `[name][key]`.
FILES = {key: DOCS / path for key, path in re.findall(r"^\[(\w+)\]: (\S+)$", TEXT, re.MULTILINE)}
#: A sentence that says why no test holds a line, or none in full.
REASON = r"\*\*(?:Not built|Cannot occur):\*\* \w[^|]{20,}\. \|"


@functools.cache
def names_in(file):
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = [node.name for node in ast.parse(file.read_text()).body if isinstance(node, functions)]
    return [name for name in names if name.startswith("test_")]


def links_of(row):
    """The files of the tests that a row names, and how their names begin."""
    return [(FILES[key], name) for name, key in re.findall(r"\[(\w+)\]\[(\w+)\]", row)]


def is_meant(name, test):
    return f"{test}_".startswith(f"{name}_")


def lines_of(test):
    """The lines whose numbers a test carries: 14 and 15 for `test_14_and_15_a_subprotocol`."""
    numbers = re.match(r"test_(\d+(?:_and_\d+)*)_", test)
    lines = [int(number) for number in numbers[1].split("_and_")] if numbers else []
    return [line for line in lines if line in LINES]


def test_every_line_is_there_once_and_in_order():
    assert [int(number) for number, _ in ROWS] == list(LINES)


def test_a_line_is_held_by_tests_or_says_why_not():
    assert [number for number, row in ROWS if not links_of(row) and not re.search(REASON, row)] == []
    links = {link for _, row in ROWS for link in links_of(row)}
    assert [(file.name, name) for file, name in links if not any(is_meant(name, test) for test in names_in(file))] == []


def test_a_test_of_the_checklist_is_named_at_its_line():
    links = {int(number): [(file.resolve(), name) for file, name in links_of(row)] for number, row in ROWS}
    carried = [
        (line, file, test)
        for file in sorted((ROOT / "tests/checklist").glob("test_*.py"))
        for test in names_in(file)
        for line in lines_of(test)
    ]
    unnamed = [
        (line, test)
        for line, file, test in carried
        if not any(where == file and is_meant(name, test) for where, name in links[line])
    ]
    assert unnamed == []


def test_every_file_of_tests_is_used():
    used = {key for _, row in ROWS for key in re.findall(r"\]\[(\w+)\]", row)}
    assert used == set(FILES)
