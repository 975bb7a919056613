"""The catalogue of nodes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from rxnodes.catalogue.plugins import Node, Plugin

__all__ = ["Toolbox"]


class Toolbox(Sequence["Node"]):
    """The nodes of the enabled plugins, in the plugins' order.

    A node is found by its position or by its name: `toolbox["WebSocket Client Stop"]`.
    """

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self._nodes: tuple[Node, ...] = tuple(node for plugin in plugins for node in plugin.nodes)
        self._by_name = {node.name: node for node in self._nodes}
        names = [node.name for node in self._nodes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two nodes have the same name: {', '.join(map(repr, twice))}")

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories, each once, in the order of their first nodes."""
        return tuple(dict.fromkeys(node.category for node in self._nodes))

    @overload
    def __getitem__(self, key: int | str) -> Node: ...

    @overload
    def __getitem__(self, key: slice) -> Sequence[Node]: ...

    def __getitem__(self, key: int | str | slice) -> Node | Sequence[Node]:
        if not isinstance(key, str):
            return self._nodes[key]
        if key not in self._by_name:
            raise LookupError(self._unknown(key))
        return self._by_name[key]

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, value: object) -> bool:
        return value in self._nodes or value in self._by_name

    def __repr__(self) -> str:
        count = "1 node" if len(self) == 1 else f"{len(self)} nodes"
        return f"<Toolbox of {count}: {', '.join(self._by_name) or 'none'}>"

    def _unknown(self, name: str) -> str:
        by_lower_case = {known.casefold(): known for known in self._by_name}
        nearest = difflib.get_close_matches(name.casefold(), by_lower_case, n=1)
        if nearest:
            return f"no node is named {name!r}; did you mean {by_lower_case[nearest[0]]!r}?"
        return f"no node is named {name!r} (known: {', '.join(map(repr, self._by_name)) or 'none'})"
