"""The sources of a settings folder: those of pydantic-settings, which here also note the origin of each value.

pydantic-settings passes over what it cannot use (a variable that fits no setting, a link that leads nowhere), or stops
at the first problem. These sources note a problem and go on.
"""

from __future__ import annotations

import io
import json
import re
import tomllib
from abc import abstractmethod
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

from dotenv.parser import parse_stream
from pydantic import BaseModel
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from rxnodes.settings.files import files_in, read_text
from rxnodes.settings.places import Origin, folded
from rxnodes.settings.problems import PREFIX
from rxnodes.settings.shapes import SWITCHES, fits_toml, fits_variable, is_on
from rxnodes.settings.toml_lines import lines_of_keys, toml_problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from pydantic_settings import PydanticBaseSettingsSource

    from rxnodes.settings.places import KeyPath, Places
    from rxnodes.settings.shapes import Shape

__all__ = ["FolderSettings", "Reading"]


@dataclass(slots=True)
class Reading:
    """One reading of a settings folder.

    Attributes:
        problems: The problems that were found so far.
        sections: The sections that are read, in their order.
        strays: The variables that fit no setting.
    """

    folder: Path
    environ: Mapping[str, str] = field(repr=False)
    places: Places
    problems: list[str] = field(default_factory=list[str])
    sections: list[str] = field(default_factory=list[str])
    strays: list[Variable] = field(default_factory=list["Variable"])


class _InFolder(BaseModel):
    """Validates with the folder as context, which `BaseSettings` does not take."""

    reading: ClassVar[Reading]

    def __init__(self, /, **values: Any) -> None:
        self.__pydantic_validator__.validate_python(values, self_instance=self, context={"folder": self.reading.folder})


class FolderSettings(BaseSettings, _InFolder):  # pyright: ignore[reportIncompatibleVariableOverride]
    """The settings of a folder. A subclass has a field for each section, and one reading."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=False
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *_args: Any, **_usual_sources: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources, the one that wins first; the sections of enabled plugins are laid out."""
        reading = cls.reading
        sources = (
            _Toml(settings_cls, reading, ".toml"),
            _Toml(settings_cls, reading, ".local.toml"),
            _DotEnv(settings_cls, reading),
            _Secrets(settings_cls, reading),
            _Environment(settings_cls, reading),
        )
        # The switches have a pass of their own, because the section of a plugin that is off is not read.
        _lay_section(SWITCHES, sources, reading)
        switches = [source()[SWITCHES] for source in sources]
        for name in reading.places.plugins:
            if is_on(name, switches):
                _lay_section(name, sources, reading)
        return sources[::-1]


def _lay_section(section: str, sources: Iterable[_Source], reading: Reading) -> None:
    reading.sections.append(section)
    # The meaning of a variable's name depends on the names in the sources before it.
    for source in sources:
        source.lay(section)


class _Values(dict[str, Any]):
    """The values of a source, by section. Its `repr`, which pydantic-settings can log, shows none."""

    def __repr__(self) -> str:
        return f"<values of {', '.join(self) or 'no section'}>"


# --- TOML files -------------------------------------------------------------------------------------------------------


class _Toml(TomlConfigSettingsSource):
    """`<section>.toml` of each section; with the other ending, `<section>.local.toml`."""

    def __init__(self, settings_cls: type[BaseSettings], reading: Reading, ending: str) -> None:
        super().__init__(settings_cls, toml_file=None)
        self.init_kwargs = _Values()
        self._reading = reading
        self._ending = ending

    def lay(self, section: str) -> None:
        """Reads the section's file, which may be missing."""
        self.init_kwargs[section] = self._read_file(self._reading.folder / f"{section}{self._ending}")

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        text = read_text(cast("Path", file_path), self._reading.problems)
        if text is None:
            return {}
        section = file_path.name.removesuffix(self._ending)
        try:
            table = tomllib.loads(text)
            lines = lines_of_keys(text)
            return self._reading.places.lay(section, table, partial(_origin_in, file_path, lines), fits_toml)
        except (ValueError, RecursionError) as error:
            self._reading.problems.append(f"{file_path}{toml_problem(error, text)}")
            return {}


def _origin_in(file: Path | Traversable, lines: Mapping[KeyPath, int], keys: KeyPath) -> Origin:
    """The line of a key, or else of the innermost table around it that has one."""
    around = (keys[1:length] for length in range(len(keys), 1, -1))
    return Origin(str(file), f", line {next(lines[place] for place in around if place in lines)}")


# --- Variables: .env, secrets and the environment ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Variable:
    """A setting outside the TOML files. Its `repr` does not show the text."""

    name: str
    text: str = field(repr=False)
    origin: Origin

    @property
    def segments(self) -> list[str]:
        """The parts of the name after the prefix, the section first."""
        return self.name[len(PREFIX) :].split("__")

    @property
    def section(self) -> str:
        """The name of the section."""
        return folded(self.segments[0])


