"""The argument `match` of conversations: how a message is recognized."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar, cast

from rxnodes.codecs import AS_BYTES, AS_TEXT
from rxnodes.rx.arguments import check_callback

if TYPE_CHECKING:
    from rxnodes.codecs import Codec

__all__ = ["NO_MATCH", "Key", "Match", "Wanted", "as_match", "key_reader", "matcher"]

T = TypeVar("T")

Match: TypeAlias = Callable[[T], object] | tuple[str | Callable[[T], object], object]
"""A function that says whether a message matches, or a key and the value that it has in messages that match."""

Key: TypeAlias = str | Callable[[Any], Any]
"""The part of a message that is compared: the field of that name, or what a function makes of the message."""

#: What a key may raise for a message that does not have it.
NO_MATCH = (LookupError, TypeError, AttributeError)


class Wanted(NamedTuple):
    """A key, and the value that a message must have there."""

    key: Key
    value: Hashable


def as_match(match: Any, reader: Codec[Any] | None, *, gives: str) -> Callable[[Any], object] | Wanted:
    """Checks the argument `match`.

    Args:
        match: The argument.
        reader: Reads the messages.
        gives: What the function must return, for the error's text.

    Raises:
        TypeError: If it is neither a plain function nor a key and a value that can be looked for, or if it names a
            field of messages that have none.
    """
    if not isinstance(match, tuple):
        check_callback("match", match, gives=gives)
        return cast("Callable[[Any], object]", match)
    try:
        wanted = Wanted(*match)  # pyright: ignore[reportUnknownArgumentType]
        hash(wanted)
    except TypeError as error:
        raise TypeError(f"match: expected a key and a value that can be looked for: {error}") from None
    if not isinstance(wanted.key, str):
        check_callback("match", wanted.key, gives="what is looked for in a message")
    elif reader is None or reader is AS_TEXT or reader is AS_BYTES:
        raise TypeError(f'match: a message that is not read has no field {wanted.key!r}; codec="json" reads it')
    return wanted


def key_reader(key: Key) -> Callable[[Any], Any]:
    """A function that reads the key of a message. If the message does not have it, it may raise one of `NO_MATCH`."""
    return partial(_field, key) if isinstance(key, str) else key


def matcher(match: Callable[[Any], object] | Wanted) -> Callable[[Any], object]:
    """A function that says whether a message matches."""
    if not isinstance(match, Wanted):
        return match
    read, value = key_reader(match.key), match.value

    def matches(message: Any) -> bool:
        try:
            return bool(read(message) == value)
        except NO_MATCH:
            return False

    return matches


def _field(name: str, message: Any) -> Any:
    # Almost all are plain dicts, which this test finds soonest.
    if type(message) is dict or isinstance(message, Mapping):
        return message[name]  # pyright: ignore[reportUnknownVariableType]
    return getattr(message, name)
