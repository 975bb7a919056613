"""Headers of a server's answer, which nobody can change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import CIMultiDict, CIMultiDictProxy

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Headers"]


class Headers(CIMultiDictProxy[str]):
    """Headers that cannot be changed, since all who are told of them are given the same ones.

    Names are compared without regard to case (RFC 9110 section 5.1). Other than multidict's own proxy it can be pickled
    and copied.

    Args:
        headers: Copied. A `CIMultiDict` may have a name twice.

    Example:
        >>> headers = Headers({"Set-Cookie": "a=1"})
        >>> headers["set-cookie"], headers.getall("SET-COOKIE")
        ('a=1', ['a=1'])
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(CIMultiDict(headers))

    # multidict says that its proxy has none.
    def __reduce__(self) -> tuple[type[Headers], tuple[CIMultiDict[str]]]:  # type: ignore[override]
        return Headers, (CIMultiDict(self),)
