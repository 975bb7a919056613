"""The window, on a virtual screen."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from programs import PATIENCE, environment, running

from rxnodes.testing import WebSocketServer, never_answer_handshake

DRIVER = Path(__file__).with_name("tk_driver.py")

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("_tkinter") is None, reason="this Python has no tkinter"),
    pytest.mark.skipif(shutil.which("Xvfb") is None, reason="there is no virtual screen: Xvfb is not installed"),
]


@pytest.fixture(scope="module")
def screen():
    """A virtual screen of our own, by its name."""
    read, write = os.pipe()
    server = subprocess.Popen(  # noqa: S603 - our own
        [shutil.which("Xvfb"), "-displayfd", str(write), "-screen", "0", "800x600x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as numbers:
        number = numbers.readline().strip()
    try:
        assert number, "Xvfb did not start"
        yield f":{number}"
    finally:
        server.terminate()
        server.wait(PATIENCE)


async def driven(screen, script, *arguments, interrupt_behind=None):
    """What the program prints while a script drives it."""
    command = [sys.executable, "-u", str(DRIVER), script, *arguments]
    async with running(*command, env=environment(DISPLAY=screen)) as process:
        if interrupt_behind is not None:
            assert (await process.stdout.readline()).decode() == interrupt_behind
            process.send_signal(signal.SIGINT)
        printed, problems = await process.communicate()
    return printed.decode(), problems.decode(), process.returncode


async def test_it_shows_what_comes_and_sends_what_is_typed(screen):
    assert await driven(screen, "chat") == ("all seen\nthe window is closed, and chat is closed\n", "", 0)


async def test_it_can_be_closed_while_it_connects(screen):
    async with WebSocketServer(never_answer_handshake) as server:
        printed = await driven(screen, "close_while_connecting", server.url)
    assert printed == ("the window is closed, and chat is closed\n", "", 0)


async def test_ctrl_c_closes_it_in_order_too(screen):
    closes = []

    async def script(peer):
        await peer.accept()
        closes.append(await peer.expect_close())
        await peer.send_close(1000)

    async with WebSocketServer(script) as server:
        printed = await driven(screen, "interrupted", server.url, interrupt_behind="open\n")
    assert closes == [(1000, "")]
    assert printed == ("the window is closed, and chat is closed\n", "", 0)
