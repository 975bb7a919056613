"""Codecs: what writes values as messages, and reads values from messages.

pydantic and msgpack are imported when they are first needed, so that importing this module costs nothing.
"""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from dataclasses import dataclass, field, is_dataclass
from functools import lru_cache, partial
from importlib import import_module
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    NoReturn,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    overload,
)

from rxnodes.errors import DecodeError, printable, text_of, with_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import TypeAdapter, ValidationError
    from pydantic_core import SchemaSerializer
    from typing_extensions import TypeForm

__all__ = ["CODEC_NAMES", "Codec", "TypedCodec", "as_codec", "decode", "encode", "for_any_type"]

T = TypeVar("T")

#: The codecs that go by a name.
CODEC_NAMES = ("json", "msgpack")

#: How much of a message is shown, in characters or bytes.
EXCERPT = 80

#: How many of the problems of one message are named, and how much of the place of each, which a peer may have chosen.
PROBLEMS = 3
PLACE = 60

_ALLOWED = 'a codec is "json", "msgpack", a type, a pair of functions (encode, decode) or a Codec'


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """Writes values as messages, and reads values from messages.

    Wherever `codec=` is taken, the short forms are taken too: `"json"`, `"msgpack"`, a type, or a pair of functions.

    Attributes:
        encode: Makes a message of a value: a `str` goes as a text message, `bytes` as a binary one. It raises where it
            cannot.
        decode: Makes a value of a message: it is given a `str` for a text message, `bytes` for a binary one. It raises
            where it cannot, or where it wants the other kind.
        name: What it is called where it is listed, and in what is said of messages that do not fit.

    Raises:
        TypeError: If `encode` or `decode` is no function, or one that has no hash.

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
                # Streams are found again by their codec, so that each message is decoded once.
                kind = type(function).__name__
                raise TypeError(f"{role} must be hashable, and this {kind} is not; give a function") from None


@dataclass(frozen=True, slots=True)
class TypedCodec(Codec[T]):
    """JSON text for the values of one type."""


if TYPE_CHECKING:
    CodecOf = Codec[T] | type[T] | TypeAdapter[T] | tuple[Callable[[Any], str | bytes], Callable[[str | bytes], T]]
    """What `codec=` takes, where the type of the values is known."""

    CodecName: TypeAlias = Literal["json", "msgpack"]
    """What it takes as well; `TypeForm[T]`, too: a union, `Annotated` and the like, which are no `type[T]`."""


@overload
def as_codec(codec: CodecOf[T]) -> Codec[T]: ...
@overload
def as_codec(codec: CodecName) -> Codec[Any]: ...
@overload
def as_codec(codec: TypeForm[T]) -> Codec[T]: ...
def as_codec(codec: Any) -> Codec[Any]:
    """The codec that is meant.

    Args:
        codec: One of

            - `"json"`: JSON text without spaces. Models, dataclasses, dates and the like are written too, as their own
              type says, with aliases, as keys too; what is read is plain: `dict`, `list`, `str`, `int`, `float`,
              `bool`, `None`.
            - `"msgpack"`: MessagePack, as binary messages; it needs `pip install "rxnodes[msgpack]"`. Likewise. Keys
              are read only where they are text or bytes.
            - a type that pydantic's `TypeAdapter` takes (a model, a dataclass, a `TypedDict`, `list[int]`, a union), or
              a `TypeAdapter` itself: JSON text, with aliases. What is read is validated; what is no value of that type
              is not written, nor one of a subclass that would lose fields.
            - a pair of functions: the first makes a `str` or `bytes` of a value, the second a value of either. Each
              must be hashable, as functions are.
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
    failure = None
    message: Any = None
    try:
        message = codec.encode(value)
    except Exception as error:  # noqa: BLE001 - a codec may raise anything
        reason = text_of(error, _reason)
        failure = _caused(ValueError(f"the message cannot be encoded with {_title(codec)}: {reason}"), error)
    if failure is not None:
        raise failure
    if isinstance(message, str | bytes):
        return message
    if isinstance(message, bytearray | memoryview):
        return bytes(message)  # pyright: ignore[reportUnknownArgumentType]
    reason = f"its encode gave {type(message).__name__}, not str or bytes"
    raise ValueError(f"the message cannot be encoded with {_title(codec)}: {reason}")


def decode(codec: Codec[T], message: str | bytes) -> T:
    """The value that the codec makes of a message.

    Raises:
        DecodeError: If it cannot. It says why, and shows how the message begins.
    """
    try:
        return codec.decode(message)
    except Exception as error:  # noqa: BLE001 - a codec may raise anything
        reason = text_of(error, _reason)
        failure = _caused(DecodeError(f"a message does not fit {_title(codec)}: {reason}: {_excerpt(message)}"), error)
    # Outside the handler, so that the error carries no context: it may hold the whole message.
    raise failure


