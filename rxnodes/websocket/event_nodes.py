"""The event nodes: On WebSocket Start, Receive, Stop and Error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from rxnodes.connection.protocols import check_connection
from rxnodes.lifecycle.events import Opened, Stopped
from rxnodes.rx.filtered import Filtered
from rxnodes.websocket.forms import UNSET, form_of

if TYPE_CHECKING:
    from reactivex import Observable
    from typing_extensions import TypeForm

    from rxnodes.codecs import CodecName, CodecOf
    from rxnodes.connection.connection import Connection
    from rxnodes.lifecycle.events import ErrorEvent

__all__ = ["on_error", "on_receive", "on_start", "on_stop"]

T = TypeVar("T")


def on_start(connection: Connection) -> Observable[Opened]:
    """On WebSocket Start: fires each time the connection is open, after a reconnect too.

    ::

        state:       connecting---open-------reconnecting---connecting---open---
        on_start:    -------------O--------------------------------------O------

    Args:
        connection: The connection.

    Returns:
        A hot observable of `Opened`. It never errors, and completes when the project closes.

    Example:
        >>> from rxnodes import Project
        >>> chat = Project(websocket={"chat": "ws://127.0.0.1:8080/"}).websocket("chat")
        >>> subscription = on_start(chat).subscribe(lambda opened: print("open after", opened.elapsed, "s"))
    """
    check_connection(connection)
    return Filtered(connection.lifecycle, Opened)


@overload
def on_receive(
    connection: Connection, *, is_binary: Literal[False] = ..., batched: Literal[False] = False, codec: None = ...
) -> Observable[str]: ...
@overload
def on_receive(
    connection: Connection, *, is_binary: Literal[True], batched: Literal[False] = False, codec: None = ...
) -> Observable[bytes]: ...
@overload
def on_receive(
    connection: Connection, *, is_binary: None, batched: Literal[False] = False, codec: None = ...
) -> Observable[str | bytes]: ...
@overload
def on_receive(
    connection: Connection, *, is_binary: Literal[False] = ..., batched: Literal[True], codec: None = ...
) -> Observable[list[str]]: ...
@overload
def on_receive(
    connection: Connection, *, is_binary: Literal[True], batched: Literal[True], codec: None = ...
) -> Observable[list[bytes]]: ...
@overload
def on_receive(
    connection: Connection, *, is_binary: None, batched: Literal[True], codec: None = ...
) -> Observable[list[str] | list[bytes]]: ...
@overload
def on_receive(connection: Connection, *, batched: Literal[False] = False, codec: CodecOf[T]) -> Observable[T]: ...
@overload
def on_receive(connection: Connection, *, batched: Literal[True], codec: CodecOf[T]) -> Observable[list[T]]: ...
@overload
def on_receive(connection: Connection, *, batched: Literal[True], codec: CodecName) -> Observable[list[Any]]: ...
@overload
def on_receive(connection: Connection, *, batched: bool = False, codec: CodecName) -> Observable[Any]: ...
@overload
def on_receive(connection: Connection, *, batched: Literal[False] = False, codec: TypeForm[T]) -> Observable[T]: ...
@overload
def on_receive(connection: Connection, *, batched: Literal[True], codec: TypeForm[T]) -> Observable[list[T]]: ...
@overload
def on_receive(connection: Connection, *, batched: bool, codec: CodecOf[Any]) -> Observable[Any]: ...
@overload
def on_receive(
    connection: Connection, *, is_binary: bool | None = ..., batched: bool = False, codec: None = ...
) -> Observable[Any]: ...
def on_receive(
    connection: Connection, *, is_binary: bool | None = UNSET, batched: bool = False, codec: Any = UNSET
) -> Observable[Any]:
    r"""On WebSocket Receive: fires for each message.

    ::

        on the wire:                      ---"a"---b"b"---b"\xff"---|
        on_receive(chat):                 ---"a"----"b"-------------    and an ErrorEvent
        on_receive(chat, is_binary=True): ---b"a"--b"b"---b"\xff"---
        on_receive(chat, is_binary=None): ---"a"---b"b"---b"\xff"---

        on the wire:                      ---"[1]"---"[2"---"[3]"---|
        on_receive(chat, codec="json"):   ---[1]------------[3]-----    and an ErrorEvent

    Args:
        connection: The connection.
        is_binary: `False`: `str`; a binary message is decoded as UTF-8, and is an `ErrorEvent` of phase `receive` where
            it cannot be. `True`: `bytes`; a text message as its UTF-8. `None`: as it came.
        batched: Fires once for each read of the socket, with a list of the messages it brought (of more than 512, with
            several lists); for pipelines whose operators work on lists. The list is shared by all subscribers: do not
            change it.
        codec: What reads the messages: `"json"`, `"msgpack"`, a type (a pydantic model, a dataclass, `list[int]`, ...),
            a pair of functions `(encode, decode)`, or a `Codec`. A message that does not fit is an `ErrorEvent` of
            phase `receive` with a `DecodeError`, which says why and shows how the message begins; the stream goes on.
            Each message is decoded once for all subscribers: do not change what they share. `None`: none.

    Where neither `is_binary` nor `codec` is given, the connection's own codec counts, if its settings name one. Type
    checkers know nothing of the settings, and take the messages for `str` then: give `codec` where they are to know.

    Returns:
        A hot observable of messages. It never errors, and completes when the project closes. Messages that come after a
        stop, until the peer's Close frame, are emitted too; none comes after `Stopped`.

    Raises:
        TypeError: If `codec` is no codec, or is given together with `is_binary=True` or `None`.
        ValueError: If no codec has that name, or the package it needs is not installed.

    Example:
        >>> from rxnodes import Project
        >>> chat = Project(websocket={"chat": "ws://127.0.0.1:8080/"}).websocket("chat")
        >>> subscription = on_receive(chat).subscribe(print)
        >>> numbers = on_receive(chat, codec=list[int]).subscribe(lambda numbers: print(sum(numbers)))
    """
    return form_of(connection, codec, is_binary).read(connection, batched=batched)


def on_stop(connection: Connection) -> Observable[Stopped]:
    """On WebSocket Stop: fires when the connection has really ended, exactly once for each start.

    At that moment the state is `CLOSED`, the socket's descriptor is gone, everything received has been delivered, and
    nothing of the session follows.

    ::

        start, stop: ---start------------stop------------
        state:       ---connecting--open-closing--closed-
        on_stop:     -----------------------------S------

    Args:
        connection: The connection.

    Returns:
        A hot observable of `Stopped`. It never errors, and completes when the project closes.

    Example:
        >>> from rxnodes import Project
        >>> chat = Project(websocket={"chat": "ws://127.0.0.1:8080/"}).websocket("chat")
        >>> subscription = on_stop(chat).subscribe(lambda stopped: print(stopped.code, stopped.reason))
    """
    check_connection(connection)
    return Filtered(connection.lifecycle, Stopped)


def on_error(connection: Connection) -> Observable[ErrorEvent]:
    """On WebSocket Error: fires when something went wrong, with what and why as a value.

    ::

        connection:  ---refused---------------no UTF-8---
        on_error:    ---E(connect)------------E(receive)-

    Args:
        connection: The connection.

    Returns:
        A hot observable of `ErrorEvent`. It never errors, and completes when the project closes.

    Example:
        >>> from rxnodes import Project
        >>> chat = Project(websocket={"chat": "ws://127.0.0.1:8080/"}).websocket("chat")
        >>> subscription = on_error(chat).subscribe(lambda event: print(event.phase, event.message))
    """
    check_connection(connection)
    return connection.errors
