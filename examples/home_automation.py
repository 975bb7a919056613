"""A bridge between a sensor hub and a light controller, with a scene for the day and one for the night.

    python examples/home_automation.py                                   in a house of its own, for a night
    python examples/home_automation.py ws://hub.local/ ws://lights.local/

By day nobody needs the lights: their connection is open in the night only. When the controller restarts, it is started
again once it has really stopped. When the hub ends its connection, the program is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
from dataclasses import asdict, dataclass

import reactivex
from reactivex import Observable
from reactivex import operators as ops

import rxnodes
from rxnodes import CloseCode, Project, pulse
from rxnodes.testing import CloseReceived, Peer, WebSocketServer, in_turn
from rxnodes.websocket import all_stopped, client_send, client_start, on_error, on_receive, on_stop

DARK = 10


@dataclass
class Reading:
    """What a sensor says: how bright it is, in lux, and whether somebody moves."""

    room: str
    lux: int
    motion: bool = False


@dataclass
class Switch:
    """What a light is told."""

    room: str
    on: bool


async def day(home: Project, readings: Observable[Reading]) -> None:
    """Lasts until it is dark, or the hub has gone."""
    async with home.scene("day") as scene:
        scene.subscribe(readings.pipe(ops.do_action(lambda it: print(f"day: {it.lux} lux in the {it.room}"))))
        await readings.pipe(ops.first_or_default(lambda it: it.lux < DARK))


async def night(home: Project, readings: Observable[Reading]) -> None:
    """Lasts until it is bright, or the hub has gone. The lights follow whoever moves."""
    lights = home.websocket("lights")
    async with home.scene("night", connections=[lights]) as scene:
        scene.subscribe(
            on_stop(lights).pipe(
                ops.filter(lambda stopped: stopped.code == CloseCode.SERVICE_RESTART),
                ops.do_action(lambda _: print("night: the controller restarts")),
                client_start(lights),
            ),
            readings.pipe(
                ops.filter(lambda it: it.lux < DARK),
                ops.map(lambda it: Switch(it.room, on=it.motion)),
                client_send(lights, codec=Switch),
            ),
            pulse().pipe(client_start(lights)),
        )
        await readings.pipe(ops.first_or_default(lambda it: it.lux >= DARK))
    print(f"the night is over, and the connection to the lights is {lights.state}")


async def run_house(hub_url: str, lights_url: str) -> None:
    """Days and nights follow one another until the hub ends its connection."""
    lights_settings = {"url": lights_url, "send_queue": {"while_connecting": True, "time_to_live": 5}}
    async with Project(websocket={"hub": hub_url, "lights": lights_settings}) as home:
        hub, lights = home.websocket("hub"), home.websocket("lights")
        errors = reactivex.merge(on_error(hub), on_error(lights))
        home.subscribe(errors.pipe(ops.do_action(lambda event: print(f"{event.connection}: {event.message}"))))
        readings = on_receive(hub, codec=Reading).pipe(ops.take_until(on_stop(hub)))
        hub.start()
        for scene in itertools.cycle((day, night)):
            await scene(home, readings)
            if not hub.is_live:
                break
        for stopped in await all_stopped(hub, lights):
            if stopped is not None:
                print(f"{stopped.connection}: {stopped.code}, {stopped.messages_received} messages received")


# --- A house to try it in ---------------------------------------------------------------------------------------------

#: What the sensors say, and how many things must happen at the lights before the next.
STORY = [
    (Reading("hall", 200), 0),
    (Reading("hall", 3), 1),
    (Reading("hall", 3, motion=True), 1),
    (Reading("kitchen", 2, motion=True), 2),
    (Reading("hall", 2), 1),
    (Reading("hall", 120), 1),
]


class House:
    """A hub, and a controller that restarts after two commands."""

    def __init__(self) -> None:
        self._happened: asyncio.Queue[None] = asyncio.Queue()

    async def hub(self, peer: Peer) -> None:
        """Tells the story."""
        await peer.accept()
        for reading, happenings in STORY:
            await peer.send_text(json.dumps(asdict(reading)))
            for _ in range(happenings):
                await self._happened.get()
        await peer.send_close(1000)
        await peer.expect_close()

    async def restarting_lights(self, peer: Peer) -> None:
        """Takes two commands."""
        await peer.accept()
        self._happened.put_nowait(None)
        await self._obey(peer)
        await self._obey(peer)
        await peer.send_close(CloseCode.SERVICE_RESTART)
        await peer.expect_close()

    async def lights(self, peer: Peer) -> None:
        """Takes commands until it is left."""
        await peer.accept()
        self._happened.put_nowait(None)
        with contextlib.suppress(CloseReceived):
            while True:
                await self._obey(peer)
        await peer.send_close(1000)
        self._happened.put_nowait(None)

    async def _obey(self, peer: Peer) -> None:
        command = json.loads(await peer.receive_message())
        print(f"lights: {'on' if command['on'] else 'off'} in the {command['room']}")
        self._happened.put_nowait(None)


async def demo() -> None:
    """Runs a house from one day to the next."""
    house = House()
    controller = in_turn(house.restarting_lights, house.lights)
    async with WebSocketServer(house.hub) as hub, WebSocketServer(controller) as lights:
        await run_house(hub.url, lights.url)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        rxnodes.run(run_house(*sys.argv[1:]) if len(sys.argv) > 1 else demo())
