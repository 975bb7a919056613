"""Secret texts, which can stand wherever other texts stand."""

from __future__ import annotations

__all__ = ["SecretText"]


class SecretText(str):
    """A text that shows as `<secret>` when it is printed or formatted. In all else it behaves as the text.

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
