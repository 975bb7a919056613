"""The live page's server: its API, and who gets what."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
import yarl
from projects import closed, opened, project_of
from virtual import accept

from rxnodes import Project, RxNodesError
from rxnodes.inspector import Inspector
from rxnodes.inspector import inspector as module
from rxnodes.testing import ScriptedTransport

TOKEN = "s3cret-token"  # noqa: S105 - of the tests
HOSTILE = '<img src=x onerror="alert(1)">/../& é'


class Client:
    """A program that talks to an inspector."""

    def __init__(self, inspector, session):
        self.inspector = inspector
        self.origin = inspector.url.partition("#")[0].rstrip("/")
        self._session = session

    async def ask(self, path, method="GET", token=TOKEN, **headers):
        """The status, the headers and the text of an answer."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = yarl.URL(self.origin + path, encoded=True)
        async with self._session.request(method, url, headers=headers) as response:
            return response.status, response.headers, await response.text()

    @contextlib.asynccontextmanager
    async def events(self, last=None):
        headers = {"Authorization": f"Bearer {TOKEN}", **({"Last-Event-ID": last} if last else {})}
        async with self._session.get(f"{self.origin}/api/events", headers=headers) as response:
            assert response.content_type == "text/event-stream"
            yield Stream(response.content)


class Stream:
    def __init__(self, content):
        self._content = content

    async def next(self):
        """The kind, the id and the data of the next event."""
        fields = await self._fields()
        return fields["event"], fields["id"], json.loads(fields["data"])

    async def told(self):
        """The kind and the data of the next event, which has no id."""
        fields = await self._fields()
        assert "id" not in fields
        return fields["event"], json.loads(fields["data"])

    async def line(self):
        return (await self._content.readline()).decode()

    async def _fields(self):
        fields = {}
        async with asyncio.timeout(10):
            while (line := await self.line()) != "\n" or not fields:
                if not line:
                    raise EOFError
                name, colon, value = line.rstrip("\n").partition(": ")
                if colon:
                    fields[name] = value
        return fields

    async def until(self, state):
        while True:
            _, at, data = await self.next()
            if any(row["state"] == state for row in data["rows"]):
                return at, data


@contextlib.asynccontextmanager
async def serving(*, token=TOKEN, script=accept, names=("chat",), **options):
    project = Project(websocket=dict.fromkeys(names, "ws://chat.test/"), transport=ScriptedTransport(script))
    async with Inspector(project, token=token, **options) as inspector, project:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as session:
            yield Client(inspector, session), project


# --- The API ----------------------------------------------------------------------------------------------------------


async def test_a_program_lists_starts_and_stops():
    async with serving() as (client, project):
        status, headers, text = await client.ask("/api/connections")
        assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
        assert [(row["name"], row["state"]) for row in json.loads(text)["connections"]] == [("chat", "idle")]
        for action, began, ended in [("start", "connecting", "wait_started"), ("stop", "closing", "wait_stopped")]:
            status, _, text = await client.ask(f"/api/connections/chat/{action}", "POST")
            assert status == 202
            assert json.loads(text)["connection"] == "chat"
            assert json.loads(text)["state"] in {began, "closed"}
            await getattr(project.websocket("chat"), ended)()
        # Commands are idempotent.
        assert (await client.ask("/api/connections/chat/stop", "POST"))[0] == 202


@pytest.mark.parametrize("name", [".", "..", "a/../b", "start", "50% + é", HOSTILE])
async def test_a_name_may_be_any_text(name):
    """`.` and `..` cannot be in a path: a URL is sent without them. So the query can have the name."""
    quoted = quote(name, safe="")
    stop = f"/api/connections/{'stop?name=' + quoted if name in {'.', '..'} else quoted + '/stop'}"
    async with serving(names=[name]) as (client, project):
        assert (await client.ask(f"/api/connections/start?name={quoted}", "POST"))[0] == 202
        await project.websocket(name).wait_started()
        assert (await client.ask(stop, "POST"))[0] == 202
        await project.websocket(name).wait_stopped()


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/api/connections/nobody/start", "POST", 404),
        ("/api/connections/start", "POST", 404),
        ("/api/connections/start?name=nobody", "POST", 404),
        ("/api/connections/start?name=chat", "GET", 405),
        ("/api/connections/chat/start", "GET", 405),
        ("/api/connections/chat/abort", "POST", 404),
        ("/api/connections", "POST", 405),
        ("/nowhere", "GET", 404),
        ("/..%2finspector.py", "GET", 404),
        ("/page/index.html", "GET", 404),
    ],
)
async def test_what_is_not_there(path, method, status):
    async with serving() as (client, _):
        assert (await client.ask(path, method))[0] == status


