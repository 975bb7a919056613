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
    """An error of our own codecs. It says everything, so that nobody needs it as a cause."""


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """Writes values as messages, and reads values from messages.

    Wherever `codec=` is taken, the short forms are taken too: `"json"`, `"msgpack"`, a type, or a pair of functions.

    Attributes:
        encode: Makes a message of a value: a `str` goes as a text message, `bytes` as a binary one. It raises if it
            cannot.
        decode: Makes a value of a message: it is given a `str` for a text message, `bytes` for a binary one. It raises
            if it cannot, or if it wants the other kind.
        name: What lists and error messages call it.

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
                # A connection finds its streams again by their codec, so that each message is decoded once.
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
        ValueError: If the codec cannot. It says why, and does not repeat the value.
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
        is_secret: Whether nothing of the message may be told, as where it may hold a token.

    Raises:
        DecodeError: If the codec cannot. It says why, and shows how the message begins, unless that is secret.
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
    """What an error of our own codecs, or of pydantic, says. What others raise may repeat the message."""
    from rxnodes.codecs.pydantic_errors import PYDANTIC_ERRORS  # noqa: PLC0415 - as above

    return _reason(error) if isinstance(error, (UnfitError, *PYDANTIC_ERRORS)) else type(error).__name__


def _caused(error: E, cause: Exception) -> E:
    """Sets the cause, whose traceback may help, unless it is ours or pydantic's: pydantic's errors repeat values."""
    from rxnodes.codecs.pydantic_errors import PYDANTIC_ERRORS  # noqa: PLC0415 - likewise

    if not isinstance(cause, (UnfitError, *PYDANTIC_ERRORS)):
        error.__cause__ = cause
    return error


def _excerpt(message: str | bytes) -> str:
    unit = "characters" if isinstance(message, str) else "bytes"
    more = "..." if len(message) > EXCERPT else ""
    return f"{message[:EXCERPT]!r}{more} ({len(message)} {unit})"
