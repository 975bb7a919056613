"""The settings folder: its sources, put together, and its error messages.

The folder holds `plugins.toml`, which switches plugins, and one `<plugin>.toml` per plugin, its *section*. Every file
is optional, and a plugin that is not mentioned is enabled. What comes later in this list wins, key by key:

1. `<section>.toml`
2. `<section>.local.toml`, for one machine
3. `.env` in the folder; what does not begin with `RXNODES_` is ignored, and nothing in it is expanded
4. `secrets/` in the folder: one file per value, named like the environment variable, with or without `RXNODES_`
5. environment variables: `RXNODES_WEBSOCKET__CONNECTIONS__CHAT__URL`, `RXNODES_PLUGINS__WEBSOCKET`

In the name of a variable, upper and lower case are the same, and so are "-" and "_": `MY_FEED` is the connection
"my-feed" of a file. A name that no file has becomes lower case. The value of a list is JSON; that of a table can be.
Two variables of one source (3, 4 or 5) for one value are a problem.

A variable holds text, so text is a number or a bool there, as pydantic reads it. In TOML, and among Python values, a
number is a number: what a field's type does not name, text least of all, is refused. Left to the field are the words
"none" and "off" where its type has `None`, and a Python `int` where its type is `bool`.

A plugin's section is a pydantic model, which is validated with the context `{"folder": Path}` where there is a folder.
Fields go by their names, not by aliases. Beyond pydantic, the loader knows two things that a model can declare:

- `shorthand: ClassVar[str] = "url"`: a plain value in the place of this table means a table with this one key;
- `Field(json_schema_extra={"env_separator": "-"})` on a `dict`: what "_" in a variable's name stands for in new keys.

pydantic-settings reads the same kinds of sources, but forgets which of them a value came from and passes over variables
that fit nothing. Here every problem names its file and line, or its variable, and none repeats a value.
"""

from __future__ import annotations

import difflib
import errno
import io
import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, Union, cast, get_args, get_origin

from dotenv.parser import parse_stream
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from rxnodes.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    from rxnodes.catalogue.plugins import Plugin

__all__ = ["MISSING", "LoadedSettings", "from_values", "load", "unreadable"]

_PREFIX = "RXNODES_"
_SWITCHES = "plugins"

_Path = tuple[str, ...]
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings that were found good.

    Attributes:
        enabled: The plugins that are switched on, in the order they were given.
        sections: The section of each of them, by the plugin's name.
        switches: What switches each plugin, enabled or not: a file, a variable or an argument.
    """

    enabled: tuple[Plugin, ...]
    sections: Mapping[str, BaseModel]
    switches: Mapping[str, str]


def load(
    folder: str | os.PathLike[str], plugins: Mapping[str, Plugin], *, environ: Mapping[str, str] | None = None
) -> LoadedSettings:
    """Loads the settings folder.

    Args:
        folder: The folder.
        plugins: The plugins there are, by name.
        environ: The environment variables; by default the process's.

    Raises:
        SettingsError: With all problems that were found.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SettingsError([f"{folder}: there is no such folder; it holds plugins.toml and a .toml file per plugin"])
    problems: list[str] = []
    _unknown_files(folder, plugins, problems)
    variables = [
        *_dotenv_variables(folder / ".env", problems),
        *_secret_variables(folder / "secrets", problems),
        *_environment_variables(os.environ if environ is None else environ),
    ]
    strays = [variable for variable in variables if variable.section not in {_SWITCHES, *plugins}]

    def fill(section: _Section) -> None:
        for file in (folder / f"{section.name}.toml", folder / f"{section.name}.local.toml"):
            _merge_file(section, file, problems)
        ours = [variable for variable in variables if variable.section == section.name]
        strays.extend(variable for variable in ours if not _merge_variable(section, variable, problems))

    sections = _Sections(plugins, fill, lambda name: _Origin(str(folder / f"{name}.toml")))
    problems += [_described(stray, sections, plugins) for stray in strays]
    return sections.validated(problems, {"folder": folder})


