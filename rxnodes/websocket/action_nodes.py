"""The action nodes: WebSocket Client Start, Send and Stop."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable

from rxnodes.connection.protocols import check_connection
from rxnodes.errors import SendError
from rxnodes.lifecycle.states import check_close
from rxnodes.rx.arguments import check_callback
from rxnodes.rx.operators import Latest, Switch, action
from rxnodes.websocket.codec_argument import UNSET, Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeForm

    from rxnodes.codecs import CodecOf
    from rxnodes.connection.connection import Binary
    from rxnodes.connection.protocols import ConnectionLike

__all__ = ["SEND", "START", "STOP", "client_send", "client_start", "client_stop"]

#: The nodes' names in the toolbox and in recordings.
START: Final = "WebSocket Client Start"
SEND: Final = "WebSocket Client Send"
STOP: Final = "WebSocket Client Stop"

T = TypeVar("T")

_PULSE: Any = object()


def client_start(
    connection: ConnectionLike, *, enabled: Switch = True, pass_through: Switch = False
) -> Callable[[Observable[T]], Observable[T]]:
    """WebSocket Client Start: each pulse starts the connection, and passes at once.

    ::

        source:      ---●----------●---
              client_start(chat)
        result:      ---●----------●---
        on_start:    ------O-----------      open already: the second start does nothing

    Args:
        connection: The connection.
        enabled: If off, pulses end here. Of an observable the latest value counts; until it has one, this is on.
        pass_through: If on, pulses pass and nothing is started. Until an observable has a value, this is off.

    Returns:
        A pipeable operator that emits each pulse unchanged.

    Example:
        >>> from rxnodes import Project, pulse
        >>> project = Project(websocket={"chat": "ws://127.0.0.1:8080/"})
        >>> begin = pulse().pipe(client_start(project.websocket("chat")))
    """
    check_connection(connection)
    return _node(START, connection, lambda _: connection.start(), enabled, pass_through)


def client_stop(
    connection: ConnectionLike,
    *,
    code: int = 1000,
    reason: str = "",
    enabled: Switch = True,
    pass_through: Switch = False,
) -> Callable[[Observable[T]], Observable[T]]:
    """WebSocket Client Stop: each pulse begins to close the connection, and passes at once.

    It does not wait, and closing takes time: put logic that must run after the end behind `on_stop` or `until_stopped`.

    ::

        source:      ---●--------------
              client_stop(chat)
        result:      ---●--------------
        on_stop:     ---------S--------      now it is over

    Args:
        connection: The connection.
        code: The close code: 1000 to 1003, 1007 to 1014, or 3000 to 4999 (RFC 6455 section 7.4).
        reason: At most 123 bytes of UTF-8.
        enabled: If off, pulses end here. Of an observable the latest value counts; until it has one, this is on.
        pass_through: If on, pulses pass and nothing is stopped. Until an observable has a value, this is off.

    Returns:
        A pipeable operator that emits each pulse unchanged.

    Raises:
        ValueError: If the code must not be sent, or the reason does not fit.

    Example:
        >>> from rxnodes import Project
        >>> from rxnodes.websocket import on_receive
        >>> chat = Project(websocket={"chat": "ws://127.0.0.1:8080/"}).websocket("chat")
        >>> hang_up = on_receive(chat).pipe(client_stop(chat, reason="heard enough"))
    """
    check_connection(connection)
    check_close(code, reason)
    return _node(STOP, connection, lambda _: connection.stop(code=code, reason=reason), enabled, pass_through)


@overload
def client_send(
    connection: ConnectionLike,
    message: str
    | Binary
    | Callable[[Any], str | Binary]
    | Observable[str]
    | Observable[bytes]
    | Observable[str | bytes] = ...,
    *,
    is_binary: bool | None = ...,
    tag: Callable[[Any], object] | None = None,
    enabled: Switch = True,
    pass_through: Switch = False,
) -> Callable[[Observable[T]], Observable[T]]: ...
@overload
def client_send(
    connection: ConnectionLike,
    message: Callable[[Any], Any] | object = ...,
    *,
    codec: CodecOf[Any] | TypeForm[Any] | None,
    tag: Callable[[Any], object] | None = None,
    enabled: Switch = True,
    pass_through: Switch = False,
) -> Callable[[Observable[T]], Observable[T]]: ...
def client_send(  # noqa: PLR0913 - a node has its attributes
    connection: ConnectionLike,
    message: Any = _PULSE,
    *,
    is_binary: bool | None = UNSET,
    codec: Any = UNSET,
    tag: Callable[[Any], object] | None = None,
    enabled: Switch = True,
    pass_through: Switch = False,
) -> Callable[[Observable[Any]], Observable[Any]]:
    """WebSocket Client Send: each pulse sends a message, and passes at once.

    If the connection is not open, or the value is no message or does not fit the codec, there is an `ErrorEvent` of
    phase `send`, and the pulse passes all the same.

    ::

        source:      ---1---2---3---
              client_send(chat, lambda n: f"number {n}")
        result:      ---1---2---3---         sent: "number 1", "number 2", "number 3"

    Args:
        connection: The connection.
        message: What to send: a constant, a function of the pulse, or an observable, whose latest value each pulse
            sends. Left out, the pulse itself is sent.
        is_binary: `False`: a text message, from a `str`. `True`: a binary message; a `str` is encoded as UTF-8. `None`:
            a `str` goes as a text message, `bytes` as a binary one.
        codec: Writes the message:

            - `str`, `bytes` and `None`: the same as `is_binary=False`, `True` and `None`.
            - `"json"`, `"msgpack"`, another type (a pydantic model, a dataclass, `list[int]`, ...), a pair of functions
              `(encode, decode)`, or a `Codec`: the message is a value.

            Left out, the connection's codec counts, or else `None`. Type checkers do not know the settings, and take
            the latter. Give `codec` or `is_binary`, not both.
        tag: A function that gives the tag of a pulse's message. `connection.sends` emits the outcome of the message
            with this tag, also if no message can be made.
        enabled: If off, pulses end here. Of an observable the latest value counts; until it has one, this is on.
        pass_through: If on, pulses pass and nothing is sent. Until an observable has a value, this is off.

    Returns:
        A pipeable operator that emits each pulse unchanged. If a function raises, the pipeline ends with that error.

    Raises:
        TypeError: If a constant is of the wrong type, `codec` is no codec or given together with `is_binary`,
            `is_binary` is neither a `bool` nor `None`, `tag` is no plain function, or `enabled` or `pass_through` no
            switch.
        ValueError: If a constant cannot be encoded as UTF-8 or does not fit the codec, no codec has that name, or its
            package is not installed.

    Example:
        >>> from rxnodes import Project
        >>> from rxnodes.websocket import on_start
        >>> chat = Project(websocket={"chat": "ws://127.0.0.1:8080/"}).websocket("chat")
        >>> greet = on_start(chat).pipe(client_send(chat, lambda opened: f"hello from session {opened.session}"))
        >>> ask = on_start(chat).pipe(client_send(chat, {"op": "subscribe", "channel": "prices"}, codec="json"))
    """
    writer = Writer(connection, codec, is_binary=is_binary)
    check_callback("tag", tag, gives="the tag of a pulse's message", is_optional=True)
    tag_of: Callable[[Any], object] = tag or (lambda _: None)

    def send(value: Any, pulse: Any) -> None:
        message_tag = tag_of(pulse)
        try:
            writer.send(value, tag=message_tag)
        except SendError as error:
            connection.for_nodes.report_unwritten(error, message_tag)

    def miss(pulse: Any) -> None:
        error = SendError(f"{connection.name!r}: there is no message to send yet")
        connection.for_nodes.report_unwritten(error, tag_of(pulse))

    if isinstance(message, Observable):
        node = partial(_node, SEND, connection, enabled=enabled, pass_through=pass_through)
        return _send_latest(message, send, miss, node)  # pyright: ignore[reportUnknownArgumentType]
    if message is _PULSE:
        return _node(SEND, connection, lambda pulse: send(pulse, pulse), enabled, pass_through)
    if callable(message):
        check_callback("message", message, gives="what to send")
        return _node(SEND, connection, lambda pulse: send(message(pulse), pulse), enabled, pass_through)
    send_constant = writer.constant_sender(message)
    return _node(SEND, connection, lambda pulse: send_constant(tag_of(pulse)), enabled, pass_through)


def _node(
    name: str, connection: ConnectionLike, execute: Callable[[Any], object], enabled: Switch, pass_through: Switch
) -> Callable[[Observable[T]], Observable[T]]:
    """An action node of a connection. Its pulses are reported to those who record the connection."""
    observers = connection.for_nodes.pulse_observers
    return action(execute, enabled=enabled, pass_through=pass_through, name=name, observers=observers)


def _send_latest(
    messages: Observable[Any],
    send: Callable[[Any, Any], None],
    miss: Callable[[Any], None],
    node: Callable[..., Callable[[Observable[T]], Observable[T]]],
) -> Callable[[Observable[T]], Observable[T]]:
    """Sends the latest value of `messages` for each pulse. Each subscription has a subscription to `messages`."""

    def operator(source: Observable[T]) -> Observable[T]:
        def subscribe(observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            latest = Latest[Any](None)

            def execute(pulse: T) -> None:
                if latest.has_value:
                    send(latest.value, pulse)
                else:
                    miss(pulse)

            following = latest.follow(messages, observer, scheduler)
            subscription = node(execute=execute)(source).subscribe(observer, scheduler=scheduler)
            return CompositeDisposable(following, subscription)

        return Observable(subscribe)

    return operator
