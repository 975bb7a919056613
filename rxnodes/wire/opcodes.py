"""The numbers in the header of a frame (RFC 6455 section 5.2), and the exception for a violation of the protocol."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rxnodes.lifecycle.states import CloseCode

__all__ = [
    "BINARY",
    "CLOSE",
    "CLOSE_CODE",
    "CONTINUATION",
    "FIN",
    "MASKED",
    "PING",
    "PONG",
    "RSV1",
    "TEXT",
    "Violation",
]

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

FIN: Final = 0x80
RSV1: Final = 0x40
MASKED: Final = 0x80

#: The close code in the payload of a Close frame.
CLOSE_CODE: Final = Struct("!H")


class Violation(Exception):  # noqa: N818 - it is the peer's error
    """The peer broke the protocol.

    Args:
        code: The close code that says so.
        text: What is wrong.
    """

    def __init__(self, code: CloseCode, text: str) -> None:
        super().__init__(text)
        self.code = code
