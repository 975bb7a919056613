"""TCP is ended, though a forked process holds a copy of the descriptor."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap

import pytest
from programs import environment, running
from raw_peer import Played

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")]

#: Forks while the connection is open, and ends it. The child keeps what it inherited until its input is closed.
PROGRAM = textwrap.dedent(
    """
    import asyncio, os, sys
    from rxnodes import Project

    url, ca_file, end, loop = sys.argv[1:]

    async def main():
        fields = {"url": url, "close_timeout": 0.1, "heartbeat": 0.1 if end == "heartbeat" else None}
        if ca_file:
            fields["tls"] = {"ca_file": ca_file}
        async with Project(websocket={"it": fields}) as project:
            it = project.websocket("it")
            it.start()
            await it.wait_started()
            if os.fork() == 0:
                os.read(0, 1)
                os._exit(0)
            if end == "abort":
                it.abort()
            elif end == "close_timeout":
                it.stop()
            stopped = await it.wait_stopped()
            print("stopped", stopped.code, flush=True)

    if loop == "uvloop":
        import uvloop
        uvloop.run(main())
    else:
        asyncio.run(main())
    """
)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("end", ["abort", "close_timeout", "heartbeat"])
async def test_the_peer_sees_the_end_while_a_forked_process_lives_on(place, end, loop):
    listener, fields = place
    ca_file = fields["tls"]["ca_file"] if fields else ""
    # It answers nothing, and returns when it has seen the end.
    played = Played(listener, lambda peer: peer.hear_out())
    played.start()
    kept, given = os.pipe()
    command = (sys.executable, "-c", PROGRAM, listener.url, ca_file, end, loop)
    async with running(*command, env=environment(), stdin=kept) as process:
        try:
            assert await process.stdout.readline() == b"stopped 1006\n"
            peer = await asyncio.to_thread(played.finish)
        finally:
            # Now the forked process ends, too.
            os.close(given)
            os.close(kept)
    assert peer.has_ended
