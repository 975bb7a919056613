"""Channels: one subscription at the server, shared by all subscribers here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, overload

from rxnodes.connection.matching import as_match, matcher
from rxnodes.errors import SendError
from rxnodes.lifecycle.states import ConnectionState
from rxnodes.rx.streams import Derived
from rxnodes.transport.receipts import SendDropped
from rxnodes.websocket.codec_argument import UNSET, reader_and_writer, report_unsent, stream_of
from rxnodes.websocket.event_nodes import on_start

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import Observable, abc
    from typing_extensions import TypeForm

    from rxnodes.codecs import CodecName, CodecOf, V
    from rxnodes.connection.matching import Match
    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.rx.streams import IsolatedSubject
    from rxnodes.transport.receipts import Receipt
    from rxnodes.websocket.codec_argument import RawMessage

__all__ = ["channel"]


@overload
def channel(
    connection: ConnectionLike, *, subscribe: RawMessage, unsubscribe: RawMessage | None = None, match: Match[str]
) -> Observable[str]: ...
@overload
def channel(
    connection: ConnectionLike,
    *,
    subscribe: RawMessage,
    unsubscribe: RawMessage | None = None,
    match: Match[str | bytes],
    codec: None,
) -> Observable[str | bytes]: ...
@overload
def channel(
    connection: ConnectionLike, *, subscribe: Any, unsubscribe: Any = None, match: Match[Any], codec: CodecName
) -> Observable[Any]: ...
@overload
def channel(
    connection: ConnectionLike, *, subscribe: Any, unsubscribe: Any = None, match: Match[V], codec: CodecOf[V]
) -> Observable[V]: ...
@overload
def channel(
    connection: ConnectionLike, *, subscribe: Any, unsubscribe: Any = None, match: Match[V], codec: TypeForm[V]
) -> Observable[V]: ...
def channel(
    connection: ConnectionLike, *, subscribe: Any, unsubscribe: Any = None, match: Match[Any], codec: Any = UNSET
) -> Observable[Any]:
    """Shares one subscription at the server among all that subscribe here.

    For the first subscriber it sends `subscribe`: at once if the connection is open, or else when it opens. While there
    are subscribers, it sends `subscribe` again each time the connection opens, also after a reconnect. When the last
    subscriber leaves and the connection is open, it sends `unsubscribe`.

    ::

        subscribers:   --1-----2--1-----0----
        state:         open------gap--open---
        sent:          --s------------s--u---
        on the wire:   ---a-b----------a-b---
              channel(feed, subscribe="s", unsubscribe="u", match=lambda text: text == "a")
        result:        ---a------------a

    Keep the observable: each call makes a channel of its own.

    Args:
        connection: The connection.
        subscribe: The message that asks the server for the channel: a constant, or a function that gives it at each
            sending. With the codec of a type, a message of any type is sent as JSON.
        unsubscribe: The message that ends it, likewise. If it is `None`, nothing is sent, and `subscribe` is sent once
            for each opening.
        match: A function that says whether a message belongs to the channel, or a key and a value, as in `request`. If
            the function raises, there is an `ErrorEvent` of phase `handler`.
        codec: Writes both messages, as in `client_send`, and reads the channel's, as in `on_receive`. A message that
            does not fit is an `ErrorEvent`: if other messages come on the same socket, use a codec that fits them all.

    Returns:
        A hot observable of the channel's messages. It never errors, and completes when the project closes. If a message
        cannot be sent, or a full send queue drops it, there is an `ErrorEvent` of phase `send`, and the channel sends
        it again for the next subscriber, or at the next opening.

    Raises:
        TypeError: If a constant is of the wrong type, `match` is neither a plain function nor a key and a value, or
            `codec` is no codec.
        ValueError: If a constant cannot be encoded.

    Example:
        >>> from rxnodes import Project
        >>> feed = Project(websocket={"feed": "ws://127.0.0.1:8080/"}).websocket("feed")
        >>> gold = channel(
        ...     feed,
        ...     subscribe={"op": "subscribe", "symbol": "XAU"},
        ...     unsubscribe={"op": "unsubscribe", "symbol": "XAU"},
        ...     match=lambda message: message.get("symbol") == "XAU",
        ...     codec="json",
        ... )
        >>> subscription = gold.subscribe(print)
    """
    reader, writer = reader_and_writer(connection, codec)
    wanted = as_match(match, reader, gives="whether a message belongs to the channel")
    messages = cast("IsolatedSubject[Any]", stream_of(connection, reader))
    leave = None if unsubscribe is None else writer.sender(unsubscribe)
    return _Channel(connection, messages, matcher(wanted), writer.sender(subscribe), leave)


class _Channel(Derived[Any]):
    """The messages of a channel. While somebody observes it, the server is subscribed to."""

    def __init__(
        self,
        connection: ConnectionLike,
        source: IsolatedSubject[Any],
        match: Callable[[Any], object],
        subscribe: Callable[[], Receipt],
        unsubscribe: Callable[[], Receipt] | None,
    ) -> None:
        def relay(message: Any, emit: Callable[[Any], None]) -> None:
            if match(message):
                emit(message)

        super().__init__(source, relay)
        self._connection = connection
        self._ask = subscribe
        self._leave = unsubscribe
        # The session and attempt in which the server was asked. From here on, all is used on the loop's thread only.
        self._asked_in: tuple[int, int] | None = None
        # How many messages were sent to the server.
        self._sent = 0
        self._openings: abc.DisposableBase | None = None

    def note_observed(self) -> None:
        """Follows the source and the connection's openings while there are subscribers."""
        super().note_observed()
        self._connection.for_nodes.run_on_loop(self._update_server)

    def _update_server(self, _: object = None) -> None:
        """Subscribes or unsubscribes at the server, if the subscribers here have made that necessary."""
        self._watch_openings()
        connection = self._connection
        if connection.state is not ConnectionState.OPEN:
            return
        opening = (connection.session, connection.attempt)
        if self.is_observed and self._asked_in != opening:
            self._send(self._ask, opening)
        elif not self.is_observed and self._asked_in == opening and self._leave is not None:
            self._send(self._leave, None)

    def _watch_openings(self) -> None:
        with self.lock:
            if self.is_observed and self._openings is None:
                self._openings = on_start(self._connection).subscribe(self._update_server)
            elif not self.is_observed and self._openings is not None:
                self._openings.dispose()
                self._openings = None

    def _send(self, send: Callable[[], Receipt], asked_in: tuple[int, int] | None) -> None:
        """Sends one of the two messages. If it does not go out, nothing changes, and there is an `ErrorEvent`."""
        before, self._asked_in = self._asked_in, asked_in
        self._sent += 1
        number = self._sent

        def fail(error: Exception) -> None:
            # Unless a later message counts.
            if self._sent == number:
                self._asked_in = before
                undone = (
                    "left" if asked_in is None else "asked for; the next subscriber, or the next opening, asks again"
                )
                report_unsent(self._connection, error, f"a channel was not {undone}")

        try:
            receipt = send()
        except Exception as error:  # noqa: BLE001 - a function may raise anything, and the channel goes on
            fail(error)
        else:
            receipt.follow(lambda it: fail(SendError("the send queue is full")) if it.kind is SendDropped else None)
