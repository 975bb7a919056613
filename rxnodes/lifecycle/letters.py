"""Events and exceptions as plain values that JSON has, and back: for recordings, and for the log of a fleet.

What the `repr` of an event does not show may be secret, and is left out; so are an exception's headers and body, and a
subprotocol that is a token.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, cast

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
#: The names of their fields, but for what no `repr` shows.
_NAMES: Final = {name: [field.name for field in fields(kind) if field.repr] for name, kind in EVENTS.items()}
_VALUES: Final = {name: attrgetter(*names) for name, names in _NAMES.items()}
#: What of an exception is told besides its type and text: nothing of it is a secret.
_OF_ERRORS: Final = (
    "status",
    "proxy_status",
    "code",
    "reason",
    "retry_after",
    "retryable",
    "untrusted_certificate",
)
_ERRORS: Final[dict[str, type[RxNodesError]]] = {name: getattr(errors, name) for name in errors.__all__}


def plain_event(event: LifecycleEvent) -> dict[str, Any]:
    """An event in plain values, without its kind: the name of its class.

    Example:
        >>> from rxnodes.testing import closing
        >>> print(plain_event(closing())["initiator"])
        local
    """
    kind = type(event).__name__
    plain = dict(zip(_NAMES[kind], _VALUES[kind](event), strict=True))
    plain["at"] = event.at.isoformat()
    if plain.get("error") is not None:
        plain["error"] = plain_error(plain["error"])
    if isinstance(plain.get("subprotocol"), SecretText):
        plain["subprotocol"] = None
    return plain


def event_of(kind: str, plain: Mapping[str, Any]) -> LifecycleEvent:
    """The event that `plain_event` made plain. Fields that this version does not know are passed over.

    Raises:
        KeyError, TypeError, ValueError: If it is none.
    """
    of_kind = EVENTS[kind]
    values = {name: plain[name] for name in _NAMES[kind]}
    values["at"] = datetime.fromisoformat(values["at"]).astimezone(UTC)
    if "initiator" in values:
        values["initiator"] = Initiator(values["initiator"])
    if values.get("error") is not None:
        values["error"] = error_of(values["error"])
    if of_kind is Opened:
        values["headers"] = Headers({})
    return of_kind(**values)


def plain_error(error: BaseException) -> dict[str, Any]:
    """An exception in plain values: the name of its class, its text, and what is known of the attempt."""
    known = {name: getattr(error, name) for name in _OF_ERRORS if getattr(error, name, None) is not None}
    return {"type": type(error).__name__, "message": str(error), **known}


def error_of(plain: Mapping[str, Any]) -> RxNodesError:
    """The exception that `plain_error` made plain; an `RxNodesError` where its type is not one of ours."""
    kind = _ERRORS.get(plain["type"], RxNodesError)
    error = kind.__new__(kind, plain["message"])
    if issubclass(kind, ConnectError):
        ConnectError.__init__(cast("ConnectError", error), plain["message"])
    error.args = (plain["message"],)
    for name in _OF_ERRORS:
        if name in plain:
            setattr(error, name, plain[name])
    return error
