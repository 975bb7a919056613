"""The event loop that rxnodes makes where it makes one itself."""

from __future__ import annotations

import asyncio
import sys

import pytest

from rxnodes import Project, run
from rxnodes.loops import new_event_loop
from rxnodes.testing import ScriptedPeer, ScriptedTransport


@pytest.fixture(params=["uvloop", "asyncio"])
def kind(request, monkeypatch):
    """Which loop is to be had: without uvloop, importing it fails."""
    if request.param == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)
    else:
        pytest.importorskip("uvloop")
    return request.param


def test_uvloop_where_it_is_installed(kind):
    loop = new_event_loop()
    loop.close()
    assert type(loop).__module__.startswith(kind)


def test_run_uses_it(kind):
    async def main():
        return type(asyncio.get_running_loop()).__module__

    assert run(main()).startswith(kind)


def test_a_plain_with_uses_it(kind):
    with Project(websocket={"chat": "ws://chat.test/"}, transport=ScriptedTransport(ScriptedPeer.accept)) as project:
        assert type(project.loop).__module__.startswith(kind)
        chat = project.websocket("chat")
        chat.start()
        project.call(chat.wait_started)
    assert chat.last_stopped.was_clean
