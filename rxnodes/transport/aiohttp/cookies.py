"""Cookies that a connection keeps from one attempt to the next (RFC 6265), if its settings say so."""

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
    """Adds to a request the cookies for its URL. Its own cookies stay, and win over those of the same name."""
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
        # "Unsafe" lets a server that has no name, like many devices, set cookies for its IP address. No other
        # connection uses the jar.
        cookies.jar = aiohttp.CookieJar(unsafe=True)
    jar: aiohttp.CookieJar = cookies.jar
    return jar
