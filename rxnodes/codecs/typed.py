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
        TypeError: If it is neither a type nor an adapter, or pydantic cannot make a schema of it.
    """
    is_adapter = isinstance(type_, TypeAdapter)
    # pydantic would also take an instance of a model, or a function that it calls with each message.
    if not is_adapter and not _is_type(type_):
        raise TypeError(f"expected a codec, got {type(type_).__name__}; {ALLOWED}")
    try:
        return _of_adapter(type_) if is_adapter else _typed(TypeAdapter(type_), type_)  # pyright: ignore[reportUnknownArgumentType]
    except Exception as error:
        reason = text_of(error, lambda error: str(error).partition("\n")[0])
        raise TypeError(f"no codec can be made of {_type_name(type_)} ({reason}); {ALLOWED}") from error


def _typed(adapter: TypeAdapter[Any], type_: Any) -> Codec[Any]:
    if not adapter.pydantic_complete:
        # A type that names an unknown one raises here, and not with the first message.
        adapter.rebuild()
    read = adapter.validator.validate_json
    write = partial(adapter.serializer.to_json, by_alias=True, warnings="error")
    model = _model_of(type_)

    def encode(value: Any) -> str:
        if model is not None and not isinstance(value, model):
            # pydantic would write a model of another class as "{}".
            raise UnfitError(f"must be {model.__name__}, not {type(value).__name__}")
        return write(value).decode()

    def decode(message: str | bytes) -> Any:
        value = read(message)
        text = message if isinstance(message, str) else message.decode()
        if "NaN" in text or "Infinity" in text:
            # pydantic takes these names for numbers, but JSON has no such numbers. In strings they are allowed, so our
            # own reader decides.
            from_json(text)
        return value

    return TypedCodec(encode, decode, _type_name(type_))


# A class or an adapter gives the same codec each time, so that subscribers who name it share one decoded message.
codec_of_class = lru_cache(maxsize=256)(codec_of_type)


@lru_cache(maxsize=256)
def _of_adapter(adapter: TypeAdapter[Any]) -> Codec[Any]:
    return _typed(adapter, adapter._type)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _is_type(value: object) -> bool:
    """Whether the value is a class, or a form of `typing` such as a union, `list[int]` or `Literal`."""
    is_form = get_origin(value) is not None or type(value).__module__ in {"typing", "typing_extensions"}
    return isinstance(value, type) or is_form


def _type_name(type_: Any) -> str:
    """A type as one writes it, without modules and `Annotated`: `Quote`, `list[int]`, `int | str`."""
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


def _model_of(type_: Any) -> type | None:
    """The model's class; `None` if the type is no model. A value of `Envelope` counts as one of `Envelope[int]`."""
    if not (isinstance(type_, type) and issubclass(type_, BaseModel)):
        return None
    return type_.__pydantic_generic_metadata__["origin"] or type_
