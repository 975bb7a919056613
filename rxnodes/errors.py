"""The exceptions, one tree.

A mistake of the caller is raised where the call is made, most often as a plain `ValueError` or `TypeError`. A failure
of the network arrives as the `error` of an `ErrorEvent` or a `Stopped`, and is always one of these. No message ever
holds a secret: not a header's value, not a query's, not a password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from multidict import CIMultiDict

__all__ = [
    "BufferOverflow",
    "CloseTimeout",
    "ConnectError",
    "ConnectionLost",
    "DecodeError",
    "HandlerError",
    "HolderLost",
    "PluginDisabled",
    "ProtocolError",
    "RequestTimeout",
    "RxNodesError",
    "SendError",
    "SendUnknown",
    "SettingsError",
    "UnknownConfiguration",
]

E = TypeVar("E", bound=BaseException)

#: How many characters our messages repeat of a foreign text, such as a peer's reason or the text of an exception.
LONGEST = 300


class RxNodesError(Exception):
    """The base of every exception that rxnodes defines.

    Pickling and copying keep its type, text and attributes. As with every exception, its `__cause__` and its traceback
    stay behind.
    """

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[type[Self], tuple[Any, ...]], dict[str, Any]]:
        # Exception calls the class with `args`. That is the text that a constructor makes, and not what it takes.
        return _made_again, (type(self), self.args), self.__dict__.copy()


def _made_again(kind: type[E], args: tuple[Any, ...]) -> E:
    """An exception with these `args`, made without its constructor."""
    error = kind.__new__(kind, *args)
    error.args = args
    return error


class SettingsError(RxNodesError):
    """The settings are not usable.

    Attributes:
        problems: One sentence for each problem: where it is, what is wrong, and what is allowed.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        heading = "1 problem in the settings:" if count == 1 else f"{count} problems in the settings:"
        super().__init__("\n".join([heading, *(f"  {problem}" for problem in self.problems)]))


