"""Taking a TCP connection over from aiohttp, which has made the handshake on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.client_proto import ResponseHandler

__all__ = ["take_over"]


def take_over(response: aiohttp.ClientResponse, protocol: asyncio.Protocol) -> tuple[asyncio.Transport, bytes]:
    """Gives the connection of a response to another protocol.

    Args:
        response: The answer to the handshake.
        protocol: The protocol that the transport calls from here on.

    Returns:
        The transport, and the bytes that came right behind the answer.
    """
    connection = response.connection
    assert connection is not None
    handler, transport = connection.protocol, connection.transport
    assert handler is not None
    assert transport is not None
    early = _Early()
    handler.set_parser(early, None)
    transport.set_protocol(protocol)
    # In a turn of its own, because it takes longer than all of the rest, and nobody waits for it.
    asyncio.get_running_loop().call_soon(_release, handler, response)
    return transport, early.data


class _Early:
    """Takes the bytes that came right behind the 101, which aiohttp gives to the first parser that is set."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""


def _release(handler: ResponseHandler, response: aiohttp.ClientResponse) -> None:
    """Releases aiohttp's objects of the handshake. To aiohttp, a connection that was taken over has ended."""
    handler.connection_lost(None)
    response.close()
