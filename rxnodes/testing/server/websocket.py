"""A WebSocket server that does what a test's script says, right or wrong, down to the byte and to FIN or RST.

Example:
    >>> async def never_closes(peer: Peer) -> None:
    ...     await peer.accept()
    ...     await peer.send_text("hello")
    ...     assert await peer.expect_close() == (1000, "bye")
    ...     assert await peer.wait_closed() == "reset"
    >>> async with WebSocketServer(never_closes) as server:
    ...     ...  # connect to server.url
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Self

from rxnodes.rx.event_loops import LoopThread
from rxnodes.testing.server.peer import Peer
from rxnodes.testing.server.tcp import TcpServer, raise_or_note
from rxnodes.testing.server.tls import Tls

if TYPE_CHECKING:
    from types import TracebackType

    from rxnodes.testing.server.tcp import Tcp

__all__ = ["Script", "WebSocketServer"]

Script = Callable[[Peer], Awaitable[None]]
"""Drives a server's end of one connection."""


class WebSocketServer(TcpServer):
    """A WebSocket server that runs a script for every TCP connection.

    When the script returns, the connection ends with FIN, unless the script has ended it already. A connection error or
    a cancellation in a script has no consequence; any other exception is raised on leaving. In a plain `with`, for
    programs without asyncio, the server runs in a thread of its own.

    Args:
        script: Drives the server's end of each connection.
        tls: The server's context, for wss. The TLS handshake precedes the script. If it fails, that ends the
            connection, and is no failure of the server.
        host: The IPv4 address, or its name, to listen on.
        port: The port to listen on; 0 is any free one.
        receive_buffer: The size of the kernel's receive buffer, in bytes; `None` is the system's default. With a small
            one, a client's writes block soon if nobody reads.

    Example:
        >>> async with WebSocketServer(echo) as server, aiohttp.ClientSession() as session:
        ...     async with session.ws_connect(server.url) as ws:
        ...         await ws.send_str("hello")
    """

    def __init__(
        self,
        script: Script,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        receive_buffer: int | None = None,
    ) -> None:
        super().__init__(self._run_script, host=host, port=port, receive_buffer=receive_buffer)
        self._script = script
        self._context = tls
        self._background: LoopThread | None = None

    @property
    def url(self) -> str:
        """The URL to connect to."""
        return f"{'ws' if self._context is None else 'wss'}://{self.host}:{self.port}/"

    def __enter__(self) -> Self:
        self._background = LoopThread(self, lambda: None)
        self._background.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._background is not None
        try:
            self._background.leave()
        except BaseExceptionGroup as group:
            raise_or_note(group, error)

    async def _run_script(self, tcp: Tcp, number: int) -> None:
        tls = None if self._context is None else Tls(tcp, self._context)
        peer = Peer(tcp, number=number, tls=tls)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            if tls is not None:
                await tls.handshake()
            await self._script(peer)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await peer.close()