class UnknownConfiguration(RxNodesError, LookupError):  # noqa: N818 - named in the design
    """No connection of that name is configured.

    Attributes:
        name: The unknown name.
        known: The names of all connections.
    """

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        import difflib  # noqa: PLC0415 - nothing else here needs it

        nearest = difflib.get_close_matches(name, self.known, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        names = ", ".join(map(repr, self.known)) or "none"
        super().__init__(f"no connection named {name!r} is configured (known: {names}){hint}")


class PluginDisabled(RxNodesError):  # noqa: N818 - named in the design
    """The plugin is switched off.

    Attributes:
        plugin: The plugin's name.
        switch: The file (or the argument) that switches it.
    """

    def __init__(self, plugin: str, switch: str) -> None:
        self.plugin = plugin
        self.switch = switch
        super().__init__(f"the plugin {plugin!r} is disabled; {switch} switches it")


class ConnectError(RxNodesError):
    """An attempt to connect has failed.

    Neither its text nor its `repr` shows a header's value or the body, since both may hold secrets.

    Attributes:
        status: The HTTP status of the server's answer to the handshake; `None` if no server answered.
        headers: The headers of that answer, such as `Location`, `WWW-Authenticate` or `Set-Cookie`. They cannot be
            changed. Names are compared without regard to case (RFC 9110 section 5.1).
        body: The first 8 KiB of that answer's body, decompressed; less, if the rest did not come in time.
        retry_after: How many seconds the server or the proxy asks to wait (`Retry-After`, RFC 9110 section 10.2.3);
            `None` if it does not say so in a form that can be understood.
        proxy_status: The HTTP status with which a proxy refused to make a tunnel; `None` if no proxy refused.
        retryable: Whether the settings decide if another attempt follows. If it is `False`, none follows, because a
            hook gave up, or the options of the dial cannot be used.
        untrusted_certificate: Whether it failed because the server's certificate is not trusted.
        code: The peer's close code, if the peer closed during the login of `after_connect`; or else `None`.
        reason: The peer's reason, likewise.

    Example:
        >>> error = ConnectError("the server answered 302 instead of 101", status=302, body=b"moved")
        >>> error.status, error.headers.get("Location"), error.body, error.retry_after
        (302, None, b'moved', None)
    """

    def __init__(  # noqa: PLR0913 - one for each attribute
        self,
        message: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        retry_after: float | None = None,
        proxy_status: int | None = None,
        retryable: bool = True,
        untrusted_certificate: bool = False,
        code: int | None = None,
        reason: str | None = None,
    ) -> None:
        from rxnodes.headers import Headers  # noqa: PLC0415 - nothing else here needs it

        super().__init__(message)
        self.status = status
        self.headers: CIMultiDict[str] = Headers(headers or {})
        self.body = body
        self.retry_after = retry_after
        self.proxy_status = proxy_status
        self.retryable = retryable
        self.untrusted_certificate = untrusted_certificate
        self.code = code
        self.reason = reason


class ConnectionLost(RxNodesError):  # noqa: N818 - names what happened
    """An open connection ended: without the peer's Close frame, or before the message that somebody waited for.

    Attributes:
        code: The peer's close code; 1005 for an empty Close frame, 1006 for none (RFC 6455 section 7.1.5).
        reason: The peer's reason.
    """

    def __init__(self, message: str, *, code: int = 1006, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class HolderLost(ConnectionLost):
    """The worker of a fleet that held the connection holds it no more: it died, was cut off, or was stopped too long.

    The session has ended with this error for the whole fleet, and also for that worker if it still runs.
    """


class SendError(RxNodesError):
    """A message could not be sent."""


class SendUnknown(SendError):  # noqa: N818 - as CloseTimeout
    """A message went to the worker of a fleet that holds the connection, and no answer says whether it was sent.

    It is never sent again.
    """


class DecodeError(RxNodesError):
    """A message does not fit the codec, or cannot be given in the requested form."""


class ProtocolError(RxNodesError):
    """The peer broke the protocol.

    Attributes:
        code: The close code that we sent for it: 1002, 1003, 1007 or 1009 (RFC 6455 section 7.4.1).
    """

    def __init__(self, message: str, *, code: int = 1002) -> None:
        super().__init__(message)
        self.code = code


class RequestTimeout(RxNodesError, TimeoutError):  # noqa: N818 - as CloseTimeout
    """No answer to a request came in time."""


class CloseTimeout(RxNodesError):  # noqa: N818 - named in the design
    """The peer did not finish the closing handshake within `close_timeout`; the connection was aborted."""


class HandlerError(RxNodesError):
    """A subscriber raised. `__cause__` is what it raised."""


class BufferOverflow(RxNodesError):  # noqa: N818 - names what happened
    """More items came than a buffer may hold, and its policy was not to drop any.

    Attributes:
        size: How many items may wait.
    """

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


# --- The texts of foreign exceptions ----------------------------------------------------------------------------------


def text_of(error: BaseException, say: Callable[[Any], str] = str, *, otherwise: str | None = None) -> str:
    r"""The text of a foreign exception, fit for an event, a log line or an error of ours.

    It never raises, though the exception's `__str__` may. The text is short and on one line, so that a peer, who may
    choose a part of it, cannot forge a line of a log.

    Args:
        error: The exception.
        say: Makes the text of it. It may raise too.
        otherwise: Stands for an empty text, or for one that cannot be made; by default the name of the error's type.

    Returns:
        The text.

    Example:
        >>> text_of(ValueError("no\nnumber")), text_of(ValueError())
        ('no\\nnumber', 'ValueError')
    """
    try:
        text = printable(say(error))
    except BaseException:  # noqa: BLE001 - whatever it is, it must not take the place of the error it is about
        text = ""
    return text or otherwise or type(error).__name__


def with_type(error: BaseException) -> str:
    """The name of the exception's type, then its text: for `text_of`, where the text alone says too little."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else ""


def printable(text: str, longest: int = LONGEST) -> str:
    r"""The beginning of a foreign text, on one line: what cannot be printed becomes an escape such as `\n`.

    Example:
        >>> printable("a\x1b[2J", longest=5), printable("is as it is")
        ('a\\x1b...', 'is as it is')
    """
    shown = text[:longest]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    is_whole = len(text) <= longest and len(shown) <= longest
    return shown if is_whole else f"{shown[:longest]}..."
