"""The codec of a type: JSON, as pydantic reads and writes it. Importing this module imports pydantic."""

from __future__ import annotations

from functools import lru_cache, partial
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter

from rxnodes.codecs.codec import ALLOWED, TypedCodec, UnfitError
from rxnodes.codecs.plain import from_json
from rxnodes.errors import text_of

if TYPE_CHECKING:
    from rxnodes.codecs.codec import Codec

__all__ = ["codec_of_class", "codec_of_type"]


def codec_of_type(type_: Any) -> Codec[Any]:
    """Makes the codec of a type, or of a `TypeAdapter`.

    Raises:
        TypeError: If it is neither, or pydantic cannot make a schema of it.
    """
    is_adapter = isinstance(type_, TypeAdapter)
    # pydantic would also take a function, to call it with each message, or an instance of a model.
    if not is_adapter and not _is_type(type_):
        raise TypeError(f"expected a codec, got {type(type_).__name__}; {ALLOWED}")
    try:
        return _of_adapter(type_) if is_adapter else _typed(TypeAdapter(type_), type_)  # pyright: ignore[reportUnknownArgumentType]
    except Exception as error:
        reason = text_of(error, lambda error: str(error).partition("\n")[0])
        raise TypeError(f"no codec can be made of {_type_name(type_)} ({reason}); {ALLOWED}") from error


def _typed(adapter: TypeAdapter[Any], type_: object) -> Codec[Any]:
    if not adapter.pydantic_complete:
        # A type that names an unknown one raises here, and not with the first message.
        adapter.rebuild()
    typed = _Typed(adapter, type_)
    return TypedCodec(typed.encode, typed.decode, _type_name(type_))


# Cached, so that a class or an adapter is one codec wherever it is given, and each message is decoded once for all.
codec_of_class = lru_cache(maxsize=256)(codec_of_type)


@lru_cache(maxsize=256)
def _of_adapter(adapter: TypeAdapter[Any]) -> Codec[Any]:
    return _typed(adapter, adapter._type)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _is_type(value: object) -> bool:
    """Whether it is a class, or a form of `typing`: a union, `list[int]`, `Literal`, ..."""
    is_made = get_origin(value) is not None or type(value).__module__ in {"typing", "typing_extensions"}
    return isinstance(value, type) or is_made


def _type_name(type_: Any) -> str:
    """The name of a type as it is written, without modules and `Annotated`: `Quote`, `list[int]`, `int | str`."""
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


class _Typed:
    """Reads and writes the values of a type."""

    def __init__(self, adapter: TypeAdapter[Any], type_: Any) -> None:
        self._read = adapter.validator.validate_json
        self._write = partial(adapter.serializer.to_json, by_alias=True, warnings="error")
        self._model = _model_of(type_)

    def encode(self, value: Any) -> str:
        if self._model is not None and not isinstance(value, self._model):
            # pydantic would write a model of another class as "{}".
            raise UnfitError(f"must be {self._model.__name__}, not {type(value).__name__}")
        return self._write(value).decode()

    def decode(self, message: str | bytes) -> Any:
        value = self._read(message)
        text = message if isinstance(message, str) else message.decode()
        if "NaN" in text or "Infinity" in text:
            # pydantic reads them as numbers, but they are no JSON. They may be part of a string: our JSON codec knows.
            from_json(text)
        return value


def _model_of(type_: Any) -> type | None:
    """The model's class, or `None` if the type is no model. A value of `Envelope` is one of `Envelope[int]` too."""
    if not (isinstance(type_, type) and issubclass(type_, BaseModel)):
        return None
    return type_.__pydantic_generic_metadata__["origin"] or type_
