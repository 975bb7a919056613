"""A trading feed: typed quotes with numbers, gaps filled from snapshots, and a consumer slower than the market.

python examples/trading_feed.py                     at a market of its own, which loses quotes and breaks down once
python examples/trading_feed.py wss://feed.example/
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

import reactivex
from pydantic import BaseModel
from reactivex import Observable
from reactivex import operators as ops

import rxnodes
from rxnodes import Connection, Project, for_each_async
from rxnodes.testing import Peer, Script, WebSocketServer, in_turn
from rxnodes.websocket import Gap, channel, on_error, on_gap, on_stop, request

RECONNECT = {"enabled": True, "initial_delay": 0.1}


class Quotes(BaseModel):
    """A quote as it is made, or those of a snapshot."""

    first: int
    bids: list[float]
    is_snapshot: bool = False

    def __str__(self) -> str:
        return ", ".join(f"{number}: {bid}" for number, bid in enumerate(self.bids, self.first))


def number_of(quotes: Quotes) -> int | None:
    """What is counted to find gaps."""
    return None if quotes.is_snapshot else quotes.first


def fetch(feed: Connection, gap: Gap) -> Observable[Quotes]:
    """A snapshot of what was missed. Where it cannot be had, the feed goes on without."""
    assert gap.missed is not None
    first, last = gap.missed[0], gap.missed[-1]
    print("missed", *gap.missed)
    return request(
        feed,
        {"op": "snapshot", "first": first, "last": last},
        match=lambda it: it.is_snapshot and it.first == first,
        codec=Quotes,
    ).pipe(ops.do_action(on_error=print), ops.catch(reactivex.empty()))


async def store(quotes: Quotes) -> None:
    """Takes its time. Meanwhile no more is read than there is room for, so that the market has to wait."""
    await asyncio.sleep(0.01)
    print("stored", quotes)


async def run_feed(url: str) -> None:
    """Stores all quotes until the market closes."""
    async with Project(websocket={"feed": {"url": url, "reconnect": RECONNECT}}) as project:
        feed = project.websocket("feed")
        quotes = channel(
            feed,
            subscribe={"op": "subscribe"},
            unsubscribe={"op": "unsubscribe"},
            match=lambda it: not it.is_snapshot,
            codec=Quotes,
        )
        missed = on_gap(feed, sequence=number_of, codec=Quotes).pipe(
            ops.filter(lambda gap: gap.missed is not None),
            ops.flat_map(lambda gap: fetch(feed, gap)),
        )
        project.subscribe(on_error(feed).pipe(ops.do_action(lambda event: print(f"{event.phase}: {event.message}"))))
        feed.start()
        count = await reactivex.merge(quotes, missed).pipe(
            ops.take_until(on_stop(feed)),
            for_each_async(store, buffer=4),
            ops.map(lambda it: len(it.bids)),
            ops.sum(),
        )
        print(f"{count} quotes in {feed.attempt} attempts")


# --- A market to try it at --------------------------------------------------------------------------------------------


def market(*numbers: int, is_final: bool = False) -> Script:
    """A market that sends the quotes of these numbers, answers one question, and then breaks down or closes."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.receive_message()
        for number in numbers:
            await send(peer, Quotes(first=number, bids=[bid(number)]))
        asked = json.loads(await peer.receive_message())
        numbers_asked = range(asked["first"], asked["last"] + 1)
        await send(peer, Quotes(first=asked["first"], bids=[bid(number) for number in numbers_asked], is_snapshot=True))
        if is_final:
            await peer.send_close(1000)
            await peer.expect_close()

    async def send(peer: Peer, quotes: Quotes) -> None:
        await peer.send_text(quotes.model_dump_json())

    def bid(number: int) -> float:
        return 2000 + number / 4

    return script


async def demo() -> None:
    """Runs the feed at a market that loses two quotes, and three more while it is away."""
    markets = in_turn(market(1, 2, 3, 4, 5, 8, 9), market(13, 14, 15, 16, 17, 18, is_final=True))
    async with WebSocketServer(markets) as server:
        await run_feed(server.url)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        rxnodes.run(run_feed(sys.argv[1]) if len(sys.argv) > 1 else demo())
