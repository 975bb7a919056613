"""The command line, as a newcomer, a script and an impatient user meet it."""

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import get_args

import pytest
import trustme
from programs import PATIENCE, environment
from pydantic import BaseModel

from rxnodes.cli import demo
from rxnodes.cli import main as cli
from rxnodes.testing import (
    CloseReceived,
    WebSocketServer,
    close_with,
    echo,
    hang_up,
    in_turn,
    never_answer_close,
    never_answer_handshake,
    refusing_port,
    vanish,
)
from rxnodes.websocket.settings import ConnectionSettings
from rxnodes.wire import parser

FULL = Path("/dev/full")
SECRETS = ("s3cret-header", "s3cret-query", "s3cret-in-url", "s3cret-password")


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch, tmp_path):
    """An empty folder, no settings in the environment, and signals that are not ignored by inheritance."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("RXNODES_"):
            monkeypatch.delenv(name)
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def serve():
    """Runs servers in a thread of their own, so that a command has the main thread, as it does in life."""
    with contextlib.ExitStack() as stack, asyncio.Runner() as runner:
        loop = runner.get_loop()

        def call(coroutine):
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

        def start(script):
            server = WebSocketServer(script)
            call(server.__aenter__())
            stack.callback(lambda: call(server.__aexit__(None, None, None)))
            return server.url

        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        stack.callback(thread.join)
        stack.callback(loop.call_soon_threadsafe, loop.stop)
        yield start
        stack.close()


@pytest.fixture
def settings(tmp_path):
    """Writes a settings folder."""

    def write(websocket="", folder="settings", **files):
        path = tmp_path / folder
        path.mkdir()
        (path / "websocket.toml").write_text(websocket, encoding="utf-8")
        for name, text in files.items():
            (path / f"{name}.toml").write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def chat(settings, serve):
    """Names a server that follows a script `chat`."""

    def write(script, more=""):
        settings(f'[connections.chat]\nurl = "{serve(script)}"\n{more}')

    return write


@contextlib.contextmanager
def child(*arguments, stdout=subprocess.PIPE, env=None):
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "rxnodes", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(**(env or {})),
    ) as process:
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            process.kill()
            watchdog.cancel()


def read_until(stream, words):
    """Reads lines up to the one with `words` in it, and gives that."""
    return next((line for line in stream if words in line), None) or pytest.fail(f"no line with {words!r}")


def fails(arguments, capsys):
    """Runs a command that fails with status 1; gives what it printed to standard error."""
    assert cli.main(arguments) == 1
    printed = capsys.readouterr()
    assert not printed.out
    assert "Traceback" not in printed.err
    return printed.err


# Arguments


def test_no_command_prints_help(capsys):
    assert cli.main([]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    for word in ("demo", "check", "toolbox", "listen"):
        assert re.search(rf"^ +{word} +\w", printed.err, re.MULTILINE)


def test_version(capsys):
    with pytest.raises(SystemExit, check=lambda end: end.code == 0):
        cli.main(["--version"])
    build = "pure Python" if parser.__file__.endswith(".py") else "compiled"
    assert re.fullmatch(rf"rxnodes \d+\.\d+\.\d+ \({build}\)\n", capsys.readouterr().out)


@pytest.mark.parametrize("command", [[], ["demo"], ["check"], ["toolbox"], ["listen"]])
def test_help(command, capsys):
    with pytest.raises(SystemExit, check=lambda end: end.code == 0):
        cli.main([*command, "--help"])
    assert capsys.readouterr().out.startswith(" ".join(["usage: rxnodes", *command]))


@pytest.mark.parametrize(
    "arguments",
    [["dmeo"], ["demo", "extra"], ["--js"], ["listen"], ["listen", "chat", "--jso"], ["listen", "chat", "--send"]],
)
def test_what_cannot_be_understood(arguments, capsys):
    with pytest.raises(SystemExit, check=lambda end: end.code == 2):
        cli.main(arguments)
    assert "usage: rxnodes" in capsys.readouterr().err


def test_a_message_that_is_no_text(capsys):
    with pytest.raises(SystemExit, check=lambda end: end.code == 2):
        cli.main(["listen", "chat", "--send", "\udcff"])
    assert "not valid UTF-8" in capsys.readouterr().err


# demo


def rows_of(text):
    """The rows of a timeline: mark, milliseconds, state, node and what it did."""
    pattern = r"^(.) +([0-9.]+)  (\w+) +((?:On )?WebSocket(?: Client)? \w+) +(.*)$"
    return re.findall(pattern, text, re.MULTILINE)


def test_demo_shows_every_node_in_order(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert cli.main(["demo"]) == 0
    printed = capsys.readouterr()
    assert not printed.err
    rows = rows_of(printed.out)
    assert [(mark, state, node) for mark, _, state, node, _ in rows] == [
        (" ", "connecting", "WebSocket Client Start"),
        (" ", "open", "On WebSocket Start"),
        (" ", "open", "WebSocket Client Send"),
        (" ", "open", "On WebSocket Receive"),
        ("┌", "closing", "WebSocket Client Stop"),
        ("│", "closing", "On WebSocket Receive"),
        ("│", "closing", "On WebSocket Receive"),
        ("│", "closing", "On WebSocket Receive"),
        ("└", "closed", "On WebSocket Stop"),
        (" ", "closed", "WebSocket Client Send"),
        (" ", "closed", "On WebSocket Error"),
    ]
    times = [float(when) for _, when, *_ in rows]
    assert times == sorted(times)
    assert times[-1] < 2000
    words = [what for *_, what in rows]
    assert words[3] == '"hello"'
    assert words[5:8] == ['"one more thing"', '"and another"', '"that was all"']
    assert words[8] == 'over: 1000 "goodbye", clean'
    assert "message not sent" in words[10]


def test_demo_says_how_long_the_closing_took(capsys):
    assert cli.main(["demo"]) == 0
    text = capsys.readouterr().out
    at = {node: float(when) for _, when, _, node, _ in rows_of(text)}
    said = re.search(r"([0-9.]+) ms later\. The 3 messages", " ".join(text.split()))
    assert said is not None
    took = at["On WebSocket Stop"] - at["WebSocket Client Stop"]
    assert float(said[1]) == pytest.approx(took, abs=0.11)
    assert took > 150


def test_demo_fits_a_terminal_of_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["demo"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) < 80


@pytest.mark.slow
def test_demo_runs_anywhere_as_a_module():
    with child("demo", env={"PYTHONIOENCODING": "ascii", "RXNODES_NONSENSE": "1"}) as process:
        printed, errors = process.communicate()
    assert process.returncode == 0
    assert not errors
    assert printed.isascii()
    assert [row[0] for row in rows_of(printed)] == [" ", " ", " ", " ", "+", "|", "|", "|", "+", " ", " "]


def test_demo_that_goes_wrong_says_so(capsys, monkeypatch):
    monkeypatch.setattr(demo, "_slow_to_close", vanish)
    assert cli.main(["demo"]) == 1
    printed = capsys.readouterr().out
    assert "not how the demo should end" in printed
    assert "ms later" not in printed


@pytest.mark.parametrize(
    ("env", "is_coloured"),
    [({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": "", "TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_that_want_it(env, is_coloured, monkeypatch):
    for name, value in ({"TERM": "xterm"} | env).items():
        monkeypatch.setenv(name, value)
    screen, terminal = os.openpty()
    with os.fdopen(screen, "rb", buffering=0) as seen, os.fdopen(terminal, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert cli.main(["demo"]) == 0
        text = b""
        while b"what else there is" not in text:
            text += seen.read(4096)
    assert b"On WebSocket Stop" in text
    assert (b"\x1b[1m" in text) is is_coloured


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_of_the_demo():
    with child("demo") as process:
        assert next(process.stdout).startswith("rxnodes")
        process.stdout.close()
        assert not process.stderr.read()
        assert process.wait() == 0


@pytest.mark.slow
@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_an_error():
    with FULL.open("w") as full, child("toolbox", stdout=full) as process:
        assert process.stderr.read() == "rxnodes: cannot write to standard output: No space left on device\n"
        assert process.wait() == 1


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_process_without_output(closed, monkeypatch):
    monkeypatch.setattr(sys, closed, None)
    assert cli.main(["toolbox"]) == 0
    assert cli.main(["check", "nowhere"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "closed", "status"),
    [
        ("demo", "<&-", 0),
        ("demo", ">&-", 0),
        ("demo", "2>&-", 0),
        ("demo", "<&- >&- 2>&-", 0),
        ("check", "<&- >&- 2>&-", 0),
        ("toolbox", "<&- >&- 2>&-", 0),
        ("listen chat", "<&- >&- 2>&-", 1),
    ],
)
def test_a_process_with_closed_streams(command, closed, status, settings):
    """With uvloop, where a connection or the loop itself takes the place of one, the process is aborted."""
    with refusing_port() as port:
        settings(f'connections.chat = "ws://127.0.0.1:{port}/"')
        shell = ["/bin/sh", "-c", f'exec "$0" -m rxnodes {command} {closed}', sys.executable]
        done = subprocess.run(shell, check=False, timeout=30, capture_output=True)  # noqa: S603 - our own program
    assert done.returncode == status
    assert not done.stderr
    assert bool(done.stdout) is ((">&-" not in closed.split()) and command == "demo")


@pytest.mark.slow
def test_ctrl_c_ends_the_demo():
    with child("demo") as process:
        read_until(process.stdout, "WebSocket Client Stop")
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert "On WebSocket Stop" in rest
        assert "Next:" not in rest
        assert not process.stderr.read()
        assert process.wait() == 130


# check


def test_check_of_good_settings(settings, capsys):
    settings(
        f"""
        [connections]
        chat = "ws://127.0.0.1:8080/"
        [connections.feed]
        url = "wss://user:{SECRETS[3]}@example.org/live?token={SECRETS[2]}"
        subprotocols = ["v2", "v1"]
        headers = {{ Authorization = "{SECRETS[0]}" }}
        query = {{ key = "{SECRETS[1]}" }}
        connect_timeout = "none"
        heartbeat = 2.5
        compression = true
        codec = "json"
        tls = {{ verify = false }}
        reconnect = {{ enabled = true, max_attempts = 5 }}
        """.replace("user:s3cret-password@", "")
    )
    assert cli.main(["check"]) == 0
    printed = capsys.readouterr()
    assert not printed.err
    assert printed.out == (
        "The settings in settings are good.\n"
        "\n"
        "Plugins\n"
        "  WebSocket: on\n"
        "\n"
        "WebSocket connections\n"
        "  chat  ws://127.0.0.1:8080/\n"
        "  feed  wss://example.org/live?token=***&key=***\n"
        "        - subprotocols: v2, v1\n"
        "        - headers: Authorization\n"
        "        - connect_timeout: none\n"
        "        - heartbeat: 2.5\n"
        "        - compression: on\n"
        "        - codec: json\n"
        "        - tls.verify: off (NOT VERIFIED: anyone can pose as the server)\n"
        "        - reconnect.enabled: on\n"
        "        - reconnect.max_attempts: 5\n"
    )


#: For each field of a connection a value that is not its default, as TOML, and what `check` shows of it.
SHOWN = {
    "port": ("9000", "  it  wss://h:9000/"),
    "subprotocols": ('["v2", "v1"]', "subprotocols: v2, v1"),
    "headers": (f'{{ X-Key = "{SECRETS[0]}" }}', "headers: X-Key"),
    "query": (f'{{ key = "{SECRETS[1]}" }}', "  it  wss://h/?key=***"),
    "connect_timeout": ('"none"', "connect_timeout: none"),
    "close_timeout": ("0.25", "close_timeout: 0.25"),
    "heartbeat": ("1", "heartbeat: 1"),
    "silence_timeout": ("60", "silence_timeout: 60"),
    "max_message_size": ("1073741824", "max_message_size: 1073741824"),
    "send_queue.max_messages": ('"none"', "send_queue.max_messages: none"),
    "send_queue.max_bytes": ("1", "send_queue.max_bytes: 1"),
    "send_queue.overflow": ('"drop_oldest"', "send_queue.overflow: drop_oldest"),
    "send_queue.while_connecting": ("true", "send_queue.while_connecting: on"),
    "send_queue.time_to_live": ("2.5", "send_queue.time_to_live: 2.5"),
    "compression": ("true", "compression: on"),
    "codec": ('"json"', "codec: json"),
    "tls.ca_file": ('"ca.pem"', "tls.ca_file: settings/ca.pem"),
    "tls.cert_file": ('"both.pem"', "tls.cert_file: settings/both.pem"),
    "tls.key_file": ('"both.pem"', "tls.key_file: settings/both.pem"),
    "tls.key_password": (f'"{SECRETS[3]}"', "tls.key_password: ***"),
    "tls.verify": ("false", "tls.verify: off (NOT VERIFIED: anyone can pose as the server)"),
    "reconnect.enabled": ("true", "reconnect.enabled: on"),
    "reconnect.initial_delay": ("0.001", "reconnect.initial_delay: 0.001"),
    "reconnect.max_delay": ("86400", "reconnect.max_delay: 86400"),
    "reconnect.factor": ("1", "reconnect.factor: 1"),
    "reconnect.jitter": ("false", "reconnect.jitter: off"),
    "reconnect.max_attempts": ("5", "reconnect.max_attempts: 5"),
    "reconnect.reset_after": ("1", "reconnect.reset_after: 1"),
    "reconnect.final_codes": ("[4001, 1000]", "reconnect.final_codes: 1000, 4001"),
}

#: What a field needs beside it.
NEEDED = {
    "send_queue.time_to_live": "send_queue.while_connecting = true\n",
    "tls.key_file": 'tls.cert_file = "both.pem"\n',
    "tls.key_password": 'tls.cert_file = "both.pem"\n',
}


def paths_of(model, around=""):
    """The names of all fields there are, those of the tables within included."""
    for name, info in model.model_fields.items():
        inner = [kind for kind in (info.annotation, *get_args(info.annotation)) if isinstance(kind, type)]
        models = [kind for kind in inner if issubclass(kind, BaseModel)]
        yield from paths_of(models[0], f"{around}{name}.") if models else [around + name]


def test_all_fields_of_a_connection_are_tried():
    assert set(SHOWN) == {*paths_of(ConnectionSettings)} - {"url", "before_connect"}


@pytest.mark.parametrize("field", SHOWN)
def test_check_shows_whatever_is_not_the_default(field, settings, capsys):
    value, shown = SHOWN[field]
    folder = settings(f'[connections.it]\nurl = "wss://h/"\n{NEEDED.get(field, "")}{field} = {value}\n')
    if field.startswith("tls."):
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        authority.issue_cert("h").private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    assert cli.main(["check"]) == 0
    printed = capsys.readouterr().out
    assert shown in [line.removeprefix("      - ") for line in printed.splitlines()]
    assert printed.count("\n      - ") == (not shown.startswith("  it")) + (field in NEEDED)
    assert not any(secret in printed for secret in SECRETS)


def test_check_shows_no_default(settings, capsys):
    settings('[connections.it]\nurl = "wss://h/"\nheartbeat = 20\ncodec = "none"\ntls = {}\nreconnect.factor = 2\n')
    assert cli.main(["check"]) == 0
    assert capsys.readouterr().out.endswith("\n  it  wss://h/\n")


def test_check_hides_a_password(settings, capsys):
    settings(f'connections.feed = "ws://user:{SECRETS[3]}@example.org/"')
    assert cli.main(["check"]) == 0
    printed = capsys.readouterr().out
    assert "feed  ws://example.org/\n" in printed
    assert SECRETS[3] not in printed


def test_check_of_an_empty_folder(settings, capsys):
    settings(folder="elsewhere")
    assert cli.main(["check", "elsewhere"]) == 0
    assert "WebSocket connections: none\n" in capsys.readouterr().out


def test_check_of_a_disabled_plugin(settings, capsys):
    settings('connections.chat = "ws://127.0.0.1:8080/"', plugins="websocket = false")
    assert cli.main(["check"]) == 0
    printed = capsys.readouterr().out
    assert "WebSocket: off, by settings/plugins.toml" in printed
    assert "127.0.0.1" not in printed


def test_check_tells_all_problems(settings, capsys, monkeypatch):
    settings('[connections.chat]\nurl = "http://example.org/"\nheartbaet = 3\n')
    monkeypatch.setenv("RXNODES_WEBSOCKET__CONECTIONS", "{}")
    errors = fails(["check"], capsys)
    assert errors.startswith("rxnodes: 3 problems in the settings:\n")
    for problem in (
        "line 2: connections.chat.url: must begin with ws://",
        "heartbaet",
        "RXNODES_WEBSOCKET__CONECTIONS",
    ):
        assert problem in errors


def test_check_without_a_folder(capsys):
    assert "nowhere: there is no such folder" in fails(["check", "nowhere"], capsys)


def test_what_settings_say_cannot_drive_the_terminal(settings, capsys):
    settings('connections."\\u001b[2J" = "ws://127.0.0.1/"')
    assert "\x1b" not in fails(["check"], capsys)


# toolbox


def test_toolbox_lists_the_nodes(capsys):
    assert cli.main(["toolbox"]) == 0
    printed = capsys.readouterr().out
    titles = re.findall(r"^(\S.*) \((action|event), in project and scene\)$", printed, re.MULTILINE)
    assert titles == [
        ("WebSocket Client Start", "action"),
        ("WebSocket Client Send", "action"),
        ("WebSocket Client Stop", "action"),
        ("On WebSocket Start", "event"),
        ("On WebSocket Receive", "event"),
        ("On WebSocket Stop", "event"),
        ("On WebSocket Error", "event"),
    ]
    assert re.search(r"^  attributes  connection: Connection +The configuration to use\.$", printed, re.MULTILINE)
    assert "code: int = 1000" in printed


def test_toolbox_as_json(capsys):
    assert cli.main(["toolbox", "--json"]) == 0
    nodes = {node["name"]: node for node in json.loads(capsys.readouterr().out)}
    stop = nodes["WebSocket Client Stop"]
    assert len(nodes) == 7
    assert stop["scopes"] == ["project", "scene"]
    assert stop["function"] == "rxnodes.websocket.action_nodes:client_stop"
    assert {"name": "code", "type": "int", "default": 1000, "description": "The close code."} in stop["attributes"]


@pytest.mark.parametrize("arguments", [[], ["--settings", "elsewhere"]])
def test_toolbox_of_a_disabled_plugin(arguments, settings, capsys):
    settings(folder=arguments[1] if arguments else "settings", plugins="websocket = false")
    assert cli.main(["toolbox", *arguments]) == 0
    assert cli.main(["toolbox", "--json", *arguments]) == 0
    assert capsys.readouterr().out == "The toolbox is empty: every plugin is switched off.\n[]\n"


def test_toolbox_with_bad_settings(settings, capsys):
    settings("nonsense = 1")
    assert "nonsense" in fails(["toolbox"], capsys)
    assert "no such folder" in fails(["toolbox", "--settings", "nowhere"], capsys)


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
