"""The shape of a section of the settings, which is read from its pydantic model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = [
    "MISFIT",
    "SWITCHES",
    "Fits",
    "Shape",
    "Switch",
    "fits_python",
    "fits_toml",
    "fits_variable",
    "is_number_or_bool",
    "is_on",
    "shape_of",
]

#: The section that switches plugins, in `plugins.toml`.
SWITCHES = "plugins"


class Switch(BaseModel):
    """One plugin in `plugins.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    shorthand: ClassVar[str] = "enabled"

    enabled: bool = True


def is_on(plugin: str, switches: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a plugin is on, by the switches of each source.

    A plugin whose switch cannot be read counts as on, so that the problems of its section are found at once too.
    """
    values: dict[str, Any] = {}
    for source in switches:
        values |= source.get(plugin, {})
    try:
        return Switch.model_validate(values).enabled
    except ValidationError:
        return True


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a value: a table with known keys (`fields`), one with free keys (`items`), a list or a plain value.

    Attributes:
        fields: Of a table with known keys, the shape at each.
        items: Of a table with free keys, the shape at any.
        is_list: Whether it is a list.
        members: Of a list, the shape of each member; `None` leaves it to pydantic.
        types: Of a plain value, the types that it may have; `None` leaves it to pydantic.
        is_optional: Whether the value may be `None`.
        shorthand: The key for a plain value that stands in the place of this table.
        separator: Takes the place of "_" in a variable's name, in a new key of this table.
    """

    fields: Mapping[str, Shape] = field(default_factory=dict[str, "Shape"])
    items: Shape | None = None
    is_list: bool = False
    members: Shape | None = None
    types: frozenset[type] | None = None
    is_optional: bool = False
    shorthand: str | None = None
    separator: str = "_"

    @property
    def is_table(self) -> bool:
        """Whether it is a table."""
        return bool(self.fields) or self.items is not None

    def at(self, *path: str) -> Shape:
        """The shape at a path below this one."""
        shape = self
        for key in path:
            shape = shape.fields.get(key) or shape.items or _ANYTHING
        return shape


_ANYTHING = Shape()

#: The types of the values that each of these types takes.
_TYPES_OF: dict[object, frozenset[type]] = {
    bool: frozenset({bool}),
    int: frozenset({int}),
    float: frozenset({int, float}),
}


def shape_of(annotation: Any, separator: str = "_") -> Shape:
    """The shape of the values of a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _shape_of_model(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return shape_of(arguments[0], separator)
    if origin in {Union, UnionType}:
        shapes = [shape_of(argument, separator) for argument in arguments if argument is not NoneType]
        plain = Shape(types=_types_of_all(shapes), is_optional=NoneType in arguments)
        return next((shape for shape in shapes if shape.is_table or shape.is_list), plain)
    if origin is dict:
        return Shape(items=shape_of(arguments[1]), separator=separator)
    if origin in {list, tuple, set, frozenset}:
        # The members of a tuple such as tuple[int, str] differ.
        are_alike = origin is not tuple or arguments[1:] == (Ellipsis,)
        return Shape(is_list=True, members=shape_of(arguments[0]) if are_alike else None)
    return Shape(types=_TYPES_OF.get(cast("object", annotation)))


def _types_of_all(shapes: list[Shape]) -> frozenset[type] | None:
    known = [shape.types for shape in shapes if shape.types is not None]
    return frozenset[type]().union(*known) if len(known) == len(shapes) else None


@cache
def _shape_of_model(model: type[BaseModel]) -> Shape:
    # Cached, because this takes longer than all other work for a connection that is added.
    fields = {name: _shape_of_field(info) for name, info in model.model_fields.items()}
    return Shape(fields=fields, shorthand=getattr(model, "shorthand", None))


def _shape_of_field(info: FieldInfo) -> Shape:
    extra = cast("object", info.json_schema_extra)  # pyright: ignore[reportUnknownMemberType]
    separator = cast("dict[str, str]", extra).get("env_separator", "_") if isinstance(extra, dict) else "_"
    return shape_of(info.annotation, separator)


# --- Types ------------------------------------------------------------------------------------------------------------

#: Whether the type of a value fits a shape.
Fits: TypeAlias = Callable[[Shape, object], bool]

#: Takes the place of a value of a wrong type, so that pydantic refuses it with the field's own words.
MISFIT = object()

_TOML_TYPES = frozenset({bool, int, float, str})


def fits_toml(shape: Shape, value: object) -> bool:
    """Whether the type of a TOML value fits."""
    if shape.types is None or type(value) not in _TOML_TYPES:
        return True
    # TOML has no null: two words stand for it in a field that can be `None`.
    is_none = shape.is_optional and isinstance(value, str) and value.strip().lower() in {"none", "off"}
    return is_none or type(value) in shape.types


def fits_python(shape: Shape, value: object) -> bool:
    """Whether the type of a Python value fits. 0 and 1 may stand for a bool, which is an `int` itself."""
    return fits_toml(shape, value) or (type(value) is int and shape.types is not None and bool in shape.types)


def fits_variable(_shape: Shape, _value: object) -> bool:
    """Fits always: a variable is text, in which pydantic reads the number or the bool."""
    return True


_NUMBER_OR_BOOL: TypeAdapter[bool | float] = TypeAdapter(bool | float)


def is_number_or_bool(text: str) -> bool:
    """Whether pydantic would read a text as a number or a bool."""
    try:
        _NUMBER_OR_BOOL.validate_python(text)
    except ValidationError:
        return False
    return True
