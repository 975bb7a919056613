"""The command line, as a newcomer, a script and an impatient user meet it."""

from __future__ import annotations

import re

import pytest
from commands import SECRETS

from rxnodes.cli import main as cli
from rxnodes.wire import parser


def test_no_command_prints_help(capsys):
    assert cli.main([]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    for word in ("demo", "check", "toolbox", "listen", "echo", "run", "inspect"):
        assert re.search(rf"^ +{word} +\w", printed.err, re.MULTILINE)


def test_version(capsys):
    with pytest.raises(SystemExit, check=lambda end: end.code == 0):
        cli.main(["--version"])
    build = "pure Python" if parser.__file__.endswith(".py") else "compiled"
    assert re.fullmatch(rf"rxnodes \d+\.\d+\.\d+ \({build}\)\n", capsys.readouterr().out)


@pytest.mark.parametrize("command", [[], ["demo"], ["check"], ["toolbox"], ["listen"], ["echo"], ["run"], ["inspect"]])
def test_help(command, capsys):
    with pytest.raises(SystemExit, check=lambda end: end.code == 0):
        cli.main([*command, "--help"])
    assert capsys.readouterr().out.startswith(" ".join(["usage: rxnodes", *command]))


@pytest.mark.parametrize(
    "arguments",
    [
        ["dmeo"],
        ["demo", "extra"],
        ["--js"],
        ["listen"],
        ["listen", "chat", "--jso"],
        ["listen", "chat", "--send"],
        ["echo", "--port", "65536"],
        ["run"],
        ["run", "app"],
        ["run", "./app:main"],
        ["demo", "--token-file", "token"],
        ["run", "app:main", "--inspect", "settings"],
    ],
)
def test_what_cannot_be_understood(arguments, capsys):
    with pytest.raises(SystemExit, check=lambda end: end.code == 2):
        cli.main(arguments)
    assert "usage: rxnodes" in capsys.readouterr().err


def _as_python_3_11_tells_it():
    """While a class is made, as one of a module that is imported."""
    raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()


def _as_it_is():
    raise KeyboardInterrupt


@pytest.mark.parametrize("interrupt", [_as_it_is, _as_python_3_11_tells_it])
def test_ctrl_c_before_a_command_has_begun(interrupt, capsys, monkeypatch):
    def interrupted(*_):
        interrupt()

    monkeypatch.setattr("argparse.ArgumentParser.parse_args", interrupted)
    assert cli.main(["demo"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_message_that_is_no_text(capsys):
    with pytest.raises(SystemExit, check=lambda end: end.code == 2):
        cli.main(["listen", "chat", "--send", "\udcff"])
    assert "not valid UTF-8" in capsys.readouterr().err


def test_a_header_that_is_none_is_not_shown(capsys):
    with pytest.raises(SystemExit, check=lambda end: end.code == 2):
        cli.main(["listen", "chat", "--header", SECRETS[0]])
    errors = capsys.readouterr().err
    assert "must be a name, a colon and a value" in errors
    assert SECRETS[0] not in errors
