"""Draws the marble diagram of each operator anew: `python docs/pictures/marbles.py`.

Each is drawn from a run in virtual time, with a peer that is scripted: what the picture shows has happened. The file is
longer than others because each operator has a run of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import reactivex
from reactivex import Observable
from reactivex.disposable import SerialDisposable

sys.path.insert(0, str(Path(__file__).parent))

from board import Board

import rxnodes
from rxnodes import Project, Trigger
from rxnodes.testing import ScriptedPeer, ScriptedTransport, attempts, by_url, run_in_virtual_time
from rxnodes.websocket import (
    all_stopped,
    channel,
    client_send,
    client_start,
    client_stop,
    expect,
    messages,
    on_error,
    on_gap,
    on_receive,
    on_start,
    on_stop,
    request,
    request_stream,
    until_stopped,
)

if TYPE_CHECKING:
    from rxnodes import Connection

HERE = Path(__file__).parent / "marbles"
RECONNECT = {"enabled": True, "initial_delay": 0.6, "jitter": False}

Does = tuple[float, str, Any]


Run = Callable[[], Coroutine[Any, Any, Board]]
PICTURES: dict[str, Run] = {}


def picture(operator: str) -> Callable[[Run], Run]:
    """A run that shows this operator."""

    def keep(run: Run) -> Run:
        PICTURES[operator] = run
        return run

    return keep


def peer(*does: Does) -> Callable[[ScriptedPeer], None]:
    """A peer that does these things: seconds from the dial, the method of a `ScriptedPeer`, and what it is given."""

    def script(it: ScriptedPeer) -> None:
        loop = asyncio.get_running_loop()
        for seconds, verb, value in does:
            loop.call_later(seconds, getattr(it, verb), *(() if value is None else (value,)))

    return script


def says(*times_and_messages: Any) -> list[Does]:
    """It sends messages: a time, a message, a time, a message."""
    pairs = zip(times_and_messages[::2], times_and_messages[1::2], strict=True)
    return [(time, "send", message) for time, message in pairs]


def slow_to_close(seconds: float, *does: Does) -> Callable[[ScriptedPeer], None]:
    """A peer that answers a Close frame only so much later."""

    def script(it: ScriptedPeer) -> None:
        peer(*does)(it)
        it.expect_close(lambda: asyncio.get_running_loop().call_later(seconds, it.close))

    return script


@contextlib.asynccontextmanager
async def connected(*peers: Callable[[ScriptedPeer], None], is_open: bool = False) -> AsyncGenerator[Connection]:
    """A connection to these peers, one for each dial; it is started where it is to be open."""
    chat: Mapping[str, Any] = {"url": "ws://chat.test/", "reconnect": RECONNECT}
    transport = ScriptedTransport(attempts(*peers))
    async with Project(websocket={"chat": chat}, transport=transport) as project:
        # Those that nobody looks at are not to be logged.
        project.websocket("chat").errors.subscribe(lambda _: None)
        if is_open:
            project.websocket("chat").start()
            await project.websocket("chat").wait_started()
        yield project.websocket("chat")


def name_of(event: object) -> str:
    """An event is shown by its class."""
    return type(event).__name__


# --- The seven nodes --------------------------------------------------------------------------------------------------


@picture("client_start")
async def of_client_start() -> Board:
    """The second start finds the connection open, and does nothing."""
    async with connected(peer((0.3, "accept", None))) as chat:
        board = Board()
        source = board.source("source", {0.3: "1", 1.4: "2"})
        board.box("client_start(chat)")
        board.watch("result", source.pipe(client_start(chat)))
        board.states("chat.states", chat)
        board.watch("on_start(chat)", on_start(chat), name_of)
        await board.run(2)
    return board


@picture("client_send")
async def of_client_send() -> Board:
    """A message for each pulse."""
    async with connected(peer((0, "accept", None)), is_open=True) as chat:
        board = Board()
        source = board.source("source", {0.3: "1", 0.9: "2", 1.5: "3"})
        board.box('client_send(chat, lambda n: f"no. {n}")')
        node = client_send(chat, lambda n: f"no. {n}", tag=lambda n: f"no. {n}")
        board.watch("result", source.pipe(node))
        board.watch("sent", chat.sends, lambda outcome: str(outcome.tag))
        await board.run(2)
    return board


@picture("client_stop")
async def of_client_stop() -> Board:
    """The pulse passes at once; a message still comes; the end is later."""
    async with connected(slow_to_close(0.9, (0, "accept", None), *says(0.3, "a", 1.1, "b")), is_open=True) as chat:
        board = Board()
        source = board.source("source", {0.7: "1"})
        board.box("client_stop(chat)")
        board.watch("result", source.pipe(client_stop(chat)))
        board.watch("on_receive(chat)", on_receive(chat))
        board.states("chat.states", chat)
        board.watch("on_stop(chat)", on_stop(chat), name_of)
        await board.run(2)
    return board


@picture("on_start")
async def of_on_start() -> Board:
    """Also after a reconnect."""
    async with connected(peer((0.4, "accept", None), (1, "reset", None)), peer((0.4, "accept", None))) as chat:
        chat.start()
        board = Board()
        board.states("chat.states", chat)
        board.box("on_start(chat)")
        board.watch("result", on_start(chat), name_of)
        await board.run(2.4)
    return board


@picture("on_receive")
async def of_on_receive() -> Board:
    """Each codec reads the same messages."""
    sent = [(0, "accept", None), *says(0.3, "[1]", 0.9, b"\xff", 1.5, "[2, 3]")]
    async with connected(peer(*sent), is_open=True) as chat:
        board = Board()
        board.watch("on the wire", chat.messages, repr)
        board.box("on_receive(chat, codec=...)")
        board.watch("codec left out, or str", on_receive(chat), repr)
        board.watch("codec=bytes", on_receive(chat, codec=bytes), repr)
        board.watch('codec="json"', on_receive(chat, codec="json"))
        board.watch("on_error(chat)", on_error(chat), name_of)
        await board.run(2)
    return board


@picture("on_stop")
async def of_on_stop() -> Board:
    """One for each start, when it is over."""
    script = slow_to_close(0.5, (0.3, "accept", None))
    async with connected(script, script) as chat:
        board = Board()
        source = board.source("start, stop", {0.1: "start", 0.8: "stop"})
        source.subscribe(lambda what: chat.start() if what == "start" else chat.stop())
        board.states("chat.states", chat)
        board.box("on_stop(chat)")
        board.watch("result", on_stop(chat), name_of)
        await board.run(2)
    return board


@picture("on_error")
async def of_on_error() -> Board:
    """An attempt that is refused, and a message that does not fit."""
    sent = [(0.5, "accept", None), *says(0.9, b"\xff")]
    async with connected(peer((0.5, "refuse", None)), peer(*sent)) as chat:
        chat.start()
        board = Board()
        board.states("chat.states", chat)
        board.watch("on_receive(chat)", on_receive(chat))
        board.box("on_error(chat)")
        board.watch("result: the phase of each event", on_error(chat), lambda event: event.phase)
        await board.run(2.4)
    return board


@picture("holding")
async def of_holding() -> Board:
    """A fleet's worker lets the connection go, and takes it again."""
    async with connected(peer((0, "accept", None))) as chat:
        worker: Any = Mock(is_live=False)
        helm = chat.for_project.steer(worker)
        helm.hold()
        board = Board()
        source = board.source("source", {0.4: "1", 1: "2", 1.6: "3"})
        board.watch("holding(chat)", rxnodes.holding(chat))
        board.at(0.7, helm.let_go)
        board.at(1.3, helm.hold)
        board.box("client_start(chat, enabled=holding(chat))")
        board.watch("result", source.pipe(client_start(chat, enabled=rxnodes.holding(chat))))
        await board.run(2)
    return board


