"""One of each: what rxnodes raises and tells, made from what the constructors ask for."""

from __future__ import annotations

import dataclasses
import inspect
from datetime import UTC, datetime

from multidict import CIMultiDict

import rxnodes
from rxnodes.errors import ConnectionLost, UnknownConfiguration
from rxnodes.headers import Headers
from rxnodes.lifecycle.states import Initiator

#: A value for each type that a constructor may ask for, as it is written there.
VALUES = {
    "str": "text",
    "str | None": "text",
    "Iterable[str]": ("one", "two"),
    "int": 7,
    "int | None": 7,
    "float": 0.5,
    "bool": True,
    "object": ("any", "thing"),
    "datetime": datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
    "Initiator": Initiator.REMOTE,
    "ErrorPhase": "receive",
    "DropReason": "full",
    "RxNodesError": UnknownConfiguration("caht", ["feed", "chat"]),
    "RxNodesError | None": ConnectionLost("the peer went away"),
    "CIMultiDict[str]": Headers(CIMultiDict([("Set-Cookie", "a=1"), ("set-cookie", "b=2")])),
    "Mapping[str, str] | None": Headers({"Retry-After": "7"}),
    "float | None": 0.5,
    "bytes": b"bytes",
    "bytes | None": b"bytes",
}


def sample(kind):
    """One of this kind, with a value for whatever its constructor takes."""
    if issubclass(kind, BaseException) and "__init__" not in vars(kind):
        return kind("text")
    given, named = [], {}
    for parameter in list(inspect.signature(kind).parameters.values()):
        if parameter.annotation not in VALUES:
            assert parameter.default is not parameter.empty, f"no value for {kind.__name__}({parameter})"
        elif parameter.kind is parameter.KEYWORD_ONLY:
            named[parameter.name] = VALUES[parameter.annotation]
        else:
            given.append(VALUES[parameter.annotation])
    return kind(*given, **named)


def public(base):
    """All public classes below this one, itself included."""
    everything = [getattr(rxnodes, name) for name in rxnodes.__all__]
    return [it for it in everything if isinstance(it, type) and issubclass(it, base)]


def exceptions():
    """One of each public exception, with a note."""
    made = [sample(kind) for kind in public(Exception)]
    for error in made:
        error.add_note("a note")
    return made


def contents(value):
    """All that can be told of a value: what is equal in it, and exceptions by what they hold."""
    if isinstance(value, BaseException):
        return type(value), value.args, str(value), repr(value), contents(vars(value))
    if isinstance(value, Headers):
        return type(value), list(value.items())
    if isinstance(value, dict):
        return {name: contents(it) for name, it in value.items()}
    if dataclasses.is_dataclass(value):
        return type(value), [contents(getattr(value, field.name)) for field in dataclasses.fields(value)]
    return type(value), value


def fail(error):
    """Raises it, in whatever process."""
    raise error


def give(value):
    """Gives it back, from whatever process."""
    return value
