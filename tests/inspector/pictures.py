"""Takes the pictures of docs/inspector.md: `python tests/inspector/pictures.py docs`."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser import chromium

from rxnodes import Project
from rxnodes.inspector import Inspector
from rxnodes.testing import WebSocketServer

AWAY = "ws://127.0.0.1:9/"
SECONDS = 50


async def busy(peer):
    """Sends now and then, for some seconds also when it is asked to close."""

    async def send(seconds=float("inf")):
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            await peer.send_text("x" * random.randrange(20, 400))
            await asyncio.sleep(random.random() * 0.2)

    await peer.accept()
    sending = asyncio.create_task(send())
    try:
        await peer.expect_close()
    finally:
        sending.cancel()
    await send(seconds=5)
    await peer.send_close(1000, "goodbye")


async def main(folder):
    """Plays a minute, and looks at it."""
    reconnect = {"enabled": True, "initial_delay": 5, "max_delay": 9}
    async with WebSocketServer(busy) as server, contextlib.AsyncExitStack() as stack:
        project = Project(
            websocket={
                "prices": {"url": server.url, "heartbeat": 2},
                "orders": {"url": server.url, "heartbeat": 2},
                "telemetry": {"url": AWAY, "reconnect": reconnect},
                "legacy": AWAY,
                "maintenance": server.url,
            }
        )
        inspector = await stack.enter_async_context(Inspector(project))
        await stack.enter_async_context(project)
        files = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        page = await (await stack.enter_async_context(chromium(files))).open(inspector.url)
        for name in ("prices", "orders", "telemetry", "legacy"):
            project.websocket(name).start()
        for second in range(SECONDS):
            if second in {20, 30}:
                project.websocket("prices").stop() if second == 20 else project.websocket("prices").start()
            if project.websocket("orders").state == "open":
                project.websocket("orders").send("buy")
            await asyncio.sleep(1)
        await page.run("document.querySelector('details').open = true")
        for scheme in ("light", "dark"):
            picture = await page.look(1400, 640, dark=scheme == "dark")
            (folder / f"inspector-{scheme}.png").write_bytes(picture)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
