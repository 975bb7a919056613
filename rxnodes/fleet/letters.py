"""What workers and observers write to each other: JSON with a version, never pickle.

There are no headers, bodies, payloads or settings in any of it, but for the payload of a batch of messages, which is
bytes behind bytes. Names become tokens, which NATS takes in a subject and as a key.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, cast

from rxnodes.fleet.rules.values import Entry, Lease, Record, Tail, Wish
from rxnodes.lifecycle.plain_values import event_of, plain_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "VERSION",
    "Batch",
    "Reading",
    "Unreadable",
    "batch_letter",
    "batch_of",
    "dumped",
    "entry_letter",
    "entry_of",
    "lease_letter",
    "lease_of",
    "line_of",
    "loaded",
    "name_of",
    "record_letter",
    "record_of",
    "token",
    "with_line",
]

VERSION: Final = 1


class Unreadable(ValueError):  # noqa: N818 - says what it is
    """Bytes that are none of these letters, or one of a version that this rxnodes does not know."""


# --- Names ------------------------------------------------------------------------------------------------------------

_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_BYTE: Final = re.compile(r"_([0-9A-F]{2})|[a-zA-Z0-9-]")
#: A name that is its own token, as most are.
_is_plain: Final = re.compile(r"[a-zA-Z0-9-]*").fullmatch


def token(name: str) -> str:
    """A name as one token of a subject: letters, digits and `-` stay, each other byte of its UTF-8 becomes `_` and hex.

    Example:
        >>> token("chat.eu 1"), token("größe_m")
        ('chat_2Eeu_201', 'gr_C3_B6_C3_9Fe_5Fm')
    """
    if _is_plain(name):
        return name
    return "".join(chr(byte) if byte in _PLAIN else f"_{byte:02X}" for byte in name.encode("utf-8", "surrogatepass"))


def name_of(written: str) -> str:
    """The name of a token.

    Raises:
        Unreadable: If it is no token of a name.

    Example:
        >>> name_of("chat_2Eeu_201")
        'chat.eu 1'
    """
    if _is_plain(written):
        return written
    raw = bytearray()
    at = 0
    while at < len(written):
        found = _BYTE.match(written, at)
        if found is None:
            raise Unreadable(f"{written!r} is no token of a name")
        raw.append(int(found[1], 16) if found[1] else ord(found[0]))
        at = found.end()
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{written!r} is no token of a name") from error


# --- Any letter -------------------------------------------------------------------------------------------------------


def dumped(plain: Mapping[str, Any]) -> bytes:
    """Plain values as a letter, with the version in front. In ASCII: a name may hold half of a surrogate pair."""
    return _encode({"v": VERSION, **plain}).encode()


def loaded(letter: bytes | str) -> dict[str, Any]:
    """The plain values of a letter.

    Raises:
        Unreadable: If it is none, or one of another version.
    """
    try:
        plain: Any = _decode(letter if isinstance(letter, str) else letter.decode())
    except ValueError as error:
        raise Unreadable("a letter that is no JSON") from error
    if not isinstance(plain, dict) or "v" not in plain:
        raise Unreadable("a letter without a version")
    if plain["v"] != VERSION:
        raise Unreadable(f"a letter of version {plain['v']!r}; this rxnodes reads version {VERSION}")
    return cast("dict[str, Any]", plain)


_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


class Reading:
    """Turns whatever goes wrong while the values of a letter are read into `Unreadable`."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, LookupError | TypeError | ValueError | AttributeError) and not isinstance(
            error, Unreadable
        ):
            raise Unreadable(f"a letter that is no {self._what}: {error!r}") from error


# --- Leases and records -----------------------------------------------------------------------------------------------


def lease_letter(lease: Lease) -> bytes:
    """A lease as a letter."""
    return dumped({field.name: getattr(lease, field.name) for field in fields(Lease)})


def lease_of(letter: bytes) -> Lease:
    """The lease of a letter.

    Raises:
        Unreadable: If it is none.
    """
    plain = loaded(letter)
    with Reading("lease"):
        # Those of the fields that this version knows.
        return Lease(**{field.name: plain[field.name] for field in fields(Lease) if field.name in plain})


def record_letter(record: Record) -> bytes:
    """A record as a letter, without its revision, which is the store's."""
    return dumped({**record._asdict(), "wish": record.wish._asdict()})


def record_of(letter: bytes) -> Record:
    """The record of a letter.

    Raises:
        Unreadable: If it is none.
    """
    plain = loaded(letter)
    with Reading("record"):
        plain["wish"] = Wish._make(map(plain["wish"].get, Wish._fields, Wish()))
        return Record._make(map(plain.get, Record._fields, Record()))


