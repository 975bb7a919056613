"""Projects on a scripted transport, and connections that are opened and closed."""

from __future__ import annotations

from virtual import accept

from rxnodes import Project
from rxnodes.testing import ScriptedTransport


def project_of(script=accept, *names, **fields):
    """A project with these connections, or else one called `chat`, whose peers follow the script."""
    settings = {name: {"url": f"ws://{name}.test/", **fields} for name in names or ["chat"]}
    return Project(websocket=settings, transport=ScriptedTransport(script))


async def opened(connection):
    """Starts a connection, and gives it once it is open."""
    connection.start()
    await connection.wait_started()
    return connection


async def closed(connection):
    """Stops a connection, and gives its end."""
    connection.stop()
    return await connection.wait_stopped()
