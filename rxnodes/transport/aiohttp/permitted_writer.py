"""The writer of a link that asks for permission.

It has a file of its own, which is compiled as the writer is, because a class in plain Python cannot derive from a
compiled one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxnodes.transport.aiohttp.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PermittedWriter"]


class PermittedWriter(Writer):
    """A writer that asks for permission.

    Attributes:
        permit: Whether it may write.
        forbid: Called when it may not.
    """

    __slots__ = ("forbid", "permit")

    permit: Callable[[], bool]
    forbid: Callable[[], None]

    def _write(self, data: bytes) -> bool:
        if self.permit():
            return Writer._write(self, data)  # noqa: SLF001 - as in the reader
        self.forbid()
        return False
