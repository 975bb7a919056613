"""docs/reliability.md accounts for every line of the checklist, and the tests that it names are there."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TEXT = (DOCS / "reliability.md").read_text()

LINES = range(1, 120)
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


CARRIED = [
    pytest.param(file, test, line, id=f"{line}-{test}")
    for file in sorted((ROOT / "tests/checklist").glob("test_*.py"))
    for test in names_in(file)
    for line in lines_of(test)
]


def test_every_line_is_there_once_and_in_order():
    assert [int(number) for number, _ in ROWS] == list(LINES)


@pytest.mark.parametrize("row", [pytest.param(row, id=number) for number, row in ROWS])
def test_a_line_is_held_by_tests_or_says_why_not(row):
    links = links_of(row)
    assert links or re.search(REASON, row)
    for file, name in links:
        assert any(is_meant(name, test) for test in names_in(file)), f"{file.name} has no test {name}"


@pytest.mark.parametrize(("file", "test", "line"), CARRIED)
def test_a_test_of_the_checklist_is_named_at_its_line(file, test, line):
    links = links_of(dict(ROWS)[str(line)])
    assert any(where.resolve() == file and is_meant(name, test) for where, name in links)


def test_every_file_of_tests_is_used():
    used = {key for _, row in ROWS for key in re.findall(r"\]\[(\w+)\]", row)}
    assert used == set(FILES)
