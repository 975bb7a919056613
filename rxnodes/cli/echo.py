"""`rxnodes echo`: a server that sends every message back."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Final

from rxnodes.cli.output import printable
from rxnodes.lifecycle.states import CloseCode
from rxnodes.project.run import run as run_in_order
from rxnodes.testing.server import CloseReceived, WebSocketServer

if TYPE_CHECKING:
    import argparse

    from rxnodes.cli.output import Output
    from rxnodes.testing.server import Peer
    from rxnodes.testing.server.frames import Close

__all__ = ["run"]

#: How long a client may take to answer the Close frame with which the server ends, in seconds.
_PATIENCE: Final = 2.0


def run(options: argparse.Namespace, out: Output, _err: Output) -> int:
    """Serves until a signal comes, or nobody reads its output any more."""
    return run_in_order(_serve(options, out))


async def _serve(options: argparse.Namespace, out: Output) -> int:
    async with WebSocketServer(lambda peer: _Echo(peer, out).serve(), host=options.host, port=options.port) as server:
        out.line(f"listening on {server.url} (Ctrl+C ends it)")
        await out.until_unread()
    return 0


class _Echo:
    """One connection."""

    def __init__(self, peer: Peer, out: Output) -> None:
        self._peer = peer
        self._out = out
        self._messages = 0
        self._bytes = 0

    async def serve(self) -> None:
        """Sends every message back until the connection ends, and prints how it ended."""
        try:
            if await self._is_accepted():
                await self._send_back()
        except CloseReceived as close:
            self._say_closed(close)
            await self._peer.send_close(None if close.code == CloseCode.NO_STATUS_RECEIVED else close.code)
        except ConnectionError as error:
            self._say(f"lost: {error}; {self._traffic()}")
        except UnicodeDecodeError as error:
            await self._refuse(CloseCode.INVALID_FRAME_PAYLOAD_DATA, error)
        except (AssertionError, ValueError) as error:
            await self._refuse(CloseCode.PROTOCOL_ERROR, error)

    async def _is_accepted(self) -> bool:
        """Answers the handshake. A browser, which asks for a page, gets a text that says what this is."""
        request = await self._peer.read_request()
        if request.header("Sec-WebSocket-Key") is None:
            self._say(f"refused: {request.method} {request.target} is no WebSocket handshake")
            headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Content-Type": "text/plain"}
            await self._peer.respond(426, headers=headers, body=b"This is a WebSocket server.\n")
            return False
        offered = request.header("Sec-WebSocket-Protocol")
        subprotocol = None if offered is None else offered.partition(",")[0].strip()
        await self._peer.accept(subprotocol)
        self._say(f"open: {request.target}" + (f", subprotocol {subprotocol}" if subprotocol else ""))
        return True

    async def _send_back(self) -> None:
        while True:
            try:
                message = await self._peer.receive_message()
            except asyncio.CancelledError:
                # The server ends. While a message is being sent this is not reached: no frame can follow half of one.
                await self._go_away()
                raise
            self._messages += 1
            if isinstance(message, str):
                self._bytes += len(message.encode())
                await self._peer.send_text(message)
            else:
                self._bytes += len(message)
                await self._peer.send_binary(message)

    async def _go_away(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._peer.send_close(CloseCode.GOING_AWAY)
                self._say_closed(await self._peer.expect_close())
        except TimeoutError:
            self._say(f"gave up waiting for its Close frame; {self._traffic()}")

    async def _refuse(self, code: CloseCode, problem: Exception) -> None:
        self._say(f"refused with {code}: {problem}; {self._traffic()}")
        await self._peer.send_close(code)

    def _say_closed(self, close: CloseReceived | Close) -> None:
        reason = f' "{close.reason}"' if close.reason else ""
        self._say(f"closed: {close.code}{reason}; {self._traffic()}")

    def _traffic(self) -> str:
        return f"{self._messages} messages ({self._bytes} bytes)"

    def _say(self, what: str) -> None:
        when = datetime.now().astimezone().isoformat(timespec="milliseconds")[11:23]
        self._out.line(printable(f"{when}  {self._peer.number} {what}"))
