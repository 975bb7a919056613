"""Commands of the command line, in this process or in one of their own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading

import pytest
from programs import PATIENCE, environment

from rxnodes.cli import main as cli

#: Of a header, a query, a URL and a password. No command shows one.
SECRETS = ("s3cret-header", "s3cret-query", "s3cret-in-url", "s3cret-password")


@contextlib.contextmanager
def child(*arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=None):
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "rxnodes", *arguments],
        stdin=stdin,
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
