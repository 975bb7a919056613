"""What the parser calls, and what the encoder reads. These two are never compiled, because others implement them."""

from __future__ import annotations

from typing import Protocol

__all__ = ["FrameHandler", "Outgoing"]


class FrameHandler(Protocol):
    """What a `FrameParser` calls, within `feed`."""

    def on_messages(self, messages: list[str] | list[bytes], size: int) -> None:
        """Whole messages of one read, all of one kind, and how many bytes they have together."""
        ...

    def on_close(self, code: int, reason: str) -> None:
        """A Close frame."""
        ...

    def on_ping(self, payload: bytes) -> None:
        """A ping."""
        ...

    def on_pong(self, payload: bytes) -> None:
        """A pong."""
        ...


class Outgoing(Protocol):
    """A message that is to be encoded.

    Attributes:
        payload: Its bytes.
        is_text: Whether it is a text message (UTF-8).
    """

    payload: bytes
    is_text: bool
