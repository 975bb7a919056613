"""Who acts in `benchmarks.soak`: users, servers that misbehave, and proxies that fail, all of them by chance."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from reactivex import operators as ops

from benchmarks.soak_witness import ROOM, EndlessError
from rxnodes import ConnectError, pulse
from rxnodes.testing import (
    RSV2,
    Frame,
    Opcode,
    Peer,
    close_payload,
    close_with,
    echo,
    hang_up,
    keep_tcp_open,
    never_answer_close,
    refuse,
    talk_after_close,
    talk_after_own_close,
    vanish,
)
from rxnodes.websocket import client_send, client_start, client_stop, on_receive, on_start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from benchmarks.soak_witness import Findings, Totals, Witness
    from rxnodes import Project
    from rxnodes.testing import ChaosProxy

__all__ = ["MAX_MESSAGE_SIZE", "Fates", "User", "chance_of", "weather"]

MAX_MESSAGE_SIZE: Final = 1024 * 1024
CODES: Final = (1000, 1001, 1008, 1011, 1012, 3000, 4999)


def chance_of(*of: object) -> random.Random:
    """Chance of one's own for everyone, so that none depends on who comes first."""
    return random.Random(" ".join(map(str, of)))  # noqa: S311 - chaos is no secret


# The other side


async def good(peer: Peer, _chance: random.Random) -> None:
    """Echoes, compressed as it came where that was offered."""
    if peer.request is None or peer.request.header("Sec-WebSocket-Extensions") is None:
        await echo(peer)
        return
    await peer.accept(extensions="permessage-deflate; client_no_context_takeover; server_no_context_takeover")
    while (frame := await peer.receive()).opcode != Opcode.CLOSE:
        opcode = Opcode.PONG if frame.opcode == Opcode.PING else frame.opcode
        await peer.send_frame(Frame(opcode, frame.payload, rsv=frame.rsv))
    await peer.send_frame(Frame(Opcode.CLOSE, frame.payload))


async def closes(peer: Peer, chance: random.Random) -> None:
    """Says a few words and closes."""
    words = ["word"] * chance.randrange(20)
    await close_with(chance.choice((*CODES, None)), "that was all", *words)(peer)


async def refuses(peer: Peer, chance: random.Random) -> None:
    """Answers no, or nonsense."""
    if chance.random() < 0.5:  # noqa: PLR2004 - heads or tails
        await refuse(chance.choice((200, 302, 401, 404, 500, 503)))(peer)
    else:
        await peer.send_raw(chance.randbytes(chance.randrange(1, 200)))


async def stalls(peer: Peer, chance: random.Random) -> None:
    """Answers nothing, or half of it."""
    await peer.send_raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webs"[: chance.choice((0, 12, 47))])
    await peer.wait_closed()


async def breaks_the_protocol(peer: Peer, chance: random.Random) -> None:
    """Sends a few words, and then what no server may."""
    await peer.accept()
    frame = chance.choice(
        (
            Frame(Opcode.TEXT, b"\xff"),
            Frame(Opcode.TEXT, b"x", rsv=RSV2),
            Frame(Opcode.TEXT, b"x", mask=b"mask"),
            Frame(Opcode.PING, b"x", fin=False),
            Frame(Opcode.CLOSE, close_payload(1006)),
            Frame(Opcode.CLOSE, b"x"),
            Frame(Opcode.CONTINUATION, b"x"),
            Frame(3),
        )
    )
    for _ in range(chance.randrange(4)):
        await peer.send_text("a word")
    await peer.send_frame(frame)
    await peer.wait_closed()


async def is_too_much(peer: Peer, chance: random.Random) -> None:
    """Sends a message that is too large, or declares one."""
    await peer.accept()
    if chance.random() < 0.5:  # noqa: PLR2004 - heads or tails
        await peer.send_frame(Frame(Opcode.BINARY), length=MAX_MESSAGE_SIZE + 1)
    else:
        await peer.send_binary(bytes(MAX_MESSAGE_SIZE + 1))
    await peer.wait_closed()


async def babbles(peer: Peer, chance: random.Random) -> None:
    """Opens, and sends bytes of any kind."""
    await peer.accept(then=chance.randbytes(chance.randrange(200)))
    await peer.wait_closed()


async def is_deaf(peer: Peer, chance: random.Random) -> None:
    """Reads nothing for a while, and then resets the connection, or reads again."""
    await peer.accept()
    await asyncio.sleep(chance.random())
    if chance.random() < 0.5:  # noqa: PLR2004 - heads or tails
        peer.reset()


async def floods(peer: Peer, chance: random.Random) -> None:
    """Sends much, and ends in one way or another."""
    await peer.accept()
    for _ in range(chance.randrange(300)):
        await peer.send_binary(bytes(4096))
    if chance.random() < 0.5:  # noqa: PLR2004 - heads or tails
        peer.reset()


def _always(script: Callable[[Peer], Awaitable[None]]) -> Callable[[Peer, random.Random], Awaitable[None]]:
    async def fate(peer: Peer, _chance: random.Random) -> None:
        await script(peer)

    fate.__name__ = script.__name__
    return fate


