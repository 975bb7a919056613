"""The server's answer to the handshake: we read its head, and aiohttp its body.

aiohttp bounds each line of a head, but not the whole, and it refuses more heads in Python's development mode and in
asyncio's debug mode. So it gets a head of ours instead, which says no more than where the body ends. The server's head
is in the `HeadReader` of the dial.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

from rxnodes.transport.aiohttp.failures import failing
from rxnodes.transport.aiohttp.routes import open_socket
from rxnodes.transport.aiohttp.sockets import current_dial
from rxnodes.wire.answer import framing
from rxnodes.wire.handshake import SWITCHING_PROTOCOLS, RefusedError

if TYPE_CHECKING:
    from rxnodes.errors import ConnectError
    from rxnodes.transport.base import Target
    from rxnodes.wire.answer import AnswerHead, HeadReader

__all__ = ["HandshakeConnector", "read_body"]

#: How many bytes of a refusal's body are kept.
MAX_BODY: Final = 8 * 1024

#: For how many seconds they are waited for. Most servers send them together with the head.
BODY_TIMEOUT: Final = 1.0


class HandshakeConnector(aiohttp.BaseConnector):
    """Makes the connections of dials. Their first bytes go to the `HeadReader` of the dial under way."""

    async def _create_connection(self, req: aiohttp.ClientRequest, traces: Any, timeout: Any) -> ResponseHandler:  # noqa: ARG002, ASYNC109 - as aiohttp has it
        """Connects, as each connector of aiohttp does in its own way."""
        dial = current_dial.get()
        host, port = req.url.raw_host, req.url.port
        assert host is not None
        assert port is not None
        tls = _tls_options(dial.target, host)
        sock = await open_socket(dial.target, host, port)
        loop = asyncio.get_running_loop()
        handler = ResponseHandler(loop)
        connect: Any = loop.create_connection if dial.target.unix_socket is None else loop.create_unix_connection
        with failing("the connection broke before the handshake"):
            # Closes the socket if it fails.
            await connect(lambda: handler, sock=sock, **tls)
        # This also feeds what has come already.
        handler.set_parser(_HeadParser(handler, dial.answer), None)
        return handler


def _tls_options(target: Target, host: str) -> dict[str, Any]:
    if not target.is_tls:
        return {}
    return {
        "ssl": systems_trust() if target.tls is None else target.tls(),
        # A certificate has no dot at the end of a name.
        "server_hostname": target.server_hostname or host.rstrip("."),
    }


@functools.cache
def systems_trust() -> ssl.SSLContext:
    """The context that trusts what the system's trust store trusts."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class _HeadParser:
    """Takes the bytes that come to aiohttp's protocol until the head is complete."""

    __slots__ = ("_handler", "_reader")

    def __init__(self, handler: ResponseHandler, reader: HeadReader) -> None:
        self._handler = handler
        self._reader = reader

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Returns, for aiohttp, whether the parser is done, and the bytes behind that."""
        try:
            rest = self._reader.feed(data)
        except RefusedError as error:
            self._handler.set_exception(error)
            return True, b""
        if rest is not None:
            assert self._reader.head is not None
            self._handler.set_parser(None, None)
            self._handler.data_received(_told(self._reader.head) + rest)
        return False, b""

    def feed_eof(self) -> None:
        """Does nothing at the end of the connection, which the protocol tells by itself."""


def _told(head: AnswerHead) -> bytes:
    """The head that aiohttp gets."""
    if head.status == SWITCHING_PROTOCOLS:
        lines = {"Connection": "Upgrade", "Upgrade": "websocket"}
    else:
        lines = framing(head.headers)
    fields = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {head.status} \r\n{fields}\r\n".encode()


async def read_body(response: aiohttp.ClientResponse, refusal: ConnectError) -> None:
    """Puts the beginning of the answer's body into the error, as far as that comes soon."""
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(BODY_TIMEOUT):
            while piece := await response.content.read(MAX_BODY - len(refusal.body)):
                refusal.body += piece
