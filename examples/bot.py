"""A chat bot: it answers commands, asks the server, comes back after a restart, and leaves in order on Ctrl+C.

python examples/bot.py                      in a chat room of its own, which restarts once
python examples/bot.py wss://chat.example/  in a real one, which speaks the same JSON
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys

import reactivex
from reactivex import Observable
from reactivex import operators as ops

import rxnodes
from rxnodes import Connection, ConnectionState, Project, pulse
from rxnodes.testing import Peer, Script, WebSocketServer, in_turn
from rxnodes.websocket import client_send, client_start, on_error, on_receive, on_start, request

RECONNECT = {"enabled": True, "initial_delay": 0.1}
numbers = itertools.count(1)


def answer(chat: Connection, command: str) -> Observable[str]:
    """What the bot says to a command."""
    match command.split():
        case ["!add", *summands]:
            return reactivex.just(str(sum(map(int, summands))))
        case ["!who"]:
            number = next(numbers)
            who = request(chat, {"id": number, "ask": "who"}, match=("id", number), codec="json")
            return who.pipe(ops.map(lambda it: "here are " + " and ".join(it["who"])))
        case _:
            return reactivex.just("I know !add NUMBERS and !who")


def answer_or_excuse(chat: Connection, command: str) -> Observable[str]:
    """An answer that fails has an error of its own, which would end the pipeline, and with it the bot."""
    return reactivex.defer(lambda _: answer(chat, command)).pipe(
        ops.catch(lambda error, _: reactivex.just(f"sorry: {error}"))
    )


async def run_bot(url: str) -> None:
    """Runs the bot until the server ends the connection for good, or the program is interrupted."""
    async with Project(websocket={"chat": {"url": url, "reconnect": RECONNECT}}) as project:
        chat = project.websocket("chat")
        project.subscribe(
            chat.states.pipe(ops.do_action(lambda state: print(f"[{state}]"))),
            on_error(chat).pipe(ops.do_action(lambda event: print(f"[{event.phase}: {event.message}]"))),
            on_start(chat).pipe(client_send(chat, {"say": "hello, I am a bot"}, codec="json")),
            on_receive(chat, codec="json").pipe(
                ops.filter(lambda it: "say" in it),
                ops.do_action(lambda it: print(f"{it['from']}: {it['say']}")),
                ops.filter(lambda it: it["say"].startswith("!")),
                ops.concat_map(lambda it: answer_or_excuse(chat, it["say"])),
                ops.do_action(lambda text: print(f"bot: {text}")),
                ops.map(lambda text: {"say": text}),
                client_send(chat, codec="json"),
            ),
            pulse().pipe(client_start(chat)),
        )
        try:
            await chat.wait_stopped()
        except asyncio.CancelledError:
            if chat.state is ConnectionState.OPEN:
                # What is sent before a stop goes out before the Close frame. Leaving the project stops and waits.
                chat.send('{"say": "I have to go"}')
            raise


# --- A chat room to try it in -----------------------------------------------------------------------------------------


def room(*lines: str, code: int) -> Script:
    """A room in which ann says these lines, and waits for the bot's answer where there is to be one."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await hear(peer)
        for line in lines:
            await peer.send_text(json.dumps({"from": "ann", "say": line}))
            if line.startswith("!"):
                await hear(peer)
        await peer.send_close(code)
        await peer.expect_close()

    async def hear(peer: Peer) -> None:
        while "ask" in (message := json.loads(await peer.receive_message())):
            await peer.send_text(json.dumps({"id": message["id"], "who": ["ann", "bot"]}))

    return script


async def demo() -> None:
    """Runs the bot in a room that restarts (1012), and later closes (1000)."""
    rooms = in_turn(
        room("!help", "!add 1 2 3", "!add 1 x", code=1012), room("nice to see you again", "!who", code=1000)
    )
    async with WebSocketServer(rooms) as server:
        await run_bot(server.url)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        rxnodes.run(run_bot(sys.argv[1]) if len(sys.argv) > 1 else demo())
