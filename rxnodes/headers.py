"""Headers of a server's answer, which nobody can change."""

from __future__ import annotations

from typing import NoReturn

from multidict import CIMultiDict

__all__ = ["Headers"]


class Headers(CIMultiDict[str]):
    """Headers that cannot be changed, because all subscribers get the same object.

    Names are compared without regard to case (RFC 9110 section 5.1). `CIMultiDict(headers)` makes a copy that can be
    changed.

    Example:
        >>> headers = Headers({"Set-Cookie": "a=1"})
        >>> headers["set-cookie"], headers.getall("SET-COOKIE")
        ('a=1', ['a=1'])
    """

    def _refuse(self, *_args: object, **_fields: object) -> NoReturn:
        raise TypeError("the headers of an answer cannot be changed; CIMultiDict(headers) makes others")

    __setitem__ = __delitem__ = __ior__ = _refuse
    add = clear = extend = merge = pop = popall = popitem = popone = update = _refuse
    setdefault = _refuse  # pyright: ignore[reportAssignmentType]
