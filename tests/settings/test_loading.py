"""The settings folder: which source wins, and what is said when something is wrong."""

from __future__ import annotations

import json
import logging
import os
import socket
import tomllib
from pathlib import Path

import pydantic
import pytest

from rxnodes.catalogue.plugins import Plugin
from rxnodes.errors import SettingsError
from rxnodes.settings import places, toml_lines
from rxnodes.settings.loading import from_values, load
from rxnodes.websocket.settings import ConnectionSettings, WebSocketSettings

SECRET = "hunter2"  # noqa: S105 - planted, to be looked for


class OscSettings(pydantic.BaseModel):
    """A second plugin, so that nothing here holds for WebSocket alone."""

    port: int = 9000
    tags: list[str] = []
    rate: float = 1.0
    loud: bool = False
    limit: int | None = None
    ports: tuple[int, ...] = ()
    pair: tuple[int, str] = (0, "")


PLUGINS = {
    "websocket": Plugin("websocket", "WebSocket", WebSocketSettings, ()),
    "osc": Plugin("osc", "OSC", OscSettings, ()),
}
CHAT = '[connections.chat]\nurl = "ws://h/"\n'


@pytest.fixture
def folder(tmp_path):
    return Settings(tmp_path / "settings")


class Settings:
    """A settings folder under construction."""

    def __init__(self, path):
        self.path = path
        path.mkdir()

    def write(self, name, text):
        file = self.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())

    def load(self, **environ):
        return load(self.path, PLUGINS, environ=environ)

    def connections(self, **environ):
        return self.load(**environ).sections["websocket"].connections

    def chat(self, **environ):
        return self.connections(**environ)["chat"]

    def problems(self, **environ):
        """The problems, with the folder's path cut off."""
        with pytest.raises(SettingsError) as caught:
            self.load(**environ)
        assert SECRET not in str(caught.value)
        assert caught.value.__context__ is None
        return [problem.removeprefix(f"{self.path}/") for problem in caught.value.problems]

    def problem(self, **environ):
        (problem,) = self.problems(**environ)
        return problem


def url(connection):
    return connection.url.get_secret_value()


# Sources


def test_the_folder_may_be_empty(folder):
    loaded = folder.load()
    assert loaded.enabled == tuple(PLUGINS.values())
    assert loaded.sections == {"websocket": WebSocketSettings(), "osc": OscSettings()}
    assert loaded.switches == dict.fromkeys(PLUGINS, str(folder.path / "plugins.toml"))


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_what_is_no_folder_is_a_problem(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=f"{name}: there is no such folder"):
        load(tmp_path / name, PLUGINS, environ={})


def test_each_source_wins_over_those_before_it(folder):
    name = "RXNODES_OSC__PORT"
    sources = [
        lambda: folder.write("osc.toml", "port = 1"),
        lambda: folder.write("osc.local.toml", "port = 2"),
        lambda: folder.write(".env", f"{name}=3"),
        lambda: folder.write(f"secrets/{name}", "4\n"),
    ]
    ports = []
    for add in sources:
        add()
        ports.append(folder.load().sections["osc"].port)
    ports.append(folder.load(RXNODES_OSC__PORT="5").sections["osc"].port)
    assert ports == [1, 2, 3, 4, 5]


def test_the_folder_may_be_a_string_and_the_environment_is_the_processs(folder, monkeypatch):
    folder.write("osc.toml", "port = 1\nrate = 2")
    monkeypatch.setenv("RXNODES_OSC__PORT", "7")
    assert load(str(folder.path), PLUGINS).sections["osc"] == OscSettings(port=7, rate=2)


def test_an_override_of_one_key_keeps_the_others(folder):
    folder.write(
        "websocket.toml", CHAT + 'heartbeat = 1\nheaders = { A = "1" }\n[connections.other]\nurl = "ws://o/"\n'
    )
    folder.write("websocket.local.toml", '[connections.chat]\nclose_timeout = 2\nheaders.B = "2"\n')
    folder.write(".env", "RXNODES_WEBSOCKET__CONNECTIONS__CHAT__RECONNECT__ENABLED=true\n")
    folder.write("secrets/WEBSOCKET__CONNECTIONS__CHAT__HEADERS__C", "3")
    connections = folder.connections(RXNODES_WEBSOCKET__CONNECTIONS__CHAT__RECONNECT__FACTOR="3")
    chat = connections["chat"]
    assert (url(chat), chat.heartbeat, chat.close_timeout) == ("ws://h/", 1, 2)
    assert chat.target().headers == {"A": "1", "B": "2", "c": "3"}
    assert (chat.reconnect.enabled, chat.reconnect.factor) == (True, 3)
    assert url(connections["other"]) == "ws://o/"


@pytest.mark.parametrize(
    ("shared", "local"),
    [
        ('connections.chat = "ws://h/"', "connections.chat.heartbeat = 1"),
        ("connections.chat.heartbeat = 1", 'connections.chat = "ws://h/"'),
    ],
)
def test_a_plain_url_merges_like_a_table(folder, shared, local):
    folder.write("websocket.toml", shared)
    folder.write("websocket.local.toml", local)
    assert (url(folder.chat()), folder.chat().heartbeat) == ("ws://h/", 1)


def test_a_variable_can_be_a_plain_url(folder):
    folder.write("websocket.toml", CHAT + "heartbeat = 1")
    chat = folder.chat(RXNODES_WEBSOCKET__CONNECTIONS__CHAT="ws://env/")
    assert (url(chat), chat.heartbeat) == ("ws://env/", 1)