def from_values(values: Mapping[str, Any], plugins: Mapping[str, Plugin]) -> LoadedSettings:
    """Takes settings from Python values; no file and no environment variable is read.

    Args:
        values: The sections, by the plugin's name, such as `{"websocket": {"connections": {"chat": "ws://..."}}}`.
            `"plugins"` holds the switches, such as `{"plugins": {"websocket": False}}`.
        plugins: The plugins there are, by name.

    Raises:
        SettingsError: With all problems that were found.
    """

    def origin_of(name: str) -> _Origin:
        return _Origin(f"the argument {name!r}")

    known = [*plugins, _SWITCHES]
    problems = [f"{origin_of(name)}: {_unknown(name, known)}" for name in values if name not in known]

    def fill(section: _Section) -> None:
        value = values.get(section.name, {})
        if isinstance(value, Mapping):
            section.merge(cast("Mapping[str, Any]", value), lambda _: section.origin, _python_has)
        else:
            problems.append(f"{section.origin}: must be a mapping")

    return _Sections(plugins, fill, origin_of).validated(problems, {})


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a value comes from: a file, a variable or an argument, and the place within it."""

    source: str
    place: str = ""

    def __str__(self) -> str:
        return self.source + self.place


# --- What the settings may hold ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shape:
    """What may be at a place: a table of known keys (`fields`), one of free keys (`items`), a list or a plain value.

    Of a plain value, `types` are those that it may have; `None`: whatever pydantic takes.
    """

    fields: Mapping[str, _Shape] = field(default_factory=dict[str, "_Shape"])
    items: _Shape | None = None
    is_list: bool = False
    members: _Shape | None = None
    types: frozenset[type] | None = None
    is_optional: bool = False
    shorthand: str | None = None
    separator: str = "_"

    @property
    def is_table(self) -> bool:
        return bool(self.fields) or self.items is not None

    def at(self, *path: str) -> _Shape:
        shape = self
        for key in path:
            shape = shape.fields.get(key) or shape.items or _PLAIN
        return shape


_PLAIN = _Shape()

_TOML_TYPES = frozenset({bool, int, float, str})

#: The types of values that each type takes, where that can be said.
_TYPES_OF: dict[object, frozenset[type]] = {
    bool: frozenset({bool}),
    int: frozenset({int}),
    float: frozenset({int, float}),
}


def _toml_has(shape: _Shape, value: object) -> bool:
    """Whether a value of TOML is of a type that can be there."""
    if shape.types is None or type(value) not in _TOML_TYPES:
        return True
    # TOML has no null; a field that can be `None` may have a word for it.
    is_none = shape.is_optional and isinstance(value, str) and value.strip().lower() in {"none", "off"}
    return is_none or type(value) in shape.types


def _python_has(shape: _Shape, value: object) -> bool:
    """The same of a value of Python, where 0 and 1 may stand for a bool, which is an `int` itself."""
    return _toml_has(shape, value) or (type(value) is int and shape.types is not None and bool in shape.types)


def _variable_has(_shape: _Shape, _value: object) -> bool:
    """A variable is text, of whatever it is to be."""
    return True


def _shape_of(annotation: Any, separator: str = "_") -> _Shape:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {name: _shape_of_field(info) for name, info in annotation.model_fields.items()}
        return _Shape(fields=fields, shorthand=getattr(annotation, "shorthand", None))
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _shape_of(arguments[0], separator)
    if origin in {Union, UnionType}:
        shapes = [_shape_of(argument, separator) for argument in arguments if argument is not NoneType]
        plain = _Shape(types=_types_of_all(shapes), is_optional=NoneType in arguments)
        return next((shape for shape in shapes if shape.is_table or shape.is_list), plain)
    if origin is dict:
        return _Shape(items=_shape_of(arguments[1]), separator=separator)
    if origin in {list, tuple, set, frozenset}:
        # Those of a tuple such as tuple[int, str] differ.
        are_alike = origin is not tuple or arguments[1:] == (Ellipsis,)
        return _Shape(is_list=True, members=_shape_of(arguments[0]) if are_alike else None)
    return _Shape(types=_TYPES_OF.get(cast("object", annotation)))


def _types_of_all(shapes: list[_Shape]) -> frozenset[type] | None:
    known = [shape.types for shape in shapes if shape.types is not None]
    return frozenset[type]().union(*known) if len(known) == len(shapes) else None


def _shape_of_field(info: FieldInfo) -> _Shape:
    extra = cast("object", info.json_schema_extra)  # pyright: ignore[reportUnknownMemberType]
    separator = cast("dict[str, str]", extra).get("env_separator", "_") if isinstance(extra, dict) else "_"
    return _shape_of(info.annotation, separator)


class _Switch(BaseModel):
    """What `plugins.toml` says about one plugin."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    shorthand: ClassVar[str] = "enabled"

    enabled: bool = True


