"""`rxnodes check`."""

from __future__ import annotations

from typing import get_args

import pytest
import trustme
from commands import SECRETS, fails
from pydantic import BaseModel

from rxnodes.cli import main as cli
from rxnodes.websocket.settings import ConnectionSettings


def test_check_of_good_settings(settings, capsys):
    settings(
        f"""
        [connections]
        chat = "ws://127.0.0.1:8080/"
        [connections.feed]
        url = "wss://user:{SECRETS[3]}@example.org/live?token={SECRETS[2]}"
        query = {{ key = "{SECRETS[1]}" }}
        heartbeat = 2.5
        tls = {{ verify = false }}
        reconnect = {{ enabled = true, max_attempts = 5 }}
        """
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
        "        - heartbeat: 2.5\n"
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
    "max_header_size": ("1024", "max_header_size: 1024"),
    "send_queue.max_messages": ('"none"', "send_queue.max_messages: none"),
    "send_queue.max_bytes": ("1", "send_queue.max_bytes: 1"),
    "send_queue.overflow": ('"drop_oldest"', "send_queue.overflow: drop_oldest"),
    "send_queue.while_connecting": ("true", "send_queue.while_connecting: on"),
    "send_queue.time_to_live": ("2.5", "send_queue.time_to_live: 2.5"),
    "compression": ("true", "compression: on"),
    "codec": ('"json"', "codec: json"),
    "proxy": (f'"http://user:{SECRETS[3]}@h:3128"', "proxy: http://***@h:3128"),
    "unix_socket": ('"agent"', "unix_socket: settings/agent"),
    "local_address": ('"192.0.2.1:5000"', "local_address: 192.0.2.1:5000"),
    "cookies": ("true", "cookies: on"),
    "tls.server_hostname": ('"other.test"', "tls.server_hostname: other.test"),
    "tls.check_hostname": (
        "false",
        "tls.check_hostname: off (NAME NOT CHECKED: whoever has a trusted certificate can pose as the server)",
    ),
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
    "reconnect.final_codes": ('["4400-4499", 1000]', "reconnect.final_codes: 1000, 4400-4499"),
    "reconnect.final_statuses": ('[404, "500-599"]', "reconnect.final_statuses: 404, 500-599"),
    "reconnect.retry_certificates": ("true", "reconnect.retry_certificates: on"),
    "reconnect.retry_after": ("false", "reconnect.retry_after: off"),
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
    assert set(SHOWN) == {*paths_of(ConnectionSettings)} - {"url", "before_connect", "after_connect", "tls.ssl_context"}


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
