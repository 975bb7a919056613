"""Codecs: what writes values as messages, and reads values from messages.

pydantic and msgpack are imported when they are first needed, so that importing this module costs nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib import import_module
from inspect import isroutine
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeVar, overload

from rxnodes.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import UnionType

    from pydantic import TypeAdapter, ValidationError

__all__ = ["CODEC_NAMES", "Codec", "TypedCodec", "as_codec", "decode", "encode", "for_any_type"]

T = TypeVar("T")

#: The codecs that go by a name.
CODEC_NAMES = ("json", "msgpack")

#: How much of a message is shown, in characters or bytes, and how much is said of what is wrong with it.
EXCERPT = 80
REASON = 300

#: How many of the problems of one message are named.
PROBLEMS = 3

_ALLOWED = 'a codec is "json", "msgpack", a type, a pair of functions (encode, decode) or a Codec'


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """Writes values as messages, and reads values from messages.

    Wherever `codec=` is taken, the short forms are taken too: `"json"`, `"msgpack"`, a type, or a pair of functions.

    Attributes:
        encode: Makes a message of a value: a `str` goes as a text message, `bytes` as a binary one. It raises where it
            cannot.
        decode: Makes a value of a message, which may be of either kind. It raises where it cannot.
        name: What it is called where it is listed.

    Example:
        >>> shouting = Codec(encode=str.upper, decode=lambda message: str(message).lower(), name="shouting")
        >>> shouting.encode("hello"), shouting.decode("HELLO")
        ('HELLO', 'hello')
    """

    encode: Callable[[T], str | bytes]
    decode: Callable[[str | bytes], T]
    name: str = field(default="custom", compare=False)


@dataclass(frozen=True, slots=True)
class TypedCodec(Codec[T]):
    """JSON text for the values of one type."""


if TYPE_CHECKING:
    CodecOf = Codec[T] | type[T] | TypeAdapter[T] | tuple[Callable[[Any], str | bytes], Callable[[str | bytes], T]]
    """What `codec=` takes, where the type of the values is known."""

    UntypedCodec = Literal["json", "msgpack"] | UnionType
    """What it takes as well. A union says too little to all type checkers; a `TypeAdapter` of it says it."""


@overload
def as_codec(codec: CodecOf[T]) -> Codec[T]: ...
@overload
def as_codec(codec: UntypedCodec) -> Codec[Any]: ...
def as_codec(codec: Any) -> Codec[Any]:
    """The codec that is meant.

    Args:
        codec: One of

            - `"json"`: JSON text without spaces. Models, dataclasses, dates and the like are written too, as their own
              type says, with aliases; what is read is plain: `dict`, `list`, `str`, `int`, `float`, `bool`, `None`.
            - `"msgpack"`: MessagePack, as binary messages; it needs `pip install "rxnodes[msgpack]"`. Likewise.
            - a type that pydantic's `TypeAdapter` takes (a model, a dataclass, a `TypedDict`, `list[int]`, a union), or
              a `TypeAdapter` itself: JSON text, validated as that type both ways, with aliases.
            - a pair of functions: the first makes a `str` or `bytes` of a value, the second a value of either.
            - a `Codec`.

    Raises:
        TypeError: If it is none of these.
        ValueError: If no codec has that name, or the package it needs is not installed.

    Example:
        >>> numbers = as_codec(list[int])
        >>> numbers.encode([1, 2]), numbers.decode("[3, 4]")
        ('[1,2]', [3, 4])
    """
    if isinstance(codec, Codec):
        return codec  # pyright: ignore[reportUnknownVariableType]
    if isinstance(codec, str):
        return _named(codec)
    if isinstance(codec, tuple):
        return _of_functions(codec)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(codec, type):
        return _of_class(codec)
    return _of_type(codec)


def for_any_type(codec: Codec[Any]) -> Codec[Any]:
    """What writes messages that are not of the codec's type, such as the question to the answer of that type."""
    return _JSON if isinstance(codec, TypedCodec) else codec


def encode(codec: Codec[T], value: T) -> str | bytes:
    """The message that the codec makes of a value.

    Raises:
        ValueError: If it cannot. It says why, and does not repeat the value.
    """
    try:
        return codec.encode(value)
    except Exception as error:  # noqa: BLE001 - a codec may raise anything
        _raise_from(error, ValueError(f"the message cannot be encoded: {_reason(error)}"))


def decode(codec: Codec[T], message: str | bytes) -> T:
    """The value that the codec makes of a message.

    Raises:
        DecodeError: If it cannot. It says why, and shows how the message begins.
    """
    try:
        return codec.decode(message)
    except Exception as error:  # noqa: BLE001 - a codec may raise anything
        _raise_from(error, DecodeError(f"a message does not fit: {_reason(error)}: {_excerpt(message)}"))


# --- JSON and MessagePack ---------------------------------------------------------------------------------------------


def _as_plain(value: object) -> object:
    """Models, dataclasses, dates and the like, as what JSON has."""
    from pydantic_core import to_jsonable_python  # noqa: PLC0415 - see above

    return to_jsonable_python(value, by_alias=True)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"not JSON: {constant}")


