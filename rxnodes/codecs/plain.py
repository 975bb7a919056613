"""The codecs of text, bytes, JSON and MessagePack."""

from __future__ import annotations

import json
import math
from functools import lru_cache, partial
from importlib import import_module
from typing import Any, NoReturn

from rxnodes.codecs.codec import Codec, UnfitError
from rxnodes.errors import printable

__all__ = ["AS_BYTES", "AS_TEXT", "JSON", "from_json", "msgpack"]

#: How many digits an error shows of a number that is too large.
SHOWN = 60


def _write_text(value: Any) -> str:
    if not isinstance(value, str):
        raise UnfitError(f"expected str, got {type(value).__name__}")
    return value


def _read_text(message: str | bytes) -> str:
    if isinstance(message, str):
        return message
    try:
        return message.decode()
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: {error.reason} at byte {error.start}"
    # Outside the handler, because the error there holds the whole message.
    raise UnfitError(reason)


def _write_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            pass
        # Outside the handler, because the error there holds the value.
        raise UnfitError("an unpaired surrogate, which UTF-8 cannot encode")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)  # pyright: ignore[reportUnknownArgumentType]
    raise UnfitError(f"expected bytes or str, got {type(value).__name__}")


def _read_bytes(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


AS_TEXT: Codec[str] = Codec(_write_text, _read_text, "str")
AS_BYTES: Codec[bytes] = Codec(_write_bytes, _read_bytes, "bytes")


def _as_plain(value: object) -> object:
    """Turns a model, a dataclass, a date or the like into values that JSON has."""
    from pydantic_core import to_jsonable_python  # noqa: PLC0415 - it is imported when it is first needed

    return to_jsonable_python(value, by_alias=True)


def _refuse(constant: str) -> NoReturn:
    raise UnfitError(f"{constant} is no JSON")


def _to_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise UnfitError(f"{printable(digits, SHOWN)} is too large a number")
    return number


_TO_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_as_plain).encode
_FROM_JSON = json.JSONDecoder(parse_float=_to_float, parse_constant=_refuse).decode


def _to_json(value: object) -> str:
    try:
        return _TO_JSON(value)
    except TypeError:
        # The encoder calls `default` for values only, and not for keys, which may be dates.
        return _TO_JSON(_as_plain(value))


def from_json(message: str | bytes) -> Any:
    """Reads JSON text, from a binary message too.

    Raises:
        UnfitError: If the text is no JSON, or has a number that is too large for a `float`.
    """
    try:
        return _FROM_JSON(_read_text(message))
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at line {error.lineno}, column {error.colno}"
    # Outside the handler, as above.
    raise UnfitError(reason)


JSON: Codec[Any] = Codec(_to_json, from_json, "json")


@lru_cache(maxsize=1)
def msgpack() -> Codec[Any]:
    """The codec of MessagePack.

    Raises:
        ValueError: If the package msgpack is not installed.
    """
    try:
        package: Any = import_module("msgpack")
    except ImportError:
        raise ValueError('the codec "msgpack" needs the package msgpack: pip install "rxnodes[msgpack]"') from None

    def unpack(message: str | bytes) -> Any:
        if isinstance(message, str):
            raise UnfitError("a text message; MessagePack comes in binary ones")
        return package.unpackb(message)

    return Codec(partial(package.packb, default=_as_plain), unpack, "msgpack")