# --- Sections: merging and validating ---------------------------------------------------------------------------------


class _Section:
    """One section: its values, merged from all sources, and where each of them comes from."""

    def __init__(self, name: str, shape: _Shape, origin: _Origin) -> None:
        self.name = name
        self.shape = shape
        self.origin = origin
        self.values: dict[str, Any] = {}
        self._origins: dict[_Path, _Origin] = {}
        self._texts: set[_Path] = set()
        self._variables: dict[tuple[str, _Path], _Variable] = {}

    def merge(
        self,
        table: Mapping[str, Any],
        origin_of: Callable[[_Path], _Origin],
        has: Callable[[_Shape, object], bool],
    ) -> None:
        """Lays a table over what is there.

        Args:
            table: The table.
            origin_of: Where the value at a path comes from.
            has: Whether a value is of a type that can be at a place.
        """
        self._merge(self.values, table, (), origin_of, has)

    def _merge(
        self,
        below: dict[str, Any],
        table: Mapping[str, Any],
        path: _Path,
        origin_of: Callable[[_Path], _Origin],
        has: Callable[[_Shape, object], bool],
    ) -> None:
        for key, value in table.items():
            here = (*path, str(key))
            shape = self.shape.at(*here)
            if shape.shorthand is not None and not isinstance(value, Mapping | BaseModel):
                value = {shape.shorthand: value}  # noqa: PLW2901 - the same value, written out
            if isinstance(value, Mapping):
                if not isinstance(below.get(key), dict):
                    below[key] = {}
                    self._origins[here] = origin_of(here)
                self._merge(below[key], cast("Mapping[str, Any]", value), here, origin_of, has)
            else:
                self._texts.discard(here)
                below[key] = self._strict(value, shape, here, has)
                self._origins[here] = origin_of(here)

    def _strict(self, value: object, shape: _Shape, path: _Path, has: Callable[[_Shape, object], bool]) -> object:
        """The value, with what is of a type that cannot be there replaced by something that nothing takes."""
        if shape.members is not None and isinstance(value, list | tuple):
            members = cast("Iterable[object]", value)
            return [self._strict(member, shape.members, (*path, str(at)), has) for at, member in enumerate(members)]
        if has(shape, value):
            return value
        if isinstance(value, str) and _is_number_or_bool(value):
            self._texts.add(path)
        return _MISFIT

    def claim(self, path: _Path, variable: _Variable) -> _Variable:
        """Notes which variable sets the value at a path; the first of its source that does."""
        return self._variables.setdefault((variable.source, path), variable)

    def origin_of(self, path: _Path) -> _Origin:
        """Where the value at the path comes from, or else the innermost table around it."""
        around = (path[:length] for length in range(len(path), 0, -1))
        return next((self._origins[place] for place in around if place in self._origins), self.origin)

    def find(self, segments: Iterable[str]) -> _Path | None:
        """The path that the segments of a variable's name mean; `None` if there can be no such setting.

        Raises:
            ValueError: If a segment fits more than one name.
        """
        path: _Path = ()
        for segment in segments:
            shape = self.shape.at(*path)
            names = _table(self.values, *path) if shape.items else shape.fields
            key = _matching(segment, names)
            if key is None and shape.items and segment:
                key = segment.lower().replace("_", shape.separator)
            if key is None:
                return None
            path = (*path, key)
        return path

    def validated(
        self, model: type[_Model], problems: list[str], context: Mapping[str, Any], *path: str
    ) -> _Model | None:
        """The values at the path, as the model; `None` after adding to the problems."""
        try:
            return model.model_validate(_table(self.values, *path), context=context)
        except ValidationError as error:
            problems += [
                self._problem(details, path) for details in error.errors(include_url=False, include_input=False)
            ]
            return None

    def _problem(self, details: ErrorDetails, around: _Path) -> str:
        # pydantic marks a problem with a key, rather than with its value, by a last part "[key]".
        path = (*around, *(str(part) for part in details["loc"] if part != "[key]"))
        if details["type"] == "extra_forbidden":
            text = _unknown(path[-1], self.shape.at(*path[:-1]).fields)
        else:
            text = _explained(details) + (", not text" if path in self._texts else "")
        return f"{self.origin_of(path)}: {f'{_dotted(path)}: ' if path else ''}{text}"


