"""Texts that are secret, and travel where texts that are not do."""

from __future__ import annotations

__all__ = ["SecretText"]


class SecretText(str):
    """A text that is not shown: neither printed nor formatted. In everything else it is the text.

    Example:
        >>> token = SecretText("s3cret")
        >>> print(token, [token], token == "s3cret", ", ".join([token, "chat.v2"]))
        <secret> [<secret>] True s3cret, chat.v2
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("<secret>", spec)
