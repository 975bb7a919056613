"""The event nodes: On WebSocket Start, Receive, Stop and Error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from rxnodes.connection.protocols import check_connection
from rxnodes.lifecycle.events import Opened, Stopped
from rxnodes.rx.filtered import Filtered
from rxnodes.websocket.codec_argument import UNSET, check_is_binary, read_with

if TYPE_CHECKING:
    from reactivex import Observable
    from typing_extensions import TypeForm

    from rxnodes.codecs import CodecOf, V
    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.lifecycle.events import ErrorEvent

__all__ = ["on_error", "on_receive", "on_start", "on_stop"]


def on_start(connection: ConnectionLike) -> Observable[Opened]:
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


# For each form, single messages and lists. The last two are for arguments whose value is known only at run time.
@overload
def on_receive(
    connection: ConnectionLike, *, is_binary: Literal[False] = ..., batched: Literal[False] = False
) -> Observable[str]: ...
@overload
def on_receive(
    connection: ConnectionLike, *, is_binary: Literal[False] = ..., batched: Literal[True]
) -> Observable[list[str]]: ...
@overload
def on_receive(
    connection: ConnectionLike, *, is_binary: Literal[True], batched: Literal[False] = False
) -> Observable[bytes]: ...
@overload
def on_receive(
    connection: ConnectionLike, *, is_binary: Literal[True], batched: Literal[True]
) -> Observable[list[bytes]]: ...
@overload
def on_receive(
    connection: ConnectionLike, *, is_binary: None = ..., codec: None = ..., batched: Literal[False] = False
) -> Observable[str | bytes]: ...
@overload
def on_receive(
    connection: ConnectionLike, *, is_binary: None = ..., codec: None = ..., batched: Literal[True]
) -> Observable[list[str] | list[bytes]]: ...
@overload
def on_receive(connection: ConnectionLike, *, codec: CodecOf[V], batched: Literal[False] = False) -> Observable[V]: ...
@overload
def on_receive(connection: ConnectionLike, *, codec: CodecOf[V], batched: Literal[True]) -> Observable[list[V]]: ...
@overload
def on_receive(connection: ConnectionLike, *, codec: TypeForm[V], batched: Literal[False] = False) -> Observable[V]: ...
@overload
def on_receive(connection: ConnectionLike, *, codec: TypeForm[V], batched: Literal[True]) -> Observable[list[V]]: ...
@overload
def on_receive(
    connection: ConnectionLike, *, is_binary: bool | None = ..., batched: bool = False
) -> Observable[Any]: ...
@overload
def on_receive(
    connection: ConnectionLike, *, codec: CodecOf[Any] | TypeForm[Any], batched: bool
) -> Observable[Any]: ...
def on_receive(
    connection: ConnectionLike, *, is_binary: bool | None = UNSET, batched: bool = False, codec: Any = UNSET
) -> Observable[Any]:
    r"""On WebSocket Receive: fires for each message.

    ::

        on the wire:                      ---"a"---b"b"---b"\xff"---|
        on_receive(chat):                 ---"a"----"b"-------------    and an ErrorEvent
        on_receive(chat, codec=bytes):    ---b"a"--b"b"---b"\xff"---
        on_receive(chat, codec=None):     ---"a"---b"b"---b"\xff"---

        on the wire:                      ---"[1]"---"[2"---"[3]"---|
        on_receive(chat, codec="json"):   ---[1]------------[3]-----    and an ErrorEvent

    Args:
        connection: The connection.
        is_binary: `False`, `True` or `None`: the same as `codec=str`, `bytes` or `None`.
        batched: Whether to fire once for each read of the socket, with the list of its messages (or with several lists,
            if there are more than 512). All subscribers share the list: do not change it.
        codec: Reads the messages:

            - `str`: text; a binary message is decoded as UTF-8.
            - `bytes`: bytes; a text message is given as its UTF-8.
            - `None`: as they came.
            - `"json"`, `"msgpack"`, another type (a pydantic model, a dataclass, `list[int]`, ...), a pair of functions
              `(encode, decode)`, or a `Codec`: values. All subscribers share a value: do not change it.

            Left out, the connection's codec counts, or else `str`. Type checkers do not know the settings, and take the
            latter. For a message that does not fit, there is an `ErrorEvent` of phase `receive` with a `DecodeError`,
            and the stream goes on.

    Returns:
        A hot observable of messages. It never errors, and completes when the project closes. Messages that come after a
        stop, until the peer's Close frame, are emitted too; none comes after `Stopped`.

    Raises:
        TypeError: If `codec` is no codec or is given together with `is_binary`, `is_binary` is neither a `bool` nor
            `None`, or `batched` is no `bool`.
        ValueError: If no codec has that name, or its package is not installed.

    Example:
        >>> from rxnodes import Project
        >>> chat = Project(websocket={"chat": "ws://127.0.0.1:8080/"}).websocket("chat")
        >>> subscription = on_receive(chat).subscribe(print)
        >>> numbers = on_receive(chat, codec=list[int]).subscribe(lambda numbers: print(sum(numbers)))
    """
    if is_binary is not UNSET:
        check_is_binary(is_binary, codec)
        codec = None if is_binary is None else bytes if is_binary else str
    return read_with(connection, codec, batched=batched)


def on_stop(connection: ConnectionLike) -> Observable[Stopped]:
    """On WebSocket Stop: fires when the connection has really ended, exactly once for each start.

    At that moment the state is `CLOSED`, the socket's descriptor is gone, everything that was received has been
    delivered, and nothing of the session follows.

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


def on_error(connection: ConnectionLike) -> Observable[ErrorEvent]:
    """On WebSocket Error: fires when something went wrong. The error is a value: it says what failed, and why.

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