#: In the place of a value of the wrong type, so that the field says in its own words what it takes.
_MISFIT = object()

_NUMBER_OR_BOOL: TypeAdapter[bool | float] = TypeAdapter(bool | float)


def _is_number_or_bool(text: str) -> bool:
    try:
        _NUMBER_OR_BOOL.validate_python(text)
    except ValidationError:
        return False
    return True


def _table(values: dict[str, Any], *path: str) -> dict[str, Any]:
    """The table at the path; empty if there is none."""
    for key in path:
        inner = values.get(key)
        values = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    return values


class _Sections:
    """The switches and the section of every enabled plugin."""

    def __init__(
        self, plugins: Mapping[str, Plugin], fill: Callable[[_Section], None], origin_of: Callable[[str], _Origin]
    ) -> None:
        self._plugins = plugins
        switch = _shape_of(_Switch)
        self.switches = _Section(_SWITCHES, _Shape(fields=dict.fromkeys(plugins, switch)), origin_of(_SWITCHES))
        fill(self.switches)
        self._switch_problems: list[str] = []
        self.sections = {
            name: _Section(name, _shape_of(plugin.settings), origin_of(name))
            for name, plugin in plugins.items()
            if self._is_enabled(name)
        }
        for section in self.sections.values():
            fill(section)

    def _is_enabled(self, plugin: str) -> bool:
        switch = self.switches.validated(_Switch, self._switch_problems, {}, plugin)
        # With a switch that cannot be read, the section's own problems are reported too.
        return switch is None or switch.enabled

    def validated(self, problems: list[str], context: Mapping[str, Any]) -> LoadedSettings:
        """All of it.

        Raises:
            SettingsError: With the given problems and those found here.
        """
        problems = [*problems, *self._switch_problems]
        for name in self.switches.values:
            if name not in self._plugins:
                problems.append(f"{self.switches.origin_of((name,))}: {name}: {_unknown(name, self._plugins)}")
        models: dict[str, BaseModel] = {}
        for name, section in self.sections.items():
            model = section.validated(self._plugins[name].settings, problems, context)
            if model is not None:
                models[name] = model
        if problems:
            raise SettingsError(problems)
        switches = {name: self.switches.origin_of((name, "enabled")).source for name in self._plugins}
        enabled = tuple(self._plugins[name] for name in models)
        return LoadedSettings(enabled=enabled, sections=models, switches=switches)


