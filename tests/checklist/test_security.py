"""The checklist's last section: what is refused, and that no secret is in anything that can be read."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import io
import json
import logging
import traceback

import faults
import pytest
import trustme
from faults import LOCAL, NETWORK, Authority, clean, run_session, stop_when_open
from websockets.asyncio.server import basic_auth, serve

from rxnodes import ConnectError, Opened, Project, RxNodesError, SettingsError
from rxnodes.connection.before_connect import ConnectOptions
from rxnodes.lifecycle.plain_values import plain_event
from rxnodes.testing import (
    WebSocketServer,
    answer_with,
    close_with,
    echo,
    hang_up,
    never_answer_close,
    never_answer_handshake,
    refuse,
    refusing_port,
    vanish,
)
from rxnodes.websocket import on_error, on_receive, on_stop
from rxnodes.websocket.settings import WebSocketSettings

SECRETS = {
    "user": "planted-user",
    "password": "planted-password",
    "token in the url": "planted-url-token",
    "nameless part of the query": "planted-nameless",
    "query value": "planted-query-value",
    "header value": "planted-header-value",
    "authorization": "planted-bearer",
    "key password": "planted-key-password",
}
#: What a Basic Authorization header would make of user and password.
ENCODED = "cGxhbnRlZC11c2VyOnBsYW50ZWQtcGFzc3dvcmQ="


def found_in(text):
    """The secrets that a text gives away."""
    return [name for name, secret in SECRETS.items() if secret in text] + (["Basic"] if ENCODED in text else [])


def keep_the_secrets(texts):
    for text in texts:
        assert found_in(text) == [], text


def chain(error):
    """An exception, and whatever hangs on it."""
    todo, seen = [error], []
    while todo:
        one = todo.pop()
        if one is None or any(one is other for other in seen):
            continue
        seen.append(one)
        todo += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
        todo += [arg for arg in one.args if isinstance(arg, BaseException)]
    return seen


def texts_of(what):
    """All that can be read of an object: also of the exception that it holds, with its traceback and its chain."""
    yield repr(what)
    yield str(what)
    errors = [what] if isinstance(what, BaseException) else [getattr(what, "error", None)]
    for error in errors:
        for one in chain(error):
            yield repr(one)
            yield str(one)
            yield repr(vars(one)) if hasattr(one, "__dict__") else ""
            yield "".join(traceback.format_exception(one))
            yield "\n".join(getattr(one, "__notes__", ()))


def with_secrets(url, /, **settings):
    """A configuration in which every field that may be secret is."""
    scheme, _, rest = url.partition("://")
    address = rest.rstrip("/")
    return {
        "url": f"{scheme}://{SECRETS['user']}:{SECRETS['password']}@{address}/path"
        f"?token={SECRETS['token in the url']}&{SECRETS['nameless part of the query']}",
        "query": {"key": SECRETS["query value"]},
        "headers": {"X-Api-Key": SECRETS["header value"], "Cookie": f"session={SECRETS['authorization']}"},
        "connect_timeout": 0.3,
        "close_timeout": 0.3,
        "heartbeat": None,
        **settings,
    }


class Log(logging.Handler):
    """Everything that is logged, as a formatter would write it, and the raw record besides."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.texts = []
        self._formatter = logging.Formatter("%(name)s %(message)s %(threadName)s")

    def emit(self, record):
        self.texts += [self._formatter.format(record), repr(record.__dict__)]
        if record.exc_info and record.exc_info[1] is not None:
            self.texts += texts_of(record.exc_info[1])


@pytest.fixture
def log(caplog):
    handler = Log()
    names = ("", "rxnodes", "rxnodes.transport", "asyncio", "aiohttp", "aiohttp.client", "aiohttp.internal")
    loggers = [logging.getLogger(name) for name in names]
    for name in names:
        caplog.set_level(logging.DEBUG, logger=name or None)
    loggers[0].addHandler(handler)
    yield handler
    loggers[0].removeHandler(handler)


