"""The messages of a session, for `async for`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import reactivex
from reactivex import operators as ops

from rxnodes.rx.async_iterator import aiter_observable
from rxnodes.websocket.codec_argument import UNSET, read_with
from rxnodes.websocket.event_nodes import on_stop
from rxnodes.websocket.holding import holding

if TYPE_CHECKING:
    from reactivex import Observable
    from typing_extensions import TypeForm

    from rxnodes.codecs import CodecOf, V
    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.project.scope import Scope
    from rxnodes.rx.async_iterator import ObservableIterator
    from rxnodes.rx.buffer import Drops, Overflow

__all__ = ["messages"]


@overload
def messages(
    connection: ConnectionLike,
    *,
    buffer: int = 64,
    overflow: Overflow = "pause",
    drops: Drops[str] | None = None,
    scope: Scope | None = None,
) -> ObservableIterator[str]: ...
@overload
def messages(
    connection: ConnectionLike,
    *,
    codec: None,
    buffer: int = 64,
    overflow: Overflow = "pause",
    drops: Drops[str | bytes] | None = None,
    scope: Scope | None = None,
) -> ObservableIterator[str | bytes]: ...
@overload
def messages(
    connection: ConnectionLike,
    *,
    codec: CodecOf[V],
    buffer: int = 64,
    overflow: Overflow = "pause",
    drops: Drops[V] | None = None,
    scope: Scope | None = None,
) -> ObservableIterator[V]: ...
@overload
def messages(
    connection: ConnectionLike,
    *,
    codec: TypeForm[V],
    buffer: int = 64,
    overflow: Overflow = "pause",
    drops: Drops[V] | None = None,
    scope: Scope | None = None,
) -> ObservableIterator[V]: ...
def messages(  # noqa: PLR0913 - the arguments of on_receive and of a buffer
    connection: ConnectionLike,
    *,
    codec: Any = UNSET,
    buffer: int = 64,
    overflow: Overflow = "pause",
    drops: Drops[Any] | None = None,
    scope: Scope | None = None,
) -> ObservableIterator[Any]:
    """The messages of the live session, for `async for`; if none is live, those of the next one.

    ::

        on_receive(chat):                      ---a--b------c---
        on_stop(chat):                         -----------------S---
        async for message in messages(chat):      a====b====c==      and the loop ends

    The loop ends after the last message before `Stopped`, or when the project closes; in a fleet, also when this
    process does not hold the connection any more. While the buffer is full, the socket is not read, so that TCP slows
    the peer down. The call itself subscribes: messages that come before the loop begins are not lost.

    Args:
        connection: The connection.
        codec: Reads the messages, as in `on_receive`.
        buffer: How many messages may wait, at least 1.
        overflow: What happens when the buffer is full, as in `map_async`.
        drops: Counts the messages that were dropped.
        scope: A project or scene. When it is left, the loop ends too, even if messages still wait.

    Returns:
        An asynchronous iterator, as `aiter_observable` gives. Leaving the loop early disposes it, unless a variable
        holds it.

    Raises:
        RuntimeError: If no event loop runs here.
        RxNodesError: If the scope has been left.
        TypeError: If `codec` is no codec.
        ValueError: If `buffer` is below 1, there is no such `overflow`, or no codec has that name.

    Example:
        >>> from rxnodes import Project
        >>> async def main() -> None:
        ...     async with Project(websocket={"chat": "ws://127.0.0.1:8080/"}) as project:
        ...         chat = project.websocket("chat")
        ...         chat.start()
        ...         async for message in messages(chat):
        ...             print(message)
    """
    end = reactivex.merge(on_stop(connection), _let_go(connection))
    session = read_with(connection, codec).pipe(ops.take_until(end))
    return aiter_observable(session, buffer=buffer, overflow=overflow, drops=drops, scope=scope)


def _let_go(connection: ConnectionLike) -> Observable[bool]:
    """Emits when this process lets go of a connection that it held."""
    return holding(connection).pipe(
        ops.skip_while(lambda is_held: not is_held), ops.filter(lambda is_held: not is_held)
    )
