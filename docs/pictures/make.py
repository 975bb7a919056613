"""Makes the pictures of the documentation anew: `python docs/pictures/make.py`.

Each is a recording of a real run, or of one in virtual time, drawn as `rxnodes draw` does.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from reactivex import operators as ops

from rxnodes import Project, pulse
from rxnodes.cli.main import main as rxnodes
from rxnodes.recording import Recorder, Recording
from rxnodes.testing import ScriptedPeer, ScriptedTransport, attempts, run_in_virtual_time
from rxnodes.websocket import client_start, client_stop, on_receive

HERE = Path(__file__).parent


def demo() -> None:
    """A real run of the demo."""
    run = HERE / "demo.jsonl"
    rxnodes(["demo", "--record", str(run)])
    rxnodes(["draw", str(run), "--output", str(HERE / "demo.svg")])
    run.unlink()


async def reconnecting() -> Recording:
    """A feed that breaks off, is refused, comes back with very many messages, and is stopped."""

    def flood(peer: ScriptedPeer) -> None:
        peer.accept()
        loop = asyncio.get_running_loop()
        for number in range(2000):
            loop.call_later(0.2 + number / 2000, peer.send, "tick")
        loop.call_later(1.4, peer.send, "enough")
        peer.expect_close(lambda: loop.call_later(0.3, peer.close, 1000, "see you"))

    reconnect = {"enabled": True, "initial_delay": 0.5, "jitter": False}
    transport = ScriptedTransport(attempts("--o-m-m--m-#", "-r", flood))
    project = Project(websocket={"feed": {"url": "ws://feed.test/", "reconnect": reconnect}}, transport=transport)
    feed = project.websocket("feed")
    with Recorder(project) as recorder:
        async with project:
            project.subscribe(
                on_receive(feed).pipe(ops.filter(lambda text: text == "enough"), client_stop(feed)),
                pulse().pipe(client_start(feed)),
            )
            await feed.wait_stopped()
    return recorder.recording


if __name__ == "__main__":
    demo()
    (HERE / "reconnecting.svg").write_text(run_in_virtual_time(reconnecting()).to_svg())