async def readable(settings, act, log):
    """Runs a session in asyncio's debug mode; everything that can be read of it, and what went over the wire."""
    texts = []
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0  # asyncio logs every callback and every task then, with its repr
    output = io.StringIO()
    with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
        project = Project(websocket={"it": settings})
        connection = project.websocket("it")
        texts += [
            repr(project),
            str(project),
            repr(connection),
            repr(connection._driver._target),
            repr(WebSocketSettings.model_validate({"connections": {"it": settings}})),
        ]
        async with project, asyncio.timeout(5):
            watch = faults.Watch(connection)
            raised = []
            connection.start()
            await asyncio.sleep(0)
            texts += [repr(task) for task in asyncio.all_tasks()]
            try:
                await connection.wait_started()
            except RxNodesError as error:
                raised.append(error)
            texts += [repr(task) for task in asyncio.all_tasks()]
            await act(connection, watch)
            await connection.wait_stopped()
            texts += [repr(connection), repr(connection._driver.state), repr(project)]
    gc.collect()  # a task whose exception nobody has asked for says so now
    watch.check()
    for what in (*watch.told, *raised):
        texts += texts_of(what)
    for event in watch.journal.events:
        texts += [repr({it.name: getattr(event, it.name) for it in dataclasses.fields(event) if it.repr})]
        # As recordings and the log of a fleet have it.
        texts += [json.dumps(plain_event(event))]
    texts += log.texts
    texts.append(output.getvalue())
    return watch, texts


async def nothing(_connection, _watch):
    pass


async def stop(connection, _watch):
    connection.stop()


async def raises_in_a_subscriber(connection, _watch):
    connection.states.subscribe(lambda _: 1 / 0)
    connection.stop()


JUNK = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade\x00: websocket\r\n\r\n"
NO_ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


ENDS = {
    "401": (refuse(401), nothing),
    "500": (refuse(500), nothing),
    "redirect": (refuse(302, {"Location": "ws://elsewhere.test/"}), nothing),
    "junk header": (answer_with(JUNK), nothing),
    "junk": (answer_with(b"junk\r\n\r\n"), nothing),
    "fin": (answer_with(), nothing),
    "no accept": (answer_with(NO_ACCEPT), nothing),
    "silence": (never_answer_handshake, nothing),
    "hang up": (hang_up, nothing),
    "reset": (vanish, nothing),
    "violation": (close_with(1006), nothing),
    "close": (close_with(4000, "bye"), nothing),
    "no reply": (never_answer_close, stop),
    "subscriber": (echo, raises_in_a_subscriber),
}


@pytest.mark.slow(but_every=5)
@pytest.mark.parametrize(("script", "act"), ENDS.values(), ids=ENDS)
async def test_no_secret_can_be_read(script, act, log):
    sent = []

    async def notes_request(peer):
        try:
            await script(peer)
        finally:
            if peer.request is not None:
                sent.append(f"{peer.request.target} {peer.request.headers}")

    async with WebSocketServer(notes_request) as server:
        watch, texts = await readable(with_secrets(server.url), act, log)
    assert len(watch.stopped) == 1
    if script is not never_answer_handshake:
        hidden = {"key password", "user", "password"}
        assert set(found_in(sent[0])) == {"Basic", *SECRETS} - hidden, "the secrets did go to the server"
    assert any("Executing" in text for text in log.texts), "the log was really listened to"
    keep_the_secrets(texts)


@pytest.mark.parametrize("status", [101, 302, 401])
async def test_no_secret_of_an_answer_can_be_read(status, log):
    """Its headers' values and its body are in the event and in the error, for those who ask, and nowhere else."""
    cookie, said = SECRETS["authorization"], SECRETS["header value"]

    async def script(peer):
        headers = {"Set-Cookie": cookie, "Location": f"/?{cookie}", "X-Reply": cookie}
        if status == 101:
            await peer.accept(extra_headers=headers)
            await peer.send_close(1000)
        else:
            await peer.respond(status, headers=headers, body=said.encode())

    async with WebSocketServer(script) as server:
        async with Project(websocket={"it": {"url": server.url, "close_timeout": 0.3}}) as project:
            connection = project.websocket("it")
            events, texts = [], []
            connection.lifecycle.subscribe(events.append)
            connection.lifecycle.subscribe(lambda _: 1 / 0)
            asyncio.get_running_loop().set_debug(True)
            asyncio.get_running_loop().slow_callback_duration = 0.0
            connection.start()
            stopped = await connection.wait_stopped()
            texts += [repr(connection._driver.state), repr(project), repr(stopped)]
            if status == 101:
                assert next(event for event in events if isinstance(event, Opened)).headers["Set-Cookie"] == cookie
            else:
                assert (stopped.error.headers["Set-Cookie"], stopped.error.body) == (cookie, said.encode())
                with pytest.raises(ConnectError) as raised:
                    await connection.wait_started()
                events.append(raised.value)
    for event in (*events, stopped.error):
        texts += [repr(event), str(event), "".join(traceback.format_exception(getattr(event, "error", None)))]
    assert any("Executing" in text for text in log.texts), "the log was really listened to"
    keep_the_secrets([*texts, *log.texts])


