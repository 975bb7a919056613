"""The live page in a real Chromium: what one sees, what one can do, and what nobody can do to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from browser import CHROMIUM, chromium
from projects import project_of
from virtual import accept

from rxnodes import Project
from rxnodes.inspector import Inspector
from rxnodes.testing import ScriptedTransport

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
]

TOKEN = "s3cret-token"  # noqa: S105 - of the tests
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'&amp;"
RECONNECT = {"enabled": True, "initial_delay": 300, "max_delay": 300, "jitter": False}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one_browser(tmp_path_factory):
    async with chromium(tmp_path_factory.mktemp("chromium")) as it:
        yield it


@pytest_asyncio.fixture(loop_scope="module")
async def browser(one_browser):
    yield one_browser
    await one_browser.close_pages()


@contextlib.asynccontextmanager
async def serving(script=accept, *, port=0, workers=None, **connections):
    """A project and its page; connections are given by name, with their settings beyond the URL."""
    settings = {name: {"url": "ws://chat.test/", **more} for name, more in (connections or {"chat": {}}).items()}
    transport = ScriptedTransport(script)
    project = Project(websocket=settings, transport=transport)
    async with Inspector(project, port=port, token=TOKEN, workers=workers) as inspector, project:
        yield inspector, project, transport


@contextlib.asynccontextmanager
async def looking(browser, script=accept, **options):
    """The same in a browser, once it shows the first connection."""
    async with serving(script, **options) as (inspector, project, transport):
        page = await browser.open(inspector.url)
        await page.until(shows("idle", next(iter(project.configurations))))
        yield page, project, transport


def row(name="chat", inner=""):
    return f"document.querySelector('[data-connection=' + CSS.escape({json.dumps(name)}) + ']{inner}')"


def shows(state, name="chat"):
    return f"{row(name)}.dataset.state === {json.dumps(state)}"


async def click(page, selector):
    await page.run(f"{selector}.click()")


async def test_it_shows_states_as_they_change_and_its_buttons_start_and_stop(browser):
    async with serving(lambda _: None) as (inspector, project, transport):
        page = await browser.open(inspector.url)
        await page.until(shows("idle"))
        assert await page.until("document.title") == "rxnodes"
        # The token is gone from where it could be read over a shoulder, or by a script.
        assert await page.run("location.href + document.cookie") == inspector.url.partition("#")[0]
        await click(page, row(inner=" [data-action=start]"))
        await page.until(shows("connecting"))
        transport.peer.accept()
        await page.until(shows("open"))
        transport.peer.answers_close = False
        await click(page, row(inner=" [data-action=stop]"))
        await page.until(shows("closing"))
        transport.peer.close(4001, "so long")
        await page.until(shows("closed"))
        assert 'closed with 4001 "so long"' in await page.run(row(inner=" .reason") + ".textContent")
        await click(page, row(inner=" summary"))
        events = await page.until(f"[...{row()}.querySelectorAll('details b')].map(it => it.textContent)")
        assert events == ["Stopped", "Closing", "Opened", "Connecting"]
        await page.until("document.getElementById('news').textContent === 'chat: closed'")
        assert project.websocket("chat").session == 1
        assert page.console == []
        assert {urlsplit(url).netloc for url in page.requests} == {f"127.0.0.1:{inspector.port}"}


async def test_it_counts_and_says_what_is_wrong(browser):
    def script(peer):
        peer.accept() if peer.target.url.endswith("good") else peer.refuse(503)

    connections = {"chat": {"url": "ws://chat.test/good"}, "away": {"reconnect": RECONNECT}, "gone": {}, "idle": {}}
    async with looking(browser, script, **connections) as (page, project, transport):
        for name in ("chat", "away", "gone"):
            project.websocket(name).start()
        await page.until(shows("open"))
        await page.until(shows("reconnecting", "away"))
        await page.until(f"/next attempt in \\d+\\.\\d s/.test({row('away', ' .countdown')}.textContent)")
        await page.until(shows("closed", "gone"))
        assert await page.run(f"{row('gone')}.hasAttribute('data-failed')")
        assert "503" in await page.run(f"{row('gone', ' .reason')}.textContent")
        good = next(peer for peer in transport.peers if peer.target.url.endswith("good"))
        for _ in range(1200):
            good.send("hello")
        # It may be counted in two seconds.
        await page.until(f"parseInt({row('chat', ' .received .rate')}.textContent.replace(',', '')) > 100")
        await page.until(f"{row('chat', ' .in')}.getAttribute('d')")
        await click(page, "document.getElementById('trouble')")
        seen = "[...document.querySelectorAll('.row')].filter(it => it.checkVisibility())"
        shown = f"{seen}.map(it => it.dataset.connection).join()"
        await page.until(f"{shown} === 'away,gone'")
        assert "1 reconnecting · 1 ended with an error" in await page.run(
            "document.getElementById('counts').textContent"
        )
        assert page.console == []


@pytest.mark.slow
async def test_it_goes_on_by_itself_when_the_program_comes_back(browser):
    async with serving() as (inspector, project, _):
        port = inspector.port
        page = await browser.open(inspector.url)
        project.websocket("chat").start()
        await page.until(shows("open"))
    await page.until("document.body.dataset.link === 'lost'")
    async with serving(port=port, chat={}, new={}) as (_, project, _):
        await page.until("document.body.dataset.link === 'live'")
        await page.until(shows("idle", "new"))
        await page.until(shows("idle"))
        project.websocket("chat").start()
        await page.until(shows("open"))


async def test_connections_come_and_go(browser):
    async with looking(browser) as (page, project, _):
        project.add_websocket("guest", "ws://chat.test/").start()
        await page.until(shows("open", "guest"))
        await project.remove_websocket("guest")
        await page.until(f"!{row('guest')}")


async def test_without_the_token_it_shows_nothing_and_asks_for_it(browser):
    async with serving() as (inspector, _, _):
        page = await browser.open(inspector.url.replace(TOKEN, "wrong"))
        await page.until("document.body.dataset.link === 'denied' && !document.getElementById('key').hidden")
        assert await page.run("document.querySelectorAll('.row').length") == 0
        await page.run(f"document.getElementById('token').value = {json.dumps(TOKEN)}")
        await click(page, "document.querySelector('#key button')")
        await page.until(shows("idle"))
        assert await page.run("document.getElementById('key').hidden && !document.getElementById('token').value")


async def test_it_can_be_used_by_keyboard_and_keeps_the_focus(browser):
    focused = "(document.activeElement.dataset.action ?? document.activeElement.id)"
    names = {f"chat {number}": {} for number in range(3)}
    async with looking(browser, **names) as (page, project, _):
        await page.press("/", "/")
        assert await page.run(focused) == "search"
        for _ in range(3):
            await page.press("Tab")
        assert await page.run(focused) == "start"
        assert await page.run("document.activeElement.getAttribute('aria-label')") == "Start chat 0"
        await page.press("ArrowDown")
        await page.press("Enter", "\r")
        await page.until(shows("open", "chat 1"))
        # Also while what it belongs to changes, or would be filtered away.
        project.websocket("chat 1").stop()
        await page.until(shows("closed", "chat 1"))
        project.websocket("chat 0").start()
        await page.until(shows("open", "chat 0"))
        await page.run("document.getElementById('trouble').checked = true")
        project.websocket("chat 2").start()
        await page.until(shows("open", "chat 2"))
        assert await page.run("document.activeElement.getAttribute('aria-label')") == "Start chat 1"
        assert page.console == []


async def test_nothing_scripts_in_what_peers_and_settings_say(browser):
    def script(peer):
        peer.accept()
        peer.close(4000, HOSTILE)

    async with looking(browser, script, **{HOSTILE: {}, "']": {}}) as (page, project, _):
        await page.run(
            "window.made = []; new MutationObserver(all => all.forEach(it => it.addedNodes.forEach("
            "node => made.push(node.nodeName)))).observe(document.body, {childList: true, subtree: true})"
        )
        await page.run(f"{row(HOSTILE)}.querySelector('details').open = true")
        await click(page, row(HOSTILE, " [data-action=start]"))
        await page.until(shows("closed", HOSTILE))
        await project.websocket(HOSTILE).wait_stopped()
        assert HOSTILE in await page.run(f"{row(HOSTILE, ' .reason')}.textContent")
        await page.until(f"{row(HOSTILE)}.querySelector('details').textContent.includes({json.dumps(HOSTILE)})")
        assert await page.run(f"{row(HOSTILE, ' .name')}.textContent") == HOSTILE
        assert not {"IMG", "SCRIPT"} & {*await page.run("made")}
        assert await page.run("document.querySelectorAll('img, #rows script').length") == 0
        assert (page.dialogs, page.console) == ([], [])
        # And were it markup, the policy would still hold.
        with pytest.raises(AssertionError, match="TrustedHTML"):
            await page.run("document.body.innerHTML = '<b>markup</b>'")


@pytest.mark.parametrize("name", [".", "..", "a/b", "50%"])
async def test_a_connection_of_any_name_can_be_started_and_stopped(browser, name):
    async with looking(browser, **{name: {}}) as (page, _, _):
        for action, state in (("start", "open"), ("stop", "closed")):
            await click(page, row(name, f" [data-action={action}]"))
            await page.until(shows(state, name))
        assert page.console == []


async def test_what_could_not_be_done_is_said_and_then_the_state_of_the_link_again(browser):
    async with Inspector(project_of(), token=TOKEN) as inspector:
        page = await browser.open(inspector.url)
        await page.until(shows("idle"))
        await page.run("window.later = []; window.setTimeout = act => later.push(act)")
        await click(page, row(inner=" [data-action=start]"))
        await page.until("document.getElementById('link').textContent.includes('not open')")
        await page.run("later.forEach(act => act())")
        assert await page.run("document.getElementById('link').textContent") == "live"


async def test_a_page_out_of_sight_follows_no_longer_and_goes_on_when_it_is_seen(browser):
    """A browser has six connections for all tabs of one page, and the program answers only so many."""
    async with serving() as (inspector, project, _):
        page = await browser.open(inspector.url)
        await page.until(shows("idle"))
        await page.run("window.setTimeout = act => act()")
        see = "Object.defineProperty(document, 'hidden', {{value: {}, configurable: true}});"
        told = "document.dispatchEvent(new Event('visibilitychange'))"
        await page.run(see.format("true") + told)
        async with asyncio.timeout(10):
            while inspector._streams:
                await asyncio.sleep(0)
        project.websocket("chat").start()
        await page.run(see.format("false") + told)
        await page.until(shows("open"))
        assert await page.run("document.body.dataset.link") == "live"


async def test_a_page_that_finds_no_room_says_so_and_goes_on_when_there_is(browser, monkeypatch):
    monkeypatch.setattr("rxnodes.inspector.inspector.MAX_STREAMS", 0)
    async with serving() as (inspector, _, _):
        page = await browser.open(inspector.url)
        await page.until("document.getElementById('link').textContent.startsWith('too many pages')")
        monkeypatch.undo()
        await page.until(shows("idle"))
        assert await page.run("document.body.dataset.link") == "live"


@pytest.mark.slow
async def test_a_page_that_is_left_open_holds_a_minute_of_each_connection_also_out_of_sight(browser):
    async with looking(browser) as (page, _, _):
        before = await held(page)
        days = 5
        await page.run(
            "import('./lane.js').then(({Lane}) => {"
            f" const lane = new Lane({row(inner=' .lane')}.cloneNode(true));"
            f" for (let second = 0; second < {days * 86400}; second++) lane.count(second, 1, 1);"
            " window.lane = lane; return null; })"
        )
        assert await held(page) - before < 1_000_000


async def held(page):
    """Bytes of the page's heap that are in use."""
    await page.do("HeapProfiler.collectGarbage")
    return (await page.do("Runtime.getHeapUsage"))["usedSize"]


