"""A real Chromium, driven over the DevTools protocol, by rxnodes itself."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import shutil

from rxnodes import Project
from rxnodes.websocket import on_receive, request

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

PATIENCE = 20

_ARGUMENTS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-proxy-server",
)


class Page:
    """A tab.

    Attributes:
        console: What it wrote to the console as an error or a warning, and exceptions.
        requests: The URLs that it asked for.
    """

    def __init__(self, browser, target, session):
        self.browser = browser
        self.target = target
        self.session = session
        self.console = []
        self.requests = []
        self.dialogs = []

    def note(self, method, parameters):
        if method == "Runtime.consoleAPICalled" and parameters["type"] in {"error", "warning"}:
            self.console.append(str(parameters["args"]))
        elif method == "Runtime.exceptionThrown":
            self.console.append(str(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in {"error", "warning"}:
            self.console.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(parameters["message"])

    async def do(self, method, **parameters):
        return await self.browser.do(method, self.session, **parameters)

    async def go(self, url):
        await self.do("Page.navigate", url=url)

    async def run(self, script):
        """What an expression gives."""
        answer = await self.do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, script):
        """Waits, frame by frame, until an expression is true, and gives what it is."""
        async with asyncio.timeout(PATIENCE):
            while True:
                # A page that is being loaded has no answer.
                with contextlib.suppress(AssertionError):
                    if value := await self.run(f"(() => {{ try {{ return {script} }} catch {{ return null }} }})()"):
                        return value
                await self.run("new Promise(requestAnimationFrame).then(() => null)")

    async def press(self, key, text=None):
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            await self.do(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS.get(key, 0), **more
            )

    async def look(self, width, height=900, *, dark=False, mobile=False):
        """Sees it as a window of this size does; gives a PNG."""
        await self.do(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.do("Emulation.setEmulatedMedia", features=[scheme])
        await self.run(
            "new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame)).then(() => null)"
        )
        return base64.b64decode((await self.do("Page.captureScreenshot", format="png"))["data"])


KEYS = {"Tab": 9, "Enter": 13, "ArrowUp": 38, "ArrowDown": 40, " ": 32}


class Browser:
    """The browser. Its connection is one of rxnodes."""

    def __init__(self, connection):
        self.connection = connection
        self.pages = {}
        self._numbers = itertools.count(1)
        on_receive(connection).subscribe(self._take)

    def _take(self, message):
        if "method" in message and message.get("sessionId") in self.pages:
            self.pages[message["sessionId"]].note(message["method"], message["params"])

    async def do(self, method, session=None, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        answer = await request(self.connection, message, match=("id", number), timeout=PATIENCE)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    async def open(self, url="about:blank"):
        """Opens a tab, and watches what it does from its beginning."""
        target = (await self.do("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.do("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = self.pages[session] = Page(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.do(f"{domain}.enable")
        await page.go(url)
        return page

    async def close_pages(self):
        """Closes all tabs, each of which would go on doing what its page does."""
        while self.pages:
            _, page = self.pages.popitem()
            await self.do("Target.closeTarget", targetId=page.target)


@contextlib.asynccontextmanager
async def chromium(folder):
    """Runs a Chromium whose files lie in a folder."""
    assert CHROMIUM is not None
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *_ARGUMENTS,
        *sandbox,
        f"--user-data-dir={folder}",
        "about:blank",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            async for line in process.stderr:
                if line.startswith(b"DevTools listening on "):
                    url = line.split()[-1].decode()
                    break
        drain = asyncio.create_task(process.stderr.read())
        settings = {"url": url, "codec": "json", "max_message_size": None, "heartbeat": None}
        async with Project(websocket={"browser": settings}) as project:
            connection = project.websocket("browser")
            browser = Browser(connection)
            # A browser that is closed ends TCP alone.
            connection.errors.subscribe(lambda _: None)
            connection.start()
            await connection.wait_started()
            yield browser
            await browser.do("Browser.close")
            async with asyncio.timeout(PATIENCE):
                await process.wait()
        await drain
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
