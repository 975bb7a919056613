"""TCP is ended, though a forked process holds a copy of the descriptor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from programs import environment, needs_fork
from raw_peer import Played

pytestmark = [pytest.mark.slow, needs_fork]

#: Line by line it reads where to connect to and which end to make of that. It forks while the connection is open, and ends it. The
#: child keeps what it inherited until the next line comes.
PROGRAM = textwrap.dedent(
    """
    import ctypes, json, os, sys
    from rxnodes import Project

    async def session(end, fields):
        async with Project(websocket={"it": fields}) as project:
            it = project.websocket("it")
            it.start()
            await it.wait_started()
            # As a library of C forks: `os.fork` would have the child's copy closed, which tests/rx/test_forking.py is about.
            child = ctypes.PyDLL(None).fork()
            if child == 0:
                os.read(kept, 1)
                os._exit(0)
            if end == "abort":
                it.abort()
            elif end == "close_timeout":
                it.stop()
            stopped = await it.wait_stopped()
            print("stopped", stopped.code, flush=True)
        return child

    if sys.argv[1] == "uvloop":
        from uvloop import run
    else:
        from asyncio import run

    kept, given = os.pipe()
    for line in sys.stdin:
        child = run(session(*json.loads(line)))
        sys.stdin.readline()
        os.write(given, b".")
        os.waitpid(child, 0)
    """
)


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def program(request):
    """Starts it, which takes ten times as long as what it then does."""
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM, request.param],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        yield process
        # With a child that it may have.
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("end", ["abort", "close_timeout", "heartbeat"])
def test_the_peer_sees_the_end_while_a_forked_process_lives_on(place, end, program):
    listener, fields = place
    # It answers nothing, and returns when it has seen the end.
    played = Played(listener, lambda peer: peer.hear_out())
    played.start()
    fields |= {"url": listener.url, "close_timeout": 0.1, "heartbeat": 0.1 if end == "heartbeat" else None}
    print(json.dumps([end, fields]), file=program.stdin, flush=True)
    assert program.stdout.readline() == "stopped 1006\n"
    assert played.finish().has_ended
    print("it has seen the end", file=program.stdin, flush=True)
