"""What a connection's settings take, what they refuse, and that they keep secrets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import sys

import pydantic
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from rxnodes import ConnectError, ConnectOptions, Project
from rxnodes.codecs import as_codec, plain
from rxnodes.lifecycle.policy import Policy, ReconnectPolicy
from rxnodes.transport.receipts import SendQueue
from rxnodes.websocket.settings import ConnectionSettings, TlsSettings, WebSocketSettings

SECRET = "hunter2"  # noqa: S105 - planted, to be looked for
URL = "ws://127.0.0.1:8080/"


def connection(url=URL, **fields):
    return ConnectionSettings.model_validate({"url": url, **fields})


def problem(url=URL, **fields):
    """What is said about the one thing that is wrong."""
    with pytest.raises(pydantic.ValidationError) as caught:
        connection(url, **fields)
    assert SECRET not in str(caught.value)
    (details,) = caught.value.errors()
    return str(details.get("ctx", {}).get("error", details["msg"]))


# Defaults, and what the rest of rxnodes gets


def test_the_defaults_are_the_lifecycles_own():
    assert connection().policy() == Policy()


def test_the_policy_has_what_was_set():
    reconnect = {
        "enabled": True,
        "initial_delay": 1,
        "max_delay": 2.5,
        "factor": 1,
        "jitter": False,
        "max_attempts": 3,
        "reset_after": 4,
        "final_codes": frozenset({1000, 4999}),
        "final_statuses": frozenset({410}),
        "retry_certificates": True,
        "retry_after": False,
    }
    settings = connection(connect_timeout=None, close_timeout=0.25, reconnect=reconnect)
    assert settings.policy() == Policy(connect_timeout=None, close_timeout=0.25, reconnect=ReconnectPolicy(**reconnect))


def test_the_target_has_what_was_set():
    fields = {
        "headers": {"Authorization": "Bearer x"},
        "subprotocols": ("chat.v2", "chat.v1"),
        "heartbeat": None,
        "silence_timeout": 60.0,
        "max_message_size": None,
        "max_header_size": 1024,
        "compression": True,
    }
    target = connection(**fields).target()
    assert target.url == target.redacted_url == URL
    assert {name: getattr(target, name) for name in fields} == fields
    assert target.tls is None
    usual = connection().target()
    assert (usual.heartbeat, usual.max_message_size, usual.compression) == (20.0, 1024 * 1024, False)


@pytest.mark.parametrize("name", ["", " chat", "ch\nat"])
def test_a_connections_name_is_readable(name):
    with pytest.raises(pydantic.ValidationError, match="printable characters"):
        WebSocketSettings.model_validate({"connections": {name: URL}})


def test_settings_cannot_be_changed():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        connection().port = 1


# URLs


@pytest.mark.parametrize(
    ("url", "fields", "expected"),
    [
        ("ws://h", {}, "ws://h/"),
        ("WSS://Host/Path", {}, "wss://host/Path"),
        ("ws://h:1/", {"port": 2}, "ws://h:2/"),
        ("ws://h/", {"port": 65535}, "ws://h:65535/"),
        ("ws://[::1]:8080/x", {}, "ws://[::1]:8080/x"),
        ("ws://my_service/", {}, "ws://my_service/"),
        ("ws://h/a%20b/ä", {}, "ws://h/a%20b/%C3%A4"),
        ("ws://h/100%", {}, "ws://h/100%25"),
        ("ws://h/?a=1&b=x+y&c", {}, "ws://h/?a=1&b=x+y&c"),
        ("ws://h/?a=1&b=2&a=3", {"query": {"a": "4"}}, "ws://h/?b=2&a=4"),
        ("ws://h/?a%20b=1", {"query": {"a b": "2"}}, "ws://h/?a%20b=2"),
        ("ws://h/", {"query": {"t": "a&b=c d/é+"}}, "ws://h/?t=a%26b%3Dc%20d%2F%C3%A9%2B"),
        ("ws://u:p%40ss@h/", {}, "ws://h/"),
        ("ws://h/?&a=&&b&", {}, "ws://h/?&a=&&b&"),
        ("ws://h/?&a=&&b&", {"query": {"b": ""}}, "ws://h/?&a=&&&b="),
        ("ws://bücher.test/", {}, "ws://xn--bcher-kva.test/"),
        ("ws://h./", {}, "ws://h./"),
        ("ws://[FE80::1%25Eth0]:1/", {}, "ws://[fe80::1%Eth0]:1/"),
    ],
)
def test_the_targets_url(url, fields, expected):
    assert connection(url, **fields).target().url == expected


@pytest.mark.parametrize("part", ["path", "query"])
def test_what_a_url_can_hold_stays_and_the_rest_is_encoded(part):
    """RFC 3986; a "%" that encodes nothing is encoded itself."""
    beginning = {"path": "ws://h/", "query": "ws://h/?"}[part]
    chars = [chr(code) for code in range(0x21, 0x7F) if chr(code) not in ("#\\?" if part == "path" else "#\\")]
    can_stay = {char for char in chars if char.isalnum() or char in "-._~:/?@!$&'()*+,;="}
    sent = [char if char in can_stay else f"%{ord(char):02X}" for char in chars]
    assert [connection(beginning + char).target().url for char in chars] == [beginning + text for text in sent]


@pytest.mark.parametrize(
    ("userinfo", "expected"),
    [
        ("user:password", b"user:password"),
        ("user", b"user:"),
        ("user:", b"user:"),
        (":password", b":password"),
        ("us%20er:p%40%2F%3A", b"us er:p@/:"),
        ("u:a:b%3Ac@d", b"u:a:b:c@d"),
        ("u:100%", b"u:100%"),
        ("u:a+b", b"u:a+b"),
        ("é:€", "é:€".encode()),
        ("%C3%A9:%E2%82%AC", "é:€".encode()),
        ("%E9:x", b"\xe9:x"),
    ],
)
def test_user_and_password_are_basic_credentials_in_utf_8(userinfo, expected):
    target = connection(f"ws://{userinfo}@h/").target()
    scheme, _, credentials = target.headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(credentials)) == ("Basic", expected)
    assert target.url == target.redacted_url == "ws://h/"
    assert credentials not in repr(target)


def test_no_user_is_no_credentials():
    assert connection("ws://@h/").target().headers == {}


@pytest.mark.parametrize(
    ("url", "fields", "expected"),
    [
        (f"ws://user:{SECRET}@h:8080/path?token={SECRET}", {}, "ws://h:8080/path?token=***"),
        (f"ws://{SECRET}@h/?{SECRET}", {}, "ws://h/?***"),
        (f"ws://h/?a={SECRET}&a=={SECRET}", {}, "ws://h/?a=***&a=***"),
        ("ws://h:8080/path", {"query": {"token": SECRET}, "port": 9}, "ws://h:9/path?token=***"),
        ("ws://h/", {"headers": {"Authorization": SECRET}}, "ws://h/"),
    ],
)
def test_a_redacted_url_has_no_secret(url, fields, expected):
    settings = connection(url, **fields)
    assert settings.target().redacted_url == expected
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.target())):
        assert SECRET not in shown


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"http://h/{SECRET}", "ws:// or wss://"),
        (f"{SECRET}", "ws:// or wss://"),
        (f"ws:{SECRET}", "ws:// or wss://"),
        ("", "ws:// or wss://"),
        ("ws://", "host"),
        (f"ws://{SECRET}@/", "host"),
        ("ws://a..b/", "host"),
        (f"ws://{'a' * 64}/", "host"),
        ("ws://a!b/", "host"),
        ("ws://[1::2::3]/", "URL such as|host"),
        ("ws://[v1.a:b]/", "host"),
        (f"ws://[{SECRET}", "URL such as"),
        (f"ws://{SECRET}\u2100@h/", "URL such as"),
        ("ws://h:0/", "port from 1 to 65535"),
        ("ws://h:65536/", "port from 1 to 65535"),
        (f"ws://user:{SECRET}/@h/", "port from 1 to 65535"),
        ("ws://.h/", "host"),
        ("ws://h../", "host"),
        ("ws://../", "host"),
        (f"ws://{'.'.join(['a' * 60] * 5)}/", "host"),
        (f"ws://{'ü' * 60}/", "host"),
        ("ws://%61/", "host"),
        ("ws://127.1/", "four numbers"),
        ("ws://2130706433/", "four numbers"),
        ("ws://256.0.0.1/", "four numbers"),
        ("ws://010.0.0.1/", "four numbers"),
        ("ws://[fe80::1]/", "network interface of a link-local address, such as ws://"),
        ("ws://[fe80::1%25]/", "host"),
        ("ws://[fe80::1%é]/", "network interface"),
        ("ws://h:٣/", "port from 1 to 65535"),
        ("ws://h:+8/", "port from 1 to 65535"),
        (f"ws://us%3Aer:{SECRET}@h/", "user name with a colon"),
        (f"ws://user:%0A{SECRET}@h/", "control characters in user or password"),
        (f"ws://user%7F:{SECRET}@h/", "control characters in user or password"),
        (f"ws://h/#{SECRET}", "fragment"),
        ("ws://h/#", "fragment"),
        (f"ws://h/{SECRET}\r\nX: y", "line breaks"),
        (f" ws://h/{SECRET}", "spaces"),
        ("ws://h/\t", "control characters"),
        ("ws://h/\x7f", "control characters"),
        ("ws://h\\@evil/", "backslashes"),
        ("ws://h/\udcff", "control characters"),
    ],
)
def test_a_url_that_cannot_be_connected_to_is_refused(url, said):
    message = problem(url)
    assert any(text in message for text in said.split("|"))


def test_a_hooks_whole_url_keeps_its_own_port():
    settings = connection("ws://h/", port=9000)
    assert settings.retarget(ConnectOptions(url="ws://other:1/")).url == "ws://other:1/"
    assert settings.retarget(ConnectOptions(url="ws://other/")).url == "ws://other/"
    assert settings.retarget(ConnectOptions(query={"a": "b"})).url == "ws://h:9000/?a=b"


@pytest.mark.parametrize(
    ("given", "offered"), [(None, ("chat",)), ([], ()), (["token.x", "chat"], ("token.x", "chat"))]
)
def test_a_hook_may_give_subprotocols(given, offered):
    options = ConnectOptions(subprotocols=given)
    assert connection(subprotocols=["chat"]).retarget(options).subprotocols == offered
    assert "token" not in repr(options)


def test_a_hooks_table_must_be_one():
    with pytest.raises(ValueError, match=r"^headers: must be a table; query: must be a table$"):
        connection().retarget(ConnectOptions(headers="secret", query=7))


def test_what_is_wrong_with_what_a_hook_gives_is_said_as_of_settings():
    given = ConnectOptions(subprotocols=["a b", 5], headers={"A\n": "secret"}, query={"q": 7}, url="http://h/")
    with pytest.raises(ValueError, match="subprotocols") as raised:
        connection().retarget(given)
    assert sorted(str(raised.value).split("; ")) == [
        "headers.A\n: must be a header name: letters, digits and !#$%&'*+-.^_`|~",
        "query.q: must be text",
        "subprotocols.0: must be a subprotocol name: letters, digits and !#$%&'*+-.^_`|~",
        "subprotocols.1: must be text",
        "url: must begin with ws:// or wss://",
    ]


# On the wire


@contextlib.asynccontextmanager
async def raw_server(host="127.0.0.1"):
    """A server that reads the head of each request, and hangs up; its port, and what it has read."""
    heads = []

    async def read(reader, writer):
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n"))
        writer.close()

    async with await asyncio.start_server(read, host, 0) as server:
        yield server.sockets[0].getsockname()[1], heads


async def end_of(fields):
    """How a session with these settings ends."""
    async with Project(websocket={"it": fields}) as project:
        project.websocket("it").start()
        return await project.websocket("it").wait_stopped()


PRESIGNED = (
    "/a%2Fb%28c%29%3A%40/%2e%2e/../x;v=1//~!$&'()*+,="
    "?X-Amz-Credential=AKIA%2F20260101%2Fus%2f&sig=a%2Bb+c%20d/e=;f&empty=&twice=1&twice=2&&flag&%5Bx%5D=%25&"
)


@pytest.mark.parametrize("way", ["url", "hook"])
async def test_a_url_is_sent_exactly_as_given(way):
    async with raw_server() as (port, heads):
        url = f"ws://127.0.0.1:{port}{PRESIGNED}"

        async def presign(_attempt):
            return ConnectOptions(url=url)

        await end_of(url if way == "url" else {"url": "ws://nowhere.test/", "port": 1, "before_connect": presign})
        assert heads[0][0] == f"GET {PRESIGNED} HTTP/1.1"


async def test_what_the_query_encodes_is_sent_as_it_is():
    values = {"redirect": "https://h/a?b=c&d", "sig": "a+b/c=", "who": "é (x) @:;", "%2F": "%2F", "empty": ""}
    async with raw_server() as (port, heads):
        await end_of({"url": f"ws://127.0.0.1:{port}?keep=%2F", "query": values})
        assert heads[0][0] == (
            "GET /?keep=%2F&redirect=https%3A%2F%2Fh%2Fa%3Fb%3Dc%26d&sig=a%2Bb%2Fc%3D"
            "&who=%C3%A9%20%28x%29%20%40%3A%3B&%252F=%252F&empty= HTTP/1.1"
        )


@pytest.mark.parametrize(
    ("bound", "host", "header"),
    [("127.0.0.1", "127.0.0.1", "127.0.0.1"), ("::1", "[::1]", "[::1]"), ("::1", "[::1%251]", "[::1]")],
)
async def test_credentials_and_host_are_headers(bound, host, header):
    async with raw_server(bound) as (port, heads):
        await end_of(f"ws://us%20er:%C3%A9€%3A@{host}:{port}/")
        assert f"Host: {header}:{port}" in heads[0]
        assert f"Authorization: Basic {base64.b64encode('us er:é€:'.encode()).decode()}" in heads[0]
        assert heads[0][0] == "GET / HTTP/1.1"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1%251]"])
@pytest.mark.parametrize("name", ["Host", "hOST"])
async def test_a_host_header_of_ones_own_is_sent_in_place_of_the_urls(host, name):
    async with raw_server(host.strip("[]").partition("%")[0]) as (port, heads):
        await end_of({"url": f"ws://{host}:{port}/", "headers": {name: "virtual.test:81"}})
        assert [line for line in heads[0] if line.lower().startswith("host:")] == [f"{name}: virtual.test:81"]


async def test_a_host_that_is_not_ascii_is_looked_up_in_idna(monkeypatch):
    looked_up = []

    async def refuse(self, host, *_arguments, **_options):
        looked_up.append(host)
        raise OSError(-2, "no such name")

    monkeypatch.setattr("asyncio.BaseEventLoop.getaddrinfo", refuse)
    await end_of("ws://Bücher.TEST/")
    assert looked_up == ["xn--bcher-kva.test"]


@pytest.mark.parametrize("error", [ValueError(SECRET), UnicodeError(), TypeError(), OverflowError()])
async def test_what_cannot_be_sent_ends_the_session_and_names_the_settings(error, monkeypatch):
    async def fail(*_arguments, **_options):
        raise error

    monkeypatch.setattr("aiohttp.BaseConnector.connect", fail)
    stopped = await end_of({"url": "ws://127.0.0.1:1/", "reconnect": {"enabled": True}})
    assert isinstance(stopped.error, ConnectError)
    assert not stopped.error.retryable
    assert stopped.attempts == 1
    assert str(stopped.error).startswith("nothing was sent, because url, headers or tls hold a value")


# Numbers

TIMES = ["connect_timeout", "close_timeout", "heartbeat"]


@pytest.mark.parametrize("field", TIMES)
@pytest.mark.parametrize(("value", "expected"), [(0.001, 0.001), (86400, 86400.0), ("2.5", 2.5)])
def test_times_have_fractions_down_to_a_millisecond(field, value, expected):
    assert getattr(connection(**{field: value}), field) == expected


#: What each field says it takes, and what it refuses, with the fields that stand around it.
SECONDS = "must be a number of seconds from 0.001 to 86400"
BAD_SECONDS = [0, 0.0009, -1, 86401, 10**400, float("inf"), float("-inf"), float("nan"), "nan", True, "soon", [], {}]
BAD_NUMBERS = {
    "connect_timeout": (SECONDS, BAD_SECONDS),
    "close_timeout": (SECONDS, [0, 86401]),
    "heartbeat": (SECONDS, [0, 86401]),
    "reconnect.initial_delay": (SECONDS, [0, 86401]),
    "reconnect.reset_after": (SECONDS, [0, 86401]),
    "reconnect.factor": ("must be a number from 1 to 100", [0.99, 101, True, float("nan")]),
    "reconnect.max_attempts": ("must be a whole number from 1 to 1000000", [0, 1.5, 1_000_001, False]),
    "port": ("must be a whole number from 1 to 65535", [0, -1, 65536, 80.0, "80.5", True, "http"]),
    "max_header_size": ("must be a whole number of bytes from 1 to 1073741824", [0, 2**30 + 1]),
    "max_message_size": ("must be a whole number of bytes from 1 to 1073741824", [0, 2**30 + 1, 1.5, True, "1 MiB"]),
}


@pytest.mark.parametrize("field", BAD_NUMBERS)
def test_a_number_out_of_range_is_refused(field):
    section, _, name = field.rpartition(".")
    says, values = BAD_NUMBERS[field]
    for value in values:
        assert says in problem(**({section: {"max_delay": 86400, name: value}} if section else {name: value}))


BAD_CODES = [999, 5000, True, 1000.0, "x", "4400", "4499-4400", "999-1001", "4400-5000", "4400-", "4400-4499-4500", "-"]


@pytest.mark.parametrize(
    ("field", "good", "allowed", "values"),
    [
        ("final_codes", 1000, 'from 1000 to 4999, or a range of them such as "4400-4499"', BAD_CODES),
        (
            "final_statuses",
            401,
            'from 100 to 599, or a range of them such as "400-499"',
            [99, 600, True, "4xx", "400-600"],
        ),
    ],
)
def test_a_code_or_a_status_out_of_range_is_refused(field, good, allowed, values):
    for value in values:
        assert problem(reconnect={field: [good, value]}) == f"must be a whole number {allowed}"


def test_codes_and_statuses_may_be_ranges():
    policy = connection(
        reconnect={"final_codes": [1000, " 4400 - 4499 "], "final_statuses": ["400-428", "430-599"]}
    ).policy()
    codes, statuses = policy.reconnect.final_codes, policy.reconnect.final_statuses
    assert [code for code in range(1000, 5000) if code in codes] == [1000, *range(4400, 4500)]
    assert [status for status in range(100, 600) if status in statuses] == [*range(400, 429), *range(430, 600)]


@pytest.mark.parametrize("value", [None, "none", "None", "OFF", " off "])
def test_limits_can_be_none(value):
    settings = connection(
        port=value,
        connect_timeout=value,
        heartbeat=value,
        max_message_size=value,
        reconnect={"max_attempts": value},
    )
    assert settings.port is settings.connect_timeout is settings.heartbeat is settings.max_message_size is None
    assert settings.reconnect.max_attempts is None


# Codec


@pytest.mark.parametrize("value", [None, "none", "Off"])
def test_there_may_be_no_codec(value):
    assert connection().codec is None
    assert connection(codec=value).codec is None


@pytest.mark.parametrize("value", ["json", "msgpack", list[int], (str, int), as_codec("json")])
def test_a_codec_is_whatever_can_be_one(value):
    assert connection(codec=value).codec.name == as_codec(value).name


def test_msgpack_has_to_be_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "msgpack", None)
    plain.msgpack.cache_clear()
    assert 'pip install "rxnodes[msgpack]"' in problem(codec="msgpack")


def test_a_codec_does_not_hinder_a_hooks_options():
    assert connection(codec=list[int]).retarget(ConnectOptions(query={"a": "b"})).url.endswith("a=b")


# Headers, query, subprotocols


@pytest.mark.parametrize("value", ["", "a\tb c", "ä", "***"])
def test_a_header_value_stays_as_it_is(value):
    assert connection(headers={"X-Token": value}).target().headers == {"X-Token": value}


def test_authorization_comes_from_the_url_or_from_the_headers():
    assert "user:password@" in problem(f"ws://user:{SECRET}@h/", headers={"authorization": SECRET})
    assert connection("ws://h/", headers={"authorization": SECRET})


# What is refused

CODECS = 'must be "json" or "msgpack" (or "none")'
REFUSED = [
    *[({"headers": {name: SECRET}}, "must be a header name") for name in ("", "a b", "a:b", "a\r\nb", "ä", "a(b)")],
    *[
        ({"headers": {name: SECRET}}, f"cannot be set here: {hint}")
        for name, hint in [
            ("upgrade", "the handshake"),
            ("CONNECTION", "the handshake"),
            ("Sec-WebSocket-Protocol", "subprotocols"),
            ("Sec-WebSocket-Extensions", "compression"),
            ("sec-websocket-anything", "the handshake"),
            ("Content-Length", "a handshake has no body"),
        ]
    ],
    *[({"headers": {"X-Token": f"{SECRET}{char}X: y"}}, "line breaks") for char in "\r\n\0\x1b\x7f\udcff"],
    ({"headers": {"X-Token": SECRET, "x-token": SECRET}}, "twice"),
    *[({field: {"token": value}}, "valid string") for field in ("headers", "query") for value in (1, None, ["a"])],
    ({"query": {"token": f"{SECRET}\udcff"}}, "Unicode"),
    ({"query": {"\udcff": SECRET}}, "Unicode"),
    ({"query": {"": SECRET}}, "must be a name"),
    *[({"subprotocols": [name]}, "must be a subprotocol name") for name in ("a b", "a,b", "", "ä")],
    ({"subprotocols": ["a", "b", "a"]}, "twice"),
    ({"subprotocols": "chat"}, "tuple"),
    *[({"url": url}, "valid string") for url in (None, 8080, ["ws://h/"], True)],
    *[({"compression": value}, "valid boolean") for value in ("maybe", 2, None, [])],
    *[({"close_timeout": value}, SECONDS) for value in (None, "none", "off")],
    *[({"codec": value}, CODECS) for value in ("jsn", "", "JSON")],
    *[({"codec": value}, f"{CODECS}; in Python also a type") for value in (7, True, ["json"], {"name": "json"})],
    *[
        ({"reconnect": it}, "less than initial_delay")
        for it in ({"initial_delay": 2, "max_delay": 1}, {"initial_delay": 60})
    ],
    ({"send_queue": {"overflow": "pause"}}, "'error', 'drop_newest' or 'drop_oldest'"),
    ({"send_queue": {"time_to_live": 5}}, "needs while_connecting = true"),
    ({"send_queue": {"max_messages": 0}}, 'must be a whole number from 1 to 100000000 (or "none")'),
    ({"send_queue": {"max_bytes": "none"}}, "must be a whole number of bytes from 1 to 1073741824"),
    *[(it, "not permitted") for it in ({"urll": SECRET}, {"reconnect": {"delay": SECRET}}, {"tls": {"verfy": SECRET}})],
]


@pytest.mark.parametrize(("fields", "said"), REFUSED)
def test_what_cannot_be_is_refused_and_the_message_says_what_can(fields, said):
    assert said in problem(**{"url": "wss://h/", **fields})


# TLS


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    leaf.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    leaf.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    leaf.private_key_pem.write_to_path(folder / "key.pem")
    authority.issue_cert("other").private_key_pem.write_to_path(folder / "other.pem")
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    (folder / "locked.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(SECRET.encode()),
        )
    )
    (folder / "text.pem").write_text("not a certificate")
    return folder


def tls(folder, **fields):
    return TlsSettings.model_validate(fields, context={"folder": folder})


def tls_problem(folder, **fields):
    with pytest.raises(pydantic.ValidationError) as caught:
        tls(folder, **fields)
    assert SECRET not in str(caught.value)
    (details,) = caught.value.errors()
    return str(details["ctx"]["error"])


@pytest.mark.parametrize("verify", [True, False])
def test_the_context_is_built_once_and_verifies(verify):
    settings = TlsSettings(verify=verify)
    context = settings.context()
    assert context is settings.context()
    assert context.verify_mode == (ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
    assert context.check_hostname is verify


def test_a_ca_file_is_trusted_instead_of_the_systems_and_read_once(files):
    settings = tls(files, ca_file="ca.pem")
    certificates = settings.context().get_ca_certs()
    assert [dict(part[0] for part in it["subject"])["organizationName"][:7] for it in certificates] == ["trustme"]
    assert settings.context() is settings.context()


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"cert_file": "both.pem"},
        {"cert_file": "cert.pem", "key_file": "key.pem"},
        {"cert_file": "cert.pem", "key_file": "locked.pem", "key_password": SECRET},
    ],
)
def test_a_client_certificate_is_loaded(files, fields):
    assert SECRET not in repr(tls(files, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"cert_file": "text.pem"},
        {"cert_file": "cert.pem"},
        {"cert_file": "cert.pem", "key_file": "other.pem"},
        {"cert_file": "cert.pem", "key_file": "locked.pem"},
        {"cert_file": "cert.pem", "key_file": "locked.pem", "key_password": f"{SECRET}!"},
    ],
)
def test_a_client_certificate_that_does_not_fit_is_refused(files, fields):
    assert "usable client certificate" in tls_problem(files, **fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ca_file": "text.pem"}, "ca_file holds no usable certificates (PEM)"),
        ({"ca_file": "nope.pem"}, "there is no file '{}/nope.pem'"),
        # And nothing of the key.
        ({"cert_file": "nope.pem", "key_file": "key.pem"}, "there is no file '{}/nope.pem'"),
        ({"key_file": "key.pem"}, "needs a cert_file"),
        ({"key_password": SECRET}, "needs a cert_file"),
    ],
)
def test_files_that_cannot_be_used(files, fields, said):
    assert tls_problem(files, **fields) == said.format(files)


def test_an_absolute_path_is_taken_as_it_is(files, tmp_path):
    assert tls(tmp_path, ca_file=str(files / "ca.pem")).ca_file == files / "ca.pem"


def test_without_a_folder_paths_begin_at_the_working_directory(files, monkeypatch):
    monkeypatch.chdir(files)
    assert TlsSettings.model_validate({"ca_file": "ca.pem"}).ca_file is not None


def test_tls_is_for_wss():
    assert problem("ws://h/", tls={}) == "needs a url with wss://"
    settings = connection("wss://h/", tls={})
    assert settings.tls is not None
    assert settings.target().tls == settings.tls.context


# The send queue


def test_the_queue_has_what_was_set():
    queue = {
        "max_messages": "10",
        "max_bytes": 20,
        "overflow": "drop_oldest",
        "while_connecting": True,
        "time_to_live": 2,
    }
    assert connection(send_queue=queue).target().send_queue == SendQueue(
        max_messages=10, max_bytes=20, overflow="drop_oldest", while_connecting=True, time_to_live=2.0
    )
    assert connection().target().send_queue == SendQueue()
    assert connection(send_queue={"max_messages": "none"}).target().send_queue == SendQueue(max_messages=None)
