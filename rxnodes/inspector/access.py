"""Who may see the live page's data, and who may start and stop: rules over the headers of a request."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Access", "Token"]

#: A token; `None`: one is made; `False`: none is wanted.
Token: TypeAlias = str | Literal[False] | None

#: What stands behind `Bearer` (RFC 6750 section 2.1), and in a fragment without escapes.
_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")


class Access:
    """The rules of one page.

    Args:
        host: The address that the page is served at, or its name.
        token: What gives access.

    Attributes:
        token: What gives access; `None`: nobody is asked for it.
        cookie: What a browser is given for the token. It is made of the token, so that a page that was opened with it
            goes on when the program comes back with the same token; the token cannot be told from it.

    Raises:
        TypeError: If the token is none of those.
        ValueError: If there is no host, if the token is empty or has a character that `Authorization: Bearer` cannot
            carry, or if there is to be none at an address that others can reach.
    """

    def __init__(self, host: str, token: Token) -> None:
        # Callers without a type checker pass other types too.
        if not (token is None or token is False or isinstance(token, str)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"token must be a str, None or False, not {type(token).__name__}")
        if not host:
            raise ValueError("host must be an address or a name, such as 127.0.0.1; 0.0.0.0 lets every machine in")
        if token is False and not _is_loopback(host):
            raise ValueError(f"token=False is for this machine alone; at {host} others can reach the page")
        if isinstance(token, str) and not _BEARER.fullmatch(token):
            raise ValueError("the token must be one or more of the characters A-Z a-z 0-9 - . _ ~ + / =")
        self._host = host.lower()
        self.token = None if token is False else token if token is not None else secrets.token_urlsafe(32)
        self.cookie = "" if self.token is None else _cookie_of(self.token)

    def __repr__(self) -> str:
        return f"<Access to {self._host}, {'no' if self.token is None else 'a'} token>"

    def is_for_us(self, host: str) -> bool:
        """Whether a request's `Host` is one that leads here.

        A name of somebody else's that resolves to this address (DNS rebinding) is not. An address cannot be rebound, so
        that any will do, and so will any port, which a tunnel may change.
        """
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and (name in {"localhost", self._host} or _address(name) is not None)

    @staticmethod
    def is_from_us(headers: Mapping[str, str]) -> bool:
        """Whether a request comes from the page itself or from a program, as far as its sender says.

        Browsers send `Origin` with every POST, and `Sec-Fetch-Site` with what a page asks for; programs send neither.
        """
        origin = headers.get("Origin")
        is_own_origin = origin is None or origin in {
            f"{scheme}://{headers.get('Host')}" for scheme in ("http", "https")
        }
        return is_own_origin and headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}

    def is_allowed(self, authorization: str, cookie: str) -> bool:
        """Whether a request has the token, or the cookie that is given for it."""
        if self.token is None:
            return True
        scheme, _, token = authorization.partition(" ")
        has_token = scheme.lower() == "bearer" and _are_equal(token.strip(), self.token)
        return has_token or _are_equal(cookie, self.cookie)


def _cookie_of(token: str) -> str:
    return hmac.new(token.encode(), b"rxnodes inspector cookie", hashlib.sha256).hexdigest()


def _are_equal(given: str, wanted: str) -> bool:
    """In a time that tells nothing of where they differ."""
    return hmac.compare_digest(given.encode(errors="surrogateescape"), wanted.encode())


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback
