"""A request whose answer comes in many messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from reactivex import Observable, abc

from rxnodes.connection.matching import as_match
from rxnodes.errors import SendError, text_of
from rxnodes.lifecycle.states import ConnectionState
from rxnodes.rx.arguments import check_callback
from rxnodes.rx.event_loops import observer_on_loop_of
from rxnodes.websocket.answers import answers_of
from rxnodes.websocket.codec_argument import UNSET, reader_and_writer
from rxnodes.websocket.exchange import Exchange, Question, to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from typing_extensions import TypeForm

    from rxnodes.codecs import CodecName, CodecOf, V
    from rxnodes.connection.connection import Binary
    from rxnodes.connection.matching import Match
    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.transport.receipts import Receipt

__all__ = ["request_stream"]


@overload
def request_stream(
    connection: ConnectionLike,
    message: str | Binary | Callable[[], str | Binary],
    *,
    match: Match[str],
    until: Callable[[str], object],
    cancel: str | Binary | Callable[[], str | Binary] | None = None,
    timeout: float | timedelta | None = None,
) -> Observable[str]: ...
@overload
def request_stream(
    connection: ConnectionLike,
    message: str | Binary | Callable[[], str | Binary],
    *,
    match: Match[str | bytes],
    until: Callable[[str | bytes], object],
    cancel: str | Binary | Callable[[], str | Binary] | None = None,
    timeout: float | timedelta | None = None,
    codec: None,
) -> Observable[str | bytes]: ...
@overload
def request_stream(
    connection: ConnectionLike,
    message: Any,
    *,
    match: Match[Any],
    until: Callable[[Any], object],
    cancel: Any = None,
    timeout: float | timedelta | None = None,
    codec: CodecName,
) -> Observable[Any]: ...
@overload
def request_stream(
    connection: ConnectionLike,
    message: Any,
    *,
    match: Match[V],
    until: Callable[[V], object],
    cancel: Any = None,
    timeout: float | timedelta | None = None,
    codec: CodecOf[V],
) -> Observable[V]: ...
@overload
def request_stream(
    connection: ConnectionLike,
    message: Any,
    *,
    match: Match[V],
    until: Callable[[V], object],
    cancel: Any = None,
    timeout: float | timedelta | None = None,
    codec: TypeForm[V],
) -> Observable[V]: ...
def request_stream(  # noqa: PLR0913 - each says one thing of the question or of its answer
    connection: ConnectionLike,
    message: Any,
    *,
    match: Match[Any],
    until: Callable[[Any], object],
    cancel: Any = None,
    timeout: float | timedelta | None = None,
    codec: Any = UNSET,
) -> Observable[Any]:
    """Sends a message when it is subscribed to, emits all that belongs to the answer, and completes behind its end.

    ::

        on the wire:   ----"a1"---"b1"---"a2"---"a."---
              request_stream(chat, ..., match=lambda text: text[0] == "a", until=lambda text: text == "a.")
        result:        ----"a1"----------"a2"---"a."|

    It is cold: each subscription sends the message again. A coroutine can await it, and gets the last message.

    Args:
        connection: The connection.
        message: What to send, as in `request`.
        match: What the messages of the answer are known by: a function, or a key and a value, as in `request`.
        until: Says whether a message is the last one of the answer. It is asked only of messages that match. What it
            raises is the observable's error.
        cancel: What to send when the answer is given up: when the subscription is disposed, at a timeout, or when
            `match` or `until` raises. A constant, or a function that gives it then; `None`: nothing. It is sent only in
            the attempt in which the question was asked: not after an end, and not after a reconnect.
        timeout: Seconds to wait for each next message of the answer, or a `timedelta`, from 0.001 s to one day; `None`:
            as long as the connection lasts. It runs on the subscription's scheduler, or else on the event loop.
        codec: Writes the messages and reads the answer, as in `request`.

    Returns:
        A cold observable of the messages of one answer. Its errors are those of `request`. If `cancel` cannot be made
        or written, that is an `ErrorEvent` of phase `send`.

    Raises:
        TypeError: If a constant is of the wrong type, or `match` is neither a plain function nor a key and a value that
            can be hashed, `until` no plain function, `timeout` no time or `codec` no codec.
        ValueError: If `timeout` is out of its range, or a constant cannot be encoded.

    Example:
        >>> from rxnodes import Project
        >>> api = Project(websocket={"api": "ws://127.0.0.1:8080/"}).websocket("api")
        >>> prices = request_stream(
        ...     api,
        ...     {"id": 1, "type": "subscribe", "payload": {"query": "subscription { price }"}},
        ...     match=("id", 1),
        ...     until=lambda message: message["type"] in ("complete", "error"),
        ...     cancel={"id": 1, "type": "complete"},
        ...     codec="json",
        ... )
        >>> prices.subscribe(print, lambda error: print(type(error).__name__, "-", error)) and None
        SendError - 'api' is idle, not open: request not sent
    """
    reader, writer = reader_and_writer(connection, codec)
    wanted = as_match(match, reader, gives="whether a message belongs to the answer")
    check_callback("until", until, gives="whether a message is the last one")
    seconds = to_seconds(timeout)
    question = Question(connection, answers_of(connection, reader), wanted, writer.sender(message), seconds)
    retract = None if cancel is None else writer.sender(cancel)

    def subscribe(observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        exchange = _Stream(question, observer_on_loop_of(scheduler, observer), until, retract)
        exchange.start(scheduler)
        return exchange

    return Observable(subscribe)


class _Stream(Exchange):
    """A question that is asked once, and the many messages of its answer."""

    __slots__ = ("_cancel", "_until")

    awaited = "the end of the answer"

    def __init__(
        self,
        question: Question,
        observer: abc.ObserverBase[Any],
        until: Callable[[Any], object],
        cancel: Callable[[], Receipt] | None,
    ) -> None:
        super().__init__(question, observer)
        self._until = until
        self._cancel = cancel

    def on_message(self, message: Any) -> None:
        """A message of the answer has come."""
        try:
            is_last = self._until(message)
        except Exception as error:  # noqa: BLE001 - as in every operator
            self.give_up(error)
            return
        if is_last:
            super().on_message(message)
        else:
            self.start_timer()
            self.observer.on_next(message)

    def retract(self, asked_in: tuple[int, int]) -> None:
        """Tells the peer that the answer is not wanted any more, if it is still the same peer."""
        connection = self.question.connection
        is_open = connection.state is ConnectionState.OPEN
        if self._cancel is None or not is_open or (connection.session, connection.attempt) != asked_in:
            return
        try:
            self._cancel()
        except Exception as raised:  # noqa: BLE001 - nobody else is left to be told
            cause = raised.__cause__ or raised if isinstance(raised, SendError) else raised
            error = SendError(f"{connection.name!r}: {text_of(cause)}: an answer was not cancelled")
            error.__cause__ = cause
            connection.for_nodes.report("send", error)
