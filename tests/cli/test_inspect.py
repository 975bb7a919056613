"""`rxnodes inspect`, and `--inspect` of other commands."""

from __future__ import annotations

import json
import re
import signal
import urllib.error
import urllib.request

import pytest
from commands import child, fails, read_until

from rxnodes.cli import main as cli
from rxnodes.testing import echo

pytestmark = pytest.mark.slow


class Page:
    """The page that a command has printed the URL of."""

    def __init__(self, line):
        self.origin, self.token = re.fullmatch(r"live page: (http://127\.0\.0\.1:\d+)/#([\w-]+)\n", line).groups()

    def ask(self, path, method="GET", token=None):
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        request = urllib.request.Request(f"{self.origin}{path}", headers=headers, method=method)  # noqa: S310 - ours
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return json.load(answer)

    @property
    def states(self):
        return {row["name"]: row["state"] for row in self.ask("/api/connections")["connections"]}


def test_inspect_starts_and_stops_the_connections_of_the_settings(chat):
    chat(echo)
    with child("inspect") as process:
        page = Page(read_until(process.stdout, "live page"))
        assert page.states == {"chat": "idle"}
        page.ask("/api/connections/chat/start", "POST")
        while page.states["chat"] != "open":
            pass
        with pytest.raises(urllib.error.HTTPError, match="401"):
            page.ask("/api/connections", token="guessed")  # noqa: S106 - it is wrong
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "Ctrl+C ends it.\n"
        assert not process.stderr.read()
        assert process.wait() == 130


def test_run_with_a_page(chat, tmp_path):
    chat(echo)
    (tmp_path / "app.py").write_text(
        "from rxnodes import pulse\nfrom rxnodes.websocket import client_start\n"
        "def main(project):\n    project.subscribe(pulse().pipe(client_start(project.websocket('chat'))))\n"
    )
    (tmp_path / "token").write_text("kept-for-the-next-run\n")
    with child("run", "app:main", "--inspect", "0", "--token-file", "token") as process:
        page = Page(read_until(process.stderr, "live page"))
        assert page.token == "kept-for-the-next-run"  # noqa: S105 - of the test
        while page.states["chat"] != "open":
            pass
        process.send_signal(signal.SIGTERM)
        assert not process.stdout.read()
        assert process.wait() == 143


def test_the_demo_can_be_played_again_on_its_page():
    with child("demo", "--inspect") as process:
        page = Page(read_until(process.stdout, "live page"))
        read_until(process.stdout, "Ctrl+C ends it")
        page.ask("/api/connections/demo/start", "POST")
        assert "clean" in read_until(process.stdout, "On WebSocket Stop")
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait() == 130


@pytest.mark.parametrize("token", ["", "two words", "é"])
def test_a_token_that_cannot_be_one(token, settings, tmp_path, capsys):
    settings('connections.chat = "ws://127.0.0.1/"')
    (tmp_path / "token").write_text(token, encoding="utf-8")
    errors = fails(["inspect", "--token-file", "token"], capsys)
    assert errors.startswith("rxnodes: --token-file: the token must be")


def test_a_host_that_is_none(settings, capsys):
    settings('connections.chat = "ws://127.0.0.1/"')
    assert fails(["inspect", "--host", ""], capsys).startswith("rxnodes: --host: host must be")


def test_a_page_of_nothing(capsys):
    assert "there is no such folder" in fails(["inspect"], capsys)
    with pytest.raises(SystemExit, check=lambda end: end.code == 2):
        cli.main(["inspect", "--port", "65536"])
