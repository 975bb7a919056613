"""Home Assistant's login, events and services, against a server of ours that keeps its protocol."""

from __future__ import annotations

import sys

import pytest
from foreign import SERVERS, ForeignServer, recipe

pytestmark = pytest.mark.slow

SWITCHED_ON = "{'entity_id': 'light.hall', 'state': 'on'}"


@pytest.fixture
async def server():
    async with ForeignServer(sys.executable, str(SERVERS / "home_assistant.py"), "{port}") as server:
        yield server


def automation(server, token):
    url = f"ws://127.0.0.1:{server.port}/api/websocket"
    return recipe("home_assistant.py", url, token, "binary_sensor.hall", "light.hall")


def is_success(line):
    return "'type': 'result', 'success': True" in line


async def test_the_automation_goes_on_when_the_server_comes_back(server):
    async with automation(server, "a long-lived token") as program:
        for _ in range(2):
            await program.until(SWITCHED_ON)
            await program.until(is_success)
        server.kill()
        await server.start()
        # The new server begins with motion, and what the old one had said is printed before.
        await program.until("{'entity_id': 'binary_sensor.hall', 'state': 'off'}")
        await program.until(SWITCHED_ON)
        await program.until(is_success)
        await program.interrupt()


async def test_a_token_that_is_refused_is_not_tried_again(server):
    async with automation(server, "another") as program:
        assert await program.complaints() == ["home: Invalid access token or password"]
