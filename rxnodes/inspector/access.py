"""Who may see the data of the live page, and start and stop connections: rules over the headers of a request."""

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

#: A token; `None`: a new one is made; `False`: everyone has access.
Token: TypeAlias = str | Literal[False] | None

#: The characters that `Authorization: Bearer` can carry (RFC 6750 section 2.1), and a fragment without escapes.
_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")


class Access:
    """The rules of one page.

    Args:
        host: The address at which the page is served, or its name.
        token: Gives access.

    Attributes:
        token: Gives access; `None`: everyone has it.
        cookie: A browser gets it for the token. It is derived from the token, so that an open page goes on when the
            program is run again with the same token. Nobody can compute the token from it.

    Raises:
        TypeError: If the token is of another type.
        ValueError: If the host or the token is empty, if the token has a character that `Authorization: Bearer` cannot
            carry, or if it is `False` and other machines can reach the host.
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

    def is_for_us(self, host: str) -> bool:
        """Whether a request's `Host` leads here.

        Another name does not, even if it resolves to this address (DNS rebinding). Nobody can rebind an address, so
        every address is allowed; so is every port, because a tunnel may change it.
        """
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and (name in {"localhost", self._host} or _address(name) is not None)

    @staticmethod
    def is_from_us(headers: Mapping[str, str]) -> bool:
        """Whether a request comes from the page itself or from a program, and not from another site.

        Browsers send `Origin` with every POST, and `Sec-Fetch-Site` with all requests of a page. Programs send neither.
        """
        host = headers.get("Host")
        is_own_origin = headers.get("Origin") in {None, f"http://{host}", f"https://{host}"}
        return is_own_origin and headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}

    def is_allowed(self, authorization: str, cookie: str) -> bool:
        """Whether a request has the token or the cookie."""
        if self.token is None:
            return True
        scheme, _, token = authorization.partition(" ")
        has_token = scheme.lower() == "bearer" and _are_equal(token.strip(), self.token)
        return has_token or _are_equal(cookie, self.cookie)


def _cookie_of(token: str) -> str:
    return hmac.new(token.encode(), b"rxnodes inspector cookie", hashlib.sha256).hexdigest()


def _are_equal(given: str, wanted: str) -> bool:
    """Compares in constant time, so that nobody can measure where the two differ."""
    return hmac.compare_digest(given.encode(errors="surrogateescape"), wanted.encode())


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback
