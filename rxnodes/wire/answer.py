"""The head of the server's answer to the opening handshake, and when it asks us to try again.

Real servers write heads that break the grammar of RFC 9112, and browsers take them. This reader takes them too, unless
they are ambiguous. How the bytes are cut makes no difference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

from multidict import CIMultiDict, istr

from rxnodes.wire.handshake import SWITCHING_PROTOCOLS, RefusedError

__all__ = ["AnswerHead", "HeadReader", "asked_delay", "framing"]

#: RFC 9112 section 2.2: a line may end in a bare LF. The pattern does not begin with the CR that may be missing, since
#: the search would take ten times as long. So the patterns of a line take a CR at their end.
END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
#: RFC 9112 section 4. The reason phrase, and the space before it, are often missing.
STATUS_LINE: Final = re.compile(r"HTTP/1\.[01][ \t]+([1-9][0-9]{2})(?:[ \t].*)?\r?")
#: RFC 9112 section 5, with names of RFC 9110 section 5.6.2. Spaces before the colon are dropped. A value must not have
#: the bytes that RFC 9110 section 5.5 calls dangerous.
FIELD_LINE: Final = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*:[ \t]*([^\r\n\0]*)\r?")
#: RFC 9112 section 5.2: a line that begins with a space continues the one before it.
FOLD: Final = re.compile(r"[ \t]*\r?\n[ \t]+")

#: `END_OF_HEAD` may match so many bytes of an earlier read.
SPLIT: Final = 2

CONTENT_ENCODING: Final = istr("Content-Encoding")
CONTENT_LENGTH: Final = istr("Content-Length")
DATE: Final = istr("Date")
RETRY_AFTER: Final = istr("Retry-After")
TRANSFER_ENCODING: Final = istr("Transfer-Encoding")

NOT_HTTP: Final = "the server's answer is not HTTP"


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The head of an answer.

    Attributes:
        status: The HTTP status.
        headers: The headers, each as often as it came. A value is read as UTF-8, or as ISO-8859-1 if it is no UTF-8.
    """

    status: int
    # They may hold secrets.
    headers: CIMultiDict[str] = field(repr=False)


class HeadReader:
    r"""Reads the head of an answer from the bytes as they come.

    Interim answers (100 to 199, except 101) are skipped, as RFC 9110 section 15.2 demands.

    Args:
        max_size: How many bytes may come before the head is complete.

    Attributes:
        head: The head, once it is complete.

    Example:
        >>> reader = HeadReader(1024)
        >>> reader.feed(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r")
        >>> reader.feed(b"\n\r\nlater")
        b'later'
        >>> reader.head.status, reader.head.headers["retry-after"]
        (503, '7')
    """

    __slots__ = ("_data", "_max_size", "_passed", "_seen", "head")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._data = bytearray()
        self._seen = 0
        self._passed = 0
        self.head: AnswerHead | None = None

    def feed(self, data: bytes) -> bytes | None:
        """Takes bytes, until the head is complete.

        Returns:
            The bytes after the head; `None`: it is not complete yet.

        Raises:
            RefusedError: If this is no head of HTTP/1.1, or the head is longer than `max_size`.
        """
        self._data += data
        while (head := self._next_head()) is not None:
            if head.status >= 200 or head.status == SWITCHING_PROTOCOLS:  # noqa: PLR2004
                self.head = head
                return bytes(self._data)
        return None

    def _next_head(self) -> AnswerHead | None:
        # Empty lines before a status line mean nothing.
        if not self._seen:
            self._drop(len(self._data) - len(self._data.lstrip(b"\r\n")))
        end = END_OF_HEAD.search(self._data, max(0, self._seen - SPLIT))
        self._seen = len(self._data) if end is None else end.end()
        if self._passed + self._seen > self._max_size:
            raise RefusedError(
                f"the head of the server's answer is longer than max_header_size ({self._max_size} bytes)"
            )
        if end is None:
            return None
        head = parse_head(bytes(self._data[: end.start()]))
        self._drop(end.end())
        return head

    def _drop(self, size: int) -> None:
        del self._data[:size]
        self._passed += size
        self._seen = 0


#: All heads share the names, so a head is smaller, and read twice as fast. The cache is bounded, because a server may
#: send new names each time.
field_name: Final = lru_cache(maxsize=256)(istr)


def parse_head(data: bytes) -> AnswerHead:
    """Reads a head from bytes that end before its last line break.

    Raises:
        RefusedError: If they are no head.
    """
    # ISO-8859-1 takes all bytes as they are.
    first, _, rest = data.decode("latin-1").partition("\n")
    status = STATUS_LINE.fullmatch(first)
    if status is None:
        raise RefusedError(NOT_HTTP)
    if "\n " in rest or "\n\t" in rest:
        rest = FOLD.sub(" ", rest)
    lines = rest.split("\n") if rest else []
    return AnswerHead(int(status[1]), CIMultiDict(map(_parse_field, lines)))


def _parse_field(line: str) -> tuple[str, str]:
    match = FIELD_LINE.fullmatch(line)
    if match is None:
        raise RefusedError(NOT_HTTP)
    name, value = match.groups()
    return field_name(name), _from_utf8(value.rstrip(" \t"))


def _from_utf8(value: str) -> str:
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value


def framing(headers: CIMultiDict[str]) -> dict[str, str]:
    """The headers that say where the body ends and how it is encoded (RFC 9112 section 6.3).

    If they contradict each other, none says where the body ends, and it ends with the connection.
    """
    clear: dict[str, str] = {}
    codings = ",".join(headers.getall(TRANSFER_ENCODING, ())).lower()
    lengths = {length.strip() for value in headers.getall(CONTENT_LENGTH, ()) for length in value.split(",")}
    if codings:
        if codings.rpartition(",")[2].strip() == "chunked":
            clear[TRANSFER_ENCODING] = "chunked"
    elif len(lengths) == 1 and re.fullmatch(r"[0-9]{1,18}", length := lengths.pop()):
        clear[CONTENT_LENGTH] = length
    encoding = ",".join(headers.getall(CONTENT_ENCODING, ()))
    if re.fullmatch(r"[A-Za-z-]{1,20}", encoding):
        clear[CONTENT_ENCODING] = encoding
    return clear


def asked_delay(headers: CIMultiDict[str], now: datetime) -> float | None:
    """How many seconds the server asks us to wait (RFC 9110 section 10.2.3).

    Args:
        headers: The headers of its answer. A date counts from the answer's own `Date`, so our clock may be wrong.
        now: The time of day, for an answer without a `Date`.

    Returns:
        The seconds, from 0; `None`: the server does not ask, or not in a form that we understand.

    Example:
        >>> now = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
        >>> until = CIMultiDict({"Retry-After": "Sun, 06 Nov 1994 08:50:07 GMT"})
        >>> asked_delay(until, now), asked_delay(CIMultiDict({"Retry-After": "7"}), now)
        (30.0, 7.0)
    """
    value = headers.get(RETRY_AFTER, "")
    if re.fullmatch(r"[0-9]+", value):
        return float(value)
    until = parse_date(value)
    if until is None:
        return None
    return max(0.0, (until - (parse_date(headers.get(DATE, "")) or now)).total_seconds())


def parse_date(value: str) -> datetime | None:
    """The time in a header (RFC 9110 section 5.6.7); `None`: the value is no time."""
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    # The oldest of the three forms has no zone. All three mean UTC.
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
