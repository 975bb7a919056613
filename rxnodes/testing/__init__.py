"""For tests of programs that use WebSockets: misbehaving servers, a failing network, and no network in virtual time.

Example:
    >>> from rxnodes import Project, pulse
    >>> from rxnodes.websocket import client_start
    >>> @in_virtual_time
    ... async def test_the_peer_says_bye() -> None:
    ...     transport = ScriptedTransport(peer_script("--o--m--X-|", messages=["bye"]))
    ...     async with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
    ...         recording = record(project.websocket("chat"))
    ...         project.subscribe(pulse().pipe(client_start(project.websocket("chat"))))
    ...         await project.websocket("chat").wait_stopped()
    ...     recording.assert_marbles("c-o--m--X-s")
    >>> test_the_peer_says_bye()

    Over real sockets:

    >>> async def rude(peer: Peer) -> None:
    ...     await peer.accept()
    ...     await peer.send_text("bye")
    ...     peer.reset()
    >>> async with WebSocketServer(rude) as server, ChaosProxy(server.url) as proxy:
    ...     proxy.to_client.latency = 0.2
    ...     ...  # connect to proxy.url

Names are imported when they are first used, so that the pytest plugin costs nothing until then.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rxnodes.recording import Recorded, Recording, record
    from rxnodes.testing.events import closing, connecting, dropped, error_event, gap, opened, stopped
    from rxnodes.testing.peer_scripts import attempts, by_url, peer_script
    from rxnodes.testing.proxy import ChaosProxy, Faults
    from rxnodes.testing.server import (
        CloseReceived,
        Ending,
        EndOfStream,
        Peer,
        Request,
        Script,
        WebSocketServer,
        answer_with,
        close_with,
        echo,
        hang_up,
        in_turn,
        keep_tcp_open,
        never_answer_close,
        never_answer_handshake,
        never_read,
        refuse,
        refusing_port,
        stall_in_header,
        talk_after_close,
        talk_after_own_close,
        vanish,
    )
    from rxnodes.testing.server.frames import (
        RSV1,
        RSV2,
        RSV3,
        Close,
        Frame,
        Opcode,
        accept_key,
        close_payload,
        deflate,
        parse_close,
        take_frame,
    )
    from rxnodes.testing.virtual_time import VirtualTimeLoop, in_virtual_time, run_in_virtual_time
    from rxnodes.transport.scripted import ScriptedPeer, ScriptedTransport

__all__ = [
    "RSV1",
    "RSV2",
    "RSV3",
    "ChaosProxy",
    "Close",
    "CloseReceived",
    "EndOfStream",
    "Ending",
    "Faults",
    "Frame",
    "Opcode",
    "Peer",
    "Recorded",
    "Recording",
    "Request",
    "Script",
    "ScriptedPeer",
    "ScriptedTransport",
    "VirtualTimeLoop",
    "WebSocketServer",
    "accept_key",
    "answer_with",
    "attempts",
    "by_url",
    "close_payload",
    "close_with",
    "closing",
    "connecting",
    "deflate",
    "dropped",
    "echo",
    "error_event",
    "gap",
    "hang_up",
    "in_turn",
    "in_virtual_time",
    "keep_tcp_open",
    "never_answer_close",
    "never_answer_handshake",
    "never_read",
    "opened",
    "parse_close",
    "peer_script",
    "record",
    "refuse",
    "refusing_port",
    "run_in_virtual_time",
    "stall_in_header",
    "stopped",
    "take_frame",
    "talk_after_close",
    "talk_after_own_close",
    "vanish",
]

# The module of a name; every other name is in `testing.server`.
_HOMES = {
    "recording": "Recorded Recording record",
    "testing.events": "closing connecting dropped error_event gap opened stopped",
    "testing.peer_scripts": "attempts by_url peer_script",
    "testing.proxy": "ChaosProxy Faults",
    "testing.server.frames": (
        "RSV1 RSV2 RSV3 Close Frame Opcode accept_key close_payload deflate parse_close take_frame"
    ),
    "testing.virtual_time": "VirtualTimeLoop in_virtual_time run_in_virtual_time",
    "transport.scripted": "ScriptedPeer ScriptedTransport",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOME_OF.get(name, "testing.server")
    value: object = getattr(importlib.import_module(f"rxnodes.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