# --- Files ------------------------------------------------------------------------------------------------------------

#: What is said of a file, or of what a link leads to, that is not there.
MISSING = "does not exist"

_KINDS = {
    stat.S_IFDIR: os.strerror(errno.EISDIR),
    stat.S_IFIFO: "Is a pipe",
    stat.S_IFSOCK: "Is a socket",
    stat.S_IFCHR: "Is a device",
    stat.S_IFBLK: "Is a device",
}


def unreadable(file: Path) -> str | None:
    """Why a file cannot be read, as far as that can be told without opening it; `None`: it can be.

    Opening a pipe would wait for whoever writes to it, and a device never ends.
    """
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        # Nothing there is one thing, a link that leads there another.
        return f"is a link to {str(file.readlink())!r}, which {MISSING}" if file.is_symlink() else MISSING
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError:
        # A path that no system can have.
        return MISSING
    return None if stat.S_ISREG(mode) else f"cannot be read: {_KINDS.get(stat.S_IFMT(mode), 'Is no file')}"


def _read(file: Path, problems: list[str]) -> str | None:
    """The file's text; `None` if there is no such file, or after adding to the problems."""
    problem = unreadable(file)
    if problem is not None:
        if problem != MISSING:
            problems.append(f"{file}: {problem}")
        return None
    try:
        data = file.read_bytes()
    except OSError as error:
        problems.append(f"{file}: cannot be read: {error.strerror}")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.append(f"{file}, line {line}: is not UTF-8 text")
        return None


def _files_in(folder: Path, problems: list[str]) -> list[Path]:
    """What is in a folder that may be missing; files whose names begin with a dot are left alone."""
    try:
        return sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    except OSError as error:
        # A link that leads nowhere is not the same as no folder.
        if not isinstance(error, FileNotFoundError) or folder.is_symlink():
            problems.append(f"{folder}: cannot be read: {error.strerror}")
        return []


# --- TOML files -------------------------------------------------------------------------------------------------------


def _unknown_files(folder: Path, plugins: Iterable[str], problems: list[str]) -> None:
    known = [f"{name}{suffix}" for name in (_SWITCHES, *plugins) for suffix in ("", ".local")]
    problems += [
        f"{file}: {_unknown(file.stem, known, kind='file', ending='.toml')}"
        for file in _files_in(folder, problems)
        if file.suffix == ".toml" and file.stem not in known
    ]


def _merge_file(section: _Section, file: Path, problems: list[str]) -> None:
    text = _read(file, problems)
    if text is None:
        return
    try:
        table = tomllib.loads(text)
        lines = _key_lines(text)
    except (ValueError, RecursionError) as error:
        problems.append(f"{file}{_toml_problem(error, text)}")
        return

    def origin_of(path: _Path) -> _Origin:
        around = (path[:length] for length in range(len(path), 0, -1))
        return _Origin(str(file), f", line {next(lines[place] for place in around if place in lines)}")

    section.merge(table, origin_of, _toml_has)


def _toml_problem(error: Exception, text: str) -> str:
    match = re.fullmatch(r"(.*) \((?:at line (\d+), column (\d+)|at end of document)\)", str(error), re.DOTALL)
    if match is None:
        return f": is not valid TOML: {error}"
    line = match[2] or len(text.rstrip().split("\n"))
    column = f" (column {match[3]})" if match[3] else ""
    return f", line {line}: is not valid TOML: {match[1]}{column}"


def _key_lines(text: str) -> dict[_Path, int]:
    """The line on which each key of a valid TOML text is first named.

    tomllib does not tell. But each statement can be read alone.
    """
    lines: dict[_Path, int] = {}
    header: _Path = ()
    for line, statement in _statements(text):
        paths = list(_paths(tomllib.loads(statement)))
        if statement.lstrip().startswith("["):
            header = paths[-1]
        else:
            paths = [header + path for path in paths]
        for path in paths:
            lines.setdefault(path, line)
    return lines


