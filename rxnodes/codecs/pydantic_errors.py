"""Words pydantic's errors in one line and without values. Importing this module imports pydantic."""

from __future__ import annotations

import re

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from rxnodes.errors import printable

__all__ = ["PYDANTIC_ERRORS", "reason_of"]

PYDANTIC_ERRORS = (ValidationError, PydanticSerializationError)

#: How many problems of one message are named.
PROBLEMS = 3
#: How many characters are shown of each step to a problem, since a peer may have chosen them.
STEP = 60


def reason_of(error: ValidationError | PydanticSerializationError) -> str:
    """Says why a message, or a value, does not fit a type."""
    return _problems(error) if isinstance(error, ValidationError) else _unexpected(str(error))


def _problems(error: ValidationError) -> str:
    """Names the fields that are wrong, and says what is wrong with each."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    problems: list[str] = []
    for detail in details[:PROBLEMS]:
        field = ".".join(printable(str(step), STEP) for step in detail["loc"])
        problem = detail["msg"].replace("Input should be", "must be")
        problems.append(f"{field}: {problem}" if field else problem)
    more = len(details) - PROBLEMS
    return "; ".join(problems) + (f"; and {more} more" if more > 0 else "")


def _unexpected(text: str) -> str:
    """Names the type that pydantic expected and the type that it got."""
    match = re.search(r"Expected `(.*?)`.*input_type=(\w+)", text)
    return text if match is None else f"must be {match[1]}, not {match[2]}"
