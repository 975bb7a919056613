"""The documentation site: built strictly, every link of it right, nothing loaded from elsewhere, found by a newcomer.

Without the extra `docs` these tests are skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import html
import http.server
import json
import re
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import CHROMIUM, chromium
from programs import environment

pytest.importorskip("material", reason="the extra `docs` is not installed")

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")

    async def build():
        words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
        process = await asyncio.create_subprocess_exec(
            *words, cwd=ROOT, env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()

    asyncio.run(build())
    return folder


#: What is text to HTML, and no tags, whatever it looks like: a comment, and what stands within a script or a style.
NO_TAGS = re.compile(r"<!--.*?-->|(<(script|style)\b[^>]*>).*?</\2>", re.DOTALL)
TAG = re.compile(r"<(\w+)\s((?:[^\"'>]|\"[^\"]*\"|'[^']*')*)>")
ATTRIBUTE = re.compile(r"([\w:-]+)(?:=(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+)))?")


class Page:
    """What a page has, and what it leads to.

    The standard library's parser takes three times as long.

    Attributes:
        anchors: Where a link may lead to.
        links: What `href` of `a` says.
        loaded: What the page shows or runs.
    """

    def __init__(self, file):
        self.anchors = {""}
        self.links = []
        self.loaded = []
        for tag, attributes in TAG.findall(NO_TAGS.sub(r"\1", file.read_text())):
            self._note(tag, {name: html.unescape("".join(value)) for name, *value in ATTRIBUTE.findall(attributes)})

    def _note(self, tag, found):
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a":
            self.links.append(found.get("href", ""))
        elif tag == "link" and found.get("rel") in {"stylesheet", "icon", "preload", "preconnect", "modulepreload"}:
            self.loaded.append(found["href"])
        self.loaded += [found[name] for name in ("src", "srcset", "poster", "data") if found.get(name)]


@pytest.fixture(scope="module")
def pages(site):
    return {file: Page(file) for file in site.rglob("*.html") if file.name != "404.html"}


def is_elsewhere(target):
    return bool(urlsplit(target).scheme or urlsplit(target).netloc)


def problem(file, target, pages):
    path, anchor = unquote(urlsplit(target).path), unquote(urlsplit(target).fragment)
    there = (file.parent / path).resolve() if path else file
    there = there / "index.html" if there.is_dir() else there
    if not there.is_file():
        return "there is no such file"
    if there in pages and anchor not in pages[there].anchors:
        return "there is no such anchor"
    return None


def test_every_link_leads_somewhere(site, pages):
    assert len(pages) > 30
    wrong = {
        f"{file.relative_to(site)}: {target}: {what}"
        for file, page in pages.items()
        for target in page.links
        if not is_elsewhere(target) and (what := problem(file, target, pages))
    }
    assert wrong == set()


def test_nothing_is_loaded_from_elsewhere(site, pages):
    elsewhere = {target for page in pages.values() for target in page.loaded if is_elsewhere(target)}
    missing = {
        f"{file.relative_to(site)}: {target}"
        for file, page in pages.items()
        for target in page.loaded
        if not is_elsewhere(target) and problem(file, target, pages)
    }
    assert (elsewhere, missing) == (set(), set())


@contextlib.contextmanager
def served(folder):
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


#: What newcomers ask, and the page that one of the first three hits is to be.
QUESTIONS = {
    "log in first": "login.html",
    "test without network": "testing.html",
    "Stopped.code 1006": "lifecycle.html",
    "1006": "lifecycle.html",
    "pause fast peer": "async.html",
    "backpressure": "async.html",
    "proxy": "connecting.html",
    "reconnect": "reconnecting.html",
    "client_send": "reference/nodes.html",
    "ConnectionLost": "reference/events.html",
    "Ctrl+C": "projects.html",
    "jupyter notebook": "threads.html",
}

#: Types a question, as often as it is called, and gives the hits that are there.
ASK = """(question => {
    const field = document.querySelector('.md-search__input');
    field.value = question;
    field.dispatchEvent(new KeyboardEvent('keyup'));
    return [...document.querySelectorAll('.md-search-result__link')].map(it => it.href);
})"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is here")
async def test_a_newcomer_finds_it(site, tmp_path):
    with served(site) as url:
        async with chromium(tmp_path) as browser:
            page = await browser.open(f"{url}pages.html")
            for question, answer in QUESTIONS.items():
                # The hits of the question before are gone.
                await page.until(f"{ASK}('').length === 0")
                hits = await page.until(f"(hits => hits.length && hits)({ASK}({json.dumps(question)}))")
                first = dict.fromkeys(urlsplit(hit).path.removeprefix("/") for hit in hits)
                assert answer in [*first][:3], question
            assert page.console == []
            assert [request for request in page.requests if not request.startswith((url, "data:"))] == []


#: One of each kind: with pictures, wide tables, diagrams, programs, signatures, and code.
KINDS = ["index", "settings", "lifecycle", "recording", "inspector", "tutorial", "reference/nodes", "reliability"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is here")
async def test_no_page_is_wider_than_a_phone(site, tmp_path):
    with served(site) as url:
        async with chromium(tmp_path) as browser:
            page = await browser.open(url)
            await page.look(360, 740, mobile=True)
            too_wide = []
            for kind in KINDS:
                there = f"{url}{kind}.html"
                await page.go(there)
                await page.until(f"location.href === '{there}' && document.readyState === 'complete'")
                if await page.run("document.documentElement.scrollWidth > 360"):
                    too_wide.append(kind)
            assert too_wide == []
