"""For tests of programs that use WebSockets: misbehaving servers, a failing network, and none at all in virtual time.

Example:
    >>> async def rude(peer: Peer) -> None:
    ...     await peer.accept()
    ...     await peer.send_text("bye")
    ...     peer.reset()
    >>> async with WebSocketServer(rude) as server, ChaosProxy(server.url) as proxy:
    ...     proxy.to_client.latency = 0.2
    ...     ...  # connect to proxy.url

Names are imported when they are first asked for, so that the pytest plugin costs nothing where it is not used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rxnodes.testing.frames import (
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
    from rxnodes.testing.virtual_time import VirtualTimeLoop, run_in_virtual_time
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
    "Request",
    "Script",
    "ScriptedPeer",
    "ScriptedTransport",
    "VirtualTimeLoop",
    "WebSocketServer",
    "accept_key",
    "answer_with",
    "close_payload",
    "close_with",
    "deflate",
    "echo",
    "hang_up",
    "in_turn",
    "keep_tcp_open",
    "never_answer_close",
    "never_answer_handshake",
    "never_read",
    "parse_close",
    "refuse",
    "refusing_port",
    "run_in_virtual_time",
    "stall_in_header",
    "take_frame",
    "talk_after_close",
    "talk_after_own_close",
    "vanish",
]

# Where a name lives; every other one lives in `server`.
_HOMES = {
    "frames": {
        "RSV1",
        "RSV2",
        "RSV3",
        "Close",
        "Frame",
        "Opcode",
        "accept_key",
        "close_payload",
        "deflate",
        "parse_close",
        "take_frame",
    },
    "proxy": {"ChaosProxy", "Faults"},
    "virtual_time": {"VirtualTimeLoop", "run_in_virtual_time"},
    "rxnodes.transport.scripted": {"ScriptedPeer", "ScriptedTransport"},
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "server")
    value: object = getattr(importlib.import_module(home if "." in home else f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