#: What may hold the end of a line within a statement, or else end it. Three quotes may have two more before them.
_TOML_MARKS = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5} | '{3}.*?'{3,5} | "(?:\\.|[^"\\])*" | '[^']*' | \#[^\n]* | [\[\]{}\n]''',
    re.DOTALL | re.VERBOSE,
)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """The statements of a valid TOML text, and the line on which each begins. Its end is in no bracket or string."""
    start, line, depth = 0, 1, 0
    for mark in _TOML_MARKS.finditer(text):
        if mark[0] in {"[", "{"}:
            depth += 1
        elif mark[0] in {"]", "}"}:
            depth -= 1
        elif mark[0] == "\n" and depth == 0:
            statement = text[start : mark.end()]
            yield line, statement
            start, line = mark.end(), line + statement.count("\n")
    yield line, text[start:]


def _paths(table: Mapping[str, Any], around: _Path = ()) -> Iterator[_Path]:
    """The paths of all keys, each table before what it holds."""
    for key, value in table.items():
        path = (*around, key)
        yield path
        if isinstance(value, Mapping):
            yield from _paths(cast("Mapping[str, Any]", value), path)


# --- Variables: .env, secrets and the environment ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Variable:
    """A setting outside the TOML files. Its `repr` does not show the value.

    Attributes:
        source: What holds it: the environment, or a file or folder. One variable of the next wins over it.
        name: Its name, with the prefix.
        text: Its value.
        origin: Where exactly it is.
    """

    source: str
    name: str
    text: str = field(repr=False)
    origin: _Origin

    @property
    def segments(self) -> list[str]:
        """The parts of the name behind `RXNODES_`, the section first."""
        return self.name[len(_PREFIX) :].split("__")

    @property
    def section(self) -> str:
        return _folded(self.segments[0])


def _dotenv_variables(file: Path, problems: list[str]) -> list[_Variable]:
    variables: dict[str, _Variable] = {}
    for binding in parse_stream(io.StringIO(_read(file, problems) or "")):
        written = binding.original.string
        statement = written.lstrip()
        line = binding.original.line + written[: len(written) - len(statement)].count("\n")
        name = binding.key or re.sub(r"export\s+|=.*", "", statement, flags=re.DOTALL).strip()
        if not _is_ours(name):
            continue
        if binding.error or binding.value is None:
            problems.append(f"{file}, line {line}: cannot be read; it must be NAME=value, with quotes closed")
            continue
        # Of a name that is written twice, the later line counts, as everywhere.
        variables[name] = _Variable(str(file), name, binding.value, _Origin(str(file), f", line {line} ({name})"))
    return _outer_first(variables.values())


def _secret_variables(folder: Path, problems: list[str]) -> list[_Variable]:
    variables: list[_Variable] = []
    for file in _files_in(folder, problems):
        name = file.name if _is_ours(file.name) else _PREFIX + file.name
        text = _read(file, problems)
        if text is not None:
            # Most editors end a file with a line break that is not part of the secret.
            variables.append(_Variable(str(folder), name, text.rstrip("\r\n"), _Origin(str(file))))
    return _outer_first(variables)


def _environment_variables(environ: Mapping[str, str]) -> list[_Variable]:
    return _outer_first(
        _Variable("the environment", name, text, _Origin(f"environment variable {name}"))
        for name, text in sorted(environ.items())
        if _is_ours(name)
    )


def _is_ours(name: str) -> bool:
    return name.upper().startswith(_PREFIX)


def _outer_first(variables: Iterable[_Variable]) -> list[_Variable]:
    """In an order in which a variable for one key is laid over one for the whole table."""
    return sorted(variables, key=lambda variable: len(variable.segments))


