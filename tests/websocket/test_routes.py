"""Which way a connection goes: proxies, unix sockets, local addresses, and whom TLS is for."""

from __future__ import annotations

import os
import shutil
import ssl

import pydantic
import pytest
import trustme
from faults import run_session

from rxnodes import ConnectError, ConnectOptions, Initiator, Project
from rxnodes.testing import WebSocketServer, echo
from rxnodes.websocket.settings import ConnectionSettings
from rxnodes.wire.tunnel import Credentials, Proxy

SECRET = "hunter2"  # noqa: S105 - planted, to be looked for


def connection(url="ws://server.test/", context=None, **fields):
    return ConnectionSettings.model_validate({"url": url, **fields}, context=context)


def problem(url="ws://server.test/", **fields):
    """What is said about the one thing that is wrong."""
    with pytest.raises(pydantic.ValidationError) as caught:
        connection(url, **fields)
    assert SECRET not in str(caught.value)
    (details,) = caught.value.errors()
    return f"{details['loc'][-1]} {details['ctx']['error']}"


# Proxies


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("none", None),
        ("http://proxy.test", Proxy(scheme="http", host="proxy.test", port=80)),
        ("http://proxy.test:3128/", Proxy(scheme="http", host="proxy.test", port=3128)),
        ("socks5://[::1]", Proxy(scheme="socks5", host="::1", port=1080)),
        ("SOCKS5H://Bücher.test:1", Proxy(scheme="socks5h", host="xn--bcher-kva.test", port=1)),
        (
            f"http://us%40er:{SECRET}%3A@proxy.test:3128",
            Proxy(scheme="http", host="proxy.test", port=3128, credentials=Credentials(b"us@er", b"hunter2:")),
        ),
    ],
)
def test_the_url_of_a_proxy(url, proxy):
    settings = connection(proxy=url)
    assert settings.target().proxy == proxy
    assert SECRET not in repr(settings) + repr(settings.target()) + str(settings.proxy)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (5, "must be the URL of a proxy"),
        (f"https://{SECRET}@proxy.test", "must begin with http://, socks5:// or socks5h://"),
        ("proxy.test:3128", "must begin with"),
        (f"http://{SECRET}@proxy.test:99999", "a port from 1 to 65535"),
        ("http://proxy.test:0", "a port from 1 to 65535"),
        (f"http://proxy.test/{SECRET}", "nothing behind host and port"),
        ("http://", "valid host, such as http://host:8080"),
        (f"http://{SECRET} @proxy.test", "spaces"),
        (f"http://a%3A:{SECRET}@proxy.test", "colon"),
        (f"socks5://{SECRET}@proxy.test", "1 to 255 bytes"),
        (f"socks5://{SECRET}:{'x' * 256}@proxy.test", "1 to 255 bytes"),
    ],
)
def test_a_proxy_that_cannot_be(value, said):
    assert said in problem(proxy=value)


@pytest.fixture
def variables(monkeypatch):
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return monkeypatch.setenv


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("ws://server.test/", "plain.test"),
        ("wss://server.test/", "secure.test"),
        ("ws://free.test/", None),
        ("ws://a.free.test/", None),
        ("ws://server.test:81/", None),
    ],
)
def test_what_the_environment_says(url, host, variables):
    variables("HTTP_PROXY", "http://plain.test:1")
    variables("https_proxy", "secure.test:1")
    variables("ALL_PROXY", "socks5://other.test")
    variables("NO_PROXY", "free.test,server.test:81")
    proxy = connection(url, proxy="environment").target().proxy
    assert (proxy and proxy.host) == host
    assert connection(url).target().proxy is None, "not unless it is asked for"


def test_the_environments_proxy_for_all(variables):
    assert connection(proxy="environment").target().proxy is None
    variables("all_proxy", "socks5h://other.test")
    assert connection(proxy="environment").target().proxy == Proxy(scheme="socks5h", host="other.test", port=1080)


def test_what_the_environment_must_not_say(variables):
    variables("HTTPS_PROXY", f"https://{SECRET}@proxy.test")
    said = problem("wss://server.test/", proxy="environment")
    assert said.startswith("proxy environment variable HTTPS_PROXY: must begin with")
    connection("ws://server.test/", proxy="environment")


def test_a_hooks_url_has_the_proxy_that_is_for_it(variables):
    variables("HTTP_PROXY", "http://proxy.test")
    variables("NO_PROXY", "free.test")
    settings = connection(proxy="environment", cookies=True)
    target = settings.retarget(ConnectOptions(url="ws://free.test/"))
    assert target.proxy is None
    assert settings.target().proxy is not None
    set_here = connection(proxy=f"http://user:{SECRET}@proxy.test")
    assert set_here.retarget(ConnectOptions(url="ws://free.test/")).proxy == set_here.proxy
    assert target.cookies is settings.target().cookies is not None


