"""Recordings as JSON Lines, version 1: one object a line, of which the first describes the recording."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import json
import typing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from multidict import CIMultiDict

from rxnodes.lifecycle.events import Opened
from rxnodes.lifecycle.letters import EVENTS, error_of, plain_error
from rxnodes.lifecycle.states import ConnectionState, Initiator
from rxnodes.recording.entries import LeftOut, Message, Messages, Pulse, Recorded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rxnodes.recording.entries import Entry

__all__ = ["VERSION", "Head", "head_line", "line_of", "read"]

VERSION: Final = 1

_KINDS: Final[dict[str, type[Any]]] = {
    **EVENTS,
    **{kind.__name__: kind for kind in (Message, Messages, Pulse, LeftOut)},
}


class Head(typing.NamedTuple):
    """What the first line says.

    Attributes:
        began_at: When the recording began, in UTC.
        states: The states of the connections then, by name. One that came later was idle.
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

    What the repr of an event does not show may be secret, and is left out; so are an exception's headers and body.

    Example:
        >>> from rxnodes.testing import closing
        >>> line_of(Recorded(0.5, closing()))[:66]
        b'{"t":0.5,"at":"2000-01-01T00:00:00+00:00","connection":"chat","ses'
    """
    entry = recorded.value
    fields: dict[str, Any] = {"t": round(recorded.time, 6)}
    common, own = _names(type(entry).__name__)
    for name in common:
        fields[name] = getattr(entry, name)
    fields["event"] = type(entry).__name__
    for name in own:
        fields[name] = getattr(entry, name)
    payload = entry.payload if isinstance(entry, Message) else None
    if isinstance(payload, str):
        fields["payload"] = payload
    elif payload is not None:
        fields["payload_base64"] = base64.b64encode(payload).decode()
    return _line(fields)


@functools.cache
def _names(kind: str) -> tuple[list[str], list[str]]:
    """The fields of a kind of entries: those that all have, and its own."""
    names = [it.name for it in dataclasses.fields(_KINDS[kind]) if it.repr]
    common: list[str] = [name for name in ("at", "connection", "session", "attempt") if name in names]
    return common, [name for name in names if name not in common]


def _line(fields: Mapping[str, object]) -> bytes:
    # In ASCII: a name may hold half of a surrogate pair.
    return _encode(fields).encode() + b"\n"


def _plain(value: object) -> object:
    """What JSON has no form for: times and exceptions."""
    if isinstance(value, datetime):
        return value.isoformat()
    assert isinstance(value, BaseException)
    return plain_error(value)


_encode = json.JSONEncoder(default=_plain, separators=(",", ":")).encode


# --- Reading ----------------------------------------------------------------------------------------------------------


def read(lines: Iterable[bytes]) -> tuple[Head, list[Recorded[Entry]]]:
    """Reads a recording, in the order of time. A last line without its end was torn, and is passed over.

    Raises:
        ValueError: If it is no recording, or one of another version, or a line cannot be read.
    """
    numbered = enumerate(lines, 1)
    _, first = next(numbered, (1, b""))
    head = _head(first)
    return head, sorted(_entries(numbered), key=lambda recorded: recorded.time)


def _head(line: bytes) -> Head:
    fields: dict[str, Any] = {}
    with contextlib.suppress(ValueError, TypeError):
        fields = dict(json.loads(line))
    if fields.get("rxnodes") != "recording":
        raise ValueError("this is no recording of rxnodes")
    if fields.get("version") != VERSION:
        raise ValueError(f"a recording of version {fields.get('version')!r}; this rxnodes reads version {VERSION}")
    try:
        states = {name: ConnectionState(state) for name, state in fields["states"].items()}
        return Head(datetime.fromisoformat(fields["began_at"]), states)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"line 1 of the recording cannot be read: {error!r}") from error


def _entries(numbered: Iterator[tuple[int, bytes]]) -> Iterator[Recorded[Entry]]:
    for number, line in numbered:
        if not line.endswith(b"\n"):
            return
        try:
            yield _recorded(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"line {number} of the recording cannot be read: {error!r}") from error


def _recorded(fields: dict[str, Any]) -> Recorded[Entry]:
    time = float(fields.pop("t"))
    kind = _KINDS[fields.pop("event")]
    if "at" in fields:
        fields["at"] = datetime.fromisoformat(fields["at"]).astimezone(UTC)
    if "initiator" in fields:
        fields["initiator"] = Initiator(fields["initiator"])
    if fields.get("error") is not None:
        fields["error"] = error_of(fields["error"])
    if "payload_base64" in fields:
        fields["payload"] = base64.b64decode(fields.pop("payload_base64"), validate=True)
    if kind is Opened:
        fields["headers"] = CIMultiDict[str]()
    return Recorded(time, cast("Entry", kind(**fields)))