def test_a_value_takes_the_place_of_a_table_and_a_table_that_of_a_value(folder):
    folder.write("websocket.toml", CHAT + 'headers = "x"\n')
    folder.write("websocket.local.toml", '[connections.chat.headers]\nA = "1"\n')
    assert folder.chat().target().headers == {"A": "1"}
    folder.write("websocket.toml", CHAT + 'headers = { A = "1" }\n')
    folder.write("websocket.local.toml", '[connections.chat]\nheaders = "x"\n')
    assert folder.problem() == "websocket.local.toml, line 2: connections.chat.headers: must be a table"


def test_files_with_a_byte_order_mark_and_windows_line_breaks_are_read(folder):
    folder.write("osc.toml", b"\xef\xbb\xbfport = 1\r\ntags = [\r\n'a']\r\n")
    assert folder.load().sections["osc"] == OscSettings(port=1, tags=["a"])


# Variables


@pytest.mark.parametrize(
    "name", ["RXNODES_WEBSOCKET__CONNECTIONS__CHAT__URL", "rxnodes_websocket__Connections__chat__url"]
)
def test_a_name_that_no_file_has_becomes_lower_case(folder, name):
    assert url(folder.connections(**{name: "ws://env/"})["chat"]) == "ws://env/"


@pytest.mark.parametrize("name", ["my-feed", "My_Feed", "MY-FEED"])
def test_a_variable_finds_a_name_of_a_file(folder, name):
    folder.write("websocket.toml", f'[connections]\n"{name}" = "ws://h/"')
    connections = folder.connections(RXNODES_WEBSOCKET__CONNECTIONS__MY_FEED__HEARTBEAT="1")
    assert {name: it.heartbeat for name, it in connections.items()} == {name: 1}


def test_of_similar_names_the_equal_one_is_meant(folder):
    folder.write("websocket.toml", '[connections]\nmy-feed = "ws://a/"\nmy_feed = "ws://b/"')
    connections = folder.connections(RXNODES_WEBSOCKET__CONNECTIONS__MY_FEED__HEARTBEAT="1")
    assert {name: it.heartbeat for name, it in connections.items()} == {"my-feed": 20, "my_feed": 1}


def test_a_variable_that_fits_two_names_is_a_problem(folder):
    folder.write("websocket.toml", '[connections]\nfeed = "ws://a/"\nFeed = "ws://b/"')
    assert folder.problem(RXNODES_WEBSOCKET__CONNECTIONS__FEED__PORT="1") == (
        "environment variable RXNODES_WEBSOCKET__CONNECTIONS__FEED__PORT: fits more than one name: feed, Feed"
    )


@pytest.mark.parametrize(
    ("in_file", "header", "query"),
    [
        ('headers.X-Api-Key = "file"\nquery.access-Token = "file"', "X-Api-Key", "access-Token"),
        # A new header is written with dashes, and a new name of the query as it is.
        ("", "x-api-key", "access_token"),
    ],
)
def test_header_and_query_names_of_a_file_are_found(folder, in_file, header, query):
    folder.write("websocket.toml", CHAT + in_file)
    target = folder.chat(
        RXNODES_WEBSOCKET__CONNECTIONS__CHAT__HEADERS__X_API_KEY="a",
        RXNODES_WEBSOCKET__CONNECTIONS__CHAT__QUERY__ACCESS_TOKEN="b",  # noqa: S106 - no password
    ).target()
    assert target.headers == {header: "a"}
    assert target.url == f"ws://h/?{query}=b"


def test_lists_are_json_and_tables_can_be(folder):
    chat = folder.chat(
        RXNODES_WEBSOCKET='{"connections": {"chat": {"url": "ws://a/", "heartbeat": null}}}',
        RXNODES_WEBSOCKET__CONNECTIONS__CHAT='{"url": "ws://b/", "port": 1}',
        RXNODES_WEBSOCKET__CONNECTIONS__CHAT__PORT="2",
        RXNODES_WEBSOCKET__CONNECTIONS__CHAT__SUBPROTOCOLS='["x", "y"]',
        RXNODES_WEBSOCKET__CONNECTIONS__CHAT__RECONNECT__FINAL_CODES='[4000, "4400-4499"]',
    )
    assert chat.target().url == "ws://b:2/"
    assert chat.subprotocols == ("x", "y")
    assert chat.heartbeat is None
    assert chat.reconnect.final_codes == {4000, "4400-4499"}


def test_one_key_wins_over_a_whole_table_whatever_their_order(folder):
    folder.write("websocket.toml", CHAT)
    folder.write(
        ".env",
        "RXNODES_WEBSOCKET__CONNECTIONS__CHAT__PORT=2\n"
        'RXNODES_WEBSOCKET__CONNECTIONS__CHAT={"port": 1, "heartbeat": 3}\n',
    )
    assert (folder.chat().port, folder.chat().heartbeat) == (2, 3)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("RXNODES_WEBSOCKET", '{"key": "value"}'),
        ("RXNODES_WEBSOCKET__CONNECTIONS", '{"key": "value"}'),
        ("RXNODES_WEBSOCKET__CONNECTIONS__CHAT__HEADERS", '{"key": "value"}'),
        ("RXNODES_WEBSOCKET__CONNECTIONS__CHAT__SUBPROTOCOLS", '["a", "b"]'),
        ("RXNODES_OSC__TAGS", '["a", "b"]'),
    ],
)
def test_json_that_cannot_be_read_is_a_problem(folder, name, form):
    folder.write("websocket.toml", CHAT)
    assert folder.problem(**{name: f'{{"{SECRET}'}) == f"environment variable {name}: must be JSON of the form {form}"


@pytest.mark.parametrize("text", ['"a"', "[" * 100_000], ids=["text", "too deep"])
def test_a_list_that_is_no_json_list_is_a_problem(folder, text):
    assert "must be JSON" in folder.problem(RXNODES_OSC__TAGS=text)


