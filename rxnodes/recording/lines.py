"""Recordings as JSON Lines, version 1: one object a line, of which the first describes the recording."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import typing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from rxnodes import errors
from rxnodes.lifecycle.events import ErrorPhase, LifecycleEvent
from rxnodes.lifecycle.plain_values import EVENTS, event_of, plain_event
from rxnodes.lifecycle.states import ConnectionState
from rxnodes.recording.entries import Direction, Kind, LeftOut, Message, Messages, Pulse, Recorded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rxnodes.recording.entries import Entry

__all__ = ["VERSION", "Head", "head_line", "line_of", "read"]

VERSION: Final = 1

#: The kinds of entries beside lifecycle events, and the names of their fields, but for what no `repr` shows.
_KINDS: Final[dict[str, type[Any]]] = {kind.__name__: kind for kind in (Message, Messages, Pulse, LeftOut)}
_NAMES: Final = {
    name: [field.name for field in dataclasses.fields(kind) if field.repr] for name, kind in _KINDS.items()
}
#: What stands in front of the event's name.
_COMMON: Final[tuple[str, ...]] = ("at", "connection", "session", "attempt")
#: The types of the fields of entries and exceptions. No number is below 0, and no count is 0.
_FIELDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("connection", "url", "reason", "message", "node", "payload", "payload_base64", "type"), str),
    **dict.fromkeys(("session", "attempt", "code", "attempts", "size", "count", "unsent", "undelivered"), int),
    **dict.fromkeys(("messages_received", "bytes_received", "messages_sent", "bytes_sent"), int),
    **dict.fromkeys(("messages", "pulses", "events", "status", "proxy_status"), int),
    **dict.fromkeys(("t", "elapsed", "retry_in", "duration", "span", "retry_after"), int | float),
    **dict.fromkeys(("is_reconnect", "was_clean", "opened", "retryable", "untrusted_certificate"), bool),
    "subprotocol": str | None,
}
_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "direction": typing.get_args(Direction),
    "kind": typing.get_args(Kind),
    "phase": typing.get_args(ErrorPhase),
}
#: No number of a recording, be it of seconds or of bytes, reaches this.
_TOO_LARGE: Final = 1e15


class Head(typing.NamedTuple):
    """The first line of a recording.

    Attributes:
        began_at: When the recording began, in UTC.
        states: The states of the connections at that time, by name. A connection that is not there was made later.
    """

    began_at: datetime
    states: Mapping[str, ConnectionState]


# --- Writing ----------------------------------------------------------------------------------------------------------


def head_line(head: Head) -> bytes:
    """The first line."""
    return _line(
        {
            "rxnodes": "recording",
            "version": VERSION,
            "began_at": head.began_at.isoformat(),
            "states": {name: state.value for name, state in head.states.items()},
        }
    )


def line_of(recorded: Recorded[Entry]) -> bytes:
    """An entry as a line.

    Nothing secret is in it: neither headers, nor an exception's body, nor a subprotocol that is a token.

    Example:
        >>> from rxnodes.testing import closing
        >>> line_of(Recorded(0.5, closing()))[:66]
        b'{"t":0.5,"at":"2000-01-01T00:00:00+00:00","connection":"chat","ses'
    """
    kind = type(recorded.value).__name__
    fields = _plain(recorded.value)
    common: dict[str, Any] = {name: fields.pop(name) for name in _COMMON if name in fields}
    return _line({"t": round(recorded.time, 6), **common, "event": kind, **fields})


def _plain(entry: Entry) -> dict[str, Any]:
    """The fields of an entry, as values that JSON has a form for."""
    if isinstance(entry, LifecycleEvent):
        return plain_event(entry)
    fields = {name: getattr(entry, name) for name in _NAMES[type(entry).__name__]}
    if "at" in fields:
        fields["at"] = fields["at"].isoformat()
    payload = entry.payload if isinstance(entry, Message) else None
    if isinstance(payload, str):
        fields["payload"] = payload
    elif payload is not None:
        fields["payload_base64"] = base64.b64encode(payload).decode()
    return fields


# In ASCII: a name may hold half of a surrogate pair.
_encode = json.JSONEncoder(separators=(",", ":")).encode


def _line(fields: Mapping[str, object]) -> bytes:
    return _encode(fields).encode() + b"\n"


# --- Reading ----------------------------------------------------------------------------------------------------------


def read(lines: Iterable[bytes]) -> tuple[Head, list[Recorded[Entry]]]:
    """Reads a recording, in the order of time. It skips a last line that a crash has torn.

    Raises:
        ValueError: If it is no recording, has another version, or a line cannot be read.
    """
    numbered = enumerate(lines, 1)
    _, first = next(numbered, (1, b""))
    head = _head(first)
    return head, sorted(_entries(numbered), key=lambda recorded: recorded.time)


def _head(line: bytes) -> Head:
    fields: dict[str, Any] = {}
    with contextlib.suppress(*_UNREADABLE):
        fields = dict(json.loads(line))
    if fields.get("rxnodes") != "recording":
        raise ValueError("this is no recording of rxnodes")
    if fields.get("version") != VERSION:
        raise ValueError(f"a recording of version {fields.get('version')!r}; this rxnodes reads version {VERSION}")
    try:
        states = {name: ConnectionState(state) for name, state in fields["states"].items()}
        return Head(_moment(fields["began_at"]), states)
    except _UNREADABLE as error:
        raise ValueError(f"line 1 of the recording cannot be read: {_why(error)}") from error


#: What reading a foreign line can raise, as for very deep lists, and for times before the year 1.
_UNREADABLE: Final = (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError)


def _why(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else errors.text_of(error)


def _entries(numbered: Iterator[tuple[int, bytes]]) -> Iterator[Recorded[Entry]]:
    for number, line in numbered:
        if not line.endswith(b"\n"):
            return
        try:
            yield _recorded(json.loads(line))
        except _UNREADABLE as error:
            raise ValueError(f"line {number} of the recording cannot be read: {_why(error)}") from error


def _recorded(fields: dict[str, Any]) -> Recorded[Entry]:
    kind = fields.pop("event")
    _check(fields)
    time = float(fields.pop("t"))
    if kind in EVENTS:
        if fields.get("error") is not None:
            _check(fields["error"])
        return Recorded(time, event_of(kind, fields))
    if kind not in _KINDS:
        raise ValueError("its event is none of version 1")
    if "at" in fields:
        fields["at"] = _moment(fields["at"])
    if "payload_base64" in fields:
        fields["payload"] = base64.b64decode(fields.pop("payload_base64"), validate=True)
    return Recorded(time, cast("Entry", _KINDS[kind](**fields)))


def _check(fields: Mapping[str, Any]) -> None:
    """Refuses values of wrong types here: elsewhere they would fail far away from the line that has them."""
    for name, value in fields.items():
        choices = _CHOICES.get(name, (value,))
        is_right = isinstance(value, _FIELDS.get(name, object)) and value in choices
        if is_right and isinstance(value, int | float):
            is_right = (name == "count") <= value < _TOO_LARGE
        if not is_right:
            raise ValueError(f"its {name} cannot be {errors.printable(repr(value))}")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
