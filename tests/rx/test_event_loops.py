"""The event loop that rxnodes makes where it makes one itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from rxnodes import Project, run
from rxnodes.rx.event_loops import new_event_loop
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


WITHOUT_STREAMS = """
import os, sys
if sys.argv[1] == "asyncio":
    sys.modules["uvloop"] = None
from rxnodes.rx.event_loops import new_event_loop
for descriptor in range(3):
    os.close(descriptor)
loop = new_event_loop()
is_null = [os.path.samestat(os.fstat(descriptor), os.stat(os.devnull)) for descriptor in range(3)]
loop.close()
sys.exit(0 if all(is_null) else 1)
"""


@pytest.mark.slow
def test_closed_standard_streams_are_not_taken_by_a_loop(kind):
    """By none of its descriptors, so by no connection either."""
    command = [sys.executable, "-c", WITHOUT_STREAMS, kind]
    assert subprocess.run(command, check=False, timeout=30).returncode == 0  # noqa: S603 - our own program


def test_open_standard_streams_stay_what_they_are(kind):
    before = [os.fstat(descriptor) for descriptor in range(3)]
    new_event_loop().close()
    assert all(map(os.path.samestat, before, [os.fstat(descriptor) for descriptor in range(3)]))