def test_none_and_off_work_in_variables(folder):
    folder.write("websocket.toml", CHAT + "port = 1")
    chat = folder.chat(
        RXNODES_WEBSOCKET__CONNECTIONS__CHAT__PORT="none", RXNODES_WEBSOCKET__CONNECTIONS__CHAT__HEARTBEAT="off"
    )
    assert chat.port is chat.heartbeat is None


def test_an_empty_variable_is_a_value_too(folder):
    folder.write("websocket.toml", CHAT)
    assert folder.problem(RXNODES_WEBSOCKET__CONNECTIONS__CHAT__PORT="").startswith(
        "environment variable RXNODES_WEBSOCKET__CONNECTIONS__CHAT__PORT: connections.chat.port: must be a whole number"
    )


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("RXNODES_WEBSOKET__CONNECTIONS__CHAT__URL", "RXNODES_WEBSOCKET__CONNECTIONS__CHAT__URL"),
        ("RXNODES_WEBSOCKET_CONNECTIONS_CHAT_URL", "RXNODES_WEBSOCKET__CONNECTIONS__CHAT__URL"),
        ("RXNODES_WEBSOCKET__CONNECTION__CHAT__URL", "RXNODES_WEBSOCKET__CONNECTIONS__CHAT__URL"),
        ("RXNODES_WEBSOCKET__CONNECTIONS__CHAT__CLOSE_TIMEOT", "RXNODES_WEBSOCKET__CONNECTIONS__CHAT__CLOSE_TIMEOUT"),
        ("RXNODES_WEBSOCKET__CONNECTIONS__FEED__URI", "RXNODES_WEBSOCKET__CONNECTIONS__FEED__URL"),
        ("RXNODES_WEBSOCKET__CONNECTIONS__CHAT__URL__X", "RXNODES_WEBSOCKET__CONNECTIONS__CHAT__URL"),
        ("RXNODES_WEBSOCKET__CONNECTIONS__CHAT__URL__", "RXNODES_WEBSOCKET__CONNECTIONS__CHAT__URL"),
        ("RXNODES_WEBSOCKET__CONNECTIONS____URL", "RXNODES_WEBSOCKET__CONNECTIONS__CHAT__URL"),
        ("RXNODES_PLUGINS__WEBSOKCET", "RXNODES_PLUGINS__WEBSOCKET"),
        ("RXNODES_PLUGIN__OSC", "RXNODES_PLUGINS__OSC"),
    ],
)
def test_a_mistyped_variable_is_a_problem_with_the_nearest_name(folder, name, nearest):
    folder.write("websocket.toml", CHAT)
    assert folder.problem(**{name: SECRET}) == (
        f"environment variable {name}: there is no such setting; did you mean {nearest}?"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("RXNODES_WEBSOCKET_CONNECTIONS_NAME_URL", "did you mean RXNODES_WEBSOCKET__CONNECTIONS__<NAME>__URL?"),
        ("RXNODES_", "names begin with RXNODES_PLUGINS__, RXNODES_WEBSOCKET__, RXNODES_OSC__"),
    ],
)
def test_a_mistyped_variable_without_a_known_connection_or_like_no_other(folder, name, said):
    assert folder.problem(**{name: "x"}) == f"environment variable {name}: there is no such setting; {said}"


def test_other_variables_are_nobodys_business(folder):
    folder.write("websocket.toml", CHAT)
    assert url(folder.chat(RXNODESX="1", RX_NODES="1", PATH="/")) == "ws://h/"


def test_what_a_mistyped_connection_lacks_is_said_of_its_variable(folder):
    folder.write("websocket.toml", CHAT)
    assert folder.problem(RXNODES_WEBSOCKET__CONNECTIONS__CHATT__PORT="1") == (
        "environment variable RXNODES_WEBSOCKET__CONNECTIONS__CHATT__PORT: connections.chatt.url: is missing"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("RXNODES_OSC__PORT", "rxnodes_osc__port"),
        ("RXNODES_WEBSOCKET__CONNECTIONS__MY_FEED__URL", "RXNODES_WEBSOCKET__CONNECTIONS__MY-FEED__URL"),
        ("RXNODES_WEBSOCKET__CONNECTIONS__CHAT", "RXNODES_WEBSOCKET__CONNECTIONS__CHAT__URL"),
        (
            "RXNODES_WEBSOCKET__CONNECTIONS__CHAT__HEADERS__X_KEY",
            "RXNODES_WEBSOCKET__CONNECTIONS__CHAT__HEADERS__X-Key",
        ),
        ("RXNODES_PLUGINS__OSC", "RXNODES_PLUGINS__OSC__ENABLED"),
    ],
)
@pytest.mark.parametrize("source", ["environment", ".env", "secrets"])
def test_two_variables_of_one_source_for_one_value_are_a_problem(folder, one, other, source):
    folder.write("websocket.toml", CHAT)
    environ = {}
    if source == "environment":
        environ = {one: "true", other: "true"}
    elif source == ".env":
        folder.write(".env", f"{one}=true\n{other}=true\n")
    else:
        folder.write(f"secrets/{one}", "true")
        folder.write(f"secrets/{other}", "true")
    problem = next(problem for problem in folder.problems(**environ) if "keep one of them" in problem)
    assert one in problem
    assert other in problem


def test_a_secret_with_and_one_without_the_prefix_are_two_for_one_value(folder):
    folder.write("secrets/RXNODES_OSC__PORT", "1")
    folder.write("secrets/OSC__PORT", "2")
    assert folder.problem() == (
        f"secrets/RXNODES_OSC__PORT: sets the same value as {folder.path}/secrets/OSC__PORT; keep one of them"
    )


