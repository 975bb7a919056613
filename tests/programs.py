"""Programs of ours as processes, as a reader of the documentation runs them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

#: For tests that fork, which Windows cannot.
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

#: How long a program may take on a busy machine, in seconds.
PATIENCE = 30

#: What is logged of an `ErrorEvent` where nobody listens to any.
ERROR_OF_A_CONNECTION = re.compile(r"\w+: [^:].*")


def environment(**variables):
    """What a reader has. In asyncio's debug mode, a busy machine alone would make a program print more.

    Warnings are errors, and so is a socket or a coroutine that is left behind.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("RXNODES_", "PYTHON"))}
    return {**ours, "PYTHONIOENCODING": "utf-8", "PYTHONWARNINGS": "error", **variables}


@contextlib.asynccontextmanager
async def running(*command, env, cwd=None, stdin=None, stderr=asyncio.subprocess.PIPE, patience=PATIENCE):
    """A process, which is ended when the context is left."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=env, stdin=stdin, stdout=asyncio.subprocess.PIPE, stderr=stderr
    )
    try:
        async with asyncio.timeout(patience):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ended(process):
    """What a process still prints; it has ended well, and complained of nothing."""
    printed, problems = await process.communicate()
    check_well(process.returncode, problems.decode())
    return printed.decode()


def check_well(status, problems):
    assert [line for line in problems.splitlines() if not ERROR_OF_A_CONNECTION.fullmatch(line)] == []
    assert status == 0


class ForkServer:
    """Runs programs from their beginning to their end, each forked from a process that has imported what they import.

    To import it takes ten times as long as what a program then does.

    Args:
        variables: What is in the environment of all.
    """

    def __init__(self, **variables):
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, Path(__file__).with_name("fork_server.py")],
            env=environment(**variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._process:
            # With a program that does not end.
            os.killpg(self._process.pid, signal.SIGKILL)

    def run(self, program, **variables):
        """What it prints; it has ended well, and complained of nothing."""
        print(json.dumps([str(program), variables]), file=self._process.stdin, flush=True)
        status = self._process.stdout.readline()
        printed, problems = (Path(f"{program}.{kind}").read_text() for kind in ("out", "err"))
        check_well(int(status), problems)
        return printed
