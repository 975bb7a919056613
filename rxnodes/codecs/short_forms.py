"""The short forms of codecs: a name, a type, a pair of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from rxnodes.codecs.codec import ALLOWED, Codec, TypedCodec
from rxnodes.codecs.plain import AS_BYTES, AS_TEXT, JSON, msgpack

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from rxnodes.codecs.codec import CodecOf, V

__all__ = ["CODEC_NAMES", "as_codec", "for_any_type"]

#: The codecs that have a name.
CODEC_NAMES = ("json", "msgpack")


@overload
def as_codec(codec: CodecOf[V]) -> Codec[V]: ...
@overload
def as_codec(codec: TypeForm[V]) -> Codec[V]: ...
def as_codec(codec: Any) -> Codec[Any]:
    """Makes the codec that a short form stands for.

    Args:
        codec: One of

            - `str`: text. A binary message is read as UTF-8.
            - `bytes`: binary messages. A text message is read as its UTF-8, and a `str` is sent as its UTF-8.
            - `"json"`: JSON text without spaces. Models, dataclasses, dates and the like are written too, as their own
              type says, with aliases, also as keys. Reading gives plain values: `dict`, `list`, `str`, `int`, `float`,
              `bool`, `None`.
            - `"msgpack"`: MessagePack, as binary messages; it needs `pip install "rxnodes[msgpack]"`. It writes the
              same values. Keys are read only where they are text or bytes.
            - any other type that pydantic's `TypeAdapter` takes (a model, a dataclass, a `TypedDict`, `list[int]`, a
              union), or a `TypeAdapter` itself: JSON text, read and written as pydantic does, with aliases.
            - a pair of functions: the first makes a `str` or `bytes` of a value, the second a value of either. Each
              must be hashable, as functions are.
            - a `Codec`.

    Raises:
        TypeError: If it is none of these.
        ValueError: If no codec has that name, or its package is not installed.

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
        pair: tuple[Any, ...] = codec  # pyright: ignore[reportUnknownVariableType]
        if len(pair) != 2 or not all(map(callable, pair)):  # noqa: PLR2004 - a pair
            raise TypeError(f"expected two functions in the tuple; {ALLOWED}")
        return Codec(*pair)
    return _of_type(codec)


def for_any_type(codec: Codec[Any]) -> Codec[Any]:
    """The codec for a message of any type, where this codec's type is only that of the answer."""
    return JSON if isinstance(codec, TypedCodec) else codec


def _named(name: str) -> Codec[Any]:
    if name not in CODEC_NAMES:
        raise ValueError(f"there is no codec {name!r}; {ALLOWED}")
    return JSON if name == "json" else msgpack()


def _of_type(type_: Any) -> Codec[Any]:
    if type_ is str:
        return AS_TEXT
    if type_ is bytes:
        return AS_BYTES
    from rxnodes.codecs.typed import codec_of_class, codec_of_type  # noqa: PLC0415 - it imports pydantic

    return codec_of_class(type_) if isinstance(type_, type) else codec_of_type(type_)