def test_two_variables_of_two_sources_are_the_order_of_sources(folder):
    folder.write(".env", "RXNODES_OSC__PORT=1")
    folder.write("secrets/osc__port", "2")
    assert folder.load().sections["osc"].port == 2
    assert folder.load(rxnodes_osc__port="3").sections["osc"].port == 3


# .env


def test_the_env_file_is_read_as_people_write_it(folder, caplog):
    folder.write(
        ".env",
        "# shared\nexport RXNODES_OSC__PORT = 1 # comment\nrxnodes_osc__tags='[\"$HOME\"]'\n"
        "OTHER=1\nTHIS IS NO ASSIGNMENT\nRXNODES_OSC__PORT=2\n",
    )
    with caplog.at_level(logging.DEBUG):
        assert folder.load().sections["osc"] == OscSettings(port=2, tags=["$HOME"])
    assert not caplog.records


@pytest.mark.parametrize("line", ["RXNODES_OSC__PORT", "export RXNODES_OSC__PORT", f"RXNODES_OSC__PORT='{SECRET}"])
def test_a_line_of_ours_that_cannot_be_read_is_a_problem(folder, line):
    folder.write(".env", f"A=1\n\n{line}\n")
    assert folder.problem() == ".env, line 3: cannot be read; it must be NAME=value, with quotes closed"


# secrets/


@pytest.mark.parametrize("name", ["RXNODES_OSC__PORT", "rxnodes_osc__port", "OSC__PORT", "osc__port"])
def test_a_secret_files_name_is_a_variables_with_or_without_prefix(folder, name):
    folder.write(f"secrets/{name}", "1")
    assert folder.load().sections["osc"].port == 1


def test_only_line_breaks_at_a_secrets_end_are_cut_off(folder):
    folder.write("secrets/OSC__TAGS", '["a"]\r\n')
    folder.write("websocket.toml", CHAT)
    folder.write("secrets/WEBSOCKET__CONNECTIONS__CHAT__HEADERS__X", " a b \n")
    assert folder.load().sections["osc"].tags == ["a"]
    assert folder.chat().target().headers == {"x": " a b "}


def test_hidden_secret_files_are_left_alone(folder):
    folder.write("secrets/.gitignore", "*")
    folder.write("secrets/..data", "x")
    assert folder.load().sections["osc"] == OscSettings()


def test_a_linked_secret_is_read(folder, tmp_path):
    (tmp_path / "elsewhere").write_text("1")
    (folder.path / "secrets").mkdir()
    (folder.path / "secrets" / "OSC__PORT").symlink_to(tmp_path / "elsewhere")
    assert folder.load().sections["osc"].port == 1


NO_SETTING = "there is no such setting; did you mean RXNODES_OSC__PORT?"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        (".env", f"A=1\n\n\n# x\nRXNODES_OSC__PORT={SECRET}\n", ".env, line 5 (RXNODES_OSC__PORT): port: must be a"),
        (".env", f"RXNODES_OSC__PROT={SECRET}\n", f".env, line 1 (RXNODES_OSC__PROT): {NO_SETTING}"),
        ("secrets/OSC__PROT", SECRET, f"secrets/OSC__PROT: {NO_SETTING}"),
        ("secrets/OSC__PORT", SECRET, "secrets/OSC__PORT: port: must be a valid integer"),
    ],
)
def test_a_problem_names_its_file_and_line(folder, name, text, problem):
    folder.write(name, text)
    assert folder.problem().startswith(problem)


# Plugins


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plugins.toml", "osc = false"),
        ("plugins.toml", "[osc]\nenabled = false"),
        ("plugins.local.toml", "osc = false"),
        (".env", "RXNODES_PLUGINS__OSC=false"),
        ("secrets/PLUGINS__OSC", "off\n"),
    ],
)
def test_a_plugin_can_be_switched_off(folder, name, text):
    folder.write("plugins.toml", "osc = true\nwebsocket = true\n")
    folder.write(name, text)
    loaded = folder.load()
    assert loaded.enabled == (PLUGINS["websocket"],)
    assert set(loaded.sections) == {"websocket"}
    assert loaded.switches["osc"] == str(folder.path / name)


@pytest.mark.parametrize("name", ["RXNODES_PLUGINS__OSC", "RXNODES_PLUGINS__OSC__ENABLED"])
def test_a_variable_switches_a_plugin(folder, name):
    folder.write("plugins.toml", "osc = true")
    loaded = folder.load(**{name: "false"})
    assert "osc" not in loaded.sections
    assert loaded.switches["osc"] == f"environment variable {name}"


def test_a_disabled_plugins_settings_are_not_looked_at(folder):
    folder.write("plugins.toml", "websocket = false")
    folder.write("websocket.toml", "this is not TOML")
    folder.write("secrets/WEBSOCKET__TYPO", "x")
    loaded = folder.load(RXNODES_WEBSOCKET__CONNECTIONS__CHAT__URL="http://wrong/", RXNODES_WEBSOCKET__TYPO="1")
    assert set(loaded.sections) == {"osc"}


def test_an_unknown_plugin_is_a_problem(folder):
    folder.write("plugins.toml", "osc = true\nwebsokcet = false\nxyz = true\n")
    assert folder.problems() == [
        "plugins.toml, line 2: websokcet: unknown name; did you mean websocket?",
        "plugins.toml, line 3: xyz: unknown name (known: osc, websocket)",
    ]


def test_a_switch_that_cannot_be_read_hides_no_other_problem(folder):
    folder.write("plugins.toml", "\nosc = 'off'\n[websocket]\nenable = true")
    folder.write("osc.toml", "port = 'x'")
    problems = folder.problems()
    assert "plugins.toml, line 2: osc.enabled: must be true or false, not text" in problems
    assert "plugins.toml, line 4: websocket.enable: unknown name; did you mean enabled?" in problems
    assert any(problem.startswith("osc.toml, line 1: port: must be a valid integer") for problem in problems)
    assert len(problems) == 3


