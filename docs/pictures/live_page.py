"""Takes the two screenshots of the live page anew, in a minute: `python docs/pictures/live_page.py`.

It needs a Chromium. The connections are real, to servers on this machine.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from browser import chromium

from rxnodes import Connection, Project
from rxnodes.inspector import Inspector
from rxnodes.testing import CloseReceived, Peer, WebSocketServer, refusing_port

DOCS: Final = Path(__file__).parents[1]
WIDTH, HEIGHT = 1400, 690
#: Seconds that the page shows, and seconds between the messages of a server.
MINUTE, EVERY = 60, 0.12


async def talk(peer: Peer) -> None:
    """Sends quotes, and goes on for five seconds after a Close frame has come."""
    await peer.accept()
    closing = asyncio.create_task(wait_for_close(peer))
    while not closing.done():
        await peer.send_text("x" * random.randrange(150, 300))  # noqa: S311 - no secret
        await asyncio.sleep(EVERY)
    if closing.result():
        await peer.send_close(1000, "goodbye")


async def wait_for_close(peer: Peer) -> bool:
    """Reads until a Close frame comes, and five seconds more."""
    try:
        while True:
            await peer.receive_message()
    except CloseReceived:
        await asyncio.sleep(5)
        return True


async def order(connection: Connection) -> None:
    """Sends an order each second."""
    while True:
        await asyncio.sleep(1)
        connection.send("buy")


async def run(folder: str) -> None:
    """Lets a minute pass, and takes the pictures."""
    with refusing_port() as port:
        refused = f"ws://127.0.0.1:{port}/"
        retry = {"enabled": True, "initial_delay": 2, "factor": 1.3, "max_delay": 6}
        async with WebSocketServer(talk) as server:
            quick = {"url": server.url, "heartbeat": 2, "close_timeout": 10}
            connections = {
                "prices": quick,
                "orders": quick,
                "telemetry": {"url": refused, "reconnect": retry},
                "legacy": refused,
                "maintenance": refused,
            }
            project = Project(websocket=connections)
            async with Inspector(project) as inspector, project, chromium(folder) as browser:
                page = await browser.open(inspector.url)
                for name in ("prices", "orders", "telemetry", "legacy"):
                    project.websocket(name).start()
                ordering = asyncio.create_task(order(project.websocket("orders")))
                await asyncio.sleep(MINUTE / 2)
                prices = project.websocket("prices")
                prices.stop()
                await prices.wait_stopped()
                await asyncio.sleep(4)
                prices.start()
                await asyncio.sleep(MINUTE / 2 - 9)
                await page.run("document.querySelector('[data-connection=prices] summary').click()")
                await page.do("Emulation.setScrollbarsHidden", hidden=True)
                for scheme in ("light", "dark"):
                    picture = await page.look(WIDTH, HEIGHT, dark=scheme == "dark")
                    (DOCS / f"inspector-{scheme}.png").write_bytes(picture)
                ordering.cancel()


if __name__ == "__main__":
    with TemporaryDirectory() as scratch:
        asyncio.run(run(scratch))
