"""The URL of a connection: which ones can be used, and their form on the wire."""

import base64
import ipaddress
import re
from collections.abc import Container
from functools import lru_cache
from typing import Annotated
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

import yarl
from pydantic import AfterValidator, SecretStr

__all__ = [
    "Url",
    "after_mark",
    "credentials_of",
    "encoded",
    "is_ip_address",
    "parts_of",
    "redacted",
    "sendable_host",
    "split_url",
    "userinfo_of",
]

_DELETE = 0x7F


def _checked_url(url: SecretStr) -> SecretStr:
    split_url(url.get_secret_value())
    return url


#: A URL that can be connected to.
Url = Annotated[SecretStr, AfterValidator(_checked_url)]


def split_url(url: str) -> SplitResult:
    """The parts of a URL that can be connected to.

    Raises:
        ValueError: If it cannot. The text repeats no part of the URL, because any part may be secret.
    """
    parts, _ = parts_of(url, {"ws", "wss"}, such_as="ws://host:8080/path", begins="must begin with ws:// or wss://")
    sendable_host(parts)
    credentials_of(parts)
    if "#" in url:
        raise ValueError(
            'must not have a fragment ("#...", RFC 6455 section 3); write %23 for a "#" in a path or query'
        )
    return parts


def parts_of(url: str, schemes: Container[str], *, such_as: str, begins: str) -> tuple[SplitResult, int | None]:
    """The parts of a URL with one of these schemes, and its port, if it has one.

    Args:
        url: The URL.
        schemes: The schemes that it may have.
        such_as: An example, for the error.
        begins: What the error says of another scheme.

    Raises:
        ValueError: If it is no such URL. The text repeats no part of it, because any part may be secret.
    """
    if not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("must not contain spaces, line breaks, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"must be a URL such as {such_as}, with a port from 1 to 65535") from None
    if parts.scheme not in schemes or not url.partition(":")[2].startswith("//"):
        raise ValueError(begins)
    if port == 0:
        raise ValueError("must have a port from 1 to 65535")
    return parts, port


def sendable_host(parts: SplitResult) -> str:
    """The host as it goes onto the wire: a name in ASCII (IDNA), or an IP address, of version 6 in brackets.

    Raises:
        ValueError: If it is neither, so that each dial would fail.
    """
    return _sendable(parts.hostname or "", parts.scheme)


@lru_cache(maxsize=256)
def _sendable(host: str, scheme: str) -> str:
    """`sendable_host`, computed once for each host: thousands of connections often lead to the same one."""
    if ":" in host:
        # RFC 6874 has "%25" between an address and its interface, and allows the plain "%" that others write.
        return f"[{_ip_address_v6(host.replace('%25', '%', 1), scheme)}]"
    try:
        name = yarl.URL.build(scheme="ws", host=host).raw_host or ""
    except ValueError:
        name = ""
    # RFC 1035 section 2.3.4: the lengths of a label and of the name, which may end in a dot.
    if not re.fullmatch(r"(?!.{254})[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", name):
        raise ValueError(f"must have a valid host, such as {scheme}://host:8080")
    if re.fullmatch(r"[0-9.]+", name) and not is_ip_address(name):
        raise ValueError("must have a host name or an IP address; one of version 4 is four numbers from 0 to 255")
    return name


def _ip_address_v6(host: str, scheme: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError(f"must have a valid host, such as {scheme}://[::1]:8080") from None
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", address.scope_id or "none"):
        raise ValueError(
            f"must have a valid network interface behind the % of its host, such as {scheme}://[fe80::1%eth0]:8080"
        )
    if address.scope_id is None and address.is_link_local:
        raise ValueError(
            f"must name the network interface of a link-local address, such as {scheme}://[fe80::1%eth0]:8080"
        )
    return host


def is_ip_address(host: str) -> bool:
    """Whether a host is an IP address, of either version."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def userinfo_of(parts: SplitResult) -> str:
    """`user:password`, as the URL has it; empty if it has none."""
    return parts.netloc.rpartition("@")[0]


def credentials_of(parts: SplitResult) -> str | None:
    """The credentials of Basic authentication (RFC 7617) for user:password@, in UTF-8; `None` if the URL has none.

    Raises:
        ValueError: If Basic authentication cannot carry them. The text repeats no part of them.
    """
    userinfo = userinfo_of(parts)
    if not userinfo:
        return None
    user, password = (unquote_to_bytes(part) for part in userinfo.partition(":")[::2])
    if b":" in user:
        raise ValueError(
            "must not have a user name with a colon in it, which cannot be told from the password (RFC 7617)"
        )
    if any(byte < ord(" ") or byte == _DELETE for byte in user + password):
        raise ValueError("must not have control characters in user or password (RFC 7617)")
    return base64.b64encode(user + b":" + password).decode()


def encoded(text: str) -> str:
    """Percent-encodes the characters that a URL cannot hold (RFC 3986). What is encoded already stays."""
    text = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text)
    return quote(text, safe="%:@!$&'()*+,;=~/?")


def redacted(piece: str) -> str:
    """A piece of a query without its value. A piece without a "=" is hidden, since it may be a token."""
    name, equals, _ = piece.partition("=")
    return f"{name}=***" if equals else piece and "***"


def after_mark(query: str) -> str:
    """The query behind a question mark; empty if the query is."""
    return f"?{query}" if query else ""
