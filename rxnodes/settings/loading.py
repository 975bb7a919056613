"""The settings folder: one `load` for all of it, with all problems at once.

The folder holds `plugins.toml`, which switches plugins, and one `<plugin>.toml` per plugin, its *section*. Every file
is optional, and a plugin that is not mentioned is on. What comes later in this list wins, key by key:

1. `<section>.toml`
2. `<section>.local.toml`, for one machine
3. `.env` in the folder; names that do not begin with `RXNODES_` are ignored, and no value is expanded
4. `secrets/` in the folder: one file per value, named like the environment variable, with or without `RXNODES_`
5. environment variables: `RXNODES_WEBSOCKET__CONNECTIONS__CHAT__URL`, `RXNODES_PLUGINS__WEBSOCKET`

In the name of a variable, upper and lower case are the same, and so are "-" and "_": `MY_FEED` is the connection
"my-feed" of a file. A name that no file has becomes lower case. A list is written as JSON, and a table can be. Two
variables of one source (3, 4 or 5) for one value are a problem.

A variable holds text, in which pydantic reads a number or a bool. In TOML, and among Python values, a number is a
number: a value of another type than the field's is refused, above all text. There are two exceptions: the words "none"
and "off" if the field's type has `None`, and a Python `int` if the field is a `bool`.

A plugin's section is a pydantic model. Its validators find the settings folder in their context, `{"folder": Path}`, if
there is one. Fields go by their names, not by aliases. A model can declare two things beyond pydantic:

- `shorthand: ClassVar[str] = "url"`: a plain value in the place of this table means a table with this one key;
- `Field(json_schema_extra={"env_separator": "-"})` on a `dict`: "_" in a variable's name means "-" in a new key.

How it is built: `sources` subclasses the sources of pydantic-settings, which merges them and validates all sections as
one `BaseSettings`. The sources lay their values out in `places`, which remembers where each comes from. `problems` puts
what is wrong into words, with these places.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from rxnodes.errors import SettingsError
from rxnodes.settings.files import files_in
from rxnodes.settings.places import Origin, Places
from rxnodes.settings.problems import no_such_setting, problems_of, unknown
from rxnodes.settings.shapes import SWITCHES, Switch, fits_python, is_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rxnodes.catalogue.plugins import Plugin

__all__ = ["LoadedSettings", "from_values", "load"]


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings without a problem.

    Attributes:
        enabled: The plugins that are on, in the order in which they were given.
        sections: The section of each of them, by the plugin's name.
        switches: The source that switches each plugin on or off: a file, a variable or an argument.
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
        plugins: All plugins, by name.
        environ: The environment variables; by default the process's.

    Raises:
        SettingsError: With all problems.
    """
    # The import takes a tenth of a second, which a program without a settings folder is spared.
    from rxnodes.settings.sources import FolderSettings, Reading  # noqa: PLC0415

    folder = Path(folder)
    if not folder.is_dir():
        raise SettingsError([f"{folder}: there is no such folder; it holds plugins.toml and a .toml file per plugin"])
    places = Places(plugins, lambda name: Origin(str(folder / f"{name}.toml")))
    reading = Reading(folder, os.environ if environ is None else environ, places)
    reading.problems += _unknown_files(folder, plugins)
    model = create_model("ProjectSettings", __base__=FolderSettings, **_fields(plugins))
    model.reading = reading
    found: dict[str, Any] = {}
    invalid: list[str] = []
    try:
        settings = model()
        found = {name: getattr(settings, _field(name)) for name in plugins}
    except ValidationError as error:
        invalid = problems_of(error, places)
    strays = [f"{it.origin}: {no_such_setting(it.segments, places, reading.sections)}" for it in reading.strays]
    problems = [*reading.problems, *strays, *invalid]
    return _loaded(found, plugins, places, problems)


def _fields(plugins: Mapping[str, Plugin]) -> dict[str, Any]:
    """A field for each section, and one for the switches."""
    switches = {SWITCHES: (_switches(tuple(plugins)), ...)}
    # The section of a plugin that is off has no value.
    sections = {name: (plugin.settings, None) for name, plugin in plugins.items()}
    fields: dict[str, tuple[Any, Any]] = {**switches, **sections}
    return {_field(name): (model, Field(default, alias=name)) for name, (model, default) in fields.items()}


def _field(name: str) -> str:
    """The name of a field. It has a prefix, because a plugin may be named like a method of a model."""
    return f"section_{name}"


@cache
def _switches(plugins: tuple[str, ...]) -> type[BaseModel]:
    """The model of the switches of these plugins."""
    config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    fields: dict[str, Any] = {_field(name): (Switch, Field(Switch(), alias=name)) for name in plugins}
    return create_model("Switches", __config__=config, **fields)


def _unknown_files(folder: Path, plugins: Iterable[str]) -> list[str]:
    problems: list[str] = []
    known = [f"{name}{suffix}" for name in (SWITCHES, *plugins) for suffix in ("", ".local")]
    unknown_files = [file for file in files_in(folder, problems) if file.suffix == ".toml" and file.stem not in known]
    problems += [f"{file}: {unknown(file.stem, known, kind='file', ending='.toml')}" for file in unknown_files]
    return problems


def from_values(
    values: Mapping[str, Any],
    plugins: Mapping[str, Plugin],
    source_of: Callable[[str], str] = "the argument {!r}".format,
) -> LoadedSettings:
    """Takes settings from Python values; no file and no environment variable is read.

    Args:
        values: The sections, by the plugin's name, such as `{"websocket": {"connections": {"chat": "ws://..."}}}`; each
            a mapping, or the plugin's own model. `"plugins"` holds the switches, such as
            `{"plugins": {"websocket": False}}`.
        plugins: All plugins, by name.
        source_of: Names the source of a section's values, for problems.

    Raises:
        SettingsError: With all problems.
    """
    places = Places(plugins, lambda name: Origin(source_of(name)))
    known = [SWITCHES, *plugins]
    problems = [f"{source_of(name)}: {unknown(name, known)}" for name in values if name not in known]

    def lay(name: str) -> dict[str, Any]:
        value = values.get(name, {})
        if not isinstance(value, Mapping):
            problems.append(f"{source_of(name)}: must be a mapping")
            return {}
        return places.lay(name, cast("Mapping[str, Any]", value), lambda _: Origin(source_of(name)), fits_python)

    found: dict[str, BaseModel] = {}

    def take(name: str, model: type[BaseModel], section: object) -> None:
        try:
            found[name] = model.model_validate(section, context={})
        except ValidationError as error:
            problems.extend(problems_of(error, places, name))

    switches = lay(SWITCHES)
    take(SWITCHES, _switches(tuple(plugins)), switches)
    for name, plugin in plugins.items():
        if is_on(name, [switches]):
            given = values.get(name)
            take(name, plugin.settings, given if isinstance(given, plugin.settings) else lay(name))
    return _loaded(found, plugins, places, problems)


def _loaded(
    found: Mapping[str, BaseModel | None], plugins: Mapping[str, Plugin], places: Places, problems: list[str]
) -> LoadedSettings:
    if problems:
        raise SettingsError(problems)
    sections = {name: section for name in plugins if (section := found.get(name)) is not None}
    return LoadedSettings(
        enabled=tuple(plugins[name] for name in sections),
        sections=sections,
        switches={name: places.origin_of((SWITCHES, name, "enabled")).source for name in plugins},
    )