# Files and lines


def test_an_unknown_file_is_a_problem(folder):
    folder.write("websokcet.toml", "")
    folder.write("my-notes.toml", "")
    folder.write("notes.txt", "")
    folder.write(".hidden.toml", "")
    far, near = folder.problems()
    assert near == "websokcet.toml: unknown file; did you mean websocket.toml?"
    assert far.startswith("my-notes.toml: unknown file (known: osc.toml, osc.local.toml, plugins.toml, plugins.")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[connections.chat]\nurl = \n", 2),
        ("a = 1\n\na = 2", 3),
        ('a = 1\nb = "open', 2),
        ("a = [\n1,\n2\n", 3),
        ("[a]\n[a]\n", 2),
        ("\ufeff\ufeff", 1),
        # Python cannot take this.
        (f"port = {'9' * 5000}", None),
        pytest.param(".".join(["a"] * 5000) + " = 1", None, marks=pytest.mark.slow),
    ],
    ids=lambda it: f"{it!r:.30}",
)
def test_broken_toml_has_its_line(folder, text, line):
    folder.write("websocket.toml", text)
    where = "" if line is None else f", line {line}"
    assert folder.problem().startswith(f"websocket.toml{where}: is not valid TOML: ")


@pytest.mark.parametrize(
    "name", ["websocket.toml", "plugins.toml", "websocket.local.toml", ".env", "secrets/OSC__PORT"]
)
def test_what_is_not_utf_8_is_one_problem_with_its_line(folder, name):
    folder.write(name, b"# one\n# two \xff\n")
    assert folder.problem() == f"{name}, line 2: is not UTF-8 text"


def pipe(path):
    os.mkfifo(path)


def listening(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.symlink_to("gone"), "is a link to 'gone', which does not exist"),
        (lambda path: path.symlink_to(path.name), "cannot be read: Too many levels of symbolic links"),
        (lambda path: path.symlink_to("/dev/zero"), "cannot be read: Is a device"),
        (pipe, "cannot be read: Is a pipe"),
        (listening, "cannot be read: Is a socket"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
    ],
    ids=["dangling", "loop", "device", "pipe", "socket", "directory"],
)
@pytest.mark.parametrize(
    "name",
    ["websocket.toml", "websocket.local.toml", "plugins.toml", "plugins.local.toml", ".env", "secrets/OSC__PORT"],
)
def test_what_is_no_file_is_a_problem_and_nothing_waits_for_it(folder, name, make, said, monkeypatch):
    path = folder.path / name
    path.parent.mkdir(exist_ok=True)
    monkeypatch.chdir(path.parent)  # a socket's path must be short
    make(Path(path.name) if make is listening else path)
    assert folder.problem() == f"{name}: {said}"


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("gone"), lambda path: path.write_text(""), pipe])
def test_secrets_that_are_no_folder_are_a_problem(folder, make):
    make(folder.path / "secrets")
    assert folder.problem().startswith("secrets: cannot be read: ")


@pytest.mark.parametrize(
    ("make", "said"),
    [(lambda path: path.symlink_to("gone"), "is a link to 'gone', which does not exist"), (pipe, "Is a pipe")],
)
def test_a_certificate_that_is_no_file_is_a_problem(folder, make, said):
    make(folder.path / "ca.pem")
    folder.write("websocket.toml", '[connections.chat]\nurl = "wss://h/"\ntls.ca_file = "ca.pem"\n')
    problem = folder.problem()
    assert problem.startswith("websocket.toml, line 3: connections.chat.tls.ca_file: ")
    assert problem.endswith(said)


LINES = f'''\
# A comment with [brackets] and a = sign
[connections]        # line 2
[connections.a]      # line 3: no url

[connections.b]
url = "ws://h/"
headers = {{ Ok = "x", Upgrade = "{SECRET}" }}   # line 7
port = 0                                 # line 8
"heartbeat" = """
[connections.c]
port = 1
"""
subprotocols = [     # line 13
  "a",
  "[b]",
]
reconnect.factor = 0 # line 17
reconnect.max_attempts = 0

[ connections . "c d" ]
url = "http://h/"    # line 21
unknown = 1
'''


def test_every_problem_has_its_line(folder):
    folder.write("websocket.toml", LINES)
    places = [problem.split(": ")[:2] for problem in folder.problems()]
    assert sorted(places, key=lambda place: int(place[0].rpartition(" ")[2])) == [
        ["websocket.toml, line 3", "connections.a.url"],
        ["websocket.toml, line 7", "connections.b.headers.Upgrade"],
        ["websocket.toml, line 8", "connections.b.port"],
        ["websocket.toml, line 9", "connections.b.heartbeat"],
        ["websocket.toml, line 13", "connections.b.subprotocols.1"],
        ["websocket.toml, line 17", "connections.b.reconnect.factor"],
        ["websocket.toml, line 18", "connections.b.reconnect.max_attempts"],
        ["websocket.toml, line 21", 'connections."c d".url'],
        ["websocket.toml, line 22", 'connections."c d".unknown'],
    ]


KEYS = '''\
a = """ # [ " \\"""
""\\\\""""" # line 2
b = \'\'\'
[ " \' \\\'\'\'\'\' # line 4
c = "] \\" #" # "
d = \'" \\\'
"e #" = [ # ]
  "]", { f = [1,
  2] }, \'\'\']\'\'\',
]
g = { h = [
] }

[[i]] # line 13
j = """"""
[[i]]
\'k.[\' = ""
'''


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_lines_of_keys_are_found_whatever_strings_and_comments_hold(end):
    assert toml_lines.lines_of_keys(KEYS.replace("\n", end)) == {
        ("a",): 1,
        ("b",): 3,
        ("c",): 5,
        ("d",): 6,
        ("e #",): 7,
        ("g",): 11,
        ("g", "h"): 11,
        ("i",): 14,
        ("i", "j"): 15,
        ("i", "k.["): 17,
    }


