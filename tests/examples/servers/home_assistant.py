"""Keeps Home Assistant's WebSocket protocol, with one motion sensor and one light.

Home Assistant itself needs a newer Python than ours, and takes minutes to install. What is here is from its pages for
developers (WebSocket API): the login, ids that must increase, results, events, and services.
"""

import asyncio
import itertools
import json
import sys

from websockets.asyncio.server import serve

TOKEN = "a long-lived token"  # noqa: S105 - of nobody


class Home:
    """The states, and who listens to their changes."""

    def __init__(self):
        self.states = {}
        self.listeners = set()

    async def set_state(self, entity, state):
        self.states[entity] = state
        data = {"entity_id": entity, "new_state": {"entity_id": entity, "state": state}}
        for client, number in list(self.listeners):
            await client.tell(id=number, type="event", event={"event_type": "state_changed", "data": data})

    async def move(self):
        """Somebody walks past the sensor again and again."""
        for state in itertools.cycle(("on", "off")):
            await asyncio.sleep(0.05)
            await self.set_state("binary_sensor.hall", state)


class Client:
    """A connection."""

    def __init__(self, home, socket):
        self._home = home
        self._socket = socket
        self._last = 0

    async def tell(self, **message):
        await self._socket.send(json.dumps(message))

    async def run(self):
        await self.tell(type="auth_required", ha_version="2026.11.0")
        auth = json.loads(await self._socket.recv())
        if auth != {"type": "auth", "access_token": TOKEN}:
            await self.tell(type="auth_invalid", message="Invalid access token or password")
            return
        await self.tell(type="auth_ok", ha_version="2026.11.0")
        try:
            async for text in self._socket:
                await self._obey(json.loads(text))
        finally:
            self._home.listeners = {entry for entry in self._home.listeners if entry[0] is not self}

    async def _obey(self, command):
        number = command["id"]
        if number <= self._last:
            await self._refuse(number, "id_reuse", "Identifier values have to increase.")
            return
        self._last = number
        match command:
            case {"type": "subscribe_events", "event_type": "state_changed"}:
                await self._succeed(number)
                self._home.listeners.add((self, number))
            case {
                "type": "call_service",
                "domain": "light",
                "service": "turn_on",
                "target": {"entity_id": "light.hall"},
            }:
                await self._home.set_state("light.hall", "on")
                await self._succeed(number)
            case {"type": "call_service"}:
                await self._refuse(number, "not_found", "Service not found.")
            case _:
                await self._refuse(number, "unknown_command", "Unknown command.")

    async def _succeed(self, number):
        await self.tell(id=number, type="result", success=True, result=None)

    async def _refuse(self, number, code, message):
        await self.tell(id=number, type="result", success=False, error={"code": code, "message": message})


async def main(port):
    home = Home()
    async with serve(lambda socket: Client(home, socket).run(), "127.0.0.1", port):
        await home.move()


asyncio.run(main(int(sys.argv[1])))
