"""Motion switches a light on: python examples/home_assistant.py ws://HOST:8123/api/websocket TOKEN SENSOR LIGHT."""

import contextlib
import itertools
import sys

from reactivex import Observable, merge, of
from reactivex import operators as ops

import rxnodes
from rxnodes import Connection, GiveUp, Greeting, Project
from rxnodes.websocket import channel, request

numbers = itertools.count(1)


def switch_on(home: Connection, light: str) -> Observable[object]:
    """Calls a service, and emits its result, or what went wrong."""
    target, number = {"entity_id": light}, next(numbers)
    call = {"id": number, "type": "call_service", "domain": "light", "service": "turn_on", "target": target}
    return request(home, call, match=("id", number), codec="json").pipe(ops.catch(lambda error, _: of(error)))


async def main(url: str, token: str, sensor: str, light: str) -> None:
    """Runs until the token is refused, or Ctrl+C."""

    async def log_in(greeting: Greeting) -> None:
        await greeting.receive(lambda message: message["type"] == "auth_required")
        await greeting.send({"type": "auth", "access_token": token})
        answer = await greeting.receive(lambda message: message["type"] in {"auth_ok", "auth_invalid"})
        if answer["type"] == "auth_invalid":
            raise GiveUp(answer["message"])

    settings = {"url": url, "codec": "json", "after_connect": log_in, "reconnect": {"enabled": True}}
    async with Project(websocket={"home": settings}) as project:
        home = project.websocket("home")
        ask = {"type": "subscribe_events", "event_type": "state_changed"}
        events = channel(home, subscribe=lambda: {"id": next(numbers), **ask}, match=("type", "event"), codec="json")
        states = events.pipe(ops.map(lambda it: it["event"]["data"]["new_state"]), ops.filter(bool))
        motion = states.pipe(ops.filter(lambda it: (it["entity_id"], it["state"]) == (sensor, "on")))
        results = motion.pipe(ops.flat_map(lambda _: switch_on(home, light)))
        project.subscribe(merge(states, results).pipe(ops.do_action(print)))
        home.start()
        await home.wait_stopped()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        rxnodes.run(main(*sys.argv[1:]))
