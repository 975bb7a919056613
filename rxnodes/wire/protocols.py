"""What the parser calls, and what the encoder reads. They are never compiled, because plain classes implement them."""

from __future__ import annotations

from typing import Protocol

__all__ = ["FrameHandler", "Outgoing"]


class FrameHandler(Protocol):
    """A `FrameParser` calls it within `feed`, in the order of the frames."""

    def on_messages(self, messages: list[str] | list[bytes], size: int) -> None:
        """Messages of one read came, all text or all binary. They have `size` bytes together."""
        ...

    def on_close(self, code: int, reason: str) -> None:
        """A Close frame came."""
        ...

    def on_ping(self, payload: bytes) -> None:
        """A ping came."""
        ...

    def on_pong(self, payload: bytes) -> None:
        """A pong came."""
        ...


class Outgoing(Protocol):
    """A message for the encoder.

    Attributes:
        payload: Its bytes.
        is_text: Whether it is a text message (UTF-8).
    """

    payload: bytes
    is_text: bool
