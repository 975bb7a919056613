"""Ready scripts, for servers that behave well and for servers that do not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from rxnodes.testing.server.frames import Close
from rxnodes.testing.server.peer import CloseReceived

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxnodes.testing.server.peer import Peer
    from rxnodes.testing.server.websocket import Script

__all__ = [
    "answer_with",
    "close_with",
    "echo",
    "hang_up",
    "in_turn",
    "keep_tcp_open",
    "never_answer_close",
    "never_answer_handshake",
    "never_read",
    "refuse",
    "stall_in_header",
    "talk_after_close",
    "talk_after_own_close",
    "vanish",
]

_TALKING_PACE: Final = 0.005


async def echo(peer: Peer) -> None:
    """Behaves well: sends every message back, answers pings, answers Close with the same code, then ends with FIN."""
    await peer.accept()
    while True:
        try:
            message = await peer.receive_message()
        except CloseReceived as close:
            return await peer.send_close(None if close.code == 1005 else close.code)  # noqa: PLR2004 - none came
        if isinstance(message, str):
            await peer.send_text(message)
        else:
            await peer.send_binary(message)


def in_turn(*scripts: Script) -> Script:
    """Gives each connection its script, in order; the last script also serves all later connections.

    Args:
        *scripts: One script or more. The number of the connection on its server chooses among them, so the result may
            be used for several servers.

    Returns:
        A script.

    Raises:
        ValueError: If there is no script.

    Example:
        A server that is not ready yet the first two times:

        >>> script = in_turn(refuse(503), refuse(503), echo)
    """
    if not scripts:
        raise ValueError("in_turn() needs a script for the first connection")

    async def script(peer: Peer) -> None:
        await scripts[min(peer.number, len(scripts)) - 1](peer)

    return script


def refuse(status: int, headers: Mapping[str, str | None] | None = None, body: bytes = b"") -> Script:
    """Answers the opening handshake with another status than 101, then ends with FIN.

    Args:
        status: The status code, one that has a usual phrase.
        headers: Headers to add, such as `Retry-After`. Content-Length is added; `None` as its value leaves it out.
        body: The body.

    Returns:
        A script.

    Example:
        >>> async with WebSocketServer(refuse(503)) as server, aiohttp.ClientSession() as session:
        ...     async with session.get(server.url) as response:
        ...         print(response.status, response.reason)
        503 Service Unavailable
    """

    async def script(peer: Peer) -> None:
        await peer.respond(status, headers=headers, body=body)

    return script


def answer_with(*segments: bytes) -> Script:
    r"""Answers the opening handshake with any bytes, then ends with FIN.

    Args:
        *segments: The bytes, in order. Each is a segment of its own, if it fits into one and the client reads in time.

    Returns:
        A script.

    Example:
        >>> async with WebSocketServer(answer_with(b"HTTP/1.1 200 OK\r\n", b"\r\nhello")) as server:
        ...     async with aiohttp.ClientSession() as session, session.get(server.url) as response:
        ...         print(await response.text())
        hello
    """

    async def script(peer: Peer) -> None:
        await peer.read_request()
        for segment in segments:
            await peer.send_raw(segment)

    return script


async def never_answer_handshake(peer: Peer) -> None:
    """Accepts TCP, reads, and sends nothing."""
    await peer.wait_closed()


async def stall_in_header(peer: Peer) -> None:
    """Stops in the middle of the 101's headers."""
    await peer.read_request()
    await peer.send_raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webs")
    await peer.wait_closed()


def close_with(code: int | None, reason: str | bytes = "", *messages: str) -> Script:
    """Opens, sends the messages and a Close frame, waits for the client's, then ends with FIN.

    Args:
        code: The close code, any number of 16 bits. With `None`, the frame holds the reason alone.
        reason: Text, or bytes that need not be UTF-8.
        *messages: Text messages to send before.

    Returns:
        A script.

    Example:
        >>> async with WebSocketServer(close_with(4000, "enough", "hello")) as server:
        ...     async with websockets.connect(server.url) as ws:
        ...         print(await ws.recv())
        ...         await ws.wait_closed()
        ...         print(ws.close_code, ws.close_reason)
        hello
        4000 enough
    """

    async def script(peer: Peer) -> None:
        await peer.accept()
        for message in messages:
            await peer.send_text(message)
        await peer.send_close(code, reason)
        await _hear_close(peer)

    return script


async def never_answer_close(peer: Peer) -> None:
    """Answers pings, but not Close, and leaves TCP open."""
    await peer.accept()
    await _hear_close(peer)
    await peer.wait_closed()


async def talk_after_close(peer: Peer) -> None:
    """Answers Close with message after message, and with no Close frame."""
    await peer.accept()
    await _hear_close(peer)
    await _talk(peer)


async def talk_after_own_close(peer: Peer) -> None:
    """Sends Close 1000 and then message after message, which RFC 6455 section 5.5.1 forbids."""
    await peer.accept()
    await peer.send_close()
    await _talk(peer)


async def keep_tcp_open(peer: Peer) -> None:
    """Answers Close, but leaves ending TCP to the client (against RFC 6455 section 7.1.1)."""
    await peer.accept()
    await peer.send_close((await _hear_close(peer)).code)
    await peer.wait_closed()


async def never_read(peer: Peer) -> None:
    """Opens, and then reads nothing, until the server is closed."""
    await peer.accept()
    await peer.hang()


async def hang_up(peer: Peer) -> None:
    """Opens, and ends with FIN without a Close frame."""
    await peer.accept()


async def vanish(peer: Peer) -> None:
    """Opens, and ends with RST right after the 101."""
    await peer.accept()
    peer.reset()


async def _hear_close(peer: Peer) -> Close:
    """Waits for the client's Close frame. In ready scripts, a client that ends without one is no failure."""
    try:
        while True:
            await peer.receive_message()
    except CloseReceived as close:
        return Close(close.code, close.reason)


async def _talk(peer: Peer) -> None:
    while True:
        await peer.send_text("and another thing")
        await asyncio.sleep(_TALKING_PACE)