async def test_a_start_that_cannot_be_is_told():
    async with Inspector(project_of(), token=TOKEN) as inspector, aiohttp.ClientSession() as session:
        status, _, text = await Client(inspector, session).ask("/api/connections/chat/start", "POST")
    assert status == 409
    assert "not open" in json.loads(text)["error"]


async def test_a_reader_of_events_follows_and_goes_on_where_it_was():
    async with serving() as (client, project):
        chat = project.websocket("chat")
        async with client.events() as stream:
            kind, _, data = await stream.next()
            assert (kind, [row["state"] for row in data["rows"]]) == ("snapshot", ["idle"])
            chat.start()
            at, data = await stream.until("open")
            assert "Opened" in {event["event"] for event in data["events"]}
        await closed(chat)
        async with client.events(last=at) as stream:
            kind, _, data = await stream.next()
            assert kind == "update"
            assert [event["event"] for event in data["events"]] == ["Closing", "Stopped"]
            assert [row["state"] for row in data["rows"]] == ["closed"]
        async with client.events(last="of-another-run.1") as stream:
            assert (await stream.next())[0] == "snapshot"


async def test_a_reader_whose_events_are_no_longer_kept_gets_a_snapshot(monkeypatch):
    monkeypatch.setattr("rxnodes.inspector.collector.EVENTS", 4)
    async with serving() as (client, project):
        async with client.events() as stream:
            await stream.next()
            for _ in range(3):
                await opened(project.websocket("chat"))
                await closed(project.websocket("chat"))
            kind, _, data = await stream.next()
            assert (kind, len(data["events"])) == ("snapshot", 4)


@pytest.mark.slow
async def test_updates_come_ten_times_a_second_however_much_happens():
    async with serving() as (client, project):
        chat, loop = project.websocket("chat"), asyncio.get_running_loop()
        async with client.events() as stream:
            await stream.next()
            began, updates, done = loop.time(), 0, asyncio.Event()

            async def churn():
                while loop.time() - began < 1:
                    await opened(chat)
                    await closed(chat)
                done.set()

            task = asyncio.create_task(churn())
            while not done.is_set():
                await stream.next()
                updates += 1
            await task
            assert chat.session > 2 * updates
            assert updates <= 10 * (loop.time() - began) + 1


async def test_a_reader_is_sent_something_also_where_nothing_changes(monkeypatch):
    monkeypatch.setattr(module, "KEEP_ALIVE", 0)
    async with serving() as (client, _), client.events() as stream:
        await stream.next()
        assert await stream.line() == ":\n"


async def test_only_so_many_may_follow(monkeypatch):
    monkeypatch.setattr(module, "MAX_STREAMS", 1)
    async with serving() as (client, _):
        async with client.events() as stream:
            await stream.next()
            assert (await client.ask("/api/events"))[0] == 503
        async with asyncio.timeout(10):
            while client.inspector._streams:
                await asyncio.sleep(0)
        async with client.events() as stream:
            await stream.next()


@pytest.mark.slow
async def test_a_reader_that_does_not_read_is_dropped(monkeypatch):
    """What waits for it is bounded by the transport's buffer and one update."""
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    monkeypatch.setattr(module, "UPDATE_EVERY", 0.001)
    async with serving(names=[f"{number:0500}" for number in range(200)]) as (client, project):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.inspector.port, limit=1)
        request = f"GET /api/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        writer.write(request.encode())
        assert await reader.read(1) == b"H"
        async with asyncio.timeout(20):
            while client.inspector._streams:
                for connection in project.connections:
                    connection.start()
                    connection.abort()
                await asyncio.sleep(0.01)
        writer.transport.abort()