# --- Beside them ------------------------------------------------------------------------------------------------------


@picture("until_stopped")
async def of_until_stopped() -> Board:
    """The first pulse waits for the end, the second finds nothing that is live."""
    async with connected(slow_to_close(0.5, (0, "accept", None)), is_open=True) as chat:
        board = Board()
        source = board.source("source", {0.3: "1", 1.6: "2"})
        board.at(0.6, chat.stop)
        board.states("chat.states", chat)
        board.box("until_stopped(chat)")
        board.watch("result", source.pipe(until_stopped(chat)))
        await board.run(2)
    return board


@picture("all_stopped")
async def of_all_stopped() -> Board:
    """With the last of them."""
    script = slow_to_close(0.3, (0, "accept", None))
    urls = {name: f"ws://{name}.test/" for name in ("a", "b")}
    transport = ScriptedTransport(by_url(dict.fromkeys(urls.values(), script)))
    async with Project(websocket=urls, transport=transport) as project:
        both = [project.websocket(name) for name in urls]
        for connection in both:
            connection.start()
            await connection.wait_started()
        board = Board()
        for connection, time in zip(both, (0.4, 1.2), strict=True):
            board.states(f"{connection.name}.states", connection)
            board.at(time, connection.stop)
        board.box("all_stopped(a, b)")
        board.watch("result", all_stopped(*both), lambda ends: f"({', '.join(map(name_of, ends))})")
        await board.run(2.2)
    return board


