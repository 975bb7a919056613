"""The words for problems. No text repeats a value, because any value may be secret."""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from rxnodes.settings.places import KeyPath, Places
    from rxnodes.settings.shapes import Shape

__all__ = ["PREFIX", "explained", "no_such_setting", "problems_of", "unknown"]

#: The beginning of the names of variables.
PREFIX = "RXNODES_"

#: Plain words for pydantic's own.
_EXPLANATIONS = {
    "missing": "is missing",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "callable_type": "must be a function, which only Python can give",
}


def problems_of(error: ValidationError, places: Places, *around: str) -> list[str]:
    """The problems that pydantic found, each with the origin of its value.

    `around` is the path of the model that was validated; it is empty for all sections at once.
    """
    return [_problem(details, places, around) for details in error.errors(include_url=False, include_input=False)]


def _problem(details: ErrorDetails, places: Places, around: KeyPath) -> str:
    # pydantic marks a problem with a key, rather than with its value, by a last part "[key]".
    path = (*around, *(str(part) for part in details["loc"] if part != "[key]"))
    if details["type"] == "extra_forbidden":
        text = unknown(path[-1], places.shape.at(*path[:-1]).fields)
    else:
        text = explained(details) + (", not text" if places.is_quoted(path) else "")
    key = f"{_dotted(path[1:])}: " if path[1:] else ""
    return f"{places.origin_of(path)}: {key}{text}"


def explained(details: ErrorDetails) -> str:
    """A problem of one value, in our words."""
    error = details.get("ctx", {}).get("error")
    if isinstance(error, Exception):
        return str(error)
    return _EXPLANATIONS.get(details["type"], details["msg"].replace("Input should be", "must be"))


def _dotted(path: KeyPath) -> str:
    """The path as TOML writes it."""
    return ".".join(key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key) for key in path)


def unknown(name: str, known: Iterable[str], *, kind: str = "name", ending: str = "") -> str:
    """The words for an unknown name: they give the nearest known one, or else all of them."""
    names = sorted(known)
    nearest = _nearest(name, names)
    if nearest is None:
        return f"unknown {kind} (known: {', '.join(name + ending for name in names) or 'none'})"
    return f"unknown {kind}; did you mean {nearest}{ending}?"


def _nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def no_such_setting(segments: list[str], places: Places, sections: Iterable[str]) -> str:
    """The words for a variable that fits no setting of these sections; `segments` are the parts of its name."""
    known = [
        "__".join([section, *names]).upper().replace("-", "_")
        for section in sections
        for names in _names(places.shape.at(section), places, (section,), segments[1:])
    ]
    nearest = _nearest("__".join(segments).upper(), known)
    if nearest is not None:
        return f"there is no such setting; did you mean {PREFIX}{nearest}?"
    beginnings = ", ".join(f"{PREFIX}{name.upper()}__" for name in places.shape.fields)
    return f"there is no such setting; names begin with {beginnings}"


def _names(shape: Shape, places: Places, path: KeyPath, written: list[str]) -> Iterator[KeyPath]:
    """The paths of all settings below a path; of a table with free keys, those of the likeliest keys."""
    for key in shape.fields or (_likeliest(places.names_at(path), written) if shape.items else ()):
        yield (key,)
        for rest in _names(shape.at(key), places, (*path, key), written[1:]):
            yield (key, *rest)


def _likeliest(names: list[str], written: list[str]) -> list[str]:
    """The three keys in use, out of thousands, that are closest to the written one; and itself, or a blank."""
    name = "".join(written[:1])
    return [*difflib.get_close_matches(name, names, n=3, cutoff=0), name or "<NAME>"]