@pytest.mark.slow
@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 No\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b""])
async def test_no_secret_of_a_proxy_can_be_read(answer, log):
    requests = []

    async def script(peer):
        requests.append(await peer.read_request())
        await peer.send_raw(answer)
        await peer.close()

    async with WebSocketServer(script) as server:
        proxy = f"http://{SECRETS['user']}:{SECRETS['password']}@127.0.0.1:{server.port}"
        _, texts = await readable(with_secrets("ws://server.test/", proxy=proxy), nothing, log)
    assert requests[0].header("Proxy-Authorization") == f"Basic {ENCODED}"
    assert requests[0].header("Cookie") is None, "the proxy sees nothing of the server's"
    keep_the_secrets(texts)


@pytest.mark.slow
async def test_no_secret_can_be_read_when_refused(log):
    with refusing_port() as port:
        _, texts = await readable(with_secrets(f"ws://127.0.0.1:{port}/"), nothing, log)
    keep_the_secrets(texts)


async def test_no_secret_can_be_read_when_the_name_is_unknown(log, monkeypatch):
    async def unknown(*_, **__):
        raise OSError(-2, "no such name")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", unknown)
    _, texts = await readable(with_secrets("ws://nowhere.invalid/"), nothing, log)
    keep_the_secrets(texts)


async def echoes_the_subprotocol(peer):
    await peer.accept(SECRETS["header value"])
    await peer.send_close(4000)
    await peer.expect_close()
    await peer.close()


@pytest.mark.slow
@pytest.mark.parametrize("script", [refuse(401), answer_with(), close_with(1006), vanish, echoes_the_subprotocol])
async def test_no_secret_of_a_hook_can_be_read(script, log):
    requests = []

    async def notes_request(peer):
        try:
            await script(peer)
        finally:
            requests.append(peer.request)

    async def hook(_attempt):
        address = server.url.partition("://")[2]
        return ConnectOptions(
            url=f"ws://{SECRETS['user']}:{SECRETS['password']}@{address}?{SECRETS['nameless part of the query']}",
            headers={"X-Api-Key": SECRETS["header value"]},
            query={"key": SECRETS["query value"]},
            subprotocols=["chat", SECRETS["header value"]],
        )

    async with WebSocketServer(notes_request) as server:
        settings = {"url": server.url, "before_connect": hook, "heartbeat": None, "close_timeout": 0.3}
        _, texts = await readable(settings, nothing, log)
    assert requests[0].header("X-Api-Key") == SECRETS["header value"]
    assert requests[0].target.count("planted") == 2
    keep_the_secrets(texts)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"url": f"http://{SECRETS['user']}:{SECRETS['password']}@host/?{SECRETS['nameless part of the query']}"},
        {"url": SECRETS["password"]},
        {"headers": {"X-Api-Key": SECRETS["header value"] + "\n"}},
        {"headers": {"Upgrade": SECRETS["header value"]}},
        {"subprotocols": [SECRETS["header value"] + " "]},
        {"headers": SECRETS["header value"]},
        {"query": {"": SECRETS["query value"]}},
        {"delay": SECRETS["password"]},
    ],
    ids=lambda options: next(iter(options)),
)
async def test_no_secret_of_a_hook_that_errs_can_be_read(options, log):
    async def hook(_attempt):
        return ConnectOptions(**options)

    async with WebSocketServer(refuse(503)) as server:
        settings = {"url": server.url, "before_connect": hook, "heartbeat": None, "connect_timeout": 0.5}
        watch, texts = await readable(settings, nothing, log)
    assert not watch.stopped[0].opened
    keep_the_secrets(texts)