async def test_a_connection_that_is_open_for_days_has_its_band(browser):
    async with looking(browser) as (page, _, _):
        begin, width = await page.run(
            "import('./lane.js').then(({Lane}) => {"
            f" const lane = new Lane({row(inner=' .lane')}.cloneNode(true));"
            " const now = Date.now() / 1000; lane.begin(now - 3 * 86400, 'open'); lane.show(now);"
            " const [left] = lane.svg.getAttribute('viewBox').split(' ');"
            " const band = lane.svg.querySelector('rect');"
            " return [band.getAttribute('x') - left, +band.getAttribute('width')]; })"
        )
        assert begin <= 0
        assert begin + width > 60


async def test_those_who_do_not_see_it_are_told_what_each_number_is(browser):
    async with looking(browser) as (page, _, _):
        await page.look(1400)
        await page.do("Accessibility.enable")
        nodes = (await page.do("Accessibility.getFullAXTree"))["nodes"]
        told = {(it["role"]["value"], it.get("name", {}).get("value")) for it in nodes if not it["ignored"]}
        assert {("heading", "chat"), ("list", "Connections"), ("searchbox", "Search connections")} <= told
        assert {("button", "Start chat"), ("button", "Stop chat"), ("status", "")} <= told
        terms = {name for role, name in told if role == "StaticText"}
        assert {"In", "Out", "Latency", "Unsent"} <= terms