@picture("on_gap")
async def of_on_gap() -> Board:
    """What was missed while it was away, in time and in numbers."""
    first = peer((0, "accept", None), *says(0.3, "7", 0.6, "8"), (0.9, "reset", None))
    async with connected(first, peer((0.5, "accept", None), *says(0.8, "11", 1.1, "12")), is_open=True) as chat:
        board = Board()
        board.watch("on_receive(chat)", on_receive(chat))
        board.states("chat.states", chat)
        board.box("on_gap(chat, sequence=int)")
        board.watch("result", on_gap(chat, sequence=int), lambda gap: f"9-{gap.missed[-1]}" if gap.missed else "gap")
        await board.run(3)
    return board


@picture("request")
async def of_request() -> Board:
    """The one answer that matches."""
    sent = [(0, "accept", None), *says(0.5, "a1", 1, "b1", 1.5, "b2")]
    async with connected(peer(*sent), is_open=True) as chat:
        board = Board()
        board.watch("on the wire", on_receive(chat))
        board.box('request(chat, "b?", match=starts_with_b)')
        board.watch("result", request(chat, "b?", match=lambda text: text[0] == "b"))
        await board.run(2)
    return board


@picture("request_stream")
async def of_request_stream() -> Board:
    """All that match, up to the one that is the last."""
    sent = [(0, "accept", None), *says(0.3, "a1", 0.7, "b1", 1.1, "a2", 1.5, "a.")]
    async with connected(peer(*sent), is_open=True) as chat:
        board = Board()
        board.watch("on the wire", on_receive(chat))
        board.box("request_stream(chat, ..., match=, until=)")
        answer = request_stream(chat, "a?", match=lambda text: text[0] == "a", until=lambda text: text == "a.")
        board.watch("result", answer)
        await board.run(2)
    return board


@picture("expect")
async def of_expect() -> Board:
    """It listens from the call on, and keeps the message for who comes later."""
    sent = [(0, "accept", None), *says(0.2, "b1", 0.8, "a1", 1.1, "b2")]
    async with connected(peer(*sent), is_open=True) as chat:
        board = Board()
        board.watch("on the wire", on_receive(chat))
        calls, late = Trigger[str](), Trigger[str]()
        board.watch("called, and subscribed to", reactivex.merge(calls, late))
        expected: list[Observable[str]] = []
        calls.subscribe(lambda _: expected.append(expect(chat, lambda text: text[0] == "b")))
        board.at(0.5, calls.fire, "call")
        board.at(1.5, late.fire, "sub")
        board.at(1.5, lambda: expected[0].subscribe(outcome))
        board.box("expect(chat, starts_with_b)")
        outcome = Trigger[str]()
        board.watch("result", outcome)
        await board.run(2)
    return board