def _merge_variable(section: _Section, variable: _Variable, problems: list[str]) -> bool:
    """Lays the variable's value over the section; false if there is no such setting."""
    try:
        path = section.find(variable.segments[1:])
        if path is None:
            return False
        shape = section.shape.at(*path)
        value = _decoded(variable.text, shape, is_section=not path)
    except ValueError as error:
        problems.append(f"{variable.origin}: {error}")
        return True
    # A plain value in the place of a table is the value of one of its keys.
    paths = [path, (*path, shape.shorthand)] if shape.shorthand and isinstance(value, str) else [path]
    others = [other for path in paths if (other := section.claim(path, variable)) is not variable]
    if others:
        problems.append(f"{variable.origin}: sets the same value as {others[0].origin}; keep one of them")
        return True
    for key in reversed(path):
        value = {key: value}
    section.merge(cast("dict[str, Any]", value), lambda _: variable.origin, _variable_has)
    return True


def _decoded(text: str, shape: _Shape, *, is_section: bool) -> Any:
    if not (is_section or shape.is_list or (shape.is_table and text.lstrip().startswith("{"))):
        return text
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, list if shape.is_list else dict):
        return cast("Any", value)
    example = '["a", "b"]' if shape.is_list else '{"key": "value"}'
    # Without `from None` the text, which may be secret, would stay with the exception.
    raise ValueError(f"must be JSON of the form {example}") from None


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def _matching(segment: str, names: Iterable[str]) -> str | None:
    """The name that the segment of a variable's name means; one that differs in "-" and "_" only if no other does."""
    similar = [name for name in names if _folded(name) == _folded(segment)]
    matches = [name for name in similar if name.lower() == segment.lower()] or similar
    if len(matches) > 1:
        raise ValueError(f"fits more than one name: {', '.join(matches)}")
    return matches[0] if matches else None


# --- What is said about problems --------------------------------------------------------------------------------------

#: In plain words, what pydantic says in its own.
_EXPLANATIONS = {
    "missing": "is missing",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
}


def _explained(details: ErrorDetails) -> str:
    error = details.get("ctx", {}).get("error")
    if isinstance(error, Exception):
        return str(error)
    return _EXPLANATIONS.get(details["type"], details["msg"].replace("Input should be", "must be"))


def _unknown(name: str, known: Iterable[str], *, kind: str = "name", ending: str = "") -> str:
    names = sorted(known)
    nearest = _nearest(name, names)
    if nearest is None:
        return f"unknown {kind} (known: {', '.join(name + ending for name in names) or 'none'})"
    return f"unknown {kind}; did you mean {nearest}{ending}?"


def _described(stray: _Variable, sections: _Sections, plugins: Iterable[str]) -> str:
    """What is wrong with a variable that fits nothing."""
    known = [
        "__".join([section.name, *names]).upper().replace("-", "_")
        for section in (sections.switches, *sections.sections.values())
        for names in _names(section.shape, section.values, stray.segments[1:])
    ]
    nearest = _nearest("__".join(stray.segments).upper(), known)
    if nearest is None:
        beginnings = ", ".join(f"{_PREFIX}{name.upper()}__" for name in (_SWITCHES, *plugins))
        return f"{stray.origin}: there is no such setting; names begin with {beginnings}"
    return f"{stray.origin}: there is no such setting; did you mean {_PREFIX}{nearest}?"


def _names(shape: _Shape, values: dict[str, Any], written: list[str]) -> Iterator[_Path]:
    """The paths of all settings there are; where names are free, those in use and the one that was written."""
    free = [*values, "".join(written[:1]) or "<NAME>"] if shape.items else []
    for key in shape.fields or free:
        yield (key,)
        for rest in _names(shape.at(key), _table(values, key), written[1:]):
            yield (key, *rest)


def _nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def _dotted(path: _Path) -> str:
    """The path as TOML writes it."""
    return ".".join(key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key) for key in path)