async def test_what_turns_the_direction_of_writing_is_shown_and_turns_nothing(browser):
    def script(peer):
        peer.accept()
        peer.close(4000, "ok\u202eko\x1b[31m\n")

    async with looking(browser, script) as (page, project, _):
        await page.run(f"{row()}.querySelector('details').open = true")
        project.websocket("chat").start()
        await page.until(shows("closed"))
        for part in (" .reason", " details"):
            assert r"ok\u202eko\u001b[31m\u000a" in await page.run(f"{row(inner=part)}.textContent")


@pytest.mark.slow
async def test_a_thousand_connections_cost_no_more_than_those_that_change(browser):
    names = {f"chat {number:03}": {} for number in range(1000)}
    async with looking(browser, **names) as (page, project, _):
        await page.run(
            "window.touched = new Set(); new MutationObserver(all => all.forEach(it => touched.add("
            "it.target.closest?.('.row')?.dataset.connection))).observe(document.getElementById('rows'),"
            " {childList: true, subtree: true, attributes: true, attributeFilter: ['data-state']})"
        )
        project.websocket("chat 700").start()
        await page.until(shows("open", "chat 700"))
        assert set(await page.run("[...touched]")) <= {"chat 700", None}
        for number in range(1000):
            project.websocket(f"chat {number:03}").start()
        await page.until("document.getElementById('counts').textContent === '1,000 connections · 1,000 open'")
        await page.run("document.getElementById('search').focus()")
        for key in "099":
            await page.press(key, key)
        await page.until("[...document.querySelectorAll('.row')].filter(it => it.checkVisibility()).length === 1")
        assert page.console == []


