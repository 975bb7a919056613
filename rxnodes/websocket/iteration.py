"""The messages of a session, for `async for`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from reactivex import operators as ops

from rxnodes.rx.async_iterator import aiter_observable
from rxnodes.websocket.event_nodes import on_stop
from rxnodes.websocket.forms import UNSET, form_of

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from rxnodes.codecs import CodecName, CodecOf
    from rxnodes.connection.connection import Connection
    from rxnodes.project.scope import Scope
    from rxnodes.rx.async_iterator import ObservableIterator
    from rxnodes.rx.buffer import Drops, Overflow

__all__ = ["messages"]

T = TypeVar("T")


@overload
def messages(
    connection: Connection,
    *,
    is_binary: Literal[False] = ...,
    codec: None = ...,
    buffer: int = 64,
    overflow: Overflow = "pause",
    drops: Drops[str] | None = None,
    scope: Scope | None = None,
) -> ObservableIterator[str]: ...
@overload
def messages(
    connection: Connection,
    *,
    is_binary: Literal[True],
    codec: None = ...,
    buffer: int = 64,
    overflow: Overflow = "pause",
    drops: Drops[bytes] | None = None,
    scope: Scope | None = None,
) -> ObservableIterator[bytes]: ...
@overload
def messages(
    connection: Connection,
    *,
    is_binary: None,
    codec: None = ...,
    buffer: int = 64,
    overflow: Overflow = "pause",
    drops: Drops[str | bytes] | None = None,
    scope: Scope | None = None,
) -> ObservableIterator[str | bytes]: ...
@overload
def messages(
    connection: Connection,
    *,
    codec: CodecOf[T],
    buffer: int = 64,
    overflow: Overflow = "pause",
    drops: Drops[T] | None = None,
    scope: Scope | None = None,
) -> ObservableIterator[T]: ...
@overload
def messages(
    connection: Connection,
    *,
    codec: CodecName,
    buffer: int = 64,
    overflow: Overflow = "pause",
    drops: Drops[Any] | None = None,
    scope: Scope | None = None,
) -> ObservableIterator[Any]: ...
@overload
def messages(
    connection: Connection,
    *,
    codec: TypeForm[T],
    buffer: int = 64,
    overflow: Overflow = "pause",
    drops: Drops[T] | None = None,
    scope: Scope | None = None,
) -> ObservableIterator[T]: ...
@overload
def messages(
    connection: Connection,
    *,
    is_binary: bool | None,
    codec: None = ...,
    buffer: int = 64,
    overflow: Overflow = "pause",
    drops: Drops[Any] | None = None,
    scope: Scope | None = None,
) -> ObservableIterator[Any]: ...
def messages(  # noqa: PLR0913 - as for on_receive, and of a buffer
    connection: Connection,
    *,
    is_binary: Any = UNSET,
    codec: Any = UNSET,
    buffer: int = 64,
    overflow: Overflow = "pause",
    drops: Drops[Any] | None = None,
    scope: Scope | None = None,
) -> ObservableIterator[Any]:
    """The messages of the live session, for `async for`; where none is live, those of the next one.

    ::

        on_receive(chat):                      ---a--b------c---
        on_stop(chat):                         -----------------S---
        async for message in messages(chat):      a====b====c==      and the loop ends

    The loop ends behind the last message before `Stopped`, or before the project closes. While the buffer is full, the
    socket is read no further, so that TCP holds up the peer. What is subscribed, is so at once: messages that come
    between this call and the loop are in it.

    Args:
        connection: The connection.
        is_binary: As for `on_receive`.
        codec: Likewise.
        buffer: How many messages may wait, from 1.
        overflow: What happens when it is full, as for `map_async`.
        drops: What is told of the messages that were dropped.
        scope: The project or the scene with which the loop ends as well, whatever is left.

    Returns:
        An asynchronous iterator, as that of `aiter_observable`: leaving the loop early disposes it, where nobody holds
        it in a variable.

    Raises:
        RuntimeError: If no event loop runs here.
        RxNodesError: If the scope has been left.
        TypeError: If `codec` is no codec, or is given together with `is_binary=True` or `None`.
        ValueError: If the buffer's size or the policy cannot be, or no codec has that name.

    Example:
        >>> from rxnodes import Project
        >>> async def main() -> None:
        ...     async with Project(websocket={"chat": "ws://127.0.0.1:8080/"}) as project:
        ...         chat = project.websocket("chat")
        ...         chat.start()
        ...         async for message in messages(chat):
        ...             print(message)
    """
    received = form_of(connection, codec, is_binary).read(connection)
    session = received.pipe(ops.take_until(on_stop(connection)))
    return aiter_observable(session, buffer=buffer, overflow=overflow, drops=drops, scope=scope)
