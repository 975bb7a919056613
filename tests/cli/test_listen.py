"""`rxnodes listen`."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import signal

import pytest
from commands import SECRETS, child, fails, read_until

from rxnodes.cli import main as cli
from rxnodes.testing import (
    CloseReceived,
    close_with,
    echo,
    hang_up,
    in_turn,
    never_answer_close,
    never_answer_handshake,
    refusing_port,
)

# What listen prints


async def close(peer, reason=""):
    """Closes in order: waits for the other Close frame before the server ends the connection."""
    await peer.send_close(1000, reason)
    with contextlib.suppress(CloseReceived):
        await peer.receive_message()


async def answer_once(peer):
    """Sends the first message back, and closes."""
    await peer.accept()
    await peer.send_text(str(await peer.receive_message()))
    await close(peer, "bye")


def test_listen_prints_messages_and_lifecycle(chat, capsys):
    chat(answer_once)
    assert cli.main(["listen", "chat", "--send", "hello"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "hello\n"
    lines = [re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  (\S+).*", line)[1] for line in printed.err.splitlines()]
    assert lines == ["connecting", "open", "closing,", "stopped:"]
    assert (
        '1000 normal closure "bye", clean, ended by the server; 1 received (5 bytes), 1 sent (5 bytes)' in printed.err
    )


def test_listen_sends_and_shows_messages_as_they_are_whatever_codec_is_set(chat, capsys):
    chat(answer_once, 'codec = "json"')
    assert cli.main(["listen", "chat", "--send", "no JSON"]) == 0
    assert capsys.readouterr().out == "no JSON\n"


def test_listen_sends_in_order_each_time_it_opens(chat, capsys):
    seen = []

    def hear_two(then):
        async def script(peer):
            await peer.accept()
            seen.append([await peer.receive_message(), await peer.receive_message()])
            await then(peer)

        return script

    async def end(peer):
        await peer.half_close()

    chat(in_turn(hear_two(end), hear_two(close)), "reconnect = { enabled = true, initial_delay = 0.001 }")
    assert cli.main(["listen", "chat", "--send", "a", "--send", "b"]) == 0
    assert seen == [["a", "b"], ["a", "b"]]
    errors = capsys.readouterr().err
    assert "dropped: 1006 abnormal closure, not clean; next attempt in 0.0 s" in errors
    assert ", attempt 2" in errors
    assert "open again" in errors


def test_listen_shows_binary_messages_readable(chat, capsys):
    async def script(peer):
        await peer.accept()
        await peer.send_binary(b"\x00\x01\xff")
        await peer.send_binary(bytes(1000))
        await close(peer)

    chat(script)
    assert cli.main(["listen", "chat"]) == 0
    assert capsys.readouterr().out == f"<3 bytes> 00 01 ff\n<1000 bytes> {'00 ' * 32}...\n"


async def tell_request(peer):
    """Answers with what the handshake asked for, and closes."""
    request = await peer.read_request()
    offered = request.header("Sec-WebSocket-Protocol")
    await peer.accept(offered and offered.split(",")[0])
    await peer.send_text(f"{offered}; {request.header('X-Kept')}; {request.header('X-Changed')}")
    await close(peer)


def test_a_url_needs_no_settings(serve, capsys):
    url = serve(tell_request).replace("//", f"//me:{SECRETS[3]}@") + f"?token={SECRETS[2]}"
    assert cli.main(["listen", url]) == 0
    printed = capsys.readouterr()
    assert printed.out == "None; None; None\n"
    assert not any(secret in printed.err for secret in SECRETS)


def test_headers_join_those_of_the_settings_and_subprotocols_replace_them(chat, capsys):
    chat(tell_request, 'subprotocols = ["v1"]\nheaders = { X-Kept = "kept", X-Changed = "old" }')
    assert cli.main(["listen", "chat"]) == 0
    assert capsys.readouterr().out == "v1; kept; old\n"
    options = ["--header", "x-changed: new: value", "--subprotocol", "v3", "--subprotocol", "v2"]
    assert cli.main(["listen", "chat", *options]) == 0
    assert capsys.readouterr().out == "v3, v2; kept; new: value\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["http://127.0.0.1/"], "the command line: connections.server.url: must begin with ws:// or wss://"),
        (["ws://127.0.0.1/", "--header", f"no name: {SECRETS[0]}"], "must be a header name"),
        (["ws://127.0.0.1/", "--subprotocol", "a b"], "must be a subprotocol name"),
    ],
)
def test_what_cannot_be_connected_to(arguments, problem, capsys):
    errors = fails(["listen", *arguments], capsys)
    assert problem in errors
    assert SECRETS[0] not in errors


HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\rgone\nnext\x7f\u202eright to left\u2028"


def test_a_server_cannot_drive_the_terminal(chat, capsys):
    chat(close_with(1000, HOSTILE, HOSTILE, "déjà vu 👩\u200d🚀"))
    assert cli.main(["listen", "chat"]) == 0
    printed = capsys.readouterr()
    assert printed.out == (
        "\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\rgone\\nnext\\x7f\\u202eright to left\\u2028\ndéjà vu 👩\u200d🚀\n"
    )
    assert not set(HOSTILE) & set(printed.err) - set("\n" + printed.out)
    assert len(printed.err.splitlines()) == 4


@pytest.mark.slow
def test_listen_prints_what_an_ascii_terminal_can_show(chat):
    chat(close_with(1000, "", "déjà vu"))
    with child("listen", "chat", env={"PYTHONIOENCODING": "ascii"}) as process:
        printed, _ = process.communicate()
    assert printed == "d\\xe9j\\xe0 vu\n"
    assert process.returncode == 0


def test_listen_as_json(chat, capsys):
    chat(
        close_with(1000, HOSTILE, "hello"),
        f'headers = {{ Authorization = "{SECRETS[0]}" }}\nquery = {{ k = "{SECRETS[1]}" }}',
    )
    assert cli.main(["listen", "chat", "--json"]) == 0
    printed = capsys.readouterr()
    assert not printed.err
    assert printed.out.isascii()
    assert not any(secret in printed.out for secret in SECRETS)
    events = [json.loads(line) for line in printed.out.splitlines()]
    assert [event["event"] for event in events] == ["connecting", "opened", "message", "closing", "stopped"]
    assert all(event["connection"] == "chat" and event["session"] == 1 and "at" in event for event in events)
    assert events[0]["url"].endswith("/?k=***")
    assert events[2]["text"] == "hello"
    assert events[3]["initiator"] == "remote"
    assert (events[4]["code"], events[4]["reason"], events[4]["was_clean"]) == (1000, HOSTILE, True)
    assert events[4]["error"] is None


def test_listen_as_json_gives_binary_messages_whole(chat, capsys):
    async def script(peer):
        await peer.accept()
        await peer.send_binary(bytes(range(256)))
        await close(peer)

    chat(script)
    assert cli.main(["listen", "chat", "--json"]) == 0
    message = json.loads(capsys.readouterr().out.splitlines()[2])
    assert base64.b64decode(message["base64"]) == bytes(range(256))


# How listen ends


def test_listen_to_a_server_that_hangs_up(chat, capsys):
    chat(hang_up)
    assert cli.main(["listen", "chat"]) == 1
    errors = capsys.readouterr().err
    assert "error (receive): " in errors
    assert "stopped: 1006 abnormal closure, not clean, ended by the network" in errors


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_listen_where_nobody_answers(arguments, settings, capsys):
    with refusing_port() as port:
        settings(f'connections.chat = "ws://127.0.0.1:{port}/?token={SECRETS[2]}"')
        assert cli.main(["listen", "chat", *arguments]) == 1
    printed = capsys.readouterr()
    assert SECRETS[2] not in printed.out + printed.err
    if arguments:
        events = [json.loads(line) for line in printed.out.splitlines()]
        assert [event["event"] for event in events] == ["connecting", "error", "stopped"]
        assert events[1]["phase"] == "connect"
        assert events[1]["error"]["type"] == events[2]["error"]["type"] == "ConnectError"
    else:
        assert not printed.out
        assert "error (connect): " in printed.err


def test_listen_to_an_unknown_name(settings, capsys):
    settings('connections.chat = "ws://127.0.0.1:1/"')
    assert fails(["listen", "chatt"], capsys) == (
        "rxnodes: no connection named 'chatt' is configured (known: 'chat'); did you mean 'chat'?\n"
    )


def test_listen_with_bad_settings(settings, capsys):
    assert "no such folder" in fails(["listen", "chat"], capsys)
    settings("connections.chat = 5")
    assert "connections.chat" in fails(["listen", "chat"], capsys)


def test_listen_with_the_plugin_off(settings, capsys):
    settings(folder="elsewhere", plugins="websocket = false")
    assert "elsewhere/plugins.toml" in fails(["listen", "chat", "--settings", "elsewhere"], capsys)


# How listen takes signals


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_closes_and_waits(number, status, chat):
    chat(echo)
    with child("listen", "chat", "--send", "hello") as process:
        assert process.stdout.readline() == "hello\n"
        process.send_signal(number)
        errors = process.stderr.read()
        assert process.wait() == status
    lines = [line[14:] for line in errors.splitlines()][-2:]
    assert lines[0] == "closing, begun by us (Ctrl+C again aborts)"
    assert re.match(r"stopped: 1000 normal closure, clean, ended by us; 1 received", lines[1])


@pytest.mark.slow
def test_a_second_signal_aborts(chat):
    chat(never_answer_close, "close_timeout = 60")
    with child("listen", "chat", "--json") as process:
        read_until(process.stdout, '"opened"')
        process.send_signal(signal.SIGTERM)
        read_until(process.stdout, '"closing"')
        process.send_signal(signal.SIGINT)
        (last,) = process.stdout
        assert not process.stderr.read()
        assert process.wait() == 143
    stopped = json.loads(last)
    assert stopped["event"] == "stopped"
    assert not stopped["was_clean"]
    assert stopped["duration"] < 20


@pytest.mark.slow
def test_one_signal_is_enough_where_the_server_never_answers(chat):
    chat(never_answer_close, "close_timeout = 0.2")
    with child("listen", "chat") as process:
        read_until(process.stderr, "open after")
        process.send_signal(signal.SIGINT)
        assert "ended by us after the server did not answer in time" in read_until(process.stderr, "stopped: ")
        assert process.wait() == 130


@pytest.mark.slow
def test_a_signal_while_connecting(chat):
    chat(never_answer_handshake, "connect_timeout = 60")
    with child("listen", "chat") as process:
        read_until(process.stderr, "connecting to")
        process.send_signal(signal.SIGINT)
        assert "stopped: 1006" in process.stderr.read().splitlines()[-1]
        assert process.wait() == 130


@pytest.mark.slow
def test_a_signal_while_waiting_to_retry(chat):
    chat(hang_up, "reconnect = { enabled = true, initial_delay = 60, max_delay = 60, jitter = false }")
    with child("listen", "chat") as process:
        read_until(process.stderr, "next attempt in 60.0 s")
        process.send_signal(signal.SIGTERM)
        assert "stopped: " in process.stderr.read().splitlines()[-1]
        assert process.wait() == 143


async def flood(peer):
    """Sends message after message, and never reads."""
    await peer.accept()
    while True:
        await peer.send_text("x" * 10_000)


# Where listen's output goes


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_it_with_the_next_message(chat):
    closes = []

    async def count(peer):
        await peer.accept()
        for number in range(50):
            await peer.send_text(f"{number}")
            await asyncio.sleep(0.02)
        closes.append((await peer.expect_close()).code)
        await peer.send_close()

    chat(count)
    with child("listen", "chat") as process:
        assert process.stdout.readline() == "0\n"
        process.stdout.close()  # as `head -1` does
        assert "stopped: 1000 normal closure, clean" in process.stderr.read().splitlines()[-1]
        assert process.wait() == 0
    assert closes == [1000]


@pytest.mark.slow
def test_a_reader_that_goes_away_in_a_flood(chat):
    chat(flood, "close_timeout = 0.2")
    with child("listen", "chat", "--json") as process:
        assert json.loads(process.stdout.readline())["event"] == "connecting"
        process.stdout.close()
        assert not process.stderr.read()
        assert process.wait() == 1


@pytest.mark.slow
def test_output_can_go_to_a_file(chat, tmp_path):
    chat(close_with(1000, "", "hello"))
    with (tmp_path / "out").open("w") as file, child("listen", "chat", stdout=file) as process:
        assert "stopped: " in process.stderr.read()
        assert process.wait() == 0
    assert (tmp_path / "out").read_text() == "hello\n"
