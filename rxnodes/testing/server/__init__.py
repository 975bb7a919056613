"""A WebSocket server that does what a test's script says, right or wrong, down to the byte and to FIN or RST."""

from rxnodes.testing.server.handshake import Request
from rxnodes.testing.server.peer import CloseReceived, Peer
from rxnodes.testing.server.scripts import (
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
    stall_in_header,
    talk_after_close,
    talk_after_own_close,
    vanish,
)
from rxnodes.testing.server.tcp import Ending, EndOfStream, Tcp, TcpServer, refusing_port
from rxnodes.testing.server.websocket import Script, WebSocketServer

__all__ = [
    "CloseReceived",
    "EndOfStream",
    "Ending",
    "Peer",
    "Request",
    "Script",
    "Tcp",
    "TcpServer",
    "WebSocketServer",
    "answer_with",
    "close_with",
    "echo",
    "hang_up",
    "in_turn",
    "keep_tcp_open",
    "never_answer_close",
    "never_answer_handshake",
    "never_read",
    "refuse",
    "refusing_port",
    "stall_in_header",
    "talk_after_close",
    "talk_after_own_close",
    "vanish",
]