# Unix sockets and local addresses


def test_a_unix_sockets_path_begins_at_the_settings_folder(tmp_path):
    assert connection(context={"folder": tmp_path}, unix_socket="s").target().unix_socket == str(tmp_path / "s")
    assert connection(context={"folder": tmp_path}, unix_socket="/s").target().unix_socket == "/s"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", ("192.0.2.1", 0)),
        ("192.0.2.1:5000", ("192.0.2.1", 5000)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("[2001:db8::1]", ("2001:db8::1", 0)),
        ("[2001:db8::1]:5000", ("2001:db8::1", 5000)),
    ],
)
def test_a_local_address(text, address):
    assert connection(local_address=text).target().local_address == address


@pytest.mark.parametrize("text", ["", "localhost", "192.0.2.1:65536", "192.0.2", "192.0.2.1:", "[::1", "::1]:5"])
def test_a_local_address_that_cannot_be(text):
    assert "must be an IP address of this machine" in problem(local_address=text)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"unix_socket": "/s", "proxy": "http://h"}, "unix_socket must not be set beside proxy"),
        ({"unix_socket": "/s", "local_address": "::1"}, "local_address must not be set beside unix_socket"),
        ({"unix_socket": "/" + "x" * 200}, "unix_socket must be the path of a unix socket, of at most 10"),
    ],
)
def test_ways_that_do_not_go_together(fields, said):
    assert problem(**fields).startswith(said)


# TLS


async def opens(authority_of_server, *names, error=None, tls):
    """Whether a connection to a server with a certificate for these names opens."""
    outcome = await run_session(
        echo,
        act=stop_when_open if error is None else lambda *_: nothing(),
        initiator=Initiator.LOCAL if error is None else Initiator.NETWORK,
        code=1000 if error is None else 1006,
        was_clean=error is None,
        opened=error is None,
        error=None if error is None else ConnectError,
        script_ends=error is None,
        # Of a name that is not checked.
        may_complain=True,
        tls_server=authority_of_server.server(*names),
        tls=tls,
    )
    assert error is None or error in str(outcome.stopped.error)


async def stop_when_open(connection, _watch):
    await connection.wait_started()
    connection.stop()


async def nothing():
    pass


async def test_a_certificate_for_another_name(authority):
    tls = {"ca_file": authority.file}
    await opens(authority, "device.test", tls={**tls, "server_hostname": "device.test"})
    await opens(authority, "device.test", tls={**tls, "server_hostname": "else.test"}, error="not trusted")
    context = ssl.create_default_context(cafile=authority.file)
    await opens(authority, "device.test", tls={"ssl_context": context, "server_hostname": "device.test"})
    await opens(authority, tls=context)


async def test_a_name_that_is_not_checked(authority, tmp_path):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    tls = {"check_hostname": False}
    await opens(authority, "device.test", tls={**tls, "ca_file": authority.file})
    await opens(authority, "device.test", tls={**tls, "ca_file": other}, error="not trusted")


async def test_files_are_read_again_when_they_have_changed(authority, tmp_path):
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    async with (
        WebSocketServer(echo, tls=authority.server()) as server,
        Project(websocket={"it": {"url": f"wss://localhost:{server.port}/", "tls": {"ca_file": file}}}) as project,
    ):
        it = project.websocket("it")

        async def outcome():
            it.start()
            try:
                await it.wait_started()
            except ConnectError as error:
                return str(error)
            it.stop()
            await it.wait_stopped()
            return "open"

        assert "not trusted" in await outcome()
        shutil.copy(authority.file, file)
        assert await outcome() == "open"
        file.write_text("half of a certif")
        unusable = (
            "a file of the settings has changed and cannot be used: tls.ca_file holds no usable certificates (PEM)"
        )
        assert await outcome() == unusable
        file.unlink()
        assert await outcome() == unusable
        shutil.copy(authority.file, file)
        assert await outcome() == "open"


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        ({"ssl_context": "mine"}, "ssl_context must be an ssl.SSLContext, which only Python can give"),
        (
            {"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "verify": True},
            "tls ssl_context stands for all but",
        ),
        ({"server_hostname": ""}, "server_hostname must be a host name"),
        ({"server_hostname": "device.test:443"}, "server_hostname must be a host name"),
        ({"server_hostname": "user@device.test"}, "server_hostname must be a host name"),
    ],
)
def test_tls_that_cannot_be(tls, said):
    assert problem("wss://server.test/", tls=tls).startswith(said)
