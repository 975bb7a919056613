"""MQTT over WebSocket, against mosquitto."""

from __future__ import annotations

import pytest
from foreign import ForeignServer, load, program, recipe

MOSQUITTO, is_there = program("mosquitto")


@pytest.fixture
async def broker(tmp_path):
    # It wants a listener that is none of WebSocket besides, and would leave root for a user without rights here.
    config = f"listener {{port}} 127.0.0.1\nprotocol websockets\nlistener 0 {tmp_path}/socket\n"
    config += "allow_anonymous true\nuser root\n"
    file = tmp_path / "mosquitto.conf"
    async with ForeignServer(MOSQUITTO, "-c", str(file), config=(file, config)) as server:
        yield server


@is_there
@pytest.mark.slow
@pytest.mark.parametrize("text", ["hello", "a long text " * 2_000])
async def test_it_publishes_again_when_the_broker_comes_back(broker, text):
    async with recipe("mqtt.py", f"ws://127.0.0.1:{broker.port}", "home/hall", text) as program:
        await program.until(text)
        broker.kill()
        await broker.start()
        await program.until(text)
        await program.interrupt()


@pytest.mark.parametrize("size", [0, 127, 128, 16_383, 16_384, 2_097_152])
def test_the_length_of_a_packet_is_read_as_it_is_written(size):
    mqtt = load("mqtt")
    assert mqtt.body_of(mqtt.packet(mqtt.PUBLISH, bytes(size))) == bytes(size)
