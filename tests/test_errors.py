"""What is told of exceptions that are not ours."""

from __future__ import annotations

import pytest

from rxnodes.errors import LONGEST, printable, text_of, with_type


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class EndingError(Exception):
    def __str__(self):
        raise SystemExit


class NoTextError(Exception):
    def __str__(self):
        return 7  # noqa: PLE0307 - on purpose


@pytest.mark.parametrize("say", [str, with_type])
@pytest.mark.parametrize("kind", [UnspeakableError, EndingError, NoTextError, ValueError, KeyboardInterrupt])
def test_an_exception_that_says_nothing_is_called_by_its_type(kind, say):
    assert text_of(kind(), say) == kind.__name__


def test_what_an_exception_says_stands_as_it_is_or_behind_its_type():
    assert text_of(ValueError("a text")) == "a text"
    assert text_of(ValueError("a text"), with_type) == "ValueError: a text"
    assert text_of(KeyError("key"), with_type) == "KeyError: 'key'"


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\x00", "\x85", "\u2028", "\u202e", "\ud800", "\U000e0001"])
def test_nothing_in_it_can_be_taken_for_another_line_or_moves_a_cursor(character):
    text = text_of(ValueError(f"a{character}b"))
    assert text.isprintable()
    assert text == "a" + character.encode("unicode_escape").decode() + "b"


def test_what_can_be_printed_is_left_alone():
    assert printable("é 漢字 🎈 'quoted' C:\\temp") == "é 漢字 🎈 'quoted' C:\\temp"


@pytest.mark.parametrize("text", ["x" * LONGEST, "x" * (LONGEST + 1), "\n" * LONGEST, "\U000e0001" * 10**6])
def test_it_is_short(text):
    told = text_of(ValueError(text))
    assert len(told) <= LONGEST + len("...")
    assert told.endswith("...") is (text != "x" * LONGEST)
