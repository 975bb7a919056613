"""Programs of ours as processes, as a reader of the documentation runs them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re

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
    assert [line for line in problems.decode().splitlines() if not ERROR_OF_A_CONNECTION.fullmatch(line)] == []
    assert process.returncode == 0
    return printed.decode()