# --- JSON and MessagePack ---------------------------------------------------------------------------------------------


def _as_plain(value: object) -> object:
    """Models, dataclasses, dates and the like, as what JSON has."""
    from pydantic_core import to_jsonable_python  # noqa: PLC0415 - see above

    return to_jsonable_python(value, by_alias=True)


def _refuse(constant: str) -> NoReturn:
    raise _UnfitError(f"{constant} is no JSON")


def _to_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _UnfitError(f"{printable(digits, PLACE)} is too large a number")
    return number


_TO_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_as_plain).encode
_FROM_JSON = json.JSONDecoder(parse_float=_to_float, parse_constant=_refuse).decode


def _to_json(value: object) -> str:
    try:
        return _TO_JSON(value)
    except TypeError:
        # The encoder asks `default` about values, and not about keys, such as dates.
        return _TO_JSON(_as_plain(value))


def _from_json(message: str | bytes) -> Any:
    try:
        return _FROM_JSON(message if isinstance(message, str) else message.decode())
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at line {error.lineno}, column {error.colno}"
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: {error.reason} at byte {error.start}"
    # The errors themselves hold the whole message.
    raise _UnfitError(reason)


_JSON: Codec[Any] = Codec(_to_json, _from_json, "json")


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

    def __init__(self, adapter: TypeAdapter[Any], type_: Any) -> None:
        from pydantic_core import to_json  # noqa: PLC0415 - see above

        self._adapter = adapter
        # First as what JSON has, then as JSON: in one go pydantic writes null for NaN.
        self._dump = partial(_serializer(adapter).to_python, mode="json", by_alias=True, warnings="error")
        self._to_json = partial(to_json, inf_nan_mode="constants")
        self._class: Any = type_ if _has_fields(type_) else None

    def encode(self, value: Any) -> str:
        plain = self._dump(value)
        text = self._to_json(plain).decode()
        _refuse_constants(text)
        self._refuse_others(value, text)
        if self._class is not None and type(value) is not self._class:
            self._refuse_losses(value, plain)
        return text

    def decode(self, message: str | bytes) -> Any:
        value = self._adapter.validate_json(message)
        _refuse_constants(message)
        _refuse_infinities(message)
        return value

    def _refuse_others(self, value: Any, text: str) -> None:
        """Refuses what is not a value of the type: of a model of another type, pydantic writes "{}"."""
        try:
            # By the names that fields have in Python. Keys that a `TypedDict` has not would be lost.
            self._adapter.validate_python(value, by_alias=False, by_name=True, extra="forbid")
        except Exception:
            if not self._comes_back(value, text):
                raise

    def _refuse_losses(self, value: Any, plain: Any) -> None:
        """Refuses a value of a subclass with fields of its own, of which pydantic writes nothing."""
        if self._dump(value, serialize_as_any=True) != plain:
            raise ValueError(f"a {type(value).__name__} would not be written as a whole; use a codec of that type")

    def _comes_back(self, value: Any, text: str) -> bool:
        """Whether reading gives the value again. Some types, such as `Base64Bytes`, take a form that they have not."""
        with suppress(Exception):
            if self._adapter.validate_json(text) == value:
                return True
        with suppress(Exception):
            form = self._adapter.dump_python(value, round_trip=True)
            return bool(self._adapter.validate_python(form, by_alias=False, by_name=True) == value)
        return False


def _serializer(adapter: TypeAdapter[Any]) -> SchemaSerializer:
    """The adapter's serializer, but for NaN where its type says nothing of it (`Any`), which it would write as null."""
    from pydantic_core import SchemaSerializer  # noqa: PLC0415 - see above

    schema = adapter.core_schema
    own: Any = adapter._config or schema.get("config", {})  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    config: Any = {**own, "ser_json_inf_nan": "constants"}
    return SchemaSerializer(schema, config)


def _has_fields(type_: object) -> bool:
    from pydantic import BaseModel  # noqa: PLC0415 - see above

    return isinstance(type_, type) and (is_dataclass(type_) or issubclass(type_, BaseModel))


def _refuse_constants(message: str | bytes) -> None:
    """Refuses NaN and Infinity, which pydantic reads and writes though they are no JSON."""
    # As quick to ask as anything can be; but as parts of a text they are none.
    if isinstance(message, str):
        may_hold_one = "NaN" in message or "Infinity" in message
    else:
        may_hold_one = b"NaN" in message or b"Infinity" in message
    if not may_hold_one:
        return
    from pydantic_core import from_json  # noqa: PLC0415 - see above

    try:
        from_json(message, allow_inf_nan=False)
    except ValueError as error:
        reason = str(error)
    else:
        return
    raise ValueError(f"NaN and Infinity are no JSON: {reason}")


#: Shows the numbers in JSON: digits alike, and "e" for both of its forms. A regular expression is slower.
_MARKS = bytes(
    ord("0") if byte in b"0123456789." else ord("e") if byte in b"eE" else byte if byte in b"+" else ord(" ")
    for byte in range(256)
)
_MAX_DIGITS = 308


