"""The permissions in the documentation are enough for workers and observers of a fleet, and for no other fleet."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from fleet.nats_servers import is_there, one

from rxnodes import ConnectError, Project
from rxnodes.fleet.nats import nats_store
from rxnodes.fleet.remote.fleet import Fleet
from rxnodes.fleet.worker.worker import Worker
from rxnodes.testing import ScriptedPeer, ScriptedTransport
from rxnodes.websocket import on_receive

pytestmark = is_there

PAGE = Path(__file__).parents[3] / "docs/fleet.md"
PERMISSIONS = re.search(r"^permissions \{.*?^\}", PAGE.read_text(), re.DOTALL | re.MULTILINE)[0]
CONFIG = f"authorization {{ users = [ {{ user: bot, password: s3cret, {PERMISSIONS} }} ] }}"


@pytest.mark.parametrize("kept", [(), ("chat",)], ids=["at most once", "kept"])
async def test_they_are_enough_for_a_worker_and_an_observer(tmp_path, kept):
    async with one(tmp_path, more=CONFIG) as server:
        url = server.url.replace("//", "//bot:s3cret@")
        transport = ScriptedTransport(ScriptedPeer.accept)
        project = Project(websocket={"chat": "ws://chat.test/"}, transport=transport)
        store = nats_store(url, fleet="feeds", lease=5)
        async with (
            asyncio.timeout(30),
            project,
            Worker(project, store, lease=5, settle=0.1, kept=kept),
            Fleet.connect(url, name="feeds") as fleet,
        ):
            chat = fleet.websocket("chat")
            heard = asyncio.get_running_loop().create_future()
            on_receive(chat).subscribe(heard.set_result)
            chat.start()
            await chat.wait_started()
            await chat.send("hello")
            assert transport.peer.received == ["hello"]
            transport.peer.send("and back")
            assert await heard == "and back"
            chat.stop()
            assert (await chat.wait_stopped()).code == 1000
        log = (server.folder / "log").read_text()
        assert "Violation" not in log


@pytest.mark.slow
async def test_they_are_for_this_fleet_alone(tmp_path):
    async with one(tmp_path, more=CONFIG) as server, asyncio.timeout(30):
        store = nats_store(server.url.replace("//", "//bot:s3cret@"), fleet="prices", lease=1)
        with pytest.raises((ConnectError, TimeoutError)):
            await asyncio.wait_for(store.open(), 5)
        assert "Violation" in (server.folder / "log").read_text()
