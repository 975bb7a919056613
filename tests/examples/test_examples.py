"""Each program in examples/ runs by itself, does what it says, and ends in order."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import signal
import sys
from pathlib import Path

import pytest
from programs import PATIENCE, ended, environment, running

from rxnodes.connection.driver import Driver
from rxnodes.testing import CloseReceived, WebSocketServer

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


def running_example(name, *arguments):
    return running(sys.executable, "-u", str(EXAMPLES / name), *arguments, env=environment())


async def shown_by(name, *arguments):
    async with running_example(name, *arguments) as process:
        return (await ended(process)).splitlines()


def test_the_readme_shows_each_of_them_and_how_it_is_run():
    text = (EXAMPLES / "README.md").read_text()
    programs = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".ipynb"}}
    assert set(re.findall(r"\]\(([\w]+\.(?:py|ipynb))\)", text)) == programs
    commands = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    assert {name for name in programs if re.search(rf"\bexamples[/ ]{Path(name).stem}\b", commands)} == programs


def test_the_readmes_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", (EXAMPLES / "README.md").read_text()):
        assert (EXAMPLES / target).exists(), target


# --- The bot ----------------------------------------------------------------------------------------------------------


async def test_the_bot_in_its_own_room():
    assert await shown_by("bot.py") == [
        "[idle]",
        "[connecting]",
        "[open]",
        "ann: !help",
        "bot: I know !add NUMBERS and !who",
        "ann: !add 1 2 3",
        "bot: 6",
        "ann: !add 1 x",
        "bot: sorry: invalid literal for int() with base 10: 'x'",
        "[reconnecting]",
        "[connecting]",
        "[open]",
        "ann: nice to see you again",
        "ann: !who",
        "bot: here are ann and bot",
        "[closing]",
        "[closed]",
    ]


class Room:
    """A room in which nothing happens unless the test says so."""

    def __init__(self):
        self.heard = []
        self.has_heard = asyncio.Event()
        self.peers = asyncio.Queue()
        self.close = None

    async def __call__(self, peer):
        await peer.accept()
        self.peers.put_nowait(peer)
        try:
            while True:
                self.heard.append(json.loads(await peer.receive_message()))
                self.has_heard.set()
        except CloseReceived as close:
            self.close = (close.code, close.reason)
            await peer.send_close(close.code)


async def line_of(process, wanted):
    while (line := (await process.stdout.readline()).decode().strip()) != wanted:
        assert line, f"the program ended before it printed {wanted!r}"


async def test_ctrl_c_lets_the_bot_say_goodbye():
    room = Room()
    async with WebSocketServer(room) as server, running_example("bot.py", server.url) as process:
        await line_of(process, "[open]")
        process.send_signal(signal.SIGINT)
        assert await ended(process) == "[closing]\n[closed]\n"
    assert room.heard == [{"say": "hello, I am a bot"}, {"say": "I have to go"}]
    assert room.close == (1000, "")


async def test_ctrl_c_while_the_bot_waits_for_an_answer():
    room = Room()
    async with WebSocketServer(room) as server, running_example("bot.py", server.url) as process:
        peer = await room.peers.get()
        await peer.send_text('{"from": "ann", "say": "!who"}')
        await line_of(process, "ann: !who")
        process.send_signal(signal.SIGINT)
        # The question goes unanswered, and its excuse comes too late to be said.
        printed = await ended(process)
    assert printed.startswith("[closing]\n")
    assert "[closed]\n" in printed
    assert {"say": "I have to go"} in room.heard
    assert room.close == (1000, "")


async def test_ctrl_c_while_the_bot_waits_to_come_back():
    async def leave(peer):
        await peer.accept()

    async with WebSocketServer(leave) as server:
        async with running_example("bot.py", server.url) as process:
            await line_of(process, "[open]")
            await line_of(process, "[reconnecting]")
            await server.__aexit__(None, None, None)
            process.send_signal(signal.SIGINT)
            printed = await ended(process)
            assert printed.endswith("[closed]\n")
            # Nobody is there to say goodbye to.
            assert "[send" not in printed


# --- The feed and the house -------------------------------------------------------------------------------------------


async def test_the_feed_stores_every_quote_and_says_what_it_missed():
    lines = await shown_by("trading_feed.py")
    assert [line for line in lines if line.startswith("missed")] == ["missed 6 7", "missed 10 11 12"]
    stored = [list(map(int, re.findall(r"(\d+): ", line))) for line in lines if line.startswith("stored")]
    # What was missed comes behind what is there already.
    assert stored == [[1], [2], [3], [4], [5], [8], [9], [6, 7], [13], [14], [15], [16], [17], [18], [10, 11, 12]]
    assert lines[-1] == "18 quotes in 2 attempts"


async def test_the_feed_holds_up_the_market_while_it_stores(monkeypatch, capsys):
    """Nobody sees that from outside the program; so it runs here, where its connection can be watched."""
    turns = []
    on_pause = Driver.on_pause

    def watched(driver, is_paused):
        turns.append("pause" if is_paused else "go on")
        on_pause(driver, is_paused)

    monkeypatch.setattr(Driver, "on_pause", watched)
    spec = importlib.util.spec_from_file_location("trading_feed", EXAMPLES / "trading_feed.py")
    feed = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "trading_feed", feed)
    spec.loader.exec_module(feed)
    async with asyncio.timeout(PATIENCE):
        await feed.demo()
    assert turns[:2] == ["pause", "go on"]
    assert "18 quotes in 2 attempts" in capsys.readouterr().out


async def test_the_house_switches_lights_in_the_night_only():
    assert await shown_by("home_automation.py") == [
        "day: 200 lux in the hall",
        "day: 3 lux in the hall",
        "lights: on in the hall",
        "lights: on in the kitchen",
        "night: the controller restarts",
        "lights: off in the hall",
        "the night is over, and the connection to the lights is closed",
        "hub: 1000, 6 messages received",
        "lights: 1000, 0 messages received",
    ]


async def test_ctrl_c_ends_the_feed_in_order():
    room = Room()
    async with WebSocketServer(room) as server, running_example("trading_feed.py", server.url) as process:
        peer = await room.peers.get()
        await peer.send_text('{"first": 1, "bids": [2.5]}')
        await line_of(process, "stored 1: 2.5")
        process.send_signal(signal.SIGINT)
        assert await ended(process) == ""
    # The last one to listen has gone, and the server is told.
    assert room.heard == [{"op": "subscribe"}, {"op": "unsubscribe"}]
    assert room.close == (1000, "")


async def test_ctrl_c_ends_the_house_in_the_midst_of_the_night():
    hub, lights = Room(), Room()
    async with WebSocketServer(hub) as hub_server, WebSocketServer(lights) as lights_server:
        async with running_example("home_automation.py", hub_server.url, lights_server.url) as process:
            sensors = await hub.peers.get()
            await sensors.send_text('{"room": "hall", "lux": 1}')
            await lights.peers.get()
            await sensors.send_text('{"room": "hall", "lux": 1, "motion": true}')
            await lights.has_heard.wait()
            process.send_signal(signal.SIGINT)
            assert await ended(process) == "day: 1 lux in the hall\n"
    assert lights.heard == [{"room": "hall", "on": True}]
    assert hub.close == lights.close == (1000, "")