_TO_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_as_plain).encode
_FROM_JSON = json.JSONDecoder(parse_constant=_refuse).decode


def _from_json(message: str | bytes) -> Any:
    try:
        return _FROM_JSON(message if isinstance(message, str) else message.decode())
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: {error.reason} at byte {error.start}"
    # The errors themselves hold the whole message.
    raise ValueError(reason)


_JSON: Codec[Any] = Codec(_TO_JSON, _from_json, "json")


@lru_cache(maxsize=1)
def _msgpack() -> Codec[Any]:
    try:
        package: Any = import_module("msgpack")
    except ImportError:
        raise ValueError('the codec "msgpack" needs the package msgpack: pip install "rxnodes[msgpack]"') from None

    def unpack(message: str | bytes) -> Any:
        if isinstance(message, str):
            raise ValueError("a text message; MessagePack comes in binary ones")  # noqa: TRY004 - it is the peer's doing
        return package.unpackb(message)

    return Codec(partial(package.packb, default=_as_plain), unpack, "msgpack")


def _named(name: str) -> Codec[Any]:
    if name == "json":
        return _JSON
    if name == "msgpack":
        return _msgpack()
    raise ValueError(f"there is no codec {name!r}; {_ALLOWED}")


def _of_functions(pair: tuple[Any, ...]) -> Codec[Any]:
    if len(pair) != 2 or not all(map(callable, pair)):  # noqa: PLR2004 - a pair
        raise TypeError(f"these are not two functions; {_ALLOWED}")
    return Codec(*pair)


# --- Types ------------------------------------------------------------------------------------------------------------


class _Typed:
    """The two functions for the values of a type."""

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        self._adapter = adapter

    def encode(self, value: Any) -> str:
        # pydantic writes "{}" of a model of another type: whether it is one of this type has to be asked.
        self._adapter.validate_python(value)
        return self._adapter.dump_json(value, by_alias=True, warnings="error").decode()

    def decode(self, message: str | bytes) -> Any:
        return self._adapter.validate_json(message)


def _of_type(type_: Any) -> Codec[Any]:
    # pydantic would take a function, and call it with each message.
    if type_ is None or isroutine(type_) or isinstance(type_, partial):
        raise TypeError(f"no codec can be made of {type_!r}; {_ALLOWED}")
    from pydantic import TypeAdapter  # noqa: PLC0415 - see above

    name: str = getattr(type_, "__name__", str(type_))
    if isinstance(type_, TypeAdapter):
        return _of_adapter(type_)  # pyright: ignore[reportUnknownArgumentType]
    try:
        return _typed(TypeAdapter(type_), name)
    except Exception as error:
        # Of what is no type at all, pydantic may say anything.
        reason = str(error).partition("\n")[0]
        raise TypeError(f"no codec can be made of {type_!r} ({reason}); {_ALLOWED}") from error


def _typed(adapter: TypeAdapter[Any], name: str) -> Codec[Any]:
    typed = _Typed(adapter)
    return TypedCodec(typed.encode, typed.decode, name)


# So that a class, or an adapter, stands for one codec wherever it is given, and what comes is decoded once for all.
_of_class = lru_cache(maxsize=256)(_of_type)


@lru_cache(maxsize=256)
def _of_adapter(adapter: TypeAdapter[Any]) -> Codec[Any]:
    return _typed(adapter, str(adapter))


# --- What is said about messages that do not fit ----------------------------------------------------------------------


def _raise_from(cause: Exception, error: Exception) -> NoReturn:
    """Raises the error, with its cause, whose traceback may help; but for pydantic's, which repeat values."""
    from pydantic import ValidationError  # noqa: PLC0415 - see above
    from pydantic_core import PydanticSerializationError  # noqa: PLC0415 - likewise

    raise error from None if isinstance(cause, ValidationError | PydanticSerializationError) else cause


def _reason(error: Exception) -> str:
    from pydantic import ValidationError  # noqa: PLC0415 - see above
    from pydantic_core import PydanticSerializationError  # noqa: PLC0415 - likewise

    if isinstance(error, ValidationError):
        text = _problems(error)
    elif isinstance(error, PydanticSerializationError):
        text = _unexpected(str(error))
    elif isinstance(error, ValueError | DecodeError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    return text if len(text) <= REASON else f"{text[:REASON]}..."


def _problems(error: ValidationError) -> str:
    """What is wrong, and at which field. No value is repeated."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    problems = [
        ": ".join(
            filter(None, [".".join(map(str, detail["loc"])), detail["msg"].replace("Input should be", "must be")])
        )
        for detail in details[:PROBLEMS]
    ]
    more = len(details) - PROBLEMS
    return "; ".join(problems) + (f"; and {more} more" if more > 0 else "")


def _unexpected(text: str) -> str:
    """What pydantic says of a value of the wrong type, without the value."""
    match = re.search(r"Expected `(.*?)`.*input_type=(\w+)", text)
    return text if match is None else f"must be {match[1]}, not {match[2]}"


def _excerpt(message: str | bytes) -> str:
    unit = "characters" if isinstance(message, str) else "bytes"
    more = "..." if len(message) > EXCERPT else ""
    return f"{message[:EXCERPT]!r}{more} ({len(message)} {unit})"