@pytest.fixture
def client_certificate(tmp_path):
    """A client's certificate, and its key under a password."""
    from cryptography.hazmat.primitives import serialization

    issued = trustme.CA().issue_cert("client@example.test")
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    private = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(SECRETS["key password"].encode()),
        )
    )
    return {"cert_file": certificate, "key_file": key}


@pytest.mark.slow
@pytest.mark.parametrize("is_trusted", [False, True])
async def test_no_secret_can_be_read_with_tls(tmp_path, client_certificate, log, is_trusted):
    (tmp_path / "server").mkdir()
    authority = Authority(tmp_path / "server")
    tls = {"key_password": SECRETS["key password"], **client_certificate}
    if is_trusted:
        tls["ca_file"] = authority.file
    async with WebSocketServer(close_with(4000, "bye"), tls=authority.server()) as server:
        watch, texts = await readable(with_secrets(server.url, tls=tls), nothing, log)
    assert watch.stopped[0].opened is is_trusted
    keep_the_secrets(texts)


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 0},
        {"heartbeat": SECRETS["header value"]},
        {"unheard_of": SECRETS["header value"]},
        {"headers": {"X-Api-Key": SECRETS["header value"] + "\r\n"}},
        {"headers": {"X Api Key": SECRETS["header value"]}},
        {"headers": SECRETS["header value"]},
        {"headers": {"Authorization": SECRETS["authorization"]}},
        {"query": {"": SECRETS["query value"]}},
        {"query": {"key": SECRETS["query value"] + "\ud83d"}},
        {"query": [SECRETS["query value"]]},
        {"url": f"wss://{SECRETS['user']}:{SECRETS['password']}@host:port/?{SECRETS['nameless part of the query']}"},
        {"url": f"http://{SECRETS['user']}:{SECRETS['password']}@host/"},
        {"proxy": f"https://{SECRETS['user']}:{SECRETS['password']}@host/"},
        {"url": f"ws://{SECRETS['user']}:{SECRETS['password']}@ho st/"},
        {"url": [SECRETS["password"]]},
        {"tls": {"ca_file": "no-such-file", "key_password": SECRETS["key password"]}},
        {"tls": SECRETS["key password"]},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_no_secret_is_in_what_is_said_of_wrong_settings(wrong, log):
    with pytest.raises(SettingsError) as caught:
        Project(websocket={"it": with_secrets("ws://host/", **wrong)})
    # The traceback shows the caller's own source line, in which there is no secret but its name.
    keep_the_secrets([*texts_of(caught.value), *log.texts])


def test_no_secret_is_in_what_is_said_of_a_wrong_key_password(tmp_path, client_certificate):
    tls = {"key_password": SECRETS["password"], **client_certificate}
    with pytest.raises(SettingsError) as caught:
        Project(websocket={"it": {"url": "wss://host/", "tls": tls}})
    keep_the_secrets(texts_of(caught.value))


async def request_with(**settings):
    """The request of a handshake, which the server then refuses."""
    requests = []

    async def script(peer):
        requests.append(await peer.read_request())
        await peer.respond(403)

    await run_session(script, initiator=NETWORK, opened=False, error=ConnectError, **settings)
    (request,) = requests
    return request


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\nX-Injected: yes", "\x00", "\x7f"])
@pytest.mark.parametrize("where", ["header value", "header name", "url", "query", "subprotocol"])
async def test_line_breaks_are_refused_or_encoded(where, end):
    settings = {
        "header value": {"headers": {"X-Key": f"value{end}"}},
        "header name": {"headers": {f"X-Key{end}": "value"}},
        "url": {"url": f"ws://127.0.0.1/path{end}"},
        "query": {"query": {"key": f"value{end}"}},
        "subprotocol": {"subprotocols": [f"chat{end}"]},
    }[where]
    if where != "query":
        with pytest.raises(SettingsError):
            Project(websocket={"it": {"url": "ws://127.0.0.1/", **settings}})
        return
    request = await request_with(**settings)
    assert request.target.startswith("/?key=value%")
    assert request.header("X-Injected") is None