async def closed_by_it(reader):
    """Whether the inspector has closed a connection, in whatever way."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(10):
            while await reader.read(65536):
                pass
    return True


async def test_whoever_connects_takes_no_descriptors_from_the_program(monkeypatch):
    monkeypatch.setattr(module, "MAX_SOCKETS", 3)
    async with serving() as (client, _):
        port = client.inspector.port
        ends = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        assert await closed_by_it(ends[3][0])
        # As soon as one goes there is room again.
        ends[0][1].transport.abort()
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    assert (await client.ask("/"))[0] == 200
                    break
        for _, writer in ends:
            writer.transport.abort()


@pytest.mark.parametrize("says", ["", "GET / HTTP/1.1\r\nHost: localhost\r\n", "POST / HTTP/1.1\r\n"])
async def test_whoever_connects_and_asks_for_nothing_is_dropped(monkeypatch, says):
    monkeypatch.setattr(module, "SILENCE", 0.1)
    async with serving() as (client, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.inspector.port)
        writer.write(says.encode())
        assert await closed_by_it(reader)
        writer.transport.abort()


@pytest.mark.slow
@pytest.mark.parametrize("token", ["wrong", TOKEN])
async def test_a_body_without_end_is_not_read(token):
    async with serving() as (client, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.inspector.port)
        head = f"POST /api/session HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        ended = asyncio.create_task(closed_by_it(reader))
        async with asyncio.timeout(5):
            while not ended.done():
                writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                await asyncio.sleep(0)
        writer.transport.abort()


async def test_leaving_it_ends_those_who_follow():
    async with asyncio.timeout(10), serving() as (client, project):
        async with client.events() as stream:
            await stream.next()
            leaving = asyncio.create_task(client.inspector.__aexit__())
            with pytest.raises((aiohttp.ClientError, EOFError)):
                await stream.next()
            await leaving
            # It can be entered again.
            await client.inspector.__aenter__()
            await opened(project.websocket("chat"))
            assert '"open"' in (await Client(client.inspector, client._session).ask("/api/connections"))[2]


async def test_a_port_that_is_taken_leaves_nothing_behind():
    async with serving() as (client, project):
        with pytest.raises(OSError, match="address already in use"):
            async with Inspector(project, port=client.inspector.port):
                pass
    inspector = Inspector(project)
    assert repr(inspector) == "<Inspector not serving>"
    with pytest.raises(RxNodesError, match="not serving"):
        _ = inspector.url


# --- Who may do what --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "wrong", ""])
@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/api/connections", "GET"),
        ("/api/events", "GET"),
        ("/api/session", "POST"),
        ("/api/connections/chat/start", "POST"),
        ("/api/connections/nobody/stop", "POST"),
        ("/api/nowhere", "GET"),
        ("/%61pi/connections", "GET"),
        ("/./api/connections", "GET"),
        ("//api/connections", "GET"),
        ("/nowhere", "GET"),
    ],
)
async def test_nothing_is_told_or_done_without_the_token(path, method, token):
    async with serving() as (client, project):
        status, headers, text = await client.ask(path, method, token)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "chat" not in text
        assert project.websocket("chat").session == 0


async def test_the_token_is_exchanged_for_a_cookie_that_no_script_reads():
    async with serving() as (client, _):
        status, headers, _ = await client.ask("/api/session", "POST")
        name, _, rest = headers["Set-Cookie"].partition("=")
        value, *attributes = rest.split("; ")
        assert (status, {*attributes}) == (204, {"HttpOnly", "Path=/api/", "SameSite=Strict"})
        assert TOKEN not in value
        assert (await client.ask("/api/connections", token=None, Cookie=f"{name}={value}"))[0] == 200
        assert (await client.ask("/api/connections", token=None, Cookie=f"{name}={value}x"))[0] == 401
        assert (await client.ask("/api/connections", token=None, Cookie=f"{name}={TOKEN}"))[0] == 401


async def test_no_token_may_be_asked_for_on_loopback():
    async with serving(token=False) as (client, project):
        assert client.inspector.url.endswith(f":{client.inspector.port}/")
        assert (await client.ask("/api/connections", token=None))[0] == 200
        assert (await client.ask("/api/connections/chat/start", "POST", None, Origin="http://evil.example"))[0] == 403
        assert project.websocket("chat").session == 0
        assert (await client.ask("/api/connections/chat/start", "POST", None))[0] == 202


@pytest.mark.parametrize("path", ["/", "/page.js", "/api/connections"])
async def test_a_name_that_was_rebound_to_this_machine_gets_nothing(path):
    async with serving() as (client, _):
        status, _, text = await client.ask(path, Host="evil.example")
        assert status == 403
        assert "<" not in text
        assert (await client.ask(path, Host="localhost:1"))[0] == 200


@pytest.mark.parametrize(
    "header", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "same-site"}]
)
async def test_another_site_can_do_nothing_even_with_the_cookie(header):
    async with serving() as (client, project):
        cookie = (await client.ask("/api/session", "POST"))[1]["Set-Cookie"].partition(";")[0]
        for path, method in [
            ("/api/connections/chat/start", "POST"),
            ("/api/connections", "GET"),
            ("/api/session", "POST"),
        ]:
            assert (await client.ask(path, method, None, Cookie=cookie, **header))[0] == 403
        assert project.websocket("chat").session == 0
        ours = {"Cookie": cookie, "Origin": client.origin}
        assert (await client.ask("/api/connections/chat/start", "POST", None, **ours))[0] == 202


@pytest.mark.parametrize(
    "path",
    ["/", "/page.js", "/page.css", "/lane.js", "/words.js", "/workers.js", "/icon.svg", "/api/connections", "/nowhere"],
)
async def test_every_answer_has_the_headers(path):
    async with serving() as (client, _):
        _, headers, text = await client.ask(path)
        policy = dict(rule.partition(" ")[::2] for rule in headers["Content-Security-Policy"].split("; "))
        assert {policy[name] for name in ("default-src", "frame-ancestors", "base-uri", "form-action")} == {"'none'"}
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers
        assert headers["Server"] == "rxnodes"
        assert "chat" not in text or path == "/api/connections"


async def test_the_token_is_in_no_log_and_no_repr(caplog):
    caplog.set_level(logging.DEBUG)
    async with serving(names=["a"]) as (client, _):
        assert urlsplit(client.inspector.url).fragment == TOKEN
        for path, method in [
            ("/api/connections", "GET"),
            ("/api/session", "POST"),
            ("/api/connections/%FF/start", "POST"),
        ]:
            await client.ask(path, method)
            await client.ask(path, method, f"{TOKEN}-of-another")
            await client.ask(path, method, Host="evil.example")
        assert TOKEN not in repr(client.inspector)
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("request_line", ["GET / HTTP/9.9", "GET\0 / HTTP/1.1", "GET /\x80 HTTP/1.1", "G" * 10_000])
async def test_what_is_no_http_is_refused_and_in_no_log(caplog, request_line):
    caplog.set_level(logging.DEBUG)
    async with serving() as (client, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.inspector.port)
        writer.write(f"{request_line}\r\nAuthorization: Bearer {TOKEN}\0\r\n\r\n".encode("latin-1"))
        async with asyncio.timeout(10):
            answer = (await reader.read()).decode()
        writer.transport.abort()
    assert answer.startswith("HTTP/1.0 400")
    assert TOKEN not in answer + caplog.text


async def test_what_comes_is_text_and_ascii():
    """A close reason cannot end a field of a server-sent event, nor the JSON in it."""
    reason = "a\r\n\r\ndata: {}\n\u2028</script>"

    def script(peer):
        peer.accept()
        peer.close(4000, reason)

    async with serving(script=script) as (client, project):
        project.websocket("chat").start()
        await project.websocket("chat").wait_stopped()
        async with client.events() as stream:
            _, _, data = await stream.next()
        assert data["events"][-1]["reason"] == reason
        assert reason in data["rows"][0]["reason"]
