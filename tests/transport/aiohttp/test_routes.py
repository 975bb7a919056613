"""Ways to a server: through proxies and servers that we did not write where that says more, else through raw peers."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import tempfile
from pathlib import Path

import pytest
from faults import ROOM, run_session
from proxies import PROXIES, USER, WRONG, free_port, nginx
from raw_peer import Listener

from rxnodes import ConnectError, Initiator
from rxnodes.testing import WebSocketServer, echo, refusing_port
from rxnodes.transport.aiohttp.routes import HAPPY_EYEBALLS_DELAY

SHORT = 0.2


@pytest.fixture(scope="module", params=list(PROXIES))
def proxy(request, tmp_path_factory):
    with PROXIES[request.param](tmp_path_factory.mktemp("proxy")) as running:
        yield running


async def echoed(connection, _watch):
    """Says something, hears it, and stops."""
    await connection.wait_started()
    heard = asyncio.get_running_loop().create_future()
    with connection.messages.subscribe(lambda message: heard.done() or heard.set_result(message)):
        connection.send("hello")
        async with asyncio.timeout(ROOM):
            assert await heard == "hello"
    connection.stop()


async def converses(script=echo, **settings):
    return await run_session(script, act=echoed, initiator=Initiator.LOCAL, code=1000, was_clean=True, **settings)


async def fails(url="ws://server.test/", **settings):
    outcome = await run_session(url, initiator=Initiator.NETWORK, opened=False, error=ConnectError, **settings)
    return outcome.stopped.error


# Real proxies


@pytest.mark.slow
@pytest.mark.parametrize("is_tls", [False, True])
def test_through_a_proxy(run, proxy, is_tls, authority):
    tls = {"tls_server": authority.server(), "tls": {"ca_file": authority.file}} if is_tls else {}
    for scheme in proxy.schemes:
        run(converses(proxy=proxy.url(scheme), **tls))


@pytest.mark.slow
async def test_wrong_credentials_are_named_and_not_shown(proxy):
    for scheme in proxy.schemes if proxy.asks else ():
        # Some SOCKS proxies do not say why they end the connection, so that the next attempt may be another matter.
        error = await fails(
            "ws://127.0.0.1:1/", proxy=proxy.url(scheme, WRONG), reconnect={"enabled": scheme == "http"}
        )
        assert "credentials" in str(error)
        assert WRONG not in str(error)
        assert USER not in str(error)
        assert error.status is None, "that is the server's"
        assert error.proxy_status in ((401, 407) if scheme == "http" else (None,))


@pytest.mark.slow
async def test_a_server_that_the_proxy_cannot_reach(proxy):
    for scheme in proxy.schemes:
        error = await fails(f"ws://127.0.0.1:{free_port()}/", proxy=proxy.url(scheme))
        # Some proxies make the tunnel first, and then have nothing to lead it to.
        assert re.search("proxy|during the handshake", str(error))
        assert error.retryable


@pytest.mark.slow
def test_nginx_at_a_unix_socket(run):
    async def main(folder):
        async with WebSocketServer(echo) as server:
            with nginx(folder, server.port) as path:
                # So that debug mode does not count its start against the session.
                await asyncio.sleep(0)
                await converses("ws://server.test/", unix_socket=path, script_ends=False)

    with tempfile.TemporaryDirectory() as folder:
        run(main(Path(folder)))


# What is asked of a proxy


@contextlib.asynccontextmanager
async def raw_proxy(be):
    """A proxy that makes a tunnel, and then ends; gives its port, and what it was asked."""
    listener = Listener()

    def play():
        peer = listener.accept()
        asked = be(peer)
        peer.close()
        return asked

    asked = asyncio.create_task(asyncio.to_thread(play))
    yield listener.port, asked
    await asked
    listener.close()


@pytest.mark.parametrize(
    ("scheme", "be", "asked"),
    [
        ("http", "be_http_proxy", b"CONNECT server.test:81 HTTP/1.1\r\nHost: server.test:81\r\n\r\n"),
        ("http://us%C3%A9r:p%3Aw@", "be_http_proxy", b"Proxy-Authorization: Basic dXPDqXI6cDp3\r\n"),
        ("socks5h", "be_socks_proxy", b"\x05\x01\x00\x03\x0bserver.test\x00\x51"),
        ("socks5", "be_socks_proxy", b"\x05\x01\x00\x01\xcb\x00\x71\x09\x00\x51"),
    ],
)
async def test_what_a_proxy_is_asked(scheme, be, asked, monkeypatch):
    look_up = asyncio.BaseEventLoop.getaddrinfo

    async def known(loop, host, port, **options):
        assert scheme == "socks5", "the proxy looks names up"
        assert host == "server.test"
        return await look_up(loop, "203.0.113.9", port, **options)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", known)
    async with raw_proxy(lambda peer: getattr(peer, be)()) as (port, was_asked):
        url = scheme if "@" in scheme else f"{scheme}://"
        error = await fails("ws://server.test:81/", proxy=f"{url}127.0.0.1:{port}")
        assert asked in await was_asked
    assert "during the handshake" in str(error), "the tunnel was there"


async def test_a_proxy_that_ends_without_an_answer():
    async with raw_proxy(lambda _peer: None) as (port, _):
        assert "proxy" in str(await fails(proxy=f"http://127.0.0.1:{port}"))


async def test_connect_timeout_is_over_what_the_proxy_takes():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = await fails(proxy=f"http://127.0.0.1:{silent.getsockname()[1]}", connect_timeout=SHORT)
    assert "connect_timeout" in str(error)


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_a_stop_while_a_proxy_is_silent(run, scheme):
    async def stop(connection, _watch):
        with silent:
            accepted, _ = await asyncio.get_running_loop().sock_accept(silent)
        with accepted:
            connection.stop()
            await connection.wait_stopped()

    silent = socket.create_server(("127.0.0.1", 0))
    silent.setblocking(False)
    proxy = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
    run(run_session("ws://server.test/", act=stop, initiator=Initiator.LOCAL, opened=False, proxy=proxy))


async def test_a_proxy_that_is_not_there():
    with refusing_port() as port:
        error = await fails(proxy=f"http://127.0.0.1:{port}")
    assert str(error) == "the TCP connection to the proxy failed: Connection refused"


# Unix sockets, local addresses, several addresses


async def test_a_unix_socket_that_is_not_there(tmp_path):
    error = await fails(unix_socket=str(tmp_path / "none"))
    assert str(error) == "the connection to unix_socket failed: No such file or directory"


@contextlib.contextmanager
def noting_listener():
    """Ends each connection at once, and notes where it came from."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        addresses = []

        def take():
            sock, address = listener.accept()
            addresses.append(address)
            sock.close()

        loop = asyncio.get_running_loop()
        loop.add_reader(listener, take)
        yield listener.getsockname()[1], addresses
        loop.remove_reader(listener)


