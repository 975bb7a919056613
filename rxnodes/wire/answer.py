"""The head of the server's answer to the opening handshake, and what it says about trying again.

Real servers write heads that the grammar of RFC 9112 does not have, and browsers take them. So does this reader, as far
as nothing of them is ambiguous. What it takes depends on nothing but the bytes.
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

#: RFC 9112 section 2.2: a line may end in a bare LF. A pattern that begins with what may be missing is searched for ten
#: times as slowly, so what ends a line takes the CR before this.
END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
#: RFC 9112 section 4. The reason phrase, and the space before it, are often missing.
STATUS_LINE: Final = re.compile(r"HTTP/1\.[01][ \t]+([1-9][0-9]{2})(?:[ \t].*)?\r?")
#: RFC 9112 section 5, with names of RFC 9110 section 5.6.2. A client takes spaces before the colon away. No value has
#: the bytes that RFC 9110 section 5.5 calls dangerous.
FIELD_LINE: Final = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*:[ \t]*([^\r\n\0]*)\r?")
#: RFC 9112 section 5.2: a line that begins with a space continues the one before it.
FOLD: Final = re.compile(r"[ \t]*\r?\n[ \t]+")

#: The longest part of what `END_OF_HEAD` matches that may lie in an earlier read.
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
        headers: The headers, each as often as it came. Values are UTF-8, or ISO-8859-1 where they are not valid UTF-8.
    """

    status: int
    # They may hold secrets.
    headers: CIMultiDict[str] = field(repr=False)


class HeadReader:
    r"""Reads the head of an answer from the bytes as they come.

    Interim answers (100 to 199, but for 101) are passed over, as RFC 9110 section 15.2 demands.

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
            The bytes behind the head; `None`: it is not complete yet.

        Raises:
            RefusedError: If it is no head of HTTP/1.1, or a longer one than `max_size`.
        """
        self._data += data
        while (head := self._next_head()) is not None:
            if head.status >= 200 or head.status == SWITCHING_PROTOCOLS:  # noqa: PLR2004
                self.head = head
                return bytes(self._data)
        return None

    def _next_head(self) -> AnswerHead | None:
        # Empty lines before a status line, as after an answer that is passed over, are of no meaning.
        if not self._seen:
            blank = len(self._data) - len(self._data.lstrip(b"\r\n"))
            self._drop(blank)
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


#: Names are shared by all heads, which makes a head smaller, and twice as fast to read. The names of a server that
#: sends others each time do not pile up.
field_name: Final = lru_cache(maxsize=256)(istr)


def parse_head(data: bytes) -> AnswerHead:
    """The head in these bytes, which end before its last line break.

    Raises:
        RefusedError: If it is none.
    """
    # As ISO-8859-1, which takes all bytes as they are.
    first, _, rest = data.decode("latin-1").partition("\n")
    status = STATUS_LINE.fullmatch(first)
    if status is None:
        raise RefusedError(NOT_HTTP)
    if "\n " in rest or "\n\t" in rest:
        rest = FOLD.sub(" ", rest)
    lines = rest.split("\n") if rest else []
    return AnswerHead(int(status[1]), CIMultiDict([parse_field(line) for line in lines]))


def parse_field(line: str) -> tuple[str, str]:
    """The name and the value in a line.

    Raises:
        RefusedError: If there are none.
    """
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
    """The headers that say where the body ends and how it is encoded (RFC 9112 section 6.3), without ambiguity.

    Where they contradict each other, the body goes on until the connection ends.
    """
    told: dict[str, str] = {}
    codings = ",".join(headers.getall(TRANSFER_ENCODING, ())).lower()
    lengths = {length.strip() for value in headers.getall(CONTENT_LENGTH, ()) for length in value.split(",")}
    if codings:
        if codings.rpartition(",")[2].strip() == "chunked":
            told[TRANSFER_ENCODING] = "chunked"
    elif len(lengths) == 1 and re.fullmatch(r"[0-9]{1,18}", length := lengths.pop()):
        told[CONTENT_LENGTH] = length
    encoding = ",".join(headers.getall(CONTENT_ENCODING, ()))
    if re.fullmatch(r"[A-Za-z-]{1,20}", encoding):
        told[CONTENT_ENCODING] = encoding
    return told


def asked_delay(headers: CIMultiDict[str], now: datetime) -> float | None:
    """How many seconds the server asks to wait (RFC 9110 section 10.2.3).

    Args:
        headers: Those of its answer. A date is counted from the answer's own `Date`, so that our clock may be wrong.
        now: The time of day, for an answer that has no date.

    Returns:
        The seconds, from 0; `None`: it does not say, or cannot be understood.

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
    """The time in a header (RFC 9110 section 5.6.7); `None`: it has none."""
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    # The oldest of the three forms has no zone; all of them mean UTC.
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