@picture("channel")
async def of_channel() -> Board:
    """Asked for with the first subscriber and after a reconnect, and given up with the last subscriber."""

    def hears(*does: Does) -> Callable[[ScriptedPeer], None]:
        def script(it: ScriptedPeer) -> None:
            peer(*does)(it)
            for _ in range(2):
                it.expect(lambda text: board.mark(sent, str(text)))

        return script

    first = hears((0, "accept", None), *says(0.7, "a", 1, "b"), (1.3, "reset", None))
    async with connected(first, hears((0.5, "accept", None), *says(0.8, "a")), is_open=True) as chat:
        board = Board()
        result = Trigger[str]()
        ticks = channel(chat, subscribe="+a", unsubscribe="-a", match=lambda text: text == "a")
        subscription = SerialDisposable()
        board.at(0.3, lambda: subscription.set_disposable(ticks.subscribe(result)))
        board.at(2.9, subscription.dispose)
        board.states("chat.states", chat)
        board.watch("on the wire", on_receive(chat))
        sent = board.lane("sent")
        board.box('channel(chat, subscribe="+a", match=is_a)')
        board.watch("a subscriber, from 0.3 to 2.9 s", result)
        await board.run(3.2)
    return board


# --- Awaiting ---------------------------------------------------------------------------------------------------------


async def awaited(operator: Callable[..., Any], name: str) -> Board:
    """Items that are worked on one after the other."""
    board = Board()
    source = board.source("source", {0.3: "a", 0.5: "b", 0.7: "c"}, completes=1)
    board.box(f"{name}(fn)")
    board.watch("result", source.pipe(operator(board.working("fn at work", 0.45))))
    await board.run(2)
    return board


@picture("map_async")
async def of_map_async() -> Board:
    """What the coroutine returns."""
    return await awaited(rxnodes.map_async, "map_async")


@picture("for_each_async")
async def of_for_each_async() -> Board:
    """The items themselves, when the work is done."""
    return await awaited(rxnodes.for_each_async, "for_each_async")


@picture("aiter_observable")
async def of_aiter_observable() -> Board:
    """A loop over any observable."""
    board = Board()
    source = board.source("source", {0.3: "a", 0.5: "b", 1.3: "c"}, completes=1.6)
    board.box("async for item in aiter_observable(source)")
    await looped(board, rxnodes.aiter_observable(source), "the body of the loop")
    return board


@picture("messages")
async def of_messages() -> Board:
    """A loop over the messages of a session."""
    async with connected(
        peer((0, "accept", None), *says(0.3, "a", 0.5, "b", 1.2, "c"), (1.5, "close", None)), is_open=True
    ) as chat:
        board = Board()
        board.watch("on_receive(chat)", on_receive(chat))
        board.watch("on_stop(chat)", on_stop(chat), name_of)
        board.box("async for message in messages(chat)")
        await looped(board, messages(chat), "the body of the loop")
    return board


async def looped(board: Board, items: Any, label: str) -> None:
    """Each turn of the loop takes a while."""
    work = board.working(label, 0.35)
    end = board.lane("behind the loop")

    async def loop() -> None:
        async for item in items:
            await work(item)
        board.mark(end, "goes on")

    looping = asyncio.create_task(loop())
    await board.run(2.2)
    await looping


# --- Sources ----------------------------------------------------------------------------------------------------------


@picture("pulse")
async def of_pulse() -> Board:
    """One pulse, at each subscription."""
    board = Board()
    result = Trigger[str]()
    board.box('pulse("1")')
    board.watch("result", result)
    board.at(0.5, lambda: rxnodes.pulse("1").subscribe(result))
    await board.run(2)
    return board


def draw(name: str) -> str:
    """A picture, by the name of its operator."""
    return run_in_virtual_time(PICTURES[name]()).svg(name)


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for name in PICTURES:
        (HERE / f"{name}.svg").write_text(draw(name))