class _Variables(EnvSettingsSource):
    """A source of variables. A subclass says which ones."""

    def __init__(self, settings_cls: type[BaseSettings], reading: Reading) -> None:
        # Before the base class, which loads the variables at once.
        self._reading = reading
        super().__init__(settings_cls)

    @abstractmethod
    def _variables(self) -> Iterable[Variable]:
        """The variables of this source that begin with the prefix."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        self._values = _Values()
        self._claims: dict[KeyPath, Variable] = {}
        self._by_section: dict[str, list[Variable]] = defaultdict(list)
        # A variable for a table comes before those for its keys, which are laid over it.
        variables = sorted(self._variables(), key=lambda variable: len(variable.segments))
        for variable in variables:
            self._by_section[variable.section].append(variable)
            if variable.section not in self._reading.places.shape.fields:
                self._reading.strays.append(variable)
        return {variable.name: variable.text for variable in variables}

    def __call__(self) -> dict[str, Any]:
        """The values of the sections that were laid out."""
        return self._values

    def lay(self, section: str) -> None:
        """Puts the section's variables into the places that their names mean."""
        self._values[section] = {}
        for variable in self._by_section[section]:
            try:
                keys = self._reading.places.find(section, variable.segments[1:])
                if keys is None:
                    self._reading.strays.append(variable)
                else:
                    self._lay_value(variable, keys)
            except (ValueError, RecursionError) as error:
                self._reading.problems.append(f"{variable.origin}: {error}")

    def _lay_value(self, variable: Variable, keys: KeyPath) -> None:
        shape = self._reading.places.shape.at(*keys)
        value = _decoded(variable.text, shape, is_section=len(keys) == 1)
        # A plain value in the place of a table also claims the key that it stands for.
        places = [keys, (*keys, shape.shorthand)] if shape.shorthand and isinstance(value, str) else [keys]
        for place in places:
            other = self._claims.setdefault(place, variable)
            if other is not variable:
                raise ValueError(f"sets the same value as {other.origin}; keep one of them")
        section, *inner = keys
        for key in reversed(inner):
            value = {key: value}
        laid = self._reading.places.lay(
            section, cast("Mapping[str, Any]", value), lambda _: variable.origin, fits_variable
        )
        _merge(self._values[section], laid)


def _merge(below: dict[str, Any], table: Mapping[str, Any]) -> None:
    """Lays a table over another in place. With a copy for each, thousands of variables would take quadratic time."""
    for key, value in table.items():
        known = below.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            _merge(cast("dict[str, Any]", known), cast("dict[str, Any]", value))
        else:
            below[key] = value


def _decoded(text: str, shape: Shape, *, is_section: bool) -> Any:
    if not (is_section or shape.is_list or (shape.is_table and text.lstrip().startswith("{"))):
        return text
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, list if shape.is_list else dict):
        return cast("Any", value)
    example = '["a", "b"]' if shape.is_list else '{"key": "value"}'
    # With a context, the exception would hold the text, which may be secret.
    raise ValueError(f"must be JSON of the form {example}") from None


class _Environment(_Variables):
    """The environment variables."""

    def _variables(self) -> Iterable[Variable]:
        for name, text in sorted(self._reading.environ.items()):
            if _is_ours(name):
                yield Variable(name, text, Origin(f"environment variable {name}"))


class _DotEnv(_Variables, DotEnvSettingsSource):
    """`.env` in the folder. No value in it is expanded."""

    def _variables(self) -> Iterable[Variable]:
        file = self._reading.folder / ".env"
        variables: dict[str, Variable] = {}
        for binding in parse_stream(io.StringIO(read_text(file, self._reading.problems) or "")):
            written = binding.original.string
            statement = written.lstrip()
            line = binding.original.line + written[: len(written) - len(statement)].count("\n")
            name = binding.key or re.sub(r"export\s+|=.*", "", statement, flags=re.DOTALL).strip()
            if not _is_ours(name):
                continue
            if binding.error or binding.value is None:
                self._reading.problems.append(
                    f"{file}, line {line}: cannot be read; it must be NAME=value, with quotes closed"
                )
                continue
            # If a name is written twice, the later line counts, as in every `.env`.
            variables[name] = Variable(name, binding.value, Origin(str(file), f", line {line} ({name})"))
        return variables.values()


class _Secrets(_Variables, NestedSecretsSettingsSource):
    """`secrets/` in the folder: one file per value. Links may lead out of it, and spaces around a value stay."""

    def _variables(self) -> Iterable[Variable]:
        problems = self._reading.problems
        for file in files_in(self._reading.folder / "secrets", problems):
            text = read_text(file, problems)
            if text is not None:
                name = file.name if _is_ours(file.name) else PREFIX + file.name
                # Most editors end a file with a line break that is not part of the secret.
                yield Variable(name, text.rstrip("\r\n"), Origin(str(file)))


def _is_ours(name: str) -> bool:
    return name.upper().startswith(PREFIX)


_Source: TypeAlias = _Toml | _Variables
