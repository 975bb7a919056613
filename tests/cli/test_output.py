"""Where output goes: terminals, pipes, full disks, and nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import child

from rxnodes.cli import main as cli
from rxnodes.testing import refusing_port

FULL = Path("/dev/full")


@pytest.mark.parametrize(
    ("env", "is_coloured"),
    [({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": "", "TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_that_want_it(hurried, env, is_coloured, monkeypatch):
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
