"""The transport: aiohttp's client session, shared by all links, and the masks of their frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from rxnodes.transport.aiohttp.allocator import keep_freed_memory
from rxnodes.transport.aiohttp.answers import HandshakeConnector
from rxnodes.transport.aiohttp.link import AiohttpLink
from rxnodes.transport.aiohttp.permitted import PermittedLink
from rxnodes.transport.reasons import reason_of
from rxnodes.wire.handshake import RefusedError
from rxnodes.wire.masking import Masks

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.transport.base import Sink, Target

__all__ = ["AiohttpTransport"]


class AiohttpTransport:
    """Dials with aiohttp. One client session serves all links; it has no pool, limit, cookies, redirects or proxies.

    Args:
        permit: Called before each read is handed on, and before each write. If it returns false, the link ends at once,
            and tells nothing but its end. `None`: everything is permitted.
    """

    def __init__(self, permit: Callable[[], bool] | None = None) -> None:
        keep_freed_memory()
        self._permit = permit
        self._session: aiohttp.ClientSession | None = None
        self._masks = Masks(compiled_mask())

    def dial(self, target: Target, sink: Sink) -> AiohttpLink:
        """Begins an attempt."""
        if self._permit is None:
            return AiohttpLink(self.session(), target, sink, self._masks)
        return PermittedLink(self.session(), target, sink, self._masks, self._permit)

    def session(self) -> aiohttp.ClientSession:
        """The client session, made on the running loop when it is first needed."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=HandshakeConnector(limit=0, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                middlewares=(_dial_once,),
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
                trust_env=False,
            )
        return self._session

    async def aclose(self) -> None:
        """Closes the client session. All links are lost by then."""
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _dial_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keeps aiohttp from dialling a second time by itself if the server ends the connection without an answer."""
    try:
        return await handler(request)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientConnectionResetError):
        failure = "the server ended the connection during the handshake"
    except aiohttp.ClientConnectorError:
        raise
    except aiohttp.ClientOSError as error:
        failure = f"the connection broke during the handshake: {reason_of(error)}"
    # Raised outside the handlers, so that the error carries no context.
    raise RefusedError(failure)


def compiled_mask() -> Callable[[bytes, bytearray], None] | None:
    """Aiohttp's function, which masks large payloads many times faster than Python can; `None` if it is missing.

    It has no public name, so it is tried on a sample.
    """
    sample = bytearray(b"sample")
    try:
        from aiohttp._websocket.helpers import websocket_mask  # noqa: PLC0415 - it may be missing

        websocket_mask(b"\x01\x02\x03\x04", sample)
    except Exception:  # noqa: BLE001 - any failure means that this aiohttp has another function, or none
        return None
    return websocket_mask if bytes(sample) == b"rcntmg" else None
