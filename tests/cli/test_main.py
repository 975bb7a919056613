"""The command line, as a newcomer, a script and an impatient user meet it."""

from __future__ import annotations

import errno
import os
import re

import pytest
from commands import SECRETS, fails

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
        ["run"],
        ["run", "app"],
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


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["listen", "chat", "--send", f"{SECRETS[0]}\udcff"], "not valid UTF-8"),
        (["listen", "chat", "--header", SECRETS[0]], "must be a name, a colon and a value"),
        (["listen", "chat", "--fleet", SECRETS[0]], "must be a URL such as nats://"),
        (["echo", "--port", "65536"], "a whole number from 0 to 65535"),
        (["run", "./app:main"], "must be a module, a colon and a function"),
        (["fleet", "stop", "chat", "--code", "1006"], "must be 1000 to 1003"),
        (["fleet", "stop", "chat", "--reason", "x" * 200], "the close reason has 200 bytes"),
    ],
)
def test_a_value_that_cannot_be_is_not_shown(arguments, problem, capsys):
    with pytest.raises(SystemExit, check=lambda end: end.code == 2):
        cli.main(arguments)
    errors = capsys.readouterr().err
    assert problem in errors
    assert SECRETS[0] not in errors


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), os.strerror(errno.ETIMEDOUT)),
        (OSError(errno.EADDRINUSE, "cannot bind ('127.0.0.1', 80): in use"), os.strerror(errno.EADDRINUSE)),
        (
            OSError(errno.EBUSY, "another recorder writes to it", "run.jsonl"),
            "run.jsonl: another recorder writes to it",
        ),
        (OSError("could not bind on any address"), "could not bind on any address"),
    ],
)
def test_an_error_of_the_system_is_in_words(error, words, capsys, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr("rxnodes.cli.toolbox.run", fail)
    assert fails(["toolbox"], capsys) == f"rxnodes: {words}\n"