def _refuse_infinities(message: str | bytes) -> None:
    """Refuses numbers of which pydantic makes infinity, as they are too large for a `float`."""
    marks = (message.encode() if isinstance(message, str) else message).translate(_MARKS)
    # One has an exponent of two digits at least, or very many digits. What looks so may be a part of a string.
    if b"0e00" in marks or b"0e+00" in marks or (len(marks) > _MAX_DIGITS and b"0" * (_MAX_DIGITS + 1) in marks):
        _from_json(message)


def _of_type(type_: Any) -> Codec[Any]:
    from pydantic import TypeAdapter  # noqa: PLC0415 - see above

    is_adapter = isinstance(type_, TypeAdapter)
    # pydantic would take more: a function, to call it with each message, or an instance of a model.
    if not is_adapter and not _is_type(type_):
        raise TypeError(f"a value of type {type(type_).__name__} is no codec; {_ALLOWED}")
    try:
        return _of_adapter(type_) if is_adapter else _typed(TypeAdapter(type_), type_)  # pyright: ignore[reportUnknownArgumentType]
    except Exception as error:
        reason = text_of(error, lambda error: str(error).partition("\n")[0])
        raise TypeError(f"no codec can be made of {_type_name(type_)} ({reason}); {_ALLOWED}") from error


def _typed(adapter: TypeAdapter[Any], type_: object) -> Codec[Any]:
    if not adapter.pydantic_complete:
        # Where it names a type that nobody knows, that is said now rather than with the first message.
        adapter.rebuild()
    typed = _Typed(adapter, type_)
    return TypedCodec(typed.encode, typed.decode, _type_name(type_))


# So that a class, or an adapter, stands for one codec wherever it is given, and what comes is decoded once for all.
_of_class = lru_cache(maxsize=256)(_of_type)


@lru_cache(maxsize=256)
def _of_adapter(adapter: TypeAdapter[Any]) -> Codec[Any]:
    return _typed(adapter, adapter._type)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _is_type(value: object) -> bool:
    """Whether it is a class, or made by `typing`: a union, `list[int]`, `Literal`, ..."""
    is_made = get_origin(value) is not None or type(value).__module__ in {"typing", "typing_extensions"}
    return isinstance(value, type) or is_made


def _type_name(type_: Any) -> str:
    """A type as one writes it, without modules and what `Annotated` adds: `Quote`, `list[int]`, `int | str`."""
    origin, arguments = get_origin(type_), get_args(type_)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is Union or origin is UnionType:
        return " | ".join(map(_type_name, arguments))
    name = "None" if type_ is NoneType else getattr(origin or type_, "__name__", str(type_))
    if not arguments:
        return name
    named = map(repr if origin is Literal else _type_name, arguments)
    return f"{name}[{', '.join(named)}]"


# --- What is said about messages that do not fit ----------------------------------------------------------------------


class _UnfitError(ValueError):
    """What a message of ours is not. It says all there is to say, so that nobody needs it as a cause."""


E = TypeVar("E", bound=Exception)


def _caused(error: E, cause: Exception) -> E:
    """The error, with its cause, whose traceback may help; but for ours, and pydantic's, which repeat values."""
    if not isinstance(cause, (_UnfitError, *_pydantic_errors())):
        error.__cause__ = cause
    return error


@lru_cache(maxsize=1)
def _pydantic_errors() -> tuple[type[Exception], type[Exception]]:
    """What says that a message does not fit a type, and that a value does not."""
    from pydantic import ValidationError  # noqa: PLC0415 - see above
    from pydantic_core import PydanticSerializationError  # noqa: PLC0415 - likewise

    return ValidationError, PydanticSerializationError


def _title(codec: Codec[Any]) -> str:
    """The codec as a sentence calls it."""
    return {"json": "JSON", "custom": "the custom codec"}.get(codec.name, codec.name)


def _reason(error: Exception) -> str:
    unfit, unwritable = _pydantic_errors()
    if isinstance(error, unfit):
        return _problems(cast("ValidationError", error))
    if isinstance(error, unwritable):
        return _unexpected(str(error))
    return str(error) if isinstance(error, ValueError | DecodeError) else with_type(error)


def _problems(error: ValidationError) -> str:
    """What is wrong, and at which field. No value is repeated."""
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
    """What pydantic says of a value of the wrong type, without the value."""
    match = re.search(r"Expected `(.*?)`.*input_type=(\w+)", text)
    return text if match is None else f"must be {match[1]}, not {match[2]}"


def _excerpt(message: str | bytes) -> str:
    unit = "characters" if isinstance(message, str) else "bytes"
    more = "..." if len(message) > EXCERPT else ""
    return f"{message[:EXCERPT]!r}{more} ({len(message)} {unit})"