@pytest.mark.parametrize("line", ["[connections.c{}]\nurl = 'ws://h/'\n", "# {}\n", "  'a{}',\n", "  #{}\n"])
def test_the_lines_of_keys_take_linear_time(folder, line, monkeypatch):
    many = "".join(map(line.format, range(2000)))
    text = f"tags = [\n{many}]\n" if line.startswith(" ") else many
    read = []

    def loads(statement, load=tomllib.loads):
        read.append(len(statement))
        return load(statement)

    monkeypatch.setattr(tomllib, "loads", loads)
    toml_lines.lines_of_keys(text)
    assert sum(read) == len(text)


def test_a_variable_that_is_too_deep_is_a_problem(folder):
    deep = '{"a": ' * 900 + "1" + "}" * 900
    assert folder.problem(RXNODES_WEBSOCKET=deep).startswith("environment variable RXNODES_WEBSOCKET: ")


MISFITS = [
    ("port", "5", "must be a valid integer, not text"),
    ("port", "x", "must be a valid integer"),
    ("port", True, "must be a valid integer"),
    ("port", 5.0, "must be a valid integer"),
    ("rate", "0.5", "must be a valid number, not text"),
    ("rate", True, "must be a valid number"),
    ("loud", "yes", "must be true or false, not text"),
    ("loud", 0.0, "must be true or false"),
    ("limit", "5", "must be a valid integer, not text"),
    ("tags", 5, "must be a list"),
]


@pytest.mark.parametrize(("key", "value", "said"), MISFITS)
def test_toml_and_python_values_have_types(folder, key, value, said):
    # As TOML writes it too.
    folder.write("osc.toml", f"{key} = {json.dumps(value)}\n")
    assert folder.problem() == f"osc.toml, line 1: {key}: {said}"
    with pytest.raises(SettingsError) as caught:
        from_values({"osc": {key: value}}, PLUGINS)
    assert caught.value.problems == (f"the argument 'osc': {key}: {said}",)


def test_a_number_is_no_bool_in_toml_and_0_and_1_are_in_python(folder):
    folder.write("osc.toml", "loud = 1")
    assert folder.problem() == "osc.toml, line 1: loud: must be true or false"
    assert from_values({"osc": {"loud": 1}}, PLUGINS).sections["osc"].loud is True
    with pytest.raises(SettingsError, match="loud: must be true or false"):
        from_values({"osc": {"loud": 2}}, PLUGINS)


def test_members_of_a_list_have_types_too(folder):
    folder.write("osc.toml", 'ports = [1, "2"]\npair = ["1", 2]\n')
    assert "osc.toml, line 1: ports.1: must be a valid integer, not text" in folder.problems()
    assert from_values({"osc": {"pair": (1, "2"), "ports": (1, 2)}}, PLUGINS).sections["osc"].ports == (1, 2)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('port = "5"', 'port: must be a whole number from 1 to 65535 (or "none"), not text'),
        ('compression = "yes"', "compression: must be true or false, not text"),
        ("compression = 1", "compression: must be true or false"),
        ('after_connect = "log_in"', "after_connect: must be a function, which only Python can give"),
        ('heartbeat = "2.5"', 'heartbeat: must be a number of seconds from 0.001 to 86400 (or "none"), not text'),
        ('reconnect.enabled = "on"', "reconnect.enabled: must be true or false, not text"),
        (
            'reconnect.final_codes = ["1000"]',
            'reconnect.final_codes.0: must be a whole number from 1000 to 4999, or a range of them such as "4400-4499"',
        ),
        (
            'send_queue.max_messages = "10"',
            'send_queue.max_messages: must be a whole number from 1 to 100000000 (or "none"), not text',
        ),
    ],
)
def test_numbers_and_bools_of_a_connection_are_no_text(folder, line, said):
    folder.write("websocket.toml", CHAT + line)
    assert folder.problem() == f"websocket.toml, line 3: connections.chat.{said}"


@pytest.mark.parametrize("text", ["none", "Off"])
def test_words_for_none_are_text_in_toml_too(folder, text):
    names = ("port", "heartbeat", "connect_timeout", "silence_timeout", "max_message_size")
    folder.write("websocket.toml", CHAT + "".join(f'{name} = "{text}"\n' for name in names))
    assert [getattr(folder.chat(), name) for name in names] == [None] * len(names)


def test_variables_are_text_of_whatever_it_is(folder):
    folder.write("osc.toml", "port = '1'\nloud = 'x'\n")
    folder.write(".env", "RXNODES_OSC__PORT=2\n")
    folder.write("secrets/OSC__LOUD", "yes\n")
    assert folder.load(RXNODES_OSC__RATE="0.5", RXNODES_OSC__PORTS='["1", 2]').sections["osc"] == OscSettings(
        port=2, loud=True, rate=0.5, ports=(1, 2)
    )


def test_what_is_said_is_about_the_value_that_counts(folder):
    folder.write("osc.toml", "port = '1'")
    problem = folder.problem(RXNODES_OSC__PORT="x")
    assert problem.startswith("environment variable RXNODES_OSC__PORT: port: must be a valid integer")
    assert not problem.endswith("not text")
    folder.write("osc.toml", "ports = ['1']")
    problem = folder.problem(RXNODES_OSC__PORTS='["x"]')
    assert problem.startswith("environment variable RXNODES_OSC__PORTS: ports.0: must be a valid integer")
    assert not problem.endswith("not text")


