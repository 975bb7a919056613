"""Asks a proxy for a tunnel, by CONNECT (RFC 9110 section 9.3.6) or SOCKS5 (RFC 1928 and RFC 1929).

A conversation is a generator. It yields the bytes to send, and how many bytes of the answer it wants. The caller sends
it exactly that many, or none if the proxy has ended the connection. So the conversation takes no byte that comes
through the tunnel. It returns when there is a tunnel.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from rxnodes.wire.answer import HeadReader
from rxnodes.wire.handshake import RefusedError

if TYPE_CHECKING:
    from rxnodes.wire.answer import AnswerHead

__all__ = ["Conversation", "Credentials", "Proxy", "ProxyRefusedError", "connect", "socks5"]

#: It yields the bytes to send and how many bytes to receive. It is sent the bytes that were received.
Conversation: TypeAlias = Generator[tuple[bytes, int], bytes, None]

#: RFC 9110 section 15.5.8 has 407 for this, but some proxies answer 401.
WANTS_CREDENTIALS: Final = (401, 407)

SOCKS5: Final = 5
NO_AUTHENTICATION: Final = 0
USER_AND_PASSWORD: Final = 2
CONNECT: Final = 1
IPV4, DOMAIN_NAME, IPV6 = 1, 3, 4

#: The reasons why there is no tunnel (RFC 1928 section 6).
SOCKS5_REPLIES: Final = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "the network is unreachable",
    4: "the host is unreachable",
    5: "connection refused",
    6: "the time to live expired",
    7: "it does not know the command",
    8: "it does not know the type of address",
}
NOT_ALLOWED: Final = 2


class Credentials(NamedTuple):
    """The user and the password for a proxy, in UTF-8."""

    user: bytes
    password: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy that makes a tunnel to the server. Its `str` and `repr` show no credentials.

    Attributes:
        scheme: "http": CONNECT. "socks5": SOCKS5, and we look up the server's name. "socks5h": the proxy looks it up.
        host: The proxy's name or IP address.
        port: The proxy's port.
        credentials: The user and the password; `None`: the proxy needs none.
    """

    scheme: Literal["http", "socks5", "socks5h"]
    host: str
    port: int
    credentials: Credentials | None = field(default=None, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{'***@' if self.credentials else ''}{host}:{self.port}"


class ProxyRefusedError(RefusedError):
    """The proxy makes no tunnel.

    Args:
        message: Why not.
        answer: The head of the proxy's answer; `None`: it gave none, or does not speak HTTP.
        is_final: Whether the proxy would refuse another attempt too.
    """

    def __init__(self, message: str, *, answer: AnswerHead | None = None, is_final: bool = False) -> None:
        super().__init__(message)
        self.answer = answer
        self.is_final = is_final


def connect(host: str, port: int, credentials: Credentials | None, *, max_size: int) -> Conversation:
    r"""Asks an HTTP proxy for a tunnel.

    Args:
        host: The server's name or IP address.
        port: The server's port.
        credentials: For Basic authentication (RFC 7617); `None`: there are none.
        max_size: How many bytes the head of the answer may have.

    Raises:
        ProxyRefusedError: Within the conversation, if the proxy makes no tunnel.

    Example:
        >>> conversation = connect("chat.test", 80, None, max_size=1024)
        >>> next(conversation)
        (b'CONNECT chat.test:80 HTTP/1.1\r\nHost: chat.test:80\r\n\r\n', 1)
    """
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if credentials is not None:
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(b':'.join(credentials)).decode()}")
    reader = HeadReader(max_size)
    request = "\r\n".join([*lines, "", ""]).encode()
    try:
        while reader.feed(_unless_ended((yield request, 1))) is None:
            request = b""
    except ProxyRefusedError:
        raise
    except RefusedError:
        problem = f"the proxy's answer is not HTTP, or its head is longer than max_header_size ({max_size} bytes)"
    else:
        head = reader.head
        assert head is not None
        if head.status // 100 == 2:  # noqa: PLR2004
            return
        problem = f"the proxy answered {head.status} instead of 200"
        if head.status in WANTS_CREDENTIALS:
            problem = f"the proxy answered {head.status}: credentials are missing or wrong"
    raise ProxyRefusedError(problem, answer=reader.head)


def socks5(host: str, port: int, credentials: Credentials | None) -> Conversation:
    r"""Asks a SOCKS5 proxy for a tunnel.

    Args:
        host: The server's name, which the proxy looks up, or its IP address.
        port: The server's port.
        credentials: User and password, each of 1 to 255 bytes; `None`: there are none.

    Raises:
        ProxyRefusedError: Within the conversation, if the proxy makes no tunnel.

    Example:
        >>> conversation = socks5("192.0.2.1", 80, None)
        >>> next(conversation), conversation.send(b"\x05\x00")
        ((b'\x05\x01\x00', 2), (b'\x05\x01\x00\x01\xc0\x00\x02\x01\x00P', 4))
    """
    methods = bytes([NO_AUTHENTICATION] if credentials is None else [NO_AUTHENTICATION, USER_AND_PASSWORD])
    version, method = _unless_ended((yield bytes([SOCKS5, len(methods)]) + methods, 2))
    if version != SOCKS5:
        raise ProxyRefusedError("the proxy does not speak SOCKS5")
    if method not in methods:
        raise ProxyRefusedError("the SOCKS proxy refused us: credentials are missing or not taken", is_final=True)
    if method == USER_AND_PASSWORD and credentials is not None:
        answer = yield b"\x01" + _with_length(credentials.user) + _with_length(credentials.password), 2
        if not answer:
            # Some proxies do this instead of refusing.
            raise ProxyRefusedError("the SOCKS proxy ended the connection when it was given the credentials")
        if answer[1]:
            raise ProxyRefusedError("the SOCKS proxy refused us: the credentials are wrong", is_final=True)
    request = bytes([SOCKS5, CONNECT, 0]) + _socks5_address(host) + port.to_bytes(2, "big")
    version, reply, _, kind = _unless_ended((yield request, 4))
    if version != SOCKS5 or kind not in (IPV4, DOMAIN_NAME, IPV6):
        raise ProxyRefusedError("the proxy does not speak SOCKS5")
    if reply:
        reason = SOCKS5_REPLIES.get(reply, f"reply {reply}")
        raise ProxyRefusedError(
            f"the SOCKS proxy could not connect to the server: {reason}", is_final=reply == NOT_ALLOWED
        )
    # Then come the address and the port from which the proxy connects. Nobody needs them.
    size = {IPV4: 4, IPV6: 16}.get(kind)
    if size is None:
        (size,) = _unless_ended((yield b"", 1))
    _unless_ended((yield b"", size + 2))


def _unless_ended(answer: bytes) -> bytes:
    if not answer:
        raise ProxyRefusedError("the proxy ended the connection without an answer")
    return answer


def _with_length(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def _socks5_address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return bytes([DOMAIN_NAME]) + _with_length(host.encode())
    return bytes([IPV4 if address.version == 4 else IPV6]) + address.packed  # noqa: PLR2004
