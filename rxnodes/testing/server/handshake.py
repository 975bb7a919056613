"""The opening handshake, as a server reads the request and writes the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Request", "response_head"]


@dataclass(frozen=True, slots=True)
class Request:
    """The client's opening handshake (RFC 6455 section 4.1), as it came.

    Attributes:
        method: The method, which should be `GET`.
        target: The path and the query.
        version: The version, which should be `HTTP/1.1`.
        headers: Names and values, in the order in which they came.
    """

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """Gives the value of a header, or several values joined by commas; `None` if it did not come.

        Args:
            name: The header's name, in upper or lower case.
        """
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    @classmethod
    def parse(cls, head: bytes) -> Self:
        """Reads a request.

        Args:
            head: The request up to its empty line, and without that.

        Raises:
            ValueError: If this is not HTTP.
        """
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
        fields = (line.partition(":") for line in lines)
        return cls(method, target, version, tuple((name, value.strip()) for name, _, value in fields))


def response_head(status: int, reason: str, headers: Mapping[str, str | None]) -> bytes:
    """Gives a response up to its empty line.

    A header with `None` is left out. Of two whose names differ only in case, the last counts.
    """
    last = {name.lower(): (name, value) for name, value in headers.items()}
    fields = [f"{name}: {value}" for name, value in last.values() if value is not None]
    return "\r\n".join([f"HTTP/1.1 {status} {reason}", *fields, "", ""]).encode("latin-1")
