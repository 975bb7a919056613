"""Cookies that go from one attempt of a connection to the next (RFC 6265), where its settings ask for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiohttp
from multidict import istr

if TYPE_CHECKING:
    import yarl
    from multidict import CIMultiDict

    from rxnodes.transport.base import Cookies

__all__ = ["add_cookies", "keep_cookies"]

COOKIE: Final = istr("Cookie")
SET_COOKIE: Final = istr("Set-Cookie")


def add_cookies(headers: CIMultiDict[str], cookies: Cookies, url: yarl.URL) -> None:
    """Adds to a request the cookies that are for its URL. Those that it has stay, also where the names are the same."""
    named = headers.get(COOKIE)
    pairs = [] if named is None else [named]
    own = {pair.partition("=")[0].strip() for pair in (named or "").split(";")}
    pairs += [f"{name}={it.coded_value}" for name, it in _jar(cookies).filter_cookies(url).items() if name not in own]
    if pairs:
        headers[COOKIE] = "; ".join(pairs)


def keep_cookies(answer: CIMultiDict[str], cookies: Cookies, url: yarl.URL) -> None:
    """Keeps the cookies that an answer sets."""
    _jar(cookies).update_cookies_from_headers(answer.getall(SET_COOKIE, ()), url)


def _jar(cookies: Cookies) -> aiohttp.CookieJar:
    if cookies.jar is None:
        # "Unsafe" lets a server that is named by its IP address set them, for that address alone. The jar is one
        # connection's, and many devices have no name.
        cookies.jar = aiohttp.CookieJar(unsafe=True)
    jar: aiohttp.CookieJar = cookies.jar
    return jar
