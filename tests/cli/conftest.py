"""What the tests of commands share: an empty folder, settings, and servers in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from rxnodes.cli import demo
from rxnodes.testing import WebSocketServer


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch, tmp_path):
    """An empty folder, nothing to read, no settings in the environment, and signals that are not ignored."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("RXNODES_"):
            monkeypatch.delenv(name)
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Path(os.devnull).open(encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def hurried(monkeypatch):
    """The demo's server makes no pauses, which are for those who look at it."""
    monkeypatch.setattr(demo, "_PACE", 0.0)


@pytest.fixture
def serve():
    """Runs servers in a thread of their own, so that a command has the main thread, as it does in life."""
    with contextlib.ExitStack() as stack, asyncio.Runner() as runner:
        loop = runner.get_loop()

        def call(coroutine):
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

        def start(script):
            server = WebSocketServer(script)
            call(server.__aenter__())
            stack.callback(lambda: call(server.__aexit__(None, None, None)))
            return server.url

        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        stack.callback(thread.join)
        stack.callback(loop.call_soon_threadsafe, loop.stop)
        yield start
        stack.close()


@pytest.fixture
def settings(tmp_path):
    """Writes a settings folder."""

    def write(websocket="", folder="settings", **files):
        path = tmp_path / folder
        path.mkdir()
        (path / "websocket.toml").write_text(websocket, encoding="utf-8")
        for name, text in files.items():
            (path / f"{name}.toml").write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def chat(settings, serve):
    """Names a server that follows a script `chat`."""

    def write(script, more=""):
        settings(f'[connections.chat]\nurl = "{serve(script)}"\n{more}')

    return write
