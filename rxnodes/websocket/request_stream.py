"""A request whose answer comes in many messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from reactivex import Observable, abc

from rxnodes.connection.matching import as_match
from rxnodes.lifecycle.states import ConnectionState
from rxnodes.rx.arguments import check_callback
from rxnodes.rx.event_loops import observer_on_loop_of
from rxnodes.websocket.answers import answers_of
from rxnodes.websocket.codec_argument import UNSET, reader_and_writer, report_unsent
from rxnodes.websocket.exchange import Exchange, Question, to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeForm

    from rxnodes.codecs import CodecName, CodecOf, V
    from rxnodes.connection.matching import Match
    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.transport.receipts import Receipt
    from rxnodes.websocket.codec_argument import RawMessage
    from rxnodes.websocket.exchange import Timeout

__all__ = ["request_stream"]


@overload
def request_stream(
    connection: ConnectionLike,
    message: RawMessage,
    *,
    match: Match[str],
    until: Callable[[str], object],
    cancel: RawMessage | None = None,
    timeout: Timeout = None,
) -> Observable[str]: ...
@overload
def request_stream(
    connection: ConnectionLike,
    message: RawMessage,
    *,
    match: Match[str | bytes],
    until: Callable[[str | bytes], object],
    cancel: RawMessage | None = None,
    timeout: Timeout = None,
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
    timeout: Timeout = None,
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
    timeout: Timeout = None,
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
    timeout: Timeout = None,
    codec: TypeForm[V],
) -> Observable[V]: ...
def request_stream(  # noqa: PLR0913 - each is one thing about the question or its answer
    connection: ConnectionLike,
    message: Any,
    *,
    match: Match[Any],
    until: Callable[[Any], object],
    cancel: Any = None,
    timeout: Timeout = None,
    codec: Any = UNSET,
) -> Observable[Any]:
    """Sends a message when it is subscribed to, emits all messages of the answer, and completes after the last.

    ::

        on the wire:   ----"a1"---"b1"---"a2"---"a."---
              request_stream(chat, ..., match=lambda text: text[0] == "a", until=lambda text: text == "a.")
        result:        ----"a1"----------"a2"---"a."|

    It is cold: each subscription sends the message again. A coroutine can await it, and gets the last message.

    Args:
        connection: The connection.
        message: What to send, as in `request`.
        match: Says which messages belong to the answer: a function, or a key and a value, as in `request`.
        until: A function that says whether a message is the last one of the answer. It is called only with messages
            that match. If it raises, that is the observable's error.
        cancel: What to send when the answer is given up: when the subscription is disposed, at a timeout, or when
            `match` or `until` raises. It is a constant, or a function that is called then. It is sent only in the
            attempt in which the question was asked: not after an end, and not after a reconnect.
        timeout: Seconds to wait for each next message of the answer, or a `timedelta`, from 0.001 s to one day; `None`:
            as long as the connection lasts. It runs on the subscription's scheduler, or else on the event loop.
        codec: Writes the messages and reads the answer, as in `request`.

    Returns:
        A cold observable of the messages of one answer. Its errors are those of `request`. If `cancel` cannot be made
        or written, there is an `ErrorEvent` of phase `send`.

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
    """One asking of a question, and the many messages of its answer."""

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
        """Sends `cancel`, if the attempt in which the question was asked is still open."""
        connection = self.question.connection
        is_open = connection.state is ConnectionState.OPEN
        if self._cancel is None or not is_open or (connection.session, connection.attempt) != asked_in:
            return
        try:
            self._cancel()
        except Exception as error:  # noqa: BLE001 - nobody awaits it
            report_unsent(connection, error, "an answer was not cancelled")
