"""What the tests of links have in common."""

from __future__ import annotations

import asyncio

import pytest


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine on either event loop."""
    uvloop = pytest.importorskip("uvloop") if request.param == "uvloop" else None
    with asyncio.Runner(loop_factory=uvloop and uvloop.new_event_loop) as runner:
        yield runner.run


@pytest.fixture(params=["ws", "wss"])
def place(request, authority):
    """Where a peer listens, and the fields of a client that dials it."""
    # Here, because on Windows it skips what needs it, which is not all that is tested.
    from raw_peer import Listener

    is_tls = request.param == "wss"
    listener = Listener(authority.server() if is_tls else None)
    yield listener, {"tls": {"ca_file": str(authority.file)}} if is_tls else {}
    listener.close()