def test_what_a_connection_lacks_is_said_of_the_file_that_begins_it(folder):
    folder.write("websocket.toml", "\n[connections.chat]\nheartbeat = 1\n")
    folder.write("websocket.local.toml", "[connections.chat]\nheartbeat = 2\n")
    assert (
        folder.problem(RXNODES_WEBSOCKET__CONNECTIONS__CHAT__PORT="1")
        == "websocket.toml, line 2: connections.chat.url: is missing"
    )


def test_a_problem_is_where_the_winning_value_is(folder):
    folder.write("websocket.toml", CHAT + "port = 1")
    folder.write("websocket.local.toml", "\n\n[connections.chat]\nport = 0\n")
    assert folder.problem().startswith("websocket.local.toml, line 4: connections.chat.port: ")


def test_an_unknown_key_is_a_problem_with_the_nearest(folder):
    folder.write("websocket.toml", CHAT + "close_timout = 1\n[connections.chat.reconnect]\nxyz = 1\n")
    far, near = folder.problems()
    assert near == "websocket.toml, line 3: connections.chat.close_timout: unknown name; did you mean close_timeout?"
    assert far.startswith(
        "websocket.toml, line 5: connections.chat.reconnect.xyz: unknown name (known: enabled, factor,"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("connections = 1", "connections: must be a table"),
        ("connections.chat = 1", "connections.chat.url: must be text"),
        (CHAT + "subprotocols = 'a'", "connections.chat.subprotocols: must be a list"),
        (CHAT + "compression = 'x'", "connections.chat.compression: must be true or false"),
        (CHAT + "headers.A = 1", "connections.chat.headers.A: must be text"),
        (CHAT + "reconnect = true", "connections.chat.reconnect: must be a table"),
        (CHAT + "reconnect.final_codes = 1", "connections.chat.reconnect.final_codes: must be a list"),
        (CHAT + "tls = {}", "connections.chat.tls: needs a url with wss://"),
    ],
)
def test_problems_are_said_in_plain_words(folder, text, said):
    folder.write("websocket.toml", text)
    assert folder.problem().partition(": ")[2] == said


