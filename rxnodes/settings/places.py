"""The places of the settings: where each value comes from, and which place a variable's name means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from pydantic import BaseModel

from rxnodes.settings.shapes import MISFIT, SWITCHES, Shape, Switch, is_number_or_bool, shape_of

if TYPE_CHECKING:
    from rxnodes.catalogue.plugins import Plugin
    from rxnodes.settings.shapes import Fits

__all__ = ["KeyPath", "Origin", "Places", "folded"]

#: The keys that lead to a value, the section first.
KeyPath: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a value: a file, a variable or an argument, and the place within it."""

    source: str
    place: str = ""

    def __str__(self) -> str:
        return self.source + self.place


@dataclass(frozen=True, slots=True)
class _Place:
    origin: Origin
    is_table: bool


class Places:
    """The origin of each value of the settings.

    Sources lay their values out here, the one that wins last. The values themselves are not kept. `origin_of` gives the
    origin of a section, which counts if nothing closer is known.
    """

    def __init__(self, plugins: Mapping[str, Plugin], origin_of: Callable[[str], Origin]) -> None:
        self.plugins = tuple(plugins)
        switches = Shape(fields=dict.fromkeys(plugins, shape_of(Switch)))
        sections = {name: shape_of(plugin.settings) for name, plugin in plugins.items()}
        self.shape = Shape(fields={SWITCHES: switches, **sections})
        self._places: dict[KeyPath, _Place] = {
            (name,): _Place(origin_of(name), is_table=True) for name in self.shape.fields
        }
        self._names: dict[KeyPath, _Names] = {}
        self._quoted: dict[KeyPath, Origin] = {}

    def lay(
        self, section: str, table: Mapping[str, Any], origin_of: Callable[[KeyPath], Origin], fits: Fits
    ) -> dict[str, Any]:
        """Notes the origins of the values of a section's table: for each path, the one that `origin_of` gives.

        Returns:
            The table in the form in which sources are merged: a plain value in the place of a table is written out,
            and a value that does not fit is replaced by one that every field refuses.
        """
        return _Laying(self, origin_of, fits).lay_table(table, self.shape.at(section), (section,))

    def note(self, path: KeyPath, origin: Origin, *, is_table: bool) -> None:
        """Notes the origin of the value at a path. The origin of a table is the first source that has it."""
        known = self._places.get(path)
        if known is None:
            self._names.setdefault(path[:-1], _Names()).add(path[-1])
        if not (is_table and known is not None and known.is_table):
            self._places[path] = _Place(origin, is_table)

    def note_quoted(self, path: KeyPath, origin: Origin) -> None:
        """Notes that this source has a number or a bool in quotes."""
        self._quoted[path] = origin

    def origin_of(self, path: KeyPath) -> Origin:
        """The origin of the value at the path, or else of the innermost table around it."""
        around = (path[:length] for length in range(len(path), 0, -1))
        return next(self._places[place].origin for place in around if place in self._places)

    def is_quoted(self, path: KeyPath) -> bool:
        """Whether the value at the path is a number or a bool in quotes."""
        return path in self._quoted and self._quoted[path] == self.origin_of(path)

    def names_at(self, path: KeyPath) -> list[str]:
        """The keys that are used in a table of free keys."""
        return list(self._names.get(path, ()))

    def find(self, section: str, segments: Iterable[str]) -> KeyPath | None:
        """The path that the segments of a variable's name mean; `None` if there can be no such setting.

        Raises:
            ValueError: If a segment fits several names.
        """
        path: KeyPath = (section,)
        shape = self.shape.at(section)
        for segment in segments:
            names = self._names.get(path, _Names()) if shape.items else _Names(shape.fields)
            key = names.match(segment)
            if key is None and shape.items and segment:
                key = segment.lower().replace("_", shape.separator)
            if key is None:
                return None
            path, shape = (*path, key), shape.at(key)
        return path


@dataclass(frozen=True, slots=True)
class _Laying:
    """One table on its way from its source to the merge."""

    places: Places
    origin_of: Callable[[KeyPath], Origin]
    fits: Fits

    def lay_table(self, table: Mapping[str, Any], shape: Shape, path: KeyPath) -> dict[str, Any]:
        return {key: self._lay(value, shape.at(str(key)), (*path, str(key))) for key, value in table.items()}

    def _lay(self, value: object, shape: Shape, path: KeyPath) -> object:
        if shape.shorthand is not None and not isinstance(value, Mapping | BaseModel):
            value = {shape.shorthand: value}
        if isinstance(value, Mapping):
            self.places.note(path, self.origin_of(path), is_table=True)
            return self.lay_table(cast("Mapping[str, Any]", value), shape, path)
        self.places.note(path, self.origin_of(path), is_table=False)
        return self._fitting(value, shape, path)

    def _fitting(self, value: object, shape: Shape, path: KeyPath) -> object:
        if shape.members is not None and isinstance(value, list | tuple):
            members = enumerate(cast("Iterable[object]", value))
            return [self._fitting(member, shape.members, (*path, str(index))) for index, member in members]
        if self.fits(shape, value):
            return value
        if isinstance(value, str) and is_number_or_bool(value):
            self.places.note_quoted(path, self.origin_of(path))
        return MISFIT


class _Names:
    """The keys of a table, which a segment of a variable's name finds."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._by_folded: dict[str, list[str]] = {}
        for name in names:
            self.add(name)

    def __iter__(self) -> Iterator[str]:
        for names in self._by_folded.values():
            yield from names

    def add(self, name: str) -> None:
        self._by_folded.setdefault(folded(name), []).append(name)

    def match(self, segment: str) -> str | None:
        """The name that a segment means. One that differs in "-" and "_" counts only if there is no closer one.

        Raises:
            ValueError: If it could mean several names.
        """
        similar = self._by_folded.get(folded(segment), [])
        matches = [name for name in similar if name.lower() == segment.lower()] or similar
        if len(matches) > 1:
            raise ValueError(f"fits more than one name: {', '.join(matches)}")
        return matches[0] if matches else None


def folded(name: str) -> str:
    """A name without the differences that do not count in a variable's name: case, and "-" or "_"."""
    return name.lower().replace("-", "_")
