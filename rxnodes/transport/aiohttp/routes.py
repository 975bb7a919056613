"""The one way to the network: connecting a socket by TCP, through a proxy, or to a unix socket.

The conversation with a proxy takes place on the bare socket. TLS and HTTP begin behind it, so that every link has the
same kind of socket and transport.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import aiohappyeyeballs

from rxnodes.errors import ConnectError
from rxnodes.transport.aiohttp import sockets
from rxnodes.transport.aiohttp.failures import failing
from rxnodes.wire import tunnel
from rxnodes.wire.tunnel import ProxyRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rxnodes.transport.base import Target
    from rxnodes.wire.tunnel import Conversation, Proxy

__all__ = ["open_socket"]

#: One of those that `getaddrinfo` gives; its last part is what a socket connects to.
Address: TypeAlias = "tuple[int, int, int, str, tuple[Any, ...]]"

#: RFC 8305 section 5: for how many seconds an address is tried before the next one is tried beside it.
HAPPY_EYEBALLS_DELAY: Final = 0.25


async def open_socket(target: Target, host: str, port: int) -> socket.socket:
    """Connects to the server of an attempt.

    Args:
        target: Which way to take.
        host: The server's name or IP address.
        port: Its port.

    Returns:
        A socket that does not block. The next bytes on it are the server's.

    Raises:
        ConnectError: If there is no connection.
        ProxyRefusedError: If the proxy makes none.
    """
    if target.unix_socket is not None:
        return await _connect_unix(target.unix_socket)
    if target.proxy is None:
        with failing("the name lookup failed"):
            addresses = await _addresses(host, port)
        return await _connect_tcp(addresses, target.local_address)
    return await _connect_by_proxy(target.proxy, target, host, port)


async def _connect_unix(path: str) -> socket.socket:
    sock = sockets.create_socket((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", path))
    sock.settimeout(0)
    try:
        with failing("the connection to unix_socket failed"):
            await asyncio.get_running_loop().sock_connect(sock, path)
    except BaseException:
        sock.close()
        raise
    return sock


# TCP


async def _addresses(host: str, port: int) -> Sequence[Address]:
    try:
        return _numeric(host, port)
    except socket.gaierror:
        return await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_ADDRCONFIG
        )


def _numeric(host: str, port: int) -> Sequence[Address]:
    """The addresses for an IP address, which need no lookup."""
    return socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_NUMERICHOST
    )


async def _connect_tcp(
    addresses: Sequence[Address], local_address: tuple[str, int] | None, *, to: str = ""
) -> socket.socket:
    """Connects to one of the addresses of a host: the first that answers, tried side by side (RFC 8305)."""
    own = None
    step = f"the TCP connection{to} failed"
    if local_address is not None:
        own = _numeric(*local_address)
        step = f"the TCP connection{to} from local_address failed"
        addresses = [address for address in addresses if address[0] == own[0][0]]
        if not addresses:
            raise ConnectError(f"{step}: the host has no address of its family")

    def create(address: Any) -> socket.socket:
        sock = sockets.create_socket(address)
        if local_address is not None and local_address[1]:
            # The next attempt needs the port too, and TCP would keep it waiting.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return sock

    with failing(step):
        return await aiohappyeyeballs.start_connection(  # pyright: ignore[reportUnknownMemberType]
            addresses, local_addr_infos=own, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY, socket_factory=create
        )


# Proxies


async def _connect_by_proxy(proxy: Proxy, target: Target, host: str, port: int) -> socket.socket:
    if proxy.scheme == "http":
        conversation = tunnel.connect(host, port, proxy.credentials, max_size=target.max_header_size)
        return await _tunnel(proxy, target, conversation)
    if proxy.scheme == "socks5h":
        return await _tunnel(proxy, target, tunnel.socks5(host, port, proxy.credentials))
    with failing("the name lookup failed"):
        *others, last = [str(address[4][0]) for address in await _addresses(host, port)]
    for address in others:
        try:
            return await _tunnel(proxy, target, tunnel.socks5(address, port, proxy.credentials))
        except ProxyRefusedError as error:
            # The proxy may reach another one.
            if error.is_final:
                raise
    return await _tunnel(proxy, target, tunnel.socks5(last, port, proxy.credentials))


async def _tunnel(proxy: Proxy, target: Target, conversation: Conversation) -> socket.socket:
    with failing("the name lookup of the proxy failed"):
        addresses = await _addresses(proxy.host, proxy.port)
    sock = await _connect_tcp(addresses, target.local_address, to=" to the proxy")
    try:
        with failing("the connection to the proxy broke"):
            await _converse(sock, conversation)
    except BaseException:
        sock.close()
        raise
    return sock


async def _converse(sock: socket.socket, conversation: Conversation) -> None:
    loop = asyncio.get_running_loop()
    answer: bytes | None = None
    while True:
        try:
            data, size = next(conversation) if answer is None else conversation.send(answer)
        except StopIteration:
            return
        await loop.sock_sendall(sock, data)
        answer = await _receive(sock, size)


async def _receive(sock: socket.socket, size: int) -> bytes:
    """Receives so many bytes; none, if the other side ends the connection before."""
    loop = asyncio.get_running_loop()
    received = b""
    while len(received) < size:
        more = await loop.sock_recv(sock, size - len(received))
        if not more:
            return b""
        received += more
    return received
