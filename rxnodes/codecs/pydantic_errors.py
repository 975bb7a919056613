"""What pydantic's errors say, in one line and without values. Importing this module imports pydantic."""

from __future__ import annotations

import re

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from rxnodes.errors import printable

__all__ = ["PYDANTIC_ERRORS", "reason_of"]

PYDANTIC_ERRORS = (ValidationError, PydanticSerializationError)

#: How many problems of one message are named, and how much of the path to each, which a peer may have chosen.
PROBLEMS = 3
PLACE = 60


def reason_of(error: ValidationError | PydanticSerializationError) -> str:
    """Says why a message, or a value, does not fit a type."""
    return _problems(error) if isinstance(error, ValidationError) else _unexpected(str(error))


def _problems(error: ValidationError) -> str:
    """Says what is wrong at which field, without the values."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    problems = [
        ": ".join(filter(None, [_place(detail["loc"]), detail["msg"].replace("Input should be", "must be")]))
        for detail in details[:PROBLEMS]
    ]
    more = len(details) - PROBLEMS
    return "; ".join(problems) + (f"; and {more} more" if more > 0 else "")


def _place(steps: tuple[int | str, ...]) -> str:
    return ".".join(printable(str(step), PLACE) for step in steps)


def _unexpected(text: str) -> str:
    """Says what pydantic says about a value of the wrong type, without the value."""
    match = re.search(r"Expected `(.*?)`.*input_type=(\w+)", text)
    return text if match is None else f"must be {match[1]}, not {match[2]}"