@pytest.mark.parametrize("width", [360, 1400])
async def test_it_fits_its_window(browser, width):
    async with looking(browser, **{"x" * 200: {}, "chat": {}}) as (page, project, _):
        project.websocket("chat").start()
        await page.until(shows("open"))
        await page.look(width, mobile=width < 500)
        assert await page.run("document.documentElement.scrollWidth") <= width


# --- A fleet's workers ------------------------------------------------------------------------------------------------


class Staff:
    """What knows the workers of a fleet."""

    def __init__(self, *workers):
        self.parts = {
            "current": True,
            "workers": [staff_member(id=worker) for worker in workers],
            "holders": {"chat": workers[0]},
            "takeovers": [],
        }

    def told(self):
        return dict(self.parts)


def staff_member(**changes):
    worker = {"host": "here", "held": 1, "capacity": None, "draining": False, "alive": True, "lease": 600}
    return {**worker, "renewed_at": time.time(), **changes}


def part(selector):
    return f"document.querySelector({json.dumps(selector)}).textContent"


async def test_it_shows_workers_their_leases_and_takeovers_where_there_is_a_fleet(browser):
    staff = Staff("w1", "w2", HOSTILE)
    async with looking(browser, workers=staff) as (page, _, _):
        await page.until(f"{part('[data-worker=w1] .standing')} === 'alive'")
        assert await page.run(part("#staff")) == "3 workers"
        await page.until(f"{row(inner=' .holder')}.textContent === 'w1'")
        assert HOSTILE in await page.run(part("#workers"))
        assert await page.run("document.getElementById('takeovers').hidden")

        late = [staff_member(id="w1", renewed_at=0), staff_member(id="w2", renewed_at=time.time() - 300)]
        staff.parts["workers"] = [*late, staff_member(id=HOSTILE, draining=True, held=2, capacity=3)]
        staff.parts["holders"] = {"chat": HOSTILE}
        staff.parts["takeovers"] = [
            {"at": 0, "connection": name, "from": "w1", "to": HOSTILE} for name in ("chat", HOSTILE)
        ]
        await page.until(f"{row(inner=' .holder')}.textContent === {json.dumps(HOSTILE)}")
        standings = await page.run("[...document.querySelectorAll('.worker .standing')].map(it => it.textContent)")
        assert standings == ["gone", "silent", "draining"]
        assert "holds 2 of 3 at most" in await page.run(part("#workers"))
        line = await page.run(part("#takeovers li span"))
        assert line == f"{HOSTILE} took over from w1: chat, {HOSTILE}"
        await page.until(f"{part('#news')}.includes('worker w1: gone')")

        # While the store is out of reach nobody can be seen to renew.
        staff.parts["current"] = False
        await page.until("!document.getElementById('away').hidden")
        await page.look(360, mobile=True)
        assert await page.run("document.documentElement.scrollWidth") <= 360
        assert await page.run("document.querySelectorAll('img, main script').length") == 0
        assert (page.dialogs, page.console) == ([], [])


async def test_without_a_fleet_it_says_nothing_of_workers(browser):
    async with looking(browser) as (page, _, _):
        assert not await page.run("document.getElementById('fleet').checkVisibility()")
        assert await page.run(f"{row(inner=' .holder')}.textContent") == ""
