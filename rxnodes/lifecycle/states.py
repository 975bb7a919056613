"""The states of a connection, who ended it, and the close codes of RFC 6455."""

from __future__ import annotations

from enum import IntEnum, StrEnum

__all__ = ["CloseCode", "ConnectionState", "Initiator", "check_close", "is_close_code"]

MAX_REASON_BYTES = 123


class ConnectionState(StrEnum):
    """The state of a connection, as users see it. Names as in RFC 6455 and the WHATWG standard."""

    IDLE = "idle"
    """Never started."""
    CONNECTING = "connecting"
    """An attempt is under way."""
    OPEN = "open"
    """Messages can be sent and received."""
    RECONNECTING = "reconnecting"
    """An attempt has ended or is ending, and another one will follow."""
    CLOSING = "closing"
    """The session is ending: by a closing handshake, or as a dial or a TCP connection ends."""
    CLOSED = "closed"
    """The session is over."""


class Initiator(StrEnum):
    """Who ended a session."""

    LOCAL = "local"
    """We did: by a stop, an abort, or because the peer broke the protocol."""
    REMOTE = "remote"
    """The peer did, with a Close frame."""
    NETWORK = "network"
    """Neither side asked for it: the dial failed, or the TCP connection ended without a Close frame."""
    TIMEOUT = "timeout"
    """We began to close, and the peer's Close frame did not come in time."""


class CloseCode(IntEnum):
    """The close codes of RFC 6455 section 7.4.1, and of the registry that it set up."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RECEIVED = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_FRAME_PAYLOAD_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


def is_close_code(code: int) -> bool:
    """Whether a Close frame may carry `code` (RFC 6455 section 7.4, and the codes registered since)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999  # noqa: PLR2004


def check_close(code: int, reason: str) -> None:
    """Checks that a Close frame can carry this code and reason.

    Raises:
        TypeError: If the code is not an `int`, or the reason not a `str`.
        ValueError: If the code must not be sent (RFC 6455 section 7.4), or the reason cannot be encoded, or has more
            than 123 bytes of UTF-8 (section 5.5).
    """
    # Callers without a type checker pass other types too.
    if not isinstance(code, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a close code must be an int, not {type(code).__name__}")
    if not isinstance(reason, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a close reason must be a str, not {type(reason).__name__}")
    if not is_close_code(code):
        raise ValueError(f"close code {code} must not be sent; use 1000 to 1003, 1007 to 1014, or 3000 to 4999")
    try:
        length = len(reason.encode())
    except UnicodeEncodeError:
        length = None
    if length is None:
        raise ValueError("the close reason has an unpaired surrogate, which UTF-8 cannot encode")
    if length > MAX_REASON_BYTES:
        raise ValueError(f"the close reason has {length} bytes of UTF-8; at most {MAX_REASON_BYTES} fit")
