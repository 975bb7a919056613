"""A terminal with a program of ours in it, as someone sees it who types there."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import subprocess
import sys
import time
from unittest import SkipTest

import pyte
import pytest
from programs import PATIENCE, environment

try:
    import fcntl
    import termios
except ImportError as error:
    raise SkipTest("there are no terminals of Unix: Windows") from error


class Terminal:
    """A terminal, and the program that it was opened for.

    Args:
        arguments: Of the command `rxnodes`.
        columns: Its width.
        stdout: Where standard output goes, if not to the terminal.
        script: What a shell with job control is to do with the program, `"$@"`.
        env: More environment variables.
    """

    def __init__(self, *arguments, columns=80, stdout=None, script=None, **env):
        self.screen = pyte.Screen(columns, 24)
        self.raw = b""
        self._stream = pyte.ByteStream(self.screen)
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        self._modes = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [
                *([] if script is None else ["/bin/sh", "-mc", script, "sh"]),
                sys.executable,
                "-m",
                "rxnodes",
                *arguments,
            ],
            stdin=theirs,
            stdout=theirs if stdout is None else stdout,
            stderr=theirs,
            env=environment(**{"TERM": "xterm", "COLUMNS": "", "LINES": "", **env}),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - there are no threads yet
        )
        self._theirs = theirs

    @property
    def lines(self):
        """What is on the screen, up to the line with the cursor."""
        return [line.rstrip() for line in self.screen.display[: self.screen.cursor.y + 1]]

    def type(self, text):
        os.write(self._ours, text.encode())

    def see(self, is_there, what=""):
        """Waits until the screen is as it should be."""
        deadline = time.monotonic() + PATIENCE
        while not is_there(self.lines):
            if time.monotonic() > deadline or not self._read(deadline):
                pytest.fail(f"never seen {what}:\n" + "\n".join(self.lines))

    def see_text(self, text):
        """Waits until this is on the screen, however it is broken into lines."""
        self.see(lambda lines: text in "".join(lines), text)

    def see_last(self, *expected):
        """Waits until these are the last lines, and the cursor is behind them."""
        texts = [line.rstrip() for line in expected]
        self.see(
            lambda lines: lines[-len(texts) :] == texts and self.screen.cursor.x == len(expected[-1]),
            texts,
        )

    @property
    def is_as_before(self):
        """Whether it takes what is typed as it did before the program."""
        return termios.tcgetattr(self._ours) == self._modes

    def wait(self):
        """Waits until the program has ended; gives its status."""
        os.close(self._theirs)
        self._theirs = None
        while self._read(time.monotonic() + PATIENCE):
            pass
        return self.process.wait(PATIENCE)

    def _read(self, deadline):
        if not select.select([self._ours], [], [], max(0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # Linux says so when the last program has left the terminal
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for descriptor in (self._ours, self._theirs):
            if descriptor is not None:
                os.close(descriptor)