def test_relative_paths_begin_at_the_settings_folder(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    text = '[connections.chat]\nurl = "wss://h/"\ntls.ca_file = "ca.pem"'
    folder.write("websocket.toml", text)
    assert folder.problem() == (
        f"websocket.toml, line 3: connections.chat.tls.ca_file: there is no file {str(folder.path / 'ca.pem')!r}"
    )


def test_all_problems_come_at_once_and_without_a_secret(folder):
    folder.write("plugins.toml", "nope = true")
    folder.write("osc.toml", f'port = "{SECRET}"\ntags = "{SECRET}"\n')
    folder.write("extra.toml", SECRET)
    folder.write(
        "websocket.toml",
        f'[connections.chat]\nurl = "http://u:{SECRET}@h/?t={SECRET}"\nquery.t = ["{SECRET}"]\n'
        f'headers.Bad = "{SECRET}\\n"\ntls.key_password = "{SECRET}"\nport = "{SECRET}"\n',
    )
    folder.write("websocket.local.toml", f'a = "{SECRET}')
    folder.write(".env", f"RXNODES_X={SECRET}\nRXNODES_OSC__PORT='{SECRET}\n")
    folder.write("secrets/WEBSOCKET__CONNECTIONS__CHAT__SUBPROTOCOLS", SECRET)
    places = {
        problem.partition(": ")[0]
        for problem in folder.problems(
            RXNODES_WEBSOCKET__CONNECTIONS__B=f"ws://u:{SECRET}@", RXNODES_WEBSOCKET__CONNECTIONS__CHAT__TIMEOUT=SECRET
        )
    }
    assert places == {
        "plugins.toml, line 1",
        "osc.toml, line 1",
        "osc.toml, line 2",
        "extra.toml",
        "websocket.toml, line 2",
        "websocket.toml, line 3",
        "websocket.toml, line 4",
        "websocket.toml, line 5",
        "websocket.toml, line 6",
        "websocket.local.toml, line 1",
        ".env, line 1 (RXNODES_X)",
        ".env, line 2",
        "secrets/WEBSOCKET__CONNECTIONS__CHAT__SUBPROTOCOLS",
        "environment variable RXNODES_WEBSOCKET__CONNECTIONS__B",
        "environment variable RXNODES_WEBSOCKET__CONNECTIONS__CHAT__TIMEOUT",
    }


def test_what_was_loaded_shows_no_secret(folder):
    folder.write("websocket.toml", f'[connections.chat]\nurl = "ws://u:{SECRET}@h/?t={SECRET}"\nquery.q = "{SECRET}"\n')
    loaded = folder.load(RXNODES_WEBSOCKET__CONNECTIONS__CHAT__HEADERS__X=SECRET)
    assert loaded.sections["websocket"].connections["chat"].target().headers["x"] == SECRET
    assert SECRET not in repr(loaded)
    assert SECRET not in loaded.sections["websocket"].model_dump_json()


def test_not_even_the_debug_log_of_pydantic_settings_shows_a_secret(folder, monkeypatch, caplog):
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    folder.write("websocket.toml", CHAT + f'query.q = "{SECRET}"\n')
    folder.write(".env", f"RXNODES_WEBSOCKET__CONNECTIONS__CHAT__HEADERS__X={SECRET}\n")
    with caplog.at_level(logging.DEBUG):
        folder.chat(RXNODES_WEBSOCKET__CONNECTIONS__CHAT__HEADERS__Y=SECRET)
    assert "priority order" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("name", ["json", "copy", "reading", "model_fields"])
def test_a_plugin_may_be_called_as_a_method_of_a_model_is(folder, name):
    plugins = {name: Plugin(name, "Any", OscSettings, ())}
    folder.write(f"{name}.toml", "port = 1")
    assert load(folder.path, plugins, environ={}).sections[name] == OscSettings(port=1)
    assert from_values({name: {"port": 1}}, plugins).sections[name] == OscSettings(port=1)
    folder.write(f"{name}.toml", "port = 'x'")
    with pytest.raises(SettingsError, match=rf"{name}.toml, line 1: port: must be a valid integer$"):
        load(folder.path, plugins, environ={})


class RequiredSettings(pydantic.BaseModel):
    """A section that cannot be empty."""

    port: int


def test_what_a_section_without_a_file_lacks_is_said_of_its_file(folder):
    plugins = {"midi": Plugin("midi", "MIDI", RequiredSettings, ())}
    with pytest.raises(SettingsError) as caught:
        load(folder.path, plugins, environ={})
    assert caught.value.problems == (f"{folder.path}/midi.toml: port: is missing",)
    folder.write("plugins.toml", "midi = false")
    assert load(folder.path, plugins, environ={}).enabled == ()


# Thousands of settings


MANY = range(300)


@pytest.mark.parametrize("in_file", [False, True])
def test_thousands_of_variables_take_linear_time(folder, in_file, monkeypatch):
    """Each name is compared with those that are like it, not with all."""
    if in_file:
        folder.write("websocket.toml", "[connections]\n" + "".join(f"c-{i} = 'ws://h/'\n" for i in MANY))
    compared = []
    fold = places.folded
    monkeypatch.setattr(places, "folded", lambda name: compared.append(name) or fold(name))
    connections = folder.connections(
        **{f"RXNODES_WEBSOCKET__CONNECTIONS__C_{i}__URL": "ws://env/" for i in MANY},
        **{f"RXNODES_WEBSOCKET__CONNECTIONS__C_{i}__PORT": str(i + 1) for i in MANY},
    )
    assert set(connections) == {f"c-{i}" if in_file else f"c_{i}" for i in MANY}
    assert all(connections[name].port == int(name[2:]) + 1 for name in connections)
    assert len(compared) < 200 * len(MANY)


def test_a_mistyped_variable_among_thousands_hears_of_its_connection(folder):
    folder.write("websocket.toml", "[connections]\n" + "".join(f"c{i} = 'ws://h/'\n" for i in MANY))
    assert folder.problem(RXNODES_WEBSOCKET__CONNECTIONS__C217__PROT="1").endswith(
        "did you mean RXNODES_WEBSOCKET__CONNECTIONS__C217__PORT?"
    )


# Values


def test_values_are_urls_tables_or_settings():
    connections = {
        "a": "ws://h/",
        "b": {"url": "ws://h/", "port": None},
        "c": ConnectionSettings.model_validate("ws://h/"),
    }
    loaded = from_values({"websocket": {"connections": connections}}, PLUGINS)
    settings = loaded.sections["websocket"]
    assert settings.connections["a"] == settings.connections["b"] == settings.connections["c"]
    assert loaded.enabled == tuple(PLUGINS.values())


def test_values_are_not_changed():
    values = {"websocket": {"connections": {"a": "ws://h/"}}, "plugins": {"osc": False}}
    before = json.dumps(values)
    from_values(values, PLUGINS)
    assert json.dumps(values) == before


def test_no_file_or_variable_is_read_for_values(folder, monkeypatch):
    folder.write("osc.toml", "port = 1")
    monkeypatch.chdir(folder.path)
    monkeypatch.setenv("RXNODES_OSC__PORT", "2")
    monkeypatch.setenv("RXNODES_TYPO", "2")
    assert from_values({}, PLUGINS).sections["osc"].port == 9000


def test_values_switch_plugins():
    loaded = from_values({"plugins": {"osc": False}, "osc": {"port": "wrong"}}, PLUGINS)
    assert loaded.enabled == (PLUGINS["websocket"],)
    assert loaded.switches["osc"] == "the argument 'plugins'"


def test_all_problems_with_values_come_at_once():
    values = {
        "websocket": {"connections": {"chat": f"http://{SECRET}/", 1: {}}},
        "osc": SECRET,
        "ocs": {},
        "plugins": {"websokcet": True},
    }
    with pytest.raises(SettingsError) as caught:
        from_values(values, PLUGINS)
    assert SECRET not in str(caught.value)
    assert sorted(caught.value.problems) == [
        "the argument 'ocs': unknown name; did you mean osc?",
        "the argument 'osc': must be a mapping",
        "the argument 'plugins': websokcet: unknown name; did you mean websocket?",
        "the argument 'websocket': connections.1.url: is missing",
        "the argument 'websocket': connections.1: must be text",
        "the argument 'websocket': connections.chat.url: must begin with ws:// or wss://",
    ]


# The demo's own


def test_the_demos_settings_are_good():
    demo = Path(__file__).parents[2] / "settings"
    loaded = load(demo, {"websocket": PLUGINS["websocket"]}, environ={})
    connections = loaded.sections["websocket"].connections
    assert {name: settings.target().url for name, settings in connections.items()} == {"chat": "ws://127.0.0.1:8080/"}


def test_the_demos_comments_name_the_defaults(folder):
    demo = Path(__file__).parents[2] / "settings" / "websocket.toml"
    lines = demo.read_text().partition("# The rest")[2].splitlines()[2:]
    text = "\n".join(line.removeprefix("#").strip() for line in lines).partition("[connections.chat.tls]")
    plain = [line for line in text[0].splitlines() if not line.startswith(("port", "headers", "query"))]
    reconnect = text[2].partition("[connections.chat.reconnect]")
    folder.write("websocket.toml", CHAT + "\n".join([*plain, reconnect[1], reconnect[2]]))
    assert folder.chat() == ConnectionSettings.model_validate("ws://h/")