async def test_the_server_sees_the_local_address():
    own = f"127.0.0.2:{free_port()}"
    with noting_listener() as (port, addresses):
        # Twice, while TCP still remembers the first one.
        for _ in range(2):
            assert "handshake" in str(await fails(f"ws://127.0.0.1:{port}/", local_address=own))
        await fails(f"ws://127.0.0.1:{port}/", local_address="127.0.0.3")
    assert [f"{host}:{port}" for host, port in addresses[:2]] == [own, own]
    assert addresses[2][0] == "127.0.0.3"


@pytest.mark.parametrize(
    ("address", "said"),
    [("192.0.2.1", "Cannot assign requested address"), ("::1", "the host has no address of its family")],
)
async def test_a_local_address_that_cannot_be_used(address, said):
    error = await fails("ws://127.0.0.1:1/", local_address=address)
    assert str(error) == f"the TCP connection from local_address failed: {said}"


async def test_a_dead_address_holds_up_the_live_one_for_a_moment_only(monkeypatch):
    """As where IPv6 leads nowhere: nothing answers at the first address, and the second is tried beside it."""
    with socket.socket() as deaf, contextlib.ExitStack() as full:
        deaf.bind(("127.0.0.2", 0))
        deaf.listen(0)
        # What fills the backlog lets further SYNs go unanswered.
        for _ in range(4):
            sock = full.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(deaf.getsockname())

        async def both(_loop, _host, port, **_):
            kind = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
            dead = f"::ffff:{deaf.getsockname()[0]}"
            return [
                (socket.AF_INET6, *kind, (dead, deaf.getsockname()[1], 0, 0)),
                (socket.AF_INET, *kind, ("127.0.0.1", port)),
            ]

        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", both)
        async with WebSocketServer(echo) as server:
            outcome = await converses(f"ws://two.test:{server.port}/", script_ends=False)
    assert HAPPY_EYEBALLS_DELAY <= outcome.took < HAPPY_EYEBALLS_DELAY + ROOM