#: What a server does with a connection, and how often.
FATES: Final[dict[Callable[[Peer, random.Random], Awaitable[None]], int]] = {
    good: 30,
    closes: 8,
    floods: 4,
    breaks_the_protocol: 4,
    refuses: 4,
    is_deaf: 3,
    babbles: 3,
    stalls: 2,
    is_too_much: 2,
    **dict.fromkeys(map(_always, (hang_up, vanish, keep_tcp_open)), 3),
    **dict.fromkeys(map(_always, (never_answer_close, talk_after_close, talk_after_own_close)), 2),
}


class Fates:
    """The server's script: the n-th attempt of a connection always meets the same fate."""

    def __init__(self, seed: int, totals: Totals) -> None:
        self._seed = seed
        self._totals = totals
        self._attempts: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)

    async def __call__(self, peer: Peer) -> None:
        """Serves a connection."""
        name = (await peer.read_request()).target
        chance = chance_of(self._seed, name, next(self._attempts[name]))
        (fate,) = chance.choices(list(FATES), list(FATES.values()))
        self._totals.fates[fate.__name__] += 1
        await fate(peer, chance)


async def weather(proxy: ChaosProxy, chance: random.Random) -> None:
    """Switches a proxy's faults, one after the other."""
    while True:
        faults = chance.choice((proxy.to_server, proxy.to_client))
        match chance.randrange(9):
            case 0:
                faults.latency = chance.uniform(0, 0.2)
            case 1:
                faults.bandwidth = chance.choice((0, 2_000, 50_000, 1_000_000))
            case 2:
                faults.slice_size = chance.choice((1, 7, 500))
            case 3:
                faults.black_hole = True
            case 4:
                faults.half_close = True
            case 5:
                faults.reset_after = chance.randrange(5_000)
            case 6:
                proxy.reset_all()
            case _:
                pass
        await asyncio.sleep(chance.uniform(0.05, 0.4))
        faults.clear()
        await asyncio.sleep(chance.uniform(0, 0.4))


# This side


class User:
    """Starts, uses and stops one connection, again and again."""

    def __init__(self, witness: Witness, project: Project, chance: random.Random, findings: Findings) -> None:
        self._witness = witness
        self._connection = witness.connection
        self._project = project
        self._chance = chance
        self._findings = findings

    async def run(self, until: float) -> None:
        """Goes on until that moment, by the monotonic clock, and then until the session is over."""
        while time.monotonic() < until:
            (session,) = self._chance.choices(
                (self._by_hand, self._by_nodes, self._in_a_hurry, self._impatiently), (5, 3, 2, 2)
            )
            await session()
            await self._end()
            await asyncio.sleep(self._chance.uniform(0, 0.5))

    async def _by_hand(self) -> None:
        """Opens, talks, and stops or waits a little for the end to come."""
        self._connection.start()
        with contextlib.suppress(ConnectError, TimeoutError):
            async with asyncio.timeout(2):
                await self._connection.wait_started()
        for _ in range(self._chance.randrange(5)):
            self._talk()
            await asyncio.sleep(self._chance.uniform(0, 0.2))
        if self._chance.random() < 0.3:  # noqa: PLR2004 - now and then
            await self._wait_a_little()

    async def _by_nodes(self) -> None:
        """The same with nodes, in a scene that ends with it."""
        connection, witness = self._connection, self._witness
        async with self._project.scene(connection.name) as scene:
            scene.subscribe(
                on_start(connection).pipe(client_send(connection, lambda _: witness.counted("hello"))),
                on_receive(connection, codec=None).pipe(ops.take(1), client_stop(connection)),
                pulse().pipe(client_start(connection)),
            )
            await self._wait_a_little()

    async def _in_a_hurry(self) -> None:
        """Commands in any order, with little or nothing in between."""
        connection = self._connection
        commands = (connection.start, connection.start, connection.stop, connection.abort, self._talk)
        for _ in range(self._chance.randrange(1, 8)):
            self._chance.choice(commands)()
            for _ in range(self._chance.randrange(4)):
                await asyncio.sleep(0)

    async def _impatiently(self) -> None:
        """Waits in several tasks, and gives up some of them."""
        self._connection.start()
        waiters = [asyncio.create_task(self._connection.wait_stopped()) for _ in range(3)]
        await asyncio.sleep(self._chance.uniform(0, 0.3))
        waiters[0].cancel()
        self._talk()
        await self._end()
        await asyncio.wait(waiters, timeout=ROOM)
        self._findings.expect(all(waiter.done() for waiter in waiters), f"{self._connection!r}: a waiter is left")

    def _talk(self) -> None:
        chance = self._chance
        size = int(10 ** chance.uniform(0, 5))
        message = chance.choice(("x" * size, bytes(size)))
        for _ in range(chance.choice((1, 1, 3, 20))):
            self._witness.send(message)

    async def _wait_a_little(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._chance.uniform(0, 2)):
                await self._connection.wait_stopped()

    async def _end(self) -> None:
        """Stops, in one way or another, and waits until it is over, which has to be soon."""
        connection, bound = self._connection, self._witness.close_timeout + 2 * ROOM
        while connection.is_live:
            connection.stop(code=self._chance.choice(CODES), reason="enough")
            if self._chance.random() < 0.1:  # noqa: PLR2004 - rarely
                # A start while closing: another session follows, which the next turn stops.
                connection.start()
            if self._chance.random() < 0.1:  # noqa: PLR2004 - rarely
                connection.abort()
            try:
                async with asyncio.timeout(bound):
                    await connection.wait_stopped()
            except TimeoutError:
                raise EndlessError(f"{connection!r} is not over {bound:g} s after its stop") from None
