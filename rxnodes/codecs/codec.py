"""A codec, and what encoding and decoding with it raises."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from rxnodes.errors import DecodeError, text_of, with_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import TypeAdapter
    from typing_extensions import TypeVar as TypeVarWithDefault

__all__ = ["Codec", "TypedCodec", "UnfitError", "decode", "encode"]

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

ALLOWED = 'a codec is "json", "msgpack", a type, a pair of functions (encode, decode) or a Codec'

#: How much of a message an error shows, in characters or bytes.
EXCERPT = 80


class UnfitError(ValueError):
    """An error of our own codecs. Its text says everything, and repeats nothing of the message."""


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """Writes values as messages, and reads values from messages.

    An argument `codec=` takes a `Codec`, or a short form of one: `"json"`, `"msgpack"`, a type, or a pair of functions.

    Attributes:
        encode: Makes a message of a value: a `str` for a text message, or `bytes` for a binary one. It raises if it
            cannot.
        decode: Makes a value of a message: of a `str` from a text message, or of `bytes` from a binary one. It raises
            if it cannot, or if it wants the other kind.
        name: The codec's name in lists and error messages.

    Raises:
        TypeError: If `encode` or `decode` is not a function, or cannot be hashed.

    Example:
        >>> shouting = Codec(encode=str.upper, decode=lambda message: str(message).lower(), name="shouting")
        >>> shouting.encode("hello"), shouting.decode("HELLO")
        ('HELLO', 'hello')
    """

    encode: Callable[[T], str | bytes]
    decode: Callable[[str | bytes], T]
    name: str = field(default="custom", compare=False)

    def __post_init__(self) -> None:
        for role, function in (("encode", self.encode), ("decode", self.decode)):
            if not callable(function):
                raise TypeError(f"{role} must be a function, not {type(function).__name__}")
            try:
                hash(function)
            except TypeError:
                # A connection keeps one stream for each codec, so that it decodes each message once.
                kind = type(function).__name__
                raise TypeError(f"{role} must be hashable, and this {kind} is not; give a function") from None


@dataclass(frozen=True, slots=True)
class TypedCodec(Codec[T]):
    """JSON text for the values of one type."""


if TYPE_CHECKING:
    CodecName: TypeAlias = Literal["json", "msgpack"]

    V = TypeVarWithDefault("V", default=Any)
    """The type of the values that a codec reads: `Any` where the codec has only a name."""

    CodecOf = Codec[V] | TypeAdapter[V] | tuple[Callable[[Any], str | bytes], Callable[[str | bytes], V]] | CodecName
    """What `codec=` takes besides a type. A type is `TypeForm[V]`, in an overload of its own: mypy wants it alone."""


def encode(codec: Codec[T], value: T) -> str | bytes:
    """Makes a message of a value.

    Raises:
        ValueError: If the codec cannot. The text says why, and does not repeat the value.
    """
    try:
        message: Any = codec.encode(value)
    except Exception as error:  # noqa: BLE001 - a codec may raise anything
        failure = _caused(ValueError(_cannot_encode(codec, text_of(error, _reason))), error)
    else:
        if isinstance(message, str | bytes):
            return message
        if isinstance(message, bytearray | memoryview):
            return bytes(message)  # pyright: ignore[reportUnknownArgumentType]
        failure = ValueError(_cannot_encode(codec, f"its encode gave {type(message).__name__}, not str or bytes"))
    # Outside the handler, so that the error carries no context: it may hold the value.
    raise failure


def decode(codec: Codec[T], message: str | bytes, *, is_secret: bool = False) -> T:
    """Makes a value of a message.

    Args:
        codec: Reads the message.
        message: The message.
        is_secret: Whether the error must show nothing of the message, because it may hold a token.

    Raises:
        DecodeError: If the codec cannot. The text says why, and shows how the message begins unless that is secret.
    """
    try:
        return codec.decode(message)
    except Exception as error:  # noqa: BLE001 - a codec may raise anything
        reason = text_of(error, _reason_without_values if is_secret else _reason)
        shown = "" if is_secret else f": {_excerpt(message)}"
        failure = _caused(DecodeError(f"a message does not fit {_title(codec)}: {reason}{shown}"), error)
    # Outside the handler, so that the error carries no context: it may hold the whole message.
    raise failure


def _cannot_encode(codec: Codec[Any], reason: str) -> str:
    return f"the message cannot be encoded with {_title(codec)}: {reason}"


def _title(codec: Codec[Any]) -> str:
    """The codec's name in a sentence."""
    return {"json": "JSON", "custom": "the custom codec"}.get(codec.name, codec.name)


def _reason(error: Exception) -> str:
    from rxnodes.codecs.pydantic_errors import PYDANTIC_ERRORS, reason_of  # noqa: PLC0415 - it imports pydantic

    if isinstance(error, PYDANTIC_ERRORS):
        return reason_of(error)
    return str(error) if isinstance(error, ValueError | DecodeError) else with_type(error)


def _reason_without_values(error: Exception) -> str:
    return _reason(error) if _is_worded_by_us(error) else type(error).__name__


def _caused(error: E, cause: Exception) -> E:
    """Sets the cause of an error, unless the error says all of it already: pydantic's errors hold values."""
    if not _is_worded_by_us(cause):
        error.__cause__ = cause
    return error


def _is_worded_by_us(error: Exception) -> bool:
    """Whether `_reason` words the error without values. The text of any other error may repeat the message."""
    from rxnodes.codecs.pydantic_errors import PYDANTIC_ERRORS  # noqa: PLC0415 - as above

    return isinstance(error, (UnfitError, *PYDANTIC_ERRORS))


def _excerpt(message: str | bytes) -> str:
    unit = "characters" if isinstance(message, str) else "bytes"
    more = "..." if len(message) > EXCERPT else ""
    return f"{message[:EXCERPT]!r}{more} ({len(message)} {unit})"
