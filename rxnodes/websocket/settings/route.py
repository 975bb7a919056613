"""The route of a connection: its proxy, its unix socket, and its local address."""

# No `from __future__ import annotations` here: pydantic evaluates the annotations.

import os
import re
import socket
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import SplitResult, unquote_to_bytes

from pydantic import AfterValidator, PlainValidator, SecretStr, ValidationInfo

from rxnodes.websocket.settings.fields import is_none
from rxnodes.websocket.settings.url import credentials_of, is_ip_address, parts_of, sendable_host, userinfo_of
from rxnodes.wire.tunnel import Credentials, Proxy

__all__ = [
    "ENVIRONMENT",
    "Environment",
    "LocalAddress",
    "ProxyOrNone",
    "UnixSocket",
    "address_of",
    "proxy_of_environment",
]

Environment: TypeAlias = Literal["environment"]
ENVIRONMENT: Environment = "environment"

#: The port of a proxy whose URL has none. That of SOCKS is from RFC 1928 section 3.
_PORTS = {"http": 80, "socks5": 1080, "socks5h": 1080}

#: Bytes of a user or a password (RFC 1929 section 2).
_LONGEST_FOR_SOCKS = 255

#: The longest path of a unix socket, in bytes, without the byte that ends it: on Linux, and on macOS.
_LONGEST_PATH = 107 if sys.platform == "linux" else 103


def _proxy(value: Any) -> Proxy | Environment | None:
    if is_none(value):
        return None
    if isinstance(value, Proxy):
        return value
    url = value.get_secret_value() if isinstance(value, SecretStr) else value
    if url == ENVIRONMENT:
        return ENVIRONMENT
    if not isinstance(url, str):
        raise ValueError(f'must be the URL of a proxy, or "{ENVIRONMENT}" (or "none")')  # noqa: TRY004 - for pydantic
    return parse_proxy(url)


def parse_proxy(url: str) -> Proxy:
    """The proxy that a URL names.

    Raises:
        ValueError: If it names no proxy. The text repeats no part of the URL, because any part may be secret.
    """
    begins = f'must begin with http://, socks5:// or socks5h://, or be "{ENVIRONMENT}" (or "none")'
    parts, port = parts_of(url, _PORTS, such_as="http://host:3128", begins=begins)
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("must have nothing behind host and port")
    return Proxy(
        scheme=parts.scheme,  # type: ignore[arg-type]
        host=sendable_host(parts).strip("[]"),
        port=port or _PORTS[parts.scheme],
        credentials=_credentials(parts),
    )


def _credentials(parts: SplitResult) -> Credentials | None:
    if credentials_of(parts) is None:
        return None
    user, password = (unquote_to_bytes(part) for part in userinfo_of(parts).partition(":")[::2])
    if parts.scheme != "http" and not all(0 < len(part) <= _LONGEST_FOR_SOCKS for part in (user, password)):
        raise ValueError("must have a user and a password of 1 to 255 bytes each, or neither (RFC 1929)")
    return Credentials(user, password)


def proxy_of_environment(url: SplitResult, port: int | None) -> Proxy | None:
    """The proxy that the usual variables name: HTTP_PROXY for ws, HTTPS_PROXY for wss, or else ALL_PROXY.

    Args:
        url: The server's URL. NO_PROXY may exempt it.
        port: In place of the URL's own.

    Raises:
        ValueError: If a variable names no proxy. The text repeats no value.
    """
    from urllib.request import getproxies_environment, proxy_bypass  # noqa: PLC0415 - it takes long

    kind, default_port = {"ws": ("http", 80), "wss": ("https", 443)}[url.scheme]
    proxies = getproxies_environment()
    name = kind if kind in proxies else "all"
    server = f"{sendable_host(url).strip('[]')}:{port or url.port or default_port}"
    if name not in proxies or proxy_bypass(server):
        return None
    named = proxies[name]
    try:
        # Many values there have no scheme.
        return parse_proxy(named if "://" in named else f"http://{named}")
    except ValueError as error:
        problem = str(error)
    raise ValueError(f"environment variable {name.upper()}_PROXY: {problem}")


#: A proxy, `None`, or a word for where to look for one.
ProxyOrNone = Annotated[Proxy | Environment | None, PlainValidator(_proxy)]


def _unix_socket(path: Path, info: ValidationInfo) -> Path:
    """The path; a relative one begins at the settings folder. The socket itself need not exist yet."""
    if not hasattr(socket, "AF_UNIX"):
        raise ValueError("cannot be used, because this system has no unix sockets")
    context: dict[str, Path] = info.context or {}
    path = context.get("folder", Path()) / path
    if not 0 < len(os.fsencode(path)) <= _LONGEST_PATH or "\0" in str(path):
        raise ValueError(f"must be the path of a unix socket, of at most {_LONGEST_PATH} bytes")
    return path


UnixSocket = Annotated[Path, AfterValidator(_unix_socket)]


def _local_address(text: str) -> str:
    address_of(text)
    return text


#: An IP address of this machine, and perhaps a port.
LocalAddress = Annotated[str, AfterValidator(_local_address)]


def address_of(text: str) -> tuple[str, int]:
    """The IP address and the port in a text such as `192.0.2.1`, `192.0.2.1:5000`, `::1` or `[::1]:5000`.

    Returns:
        Both. Port 0, if the text has none, lets the system choose.

    Raises:
        ValueError: If the text is something else.
    """
    match = re.fullmatch(
        r"\[(?P<v6>[^\]]+)\](?::(?P<v6port>[0-9]{1,5}))?|(?P<v4>[0-9.]+)(?::(?P<port>[0-9]{1,5}))?", text
    )
    host = text if match is None else match["v6"] or match["v4"]
    port = 0 if match is None else int(match["v6port"] or match["port"] or 0)
    if not (is_ip_address(host) and port <= 65535):  # noqa: PLR2004
        raise ValueError(
            "must be an IP address of this machine, or one and a port: 192.0.2.1:5000 or [2001:db8::1]:5000"
        )
    return host, port
