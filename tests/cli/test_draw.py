"""`rxnodes draw`, and what `--record` gives it."""

from __future__ import annotations

import io
import sys

import pytest

from rxnodes.cli import main as cli
from rxnodes.recording import Recording
from rxnodes.testing import close_with


@pytest.fixture
def run_file(tmp_path, hurried):
    assert cli.main(["demo", "--record", str(tmp_path / "run.jsonl")]) == 0
    return str(tmp_path / "run.jsonl")


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        ([], "<svg"),
        (["--to", "svg"], "<svg"),
        (["--to", "mermaid"], "sequenceDiagram"),
        (["--to", "text"], "demo"),
        (["--output", "picture.svg"], "<svg"),
        (["--output", "picture.mmd"], "sequenceDiagram"),
        (["--output", "picture.txt"], "demo"),
        (["--to", "text", "--output", "picture"], "demo"),
    ],
)
def test_a_recording_is_drawn(run_file, options, begins, tmp_path, capsys):
    capsys.readouterr()
    assert cli.main(["draw", run_file, *options]) == 0
    printed = capsys.readouterr()
    assert not printed.err
    drawn = (tmp_path / options[-1]).read_text("utf-8") if "--output" in options else printed.out
    assert drawn.startswith(begins)
    assert drawn.endswith("\n")
    assert "--output" not in options or not printed.out


def test_on_a_terminal_it_is_drawn_there(run_file, monkeypatch):
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert cli.main(["draw", run_file]) == 0
    assert "\x1b[1;35mClient Stop\x1b[0m" in terminal.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"nonsense\n", "rxnodes: file: this is no recording of rxnodes"),
        (None, "rxnodes: file: No such file"),
    ],
)
def test_what_cannot_be_drawn_is_said(content, problem, tmp_path, capsys):
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    assert cli.main(["draw", "file"]) == 1
    printed = capsys.readouterr()
    assert not printed.out
    assert problem in printed.err


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ("run.jsonl", "run.jsonl is the recording itself"),
        ("nowhere/a.svg", "rxnodes: nowhere/a.svg: No such file"),
        (".", "Is a directory"),
        ("a.png", "a.png: a name that ends with .svg or"),
    ],
)
def test_where_nothing_can_be_drawn_to_is_said(run_file, output, problem, tmp_path, capsys):
    before = (tmp_path / "run.jsonl").read_bytes()
    assert cli.main(["draw", run_file, "--output", output]) == 1
    assert problem in capsys.readouterr().err
    assert (tmp_path / "run.jsonl").read_bytes() == before


def test_listen_records(chat, tmp_path, capsys):
    chat(close_with(1001, "bye"))
    assert cli.main(["listen", "chat", "--record", "run.jsonl"]) == 0
    recording = Recording.load(tmp_path / "run.jsonl")
    assert recording.connections == ["chat"]
    assert [type(event).__name__ for event in recording.events] == ["Connecting", "Opened", "Closing", "Stopped"]
    assert recording.stopped[0].reason == "bye"
