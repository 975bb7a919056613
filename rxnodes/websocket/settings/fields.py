"""Types of fields that several tables use: numbers within a range, words for `None`, and files."""

# No `from __future__ import annotations` here: pydantic evaluates the annotations.

import re
from collections.abc import Container, Hashable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, TypeVar, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo

from rxnodes.lifecycle.policy import Ranges
from rxnodes.settings.files import MISSING, unreadable

__all__ = [
    "MIB",
    "File",
    "Number",
    "NumberOrRange",
    "OrNone",
    "Seconds",
    "SecondsOrNone",
    "Settings",
    "is_none",
    "numbers_in",
    "shared",
]

T = TypeVar("T")

MIB = 1024 * 1024
_DAY = 24 * 60 * 60.0


class Settings(BaseModel):
    """A table of the settings. It takes no unknown field, cannot be changed, and pydantic's messages show no value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


def shared(value: T) -> T:
    """The first of equal values, so that thousands of connections with the same bounds share one object."""
    return cast("T", _first_of(value))


@lru_cache(maxsize=256)
def _first_of(value: Hashable) -> Hashable:
    return value


def is_none(value: object) -> bool:
    """Whether a value is `None`, or a word for it."""
    return value is None or (isinstance(value, str) and value.strip().lower() in {"none", "off"})


#: Takes the words for `None`, in a field that may be `None`.
OrNone = BeforeValidator(lambda value: None if is_none(value) else value)


@dataclass(frozen=True, slots=True)
class Number:
    """A validator that takes a number within a range, or its text. Its error says what is allowed."""

    low: float
    high: float
    whole: bool = False
    unit: str = ""
    optional: bool = False

    def __call__(self, value: object) -> float | None:
        """The value as a number.

        Raises:
            ValueError: If it is no number, or outside the range.
        """
        if self.optional and is_none(value):
            return None
        number = self._number(value)
        # Written so that it also refuses NaN.
        if number is None or not self.low <= number <= self.high:
            raise ValueError(self._allowed())
        return number

    def _number(self, value: object) -> float | None:
        if isinstance(value, str):
            try:
                return int(value) if self.whole else float(value)
            except ValueError:
                return None
        # To Python a bool is an int; in settings it is not.
        is_number = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        return value if is_number else None  # type: ignore[return-value]

    def _allowed(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        unit = f" of {self.unit}" if self.unit else ""
        none = ' (or "none")' if self.optional else ""
        return f"must be {kind}{unit} from {self.low:g} to {self.high:.10g}{none}"


@dataclass(frozen=True, slots=True)
class NumberOrRange:
    """A validator that takes a whole number, or a text such as "4400-4499". Its error says what is allowed."""

    low: int
    high: int
    example: str

    def __call__(self, value: object) -> int | str:
        """The number, or the text of the range without spaces.

        Raises:
            ValueError: If it is neither, or outside the bounds.
        """
        text = re.fullmatch(r"\s*([0-9]{1,9})\s*-\s*([0-9]{1,9})\s*", value) if isinstance(value, str) else None
        # To Python a bool is an int; in settings it is not.
        if isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high:
            return value
        if text is not None and self.low <= (first := int(text[1])) <= (last := int(text[2])) <= self.high:
            return f"{first}-{last}"
        raise ValueError(
            f'must be a whole number from {self.low} to {self.high}, or a range of them such as "{self.example}"'
        )


def numbers_in(members: frozenset[int | str]) -> Container[int]:
    """A container of all the numbers: a plain set, if there are no ranges."""
    numbers = frozenset(member for member in members if isinstance(member, int))
    pairs = [member.split("-") for member in members if isinstance(member, str)]
    ranges = [range(int(first), int(last) + 1) for first, last in pairs]
    return Ranges((numbers, *ranges)) if ranges else numbers


Seconds = Annotated[float, BeforeValidator(Number(0.001, _DAY, unit="seconds"))]
SecondsOrNone = Annotated[float | None, BeforeValidator(Number(0.001, _DAY, unit="seconds", optional=True))]


def _existing_file(path: Path, info: ValidationInfo) -> Path:
    """The file's path; a relative one begins at the settings folder, if there is one."""
    context: dict[str, Path] = info.context or {}
    path = context.get("folder", Path()) / path
    problem = unreadable(path)
    if problem is not None:
        raise ValueError(f"there is no file {str(path)!r}" if problem == MISSING else f"{str(path)!r} {problem}")
    return path


#: A file that exists.
File = Annotated[Path, AfterValidator(_existing_file)]