# --- Entries of the log -----------------------------------------------------------------------------------------------


#: What an entry says of how the connection stands behind it: the sequence behind it is the store's.
_AFTER: Final = Tail._fields[1:]


def entry_letter(entry: Entry) -> bytes:
    """An entry of the log as a letter."""
    after = dict(zip(_AFTER, entry.after[1:], strict=True))
    plain: dict[str, Any] = {"worker": entry.worker, "kind": entry.kind, "after": after}
    if entry.behind is not None:
        plain["behind"] = entry.behind
    if entry.published is not None:
        plain["published"] = entry.published
    if entry.event is not None:
        plain["event"] = plain_event(entry.event)
    return dumped(plain)


def entry_of(letter: bytes) -> Entry:
    """The entry of a letter. The headers of an `Opened` did not travel: they are empty.

    Raises:
        Unreadable: If it is none.
    """
    plain = loaded(letter)
    with Reading("entry"):
        event = event_of(plain["kind"], plain["event"]) if "event" in plain else None
        after = Tail._make(map(plain["after"].get, Tail._fields, Tail()))
        return Entry(plain["worker"], event, after, plain.get("behind"), plain.get("published"))


def with_line(line: bytes, payload: bytes) -> bytes:
    """A letter that has bytes behind its line. It is no header of NATS, because those take the client long to read."""
    return b"%b\n%b" % (line, payload)


def line_of(letter: bytes) -> tuple[bytes, bytes]:
    """The line of a letter, and the bytes behind it."""
    line, _, payload = letter.partition(b"\n")
    return line, payload


# --- Messages ---------------------------------------------------------------------------------------------------------
#
# On `messages.<token>` the holder publishes batches, where there is interest in them. Observers listen there, and serve
# `interest.<token>`: a request there asks whether anybody is interested. Observers answer it with nothing, and where
# there are none the engine says so at once. On `interest` listen those who are interested in any connection. The
# holder asks before each dial, first there and for all that it is about to dial, and every few seconds while it
# publishes. An observer that becomes interested later first listens, and then asks the holder to publish, see below.
#
# On `send.<worker's id>.<token>` the holder serves requests: to send messages, or to publish those that come. The
# record says who the holder is. Each answer says whether the connection is held there at all.


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages of one kind that followed each other in one attempt.

    Attributes:
        epoch: The epoch in which they came.
        session: The number of the session.
        attempt: The number of the attempt.
        first: The number of the first of them within the attempt, from 1. A batch without messages says that those
            before this number are not coming.
        messages: The messages, all text or all binary.
    """

    epoch: int
    session: int
    attempt: int
    first: int
    messages: list[str] | list[bytes]


def batch_letter(batch: Batch) -> bytes:
    """A batch as a letter: a line that says what it is, and the bytes of its messages, one behind the other.

    The lengths of texts are in characters, so that all of them are decoded as one.
    """
    is_binary = bool(batch.messages) and isinstance(batch.messages[0], bytes)
    if is_binary:
        payload = b"".join(cast("list[bytes]", batch.messages))
    else:
        payload = "".join(cast("list[str]", batch.messages)).encode()
    header = dumped(
        {
            "epoch": batch.epoch,
            "session": batch.session,
            "attempt": batch.attempt,
            "first": batch.first,
            "kind": "binary" if is_binary else "text",
            "lengths": list(map(len, batch.messages)),
        }
    )
    return with_line(header, payload)


def batch_of(letter: bytes) -> Batch:
    """The batch of a letter.

    Raises:
        Unreadable: If it is none, or its lengths do not fit.
    """
    line, payload = line_of(letter)
    plain = loaded(line)
    with Reading("batch of messages"):
        lengths: list[int] = plain["lengths"]
        whole: str | bytes = payload if {"binary": True, "text": False}[plain["kind"]] else payload.decode()
        if sum(lengths) != len(whole) or min(lengths, default=0) < 0:
            raise Unreadable("the lengths of a batch do not fit its payload")
        return Batch(
            epoch=plain["epoch"],
            session=plain["session"],
            attempt=plain["attempt"],
            first=plain["first"],
            messages=cast("list[str] | list[bytes]", list(_cut(whole, lengths))),
        )


def _cut(whole: str | bytes, lengths: Iterable[int]) -> Iterator[str | bytes]:
    at = 0
    for length in lengths:
        yield whole[at : at + length]
        at += length
