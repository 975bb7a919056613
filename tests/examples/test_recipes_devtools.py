"""Chrome DevTools, against Chromium."""

from __future__ import annotations

import pytest
from foreign import ForeignServer, program, recipe

CHROMIUM, is_there = program("chromium", "chromium-browser", "google-chrome")

pytestmark = [pytest.mark.slow, is_there]


async def test_expressions_are_evaluated_again_when_the_browser_comes_back(tmp_path):
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={tmp_path}"]
    async with ForeignServer(CHROMIUM, *options, "--remote-debugging-port={port}", "about:blank") as browser:
        async with recipe("devtools.py", f"http://127.0.0.1:{browser.port}", "console.log('hello')", "6 * 7") as run:
            for _ in range(2):
                await run.until("{'result': {'type': 'number', 'value': 42, 'description': '42'}}")
                assert any("'args': [{'type': 'string', 'value': 'hello'}]" in line for line in run.lines)
                if browser.starts == 1:
                    browser.kill()
                    run.lines.clear()
                    await browser.start()
            await run.interrupt()
