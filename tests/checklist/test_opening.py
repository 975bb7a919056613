"""The checklist's lines 1 to 26: what may happen before a connection is open."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl

import faults
import pytest
from faults import LOCAL, NETWORK, REMOTE, Authority, clean, run_session, stop_when_open, watched_sockets
from websockets.asyncio.server import serve

from rxnodes import ConnectError, Connecting, ConnectionState, ConnectOptions, Project, SettingsError
from rxnodes.testing import (
    ChaosProxy,
    Frame,
    Opcode,
    WebSocketServer,
    accept_key,
    answer_with,
    close_payload,
    echo,
    never_answer_handshake,
    refuse,
    refusing_port,
    stall_in_header,
)

SHORT = 0.15


async def failed(where, *, says="", status=None, **options):
    """A session that never opens, and says why."""
    outcome = await run_session(where, initiator=NETWORK, opened=False, error=ConnectError, messages=[], **options)
    (event,) = outcome.errors
    assert event.phase == "connect"
    assert event.error is outcome.stopped.error
    assert says in event.message
    assert outcome.stopped.error.status == status
    assert outcome.journal.kinds == ["Connecting", "ErrorEvent", "Stopped"]
    assert outcome.journal.states == [ConnectionState.IDLE, ConnectionState.CONNECTING, ConnectionState.CLOSED]
    return outcome


async def test_01_refused():
    with refusing_port() as port:
        await failed(f"ws://127.0.0.1:{port}/", says="refused")


async def test_01_refused_at_every_address_of_a_name(monkeypatch):
    async def both(_loop, _host, port, **_):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", port)),
        ]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", both)
    with refusing_port() as port:
        await failed(f"ws://two-addresses.test:{port}/", says="refused")


async def test_02_the_name_lookup_fails(monkeypatch):
    async def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", unknown)
    await failed("ws://nowhere.invalid/", says="name lookup failed")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",
        "localhost:8080",
        "ws:/localhost",
        "ws://",
        "ws://:80/",
        "ws://host:0/",
        "ws://host:65536/",
        "ws://host:port/",
        "ws://host/#part",
        "ws://ho st/",
        "ws://[::1/",
        "",
    ],
)
def test_03_an_invalid_url_is_refused_where_it_is_given(url):
    with pytest.raises(SettingsError):
        Project(websocket={"chat": url})


@pytest.mark.parametrize("port", [0, -1, 65536, "many"])
def test_03_an_invalid_port_is_refused_where_it_is_given(port):
    with pytest.raises(SettingsError, match="port"):
        Project(websocket={"chat": {"url": "ws://host/", "port": port}})


@pytest.mark.parametrize("status", [200, 401, 403, 404, 500, 503])
async def test_04_the_status_of_a_refusal_is_in_the_error_event(status):
    outcome = await failed(refuse(status), says=str(status), status=status)
    assert outcome.stopped.error.retryable, "the settings decide"


@pytest.mark.slow
async def test_04_a_refusal_without_a_length_is_not_waited_for_long():
    async def endless(peer):
        await peer.respond(503, headers={"Content-Length": None})
        await peer.wait_closed()

    outcome = await failed(endless, status=503)
    assert outcome.took < faults.ROOM


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_05_redirects_are_not_followed(status):
    async with WebSocketServer(echo) as elsewhere:
        await failed(refuse(status, {"Location": elsewhere.url}), says=str(status), status=status)
        assert elsewhere.connections == 0


async def test_06_wss_never_becomes_ws(authority):
    async with WebSocketServer(echo) as plain:
        await failed(
            refuse(302, {"Location": plain.url}),
            status=302,
            tls_server=authority.server(),
            tls={"ca_file": authority.file},
        )
        assert plain.connections == 0


@pytest.mark.parametrize("value", [None, "", "bm90IHRoZSByaWdodCBvbmU=", accept_key("another")])
async def test_07_a_wrong_accept(value):
    async def wrong(peer):
        await peer.accept(extra_headers={"Sec-WebSocket-Accept": value})

    await failed(wrong, says="handshake", status=101)


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": None},
        {"Upgrade": "h2c"},
        {"Connection": None},
        {"Connection": "keep-alive"},
        {"Connection": "close"},
        {"Connection": "upgrades"},
    ],
)
async def test_08_a_missing_or_wrong_upgrade_or_connection(headers):
    async def wrong(peer):
        await peer.accept(extra_headers=headers)

    outcome = await run_session(wrong, initiator=NETWORK, opened=False, error=ConnectError)
    assert outcome.stopped.error.status in (101, None)


@pytest.mark.parametrize(
    "headers", [{"Upgrade": "WebSocket", "Connection": "keep-alive, UPGRADE"}, {"connection": "upgrade"}]
)
async def test_08_case_and_company_do_not_matter(headers):
    async def right(peer):
        await peer.accept(extra_headers=headers)
        await peer.send_close((await peer.expect_close()).code)

    await run_session(right, act=stop_when_open, **clean(LOCAL))


@pytest.mark.parametrize(
    "junk",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x00\x01\x02\x03" * 64,
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 101\r\nUpgrade\r\n\r\n",
        b"HTTP/9.9 999 what\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
    ids=["ssh", "binary", "short", "header", "version", "lines", "long"],
)
async def test_09_junk_instead_of_http(junk):
    outcome = await run_session(answer_with(junk), initiator=NETWORK, opened=False, error=ConnectError)
    assert outcome.took < 2 * faults.ROOM


async def test_10_fin_during_the_handshake():
    async def fin(peer):
        await peer.read_request()

    outcome = await failed(fin, says="during the handshake")
    assert len(outcome.sockets.opened) == len(outcome.heard) == 1, "one attempt is one TCP connection"


async def test_10_fin_before_the_request_is_read():
    async def fin(peer):
        await peer.half_close()

    outcome = await failed(fin, says="handshake")
    assert len(outcome.heard) == 1


async def test_10_fin_in_mid_header():
    outcome = await failed(answer_with(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webs"))
    assert len(outcome.heard) == 1


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webs"])
async def test_11_rst_during_the_handshake(answer):
    async def rst(peer):
        await peer.read_request()
        if answer:
            await peer.send_raw(answer)
        peer.reset()

    outcome = await failed(rst)
    assert len(outcome.heard) == 1


async def test_11_rst_before_the_request_is_read():
    async def rst(peer):
        peer.reset()

    await failed(rst)


@pytest.mark.parametrize("script", [never_answer_handshake, stall_in_header])
async def test_12_and_13_a_server_that_stalls(script):
    outcome = await failed(script, says="connect_timeout", connect_timeout=SHORT)
    assert outcome.took >= SHORT


async def test_12_connect_timeout_is_over_the_name_lookup_too(monkeypatch):
    async def never(*_, **__):
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", never)
    await failed("ws://slow.test/", says="connect_timeout", connect_timeout=SHORT)


async def test_12_connect_timeout_is_over_tcp_too():
    with socket.socket() as deaf, contextlib.ExitStack() as full:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        # What fills the backlog lets further SYNs go unanswered.
        for _ in range(4):
            sock = full.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(deaf.getsockname())
        await failed(f"ws://127.0.0.1:{deaf.getsockname()[1]}/", says="connect_timeout", connect_timeout=SHORT)


async def test_12_connect_timeout_is_over_tls_too(authority):
    await failed_tls_stall(authority, connect_timeout=SHORT)


async def failed_tls_stall(authority, **options):
    async with WebSocketServer(never_answer_handshake) as silent:
        url = silent.url.replace("ws:", "wss:")
        await failed(url, says="connect_timeout", tls={"ca_file": authority.file}, **options)


async def test_13_bytes_that_trickle_do_not_extend_connect_timeout():
    async def trickle(peer):
        await peer.read_request()
        await peer.send_raw(b"HTTP/1.1 101 Switching Protocols\r\n")
        number = 0
        while True:
            number += 1
            await peer.send_raw(f"X-{number}: and so on\r\n".encode())
            await asyncio.sleep(0.01)

    outcome = await run_session(trickle, initiator=NETWORK, opened=False, error=ConnectError, connect_timeout=SHORT)
    assert outcome.took < SHORT + faults.ROOM


@pytest.mark.parametrize("offered", [(), ("chat", "superchat")])
@pytest.mark.parametrize("chosen", ["other", "CHAT", "chat, superchat", "chat,", ""])
async def test_14_and_15_a_subprotocol_that_was_not_offered(offered, chosen):
    async def wrong(peer):
        await peer.accept(subprotocol=chosen)

    await failed(wrong, says="subprotocol", status=101, subprotocols=offered)


@pytest.mark.parametrize(("chosen", "told"), [(None, None), ("chat", "chat"), ("superchat", "superchat")])
async def test_16_one_or_none_of_the_offered_subprotocols(chosen, told):
    async def right(peer):
        request = await peer.read_request()
        await peer.accept(subprotocol=chosen)
        await peer.send_close((await peer.expect_close()).code)
        return request.header("Sec-WebSocket-Protocol").replace(" ", "")

    outcome = await run_session(right, act=stop_when_open, subprotocols=("chat", "superchat"), **clean(LOCAL))
    assert outcome.heard == ["chat,superchat"]
    assert [event.subprotocol for event in faults.opened(outcome.watch)] == [told]


@pytest.mark.parametrize(
    ("compression", "extensions"),
    [
        (False, "permessage-deflate"),
        (False, "x-unknown"),
        (True, "x-unknown"),
        (True, "permessage-deflate, x-unknown"),
        (True, "permessage-deflate, permessage-deflate"),
    ],
)
async def test_17_an_extension_that_was_not_offered(compression, extensions):
    async def wrong(peer):
        await peer.accept(extensions=extensions)

    await failed(wrong, says="extension", status=101, compression=compression)


@pytest.mark.parametrize(
    "parameters",
    [
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits",
        "client_max_window_bits=x",
        "server_max_window_bits=99",
        "server_max_window_bits",
        "server_no_context_takeover=1",
        "server_no_context_takeover; server_no_context_takeover",
        "unheard_of",
    ],
)
async def test_18_a_bad_extension_parameter(parameters):
    async def wrong(peer):
        await peer.accept(extensions=f"permessage-deflate; {parameters}")

    await failed(wrong, says="permessage-deflate", status=101, compression=True)


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["fin", "reset", "open"])
async def test_19_messages_and_close_in_the_segment_of_the_101(ends):
    frames = [
        Frame(Opcode.TEXT, b"first"),
        Frame(Opcode.BINARY, b"second"),
        Frame(Opcode.CLOSE, close_payload(1001, "bye")),
    ]

    async def eager(peer):
        await peer.accept(then=b"".join(frame.encode() for frame in frames))
        close = await peer.expect_close()
        if ends == "open":
            await peer.wait_closed()
        elif ends == "reset":
            peer.reset()
        return close

    outcome = await run_session(eager, **clean(REMOTE, 1001, "bye"), messages=["first", b"second"])
    assert outcome.heard == [(1001, "")]


async def test_19_half_a_frame_in_the_segment_of_the_101():
    frame = Frame(Opcode.TEXT, b"in two halves").encode()

    async def eager(peer):
        await peer.accept(then=frame[:5])
        await peer.send_raw(frame[5:])
        await peer.send_close(1000)
        return await peer.expect_close()

    await run_session(eager, **clean(REMOTE), messages=["in two halves"])


async def test_19_a_handshake_in_segments_of_one_octet():
    async with WebSocketServer(echo) as server, ChaosProxy(server.url) as proxy:
        proxy.to_client.slice_size = 1

        async def act(connection, _watch):
            await connection.wait_started()
            connection.send("over and out")
            connection.stop()

        await run_session(
            proxy.url,
            act=act,
            **clean(LOCAL),
            messages=["over and out"],
            connect_timeout=10,
        )


async def test_20_a_certificate_that_is_trusted(authority):
    await run_session(
        echo,
        act=stop_when_open,
        tls_server=authority.server(),
        tls={"ca_file": authority.file},
        **clean(LOCAL),
    )


async def test_20_a_certificate_from_an_unknown_authority(authority, tmp_path):
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")
    outcome = await failed(
        echo, says="certificate is not trusted", tls_server=stranger.server(), tls={"ca_file": authority.file}
    )
    assert outcome.stopped.error.untrusted_certificate


async def test_20_the_systems_trust_store_does_not_know_it(authority):
    await failed(echo, says="certificate is not trusted", tls_server=authority.server())


async def test_20_a_certificate_for_another_name(authority):
    outcome = await failed(
        echo,
        says="certificate is not trusted",
        tls_server=authority.server("elsewhere.test"),
        tls={"ca_file": authority.file},
    )
    assert outcome.stopped.error.untrusted_certificate


async def test_20_a_tls_version_that_nobody_should_speak(authority):
    context = authority.server()
    context.maximum_version = context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("NULL-SHA256:@SECLEVEL=0")
    await failed(echo, says="TLS", tls_server=context, tls={"ca_file": authority.file})


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_21_wss_at_a_plain_port(authority, answer):
    async def plain(peer):
        if answer is not None:
            await peer.send_raw(answer)
        else:
            await peer.wait_closed()

    async with WebSocketServer(plain) as server:
        url = server.url.replace("ws:", "wss:")
        await failed(url, connect_timeout=SHORT, tls={"ca_file": authority.file})


async def test_21_ws_at_a_tls_port(authority):
    async with WebSocketServer(echo, tls=authority.server()) as server:
        await failed(server.url.replace("wss:", "ws:"), connect_timeout=SHORT)


async def test_22_the_waiting_task_is_cancelled_while_connecting():
    async def act(connection, _watch):
        waiting = asyncio.create_task(connection.wait_started())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert connection.state is ConnectionState.CONNECTING
        connection.stop()

    await run_session(never_answer_handshake, act=act, initiator=LOCAL, opened=False, messages=[], within=1.0)


async def test_22_the_dials_own_task_is_cancelled():
    async def act(_connection, _watch):
        while not (dials := faults.own_tasks()):
            await asyncio.sleep(0)
        for dial in dials:
            dial.cancel()

    outcome = await run_session(
        never_answer_handshake, act=act, initiator=NETWORK, opened=False, error=ConnectError, messages=[], within=1.0
    )
    assert [error.phase for error in outcome.errors] == ["connect"]


async def stop_at_once(connection, _watch):
    connection.stop()
    assert connection.state is ConnectionState.CLOSING


async def stop_when_dialled(connection, _watch):
    while not faults.own_tasks():
        await asyncio.sleep(0)
    connection.stop()
    assert connection.state is ConnectionState.CLOSING


async def stopped_while_connecting(where, act, **options):
    """A session that `act` ends before it is open."""
    outcome = await run_session(where, act=act, initiator=LOCAL, opened=False, messages=[], within=2.0, **options)
    assert outcome.errors == []
    assert outcome.journal.kinds == ["Connecting", "Closing", "Stopped"]
    assert outcome.took < faults.ROOM
    return outcome


async def stopped_before_the_dial(hook, act):
    """Likewise, while a hook keeps the dial waiting."""
    async with WebSocketServer(echo) as server:
        await stopped_while_connecting(server.url, act, before_connect=hook)
        assert server.connections == 0, "after a stop no attempt follows"


@pytest.mark.parametrize("act", [stop_at_once, stop_when_dialled])
@pytest.mark.parametrize("script", [never_answer_handshake, stall_in_header, echo, refuse(503)])
async def test_23_stop_while_connecting(script, act):
    await stopped_while_connecting(script, act, script_ends=False)


async def test_23_stop_when_the_server_has_the_request():
    asked = asyncio.Event()

    async def hesitant(peer):
        await peer.read_request()
        asked.set()
        return await peer.wait_closed()

    async def act(connection, _watch):
        await asked.wait()
        connection.stop()

    assert len((await stopped_while_connecting(hesitant, act)).heard) == 1


@pytest.mark.parametrize("is_tls", [False, True], ids=["ws", "wss"])
async def test_23_stop_after_every_number_of_turns(authority, is_tls):
    """Each stop hits somewhere between the dial and the open connection; none may hang, or leave something."""
    settings = {"connect_timeout": 5, "close_timeout": 1}
    if is_tls:
        settings["tls"] = {"ca_file": authority.file}
    async with WebSocketServer(echo, tls=authority.server() if is_tls else None) as server:
        settings["url"] = server.url
        with watched_sockets() as sockets, faults.complaints() as logged:
            async with Project(websocket={"it": settings}) as project, asyncio.timeout(20):
                connection = project.websocket("it")
                watch = faults.Watch(connection, sockets)
                turns = 0
                while turns < 5 or not watch.stopped[-1].opened:
                    connection.start()
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    connection.stop()
                    stopped = await connection.wait_stopped()
                    assert stopped.initiator is LOCAL
                    assert stopped.was_clean is stopped.opened
                    turns += 1
            watch.check()
            assert len(watch.stopped) == turns
            assert watch.errors == []
            assert logged.found == []


async def test_23_stop_while_the_name_is_looked_up(monkeypatch):
    async def never(*_, **__):
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", never)
    await stopped_while_connecting("ws://slow.test/", stop_when_dialled)


async def test_23_stop_during_the_tls_handshake(authority):
    async with WebSocketServer(never_answer_handshake) as silent:

        async def act(connection, _watch):
            while not silent.connections:
                await asyncio.sleep(0)
            connection.stop()

        await stopped_while_connecting(silent.url.replace("ws:", "wss:"), act, tls={"ca_file": authority.file})


async def test_23_abort_while_connecting():
    async def act(connection, _watch):
        connection.abort()

    await stopped_while_connecting(never_answer_handshake, act, script_ends=False)


# 12, 23 and 26 where a hook is asked before each attempt


async def never(_attempt):
    await asyncio.get_running_loop().create_future()


async def test_12_connect_timeout_is_over_a_hook_that_does_not_answer():
    async with WebSocketServer(echo) as server:
        await failed(server.url, says="connect_timeout", connect_timeout=SHORT, before_connect=never)
        assert server.connections == 0


@pytest.mark.slow
async def test_12_connect_timeout_begins_after_the_hooks_delay():
    async def later(_attempt):
        return ConnectOptions(delay=2 * SHORT)

    outcome = await failed(
        never_answer_handshake, says="connect_timeout", connect_timeout=SHORT, before_connect=later, within=3
    )
    assert outcome.took >= 3 * SHORT


async def test_23_stop_while_the_hook_is_asked():
    await stopped_before_the_dial(never, stop_when_dialled)


async def test_23_stop_while_the_hooks_delay_lasts():
    asked = asyncio.Event()

    async def later(_attempt):
        asked.set()
        return ConnectOptions(delay=60)

    async def act(connection, _watch):
        await asked.wait()
        await asyncio.sleep(0)
        connection.stop()

    await stopped_before_the_dial(later, act)


async def test_23_stop_at_the_moment_when_the_hook_has_answered():
    """Whatever the turn of the loop in which the stop comes, no dial may follow it."""

    async def at_once(_attempt):
        return None

    async with WebSocketServer(echo) as server:
        for turns in range(8):

            async def act(connection, _watch, turns=turns):
                for _ in range(turns):
                    await asyncio.sleep(0)
                connection.stop()

            await stopped_while_connecting(server.url, act, before_connect=at_once)


@pytest.mark.parametrize("delay", ["1", None, float("nan"), float("inf"), -1.0], ids=str)
async def test_26_a_hook_that_asks_for_a_delay_that_cannot_be(delay):
    async def nonsense(_attempt):
        return ConnectOptions(delay=delay)

    async with WebSocketServer(refuse(503)) as server:
        await failed(server.url, says="before_connect", before_connect=nonsense, may_complain=True, within=0.5)
        assert server.connections == 0


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://elsewhere/"},
        {"headers": {"Upgrade": "h2c"}},
        {"headers": {"X": "a\r\nb"}},
        {"query": {"": "x"}},
        {"url": 5},
        {"headers": "X-Key: value"},
        {"headers": {5: "x"}},
        {"headers": {"X-Key": 5}},
        {"query": 5},
        {"subprotocols": "chat"},
        {"subprotocols": ["chat", "chat"]},
        {"subprotocols": ["a token"]},
    ],
    ids=str,
)
async def test_26_a_hook_whose_options_cannot_be_used(options):
    async def unusable(_attempt):
        return ConnectOptions(**options)

    async with WebSocketServer(echo) as server:
        outcome = await failed(server.url, says="before_connect", before_connect=unusable)
        assert server.connections == 0
    assert not outcome.stopped.error.retryable


@pytest.mark.parametrize("command", ["stop", "abort", "start"])
async def test_24_a_command_from_within_the_error_event_of_the_same_attempt(command):
    async def act(connection, _watch):
        connection.errors.subscribe(lambda _: getattr(connection, command)() if connection.session == 1 else None)

    with refusing_port() as port:
        outcome = await run_session(
            f"ws://127.0.0.1:{port}/",
            act=act,
            initiator=NETWORK,
            opened=False,
            error=ConnectError,
            starts=2 if command == "start" else 1,
        )
    assert outcome.journal.kinds[:3] == ["Connecting", "ErrorEvent", "Stopped"]


async def test_24_stop_from_within_the_error_event_of_an_attempt_that_would_be_retried():
    async def act(connection, _watch):
        connection.errors.subscribe(lambda _: connection.stop())

    with refusing_port() as port:
        outcome = await run_session(
            f"ws://127.0.0.1:{port}/",
            act=act,
            initiator=LOCAL,
            opened=False,
            reconnect={"enabled": True, "initial_delay": 0.01, "max_delay": 0.01},
        )
    assert outcome.stopped.attempts == 1
    assert len(outcome.watch.of(Connecting)) == 1


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_25_start_twice_is_one_connection(turns):
    async with WebSocketServer(echo) as server:

        async def act(connection, _watch):
            for _ in range(turns):
                await asyncio.sleep(0)
            connection.start()
            await connection.wait_started()
            connection.start()
            connection.send("hello")
            connection.messages.subscribe(lambda _: connection.stop())

        await run_session(server.url, act=act, **clean(LOCAL), messages=["hello"])
        assert server.connections == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    [refuse(404), answer_with(b"junk\r\n\r\n"), never_answer_handshake, answer_with()],
    ids=["refused", "junk", "silent", "fin"],
)
async def test_26_a_failed_open_releases_everything(script, links):
    outcome = await run_session(script, initiator=NETWORK, opened=False, error=ConnectError, connect_timeout=SHORT)
    assert len(outcome.sockets.opened) == 1
    assert outcome.sockets.left() == []
    del outcome
    gc.collect()
    assert list(links) == []


async def test_a_server_that_we_did_not_write_refuses():
    async def process(connection, _request):
        return connection.respond(403, "no\n")

    async def handler(_connection):
        raise AssertionError

    async with serve(handler, "127.0.0.1", 0, process_request=process) as server:
        port = server.sockets[0].getsockname()[1]
        await failed(f"ws://127.0.0.1:{port}/", status=403)


async def test_a_server_that_we_did_not_write_chooses_a_subprotocol():
    async def handler(connection):
        await connection.wait_closed()

    async with serve(handler, "127.0.0.1", 0, subprotocols=["superchat"]) as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await run_session(
            f"ws://127.0.0.1:{port}/",
            act=stop_when_open,
            subprotocols=("chat", "superchat"),
            **clean(LOCAL),
        )
    assert faults.opened(outcome.watch)[0].subprotocol == "superchat"
