"""Turns events and exceptions into plain values that JSON has, and back: for recordings, and for the log of a fleet.

Whatever may be secret is left out: the fields that an event's `repr` does not show, the headers and the body of an
exception, and a subprotocol that is a token.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rxnodes import errors
from rxnodes.errors import ConnectError, RxNodesError
from rxnodes.headers import Headers
from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, Opened, Stopped
from rxnodes.lifecycle.secret_text import SecretText
from rxnodes.lifecycle.states import Initiator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxnodes.lifecycle.events import LifecycleEvent

__all__ = ["EVENTS", "error_of", "event_of", "plain_error", "plain_event"]

#: The kinds of events, by name.
EVENTS: Final[dict[str, type[LifecycleEvent]]] = {
    kind.__name__: kind for kind in (Connecting, Opened, Dropped, Closing, Stopped, ErrorEvent)
}
#: The names of their fields, without those that no `repr` shows.
_NAMES: Final = {name: [field.name for field in fields(kind) if field.repr] for name, kind in EVENTS.items()}
#: The attributes of an exception that are kept besides its type and text. None of them is secret.
_OF_ERRORS: Final = ("status", "proxy_status", "code", "reason", "retry_after", "retryable", "untrusted_certificate")
_ERRORS: Final[dict[str, type[RxNodesError]]] = {name: getattr(errors, name) for name in errors.__all__}


def plain_event(event: LifecycleEvent) -> dict[str, Any]:
    """Turns an event into plain values. They do not include its kind, which is the name of its class.

    Example:
        >>> from rxnodes.testing import closing
        >>> print(plain_event(closing())["initiator"])
        local
    """
    plain: dict[str, Any] = {name: getattr(event, name) for name in _NAMES[type(event).__name__]}
    plain["at"] = event.at.isoformat()
    if plain.get("error") is not None:
        plain["error"] = plain_error(plain["error"])
    if isinstance(plain.get("subprotocol"), SecretText):
        plain["subprotocol"] = None
    return plain


def event_of(kind: str, plain: Mapping[str, Any]) -> LifecycleEvent:
    """Makes an event of what `plain_event` gave. It ignores fields that this version does not know.

    Raises:
        KeyError, TypeError, ValueError: If the values are no event.
    """
    values = {name: plain[name] for name in _NAMES[kind]}
    values["at"] = datetime.fromisoformat(values["at"]).astimezone(UTC)
    if "initiator" in values:
        values["initiator"] = Initiator(values["initiator"])
    if values.get("error") is not None:
        values["error"] = error_of(values["error"])
    if kind == "Opened":
        values["headers"] = Headers({})
    return EVENTS[kind](**values)


def plain_error(error: BaseException) -> dict[str, Any]:
    """Turns an exception into plain values: the name of its class, its text, and what is known of the attempt."""
    known = {name: getattr(error, name) for name in _OF_ERRORS if getattr(error, name, None) is not None}
    return {"type": type(error).__name__, "message": str(error), **known}


def error_of(plain: Mapping[str, Any]) -> RxNodesError:
    """Makes an exception of what `plain_error` gave: an `RxNodesError` if its class is not one of ours."""
    kind, message = _ERRORS.get(plain["type"], RxNodesError), plain["message"]
    # Without the constructor, which may take more than the text. Only a `ConnectError` needs what its own one sets.
    error = ConnectError(message) if kind is ConnectError else kind.__new__(kind, message)
    for name in _OF_ERRORS:
        if name in plain:
            setattr(error, name, plain[name])
    return error