@pytest.mark.parametrize(
    "name",
    ["Connection", "upgrade", "Sec-WebSocket-Key", "sec-websocket-extensions", "Content-Length"],
)
def test_headers_of_the_handshake_itself_cannot_be_set(name):
    with pytest.raises(SettingsError):
        Project(websocket={"it": {"url": "ws://127.0.0.1/", "headers": {name: "x"}}})


async def test_proxies_of_the_environment_are_not_trusted(monkeypatch):
    async with WebSocketServer(refuse(502)) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        await run_session(echo, act=stop_when_open, **clean(LOCAL))
        assert proxy.connections == 0


async def test_passwords_of_netrc_are_not_sent(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert (await request_with()).header("Authorization") is None


async def test_cookies_are_not_kept():
    requests = []

    async def script(peer):
        requests.append(await peer.read_request())
        await peer.accept(extra_headers={"Set-Cookie": "tracked=yes; Path=/"})
        await peer.send_close(1001)

    async def act(connection, _watch):
        on_stop(connection).subscribe(lambda stopped: connection.start() if stopped.session == 1 else None)

    await run_session(script, act=act, **clean(faults.REMOTE, 1001), starts=2)
    assert [request.header("Cookie") for request in requests] == [None, None]


async def test_cookies_are_kept_where_that_is_asked_for():
    """For the host and the path that they are for, and no other (RFC 6265), also of a server without a name."""
    requests = []
    cookies = "seen=1; Path=/", 'quoted="a b"', "elsewhere=1; Path=/elsewhere", "safe=1; Secure", "own=theirs"

    async def script(peer):
        requests.append(await peer.read_request())
        await peer.send_raw(b"HTTP/1.1 503 Later\r\n")
        for cookie in cookies:
            await peer.send_raw(f"Set-Cookie: {cookie}\r\n".encode())
        await peer.send_raw(b"Content-Length: 0\r\n\r\n")
        await peer.close()

    async def act(connection, _watch):
        on_stop(connection).subscribe(lambda stopped: connection.start() if stopped.session == 1 else None)

    await run_session(
        script,
        act=act,
        initiator=NETWORK,
        opened=False,
        error=ConnectError,
        starts=2,
        cookies=True,
        headers={"Cookie": "own=mine"},
    )
    assert requests[0].header("Cookie") == "own=mine"
    assert sorted(requests[1].header("Cookie").split("; ")) == ["own=mine", 'quoted="a b"', "seen=1"]


async def test_compression_is_not_offered_by_default():
    assert (await request_with()).header("Sec-WebSocket-Extensions") is None


async def test_user_and_password_arrive_at_a_server_that_we_did_not_write():
    async def handler(connection):
        await connection.wait_closed()

    auth = basic_auth(credentials=("us er", "p@ss:word"))
    async with serve(handler, "127.0.0.1", 0, process_request=auth) as server:
        port = server.sockets[0].getsockname()[1]
        await run_session(
            f"ws://us%20er:p%40ss%3Aword@127.0.0.1:{port}/",
            act=stop_when_open,
            **clean(LOCAL),
        )
        outcome = await run_session(
            f"ws://us%20er:wrong@127.0.0.1:{port}/", initiator=NETWORK, opened=False, error=ConnectError
        )
    assert outcome.stopped.error.status == 401


@pytest.mark.parametrize("listens", [False, True])
async def test_a_message_that_does_not_fit_is_in_the_log_where_nobody_listens(listens, caplog):
    caplog.set_level(logging.INFO, logger="rxnodes")
    async with WebSocketServer(close_with(1000, "", "what the peer says" + 1000 * "x")) as server:
        async with Project(websocket={"it": server.url}) as project:
            it = project.websocket("it")
            on_receive(it, codec=list[int]).subscribe()
            if listens:
                on_error(it).subscribe()
            it.start()
            await it.wait_stopped()
    logged = [record.message for record in caplog.records if "what the peer says" in record.message]
    assert len(logged) == (not listens)
    assert all("x" * 62 in message and "x" * 63 not in message for message in logged)
