"""A request and its one answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, overload

from reactivex import Observable, abc

from rxnodes.connection.matching import as_match
from rxnodes.rx.event_loops import call_on, observer_on_loop_of
from rxnodes.websocket.answers import answers_of
from rxnodes.websocket.codec_argument import UNSET, reader_and_writer
from rxnodes.websocket.exchange import Exchange, Question, to_seconds

if TYPE_CHECKING:
    from collections.abc import Generator

    from typing_extensions import TypeForm

    from rxnodes.codecs import CodecName, CodecOf, V
    from rxnodes.connection.matching import Match
    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.websocket.codec_argument import RawMessage
    from rxnodes.websocket.exchange import Timeout

__all__ = ["request"]


@overload
def request(
    connection: ConnectionLike, message: RawMessage, *, match: Match[str], timeout: Timeout = 10.0
) -> Observable[str]: ...
@overload
def request(
    connection: ConnectionLike, message: RawMessage, *, match: Match[str | bytes], timeout: Timeout = 10.0, codec: None
) -> Observable[str | bytes]: ...
@overload
def request(
    connection: ConnectionLike, message: Any, *, match: Match[Any], timeout: Timeout = 10.0, codec: CodecName
) -> Observable[Any]: ...
@overload
def request(
    connection: ConnectionLike, message: Any, *, match: Match[V], timeout: Timeout = 10.0, codec: CodecOf[V]
) -> Observable[V]: ...
@overload
def request(
    connection: ConnectionLike, message: Any, *, match: Match[V], timeout: Timeout = 10.0, codec: TypeForm[V]
) -> Observable[V]: ...
def request(
    connection: ConnectionLike, message: Any, *, match: Match[Any], timeout: Timeout = 10.0, codec: Any = UNSET
) -> Observable[Any]:
    """Sends a message when it is subscribed to, emits the one answer, and completes.

    ::

        on the wire:   ----"a1"---"b1"---"a2"---
              request(chat, ..., match=lambda text: text.startswith("b"))
        result:        -----------"b1"|

    It is cold: each subscription sends the message again. A coroutine can await it.

    Args:
        connection: The connection.
        message: What to send: a constant, or a function that gives it at each subscription. With the codec of a type, a
            message of any type is sent as JSON: it need not be of the answer's type.
        match: Says which message is the answer:

            - A function that says whether a message is the answer. It is called with every message until the answer
              comes. If it raises, that is the observable's error.
            - A pair of a key and a value: `("id", 7)`. The key is the name of a field, or a function that takes the
              value out of a message. If it raises a `LookupError`, `TypeError` or `AttributeError`, the message is no
              answer. A message finds all requests with the same key by one look-up, however many wait. Two functions
              are the same key only if they are the same object. Values are compared as keys of a `dict` are.

            If a message answers several requests, all get it.
        timeout: Seconds to wait for the answer, or a `timedelta`, from 0.001 s to one day; `None`: as long as the
            connection lasts. It runs on the subscription's scheduler, or else on the event loop.
        codec: Writes the message, as in `client_send`, and reads the answer, as in `on_receive`. A message that it
            cannot read is an `ErrorEvent`, and no answer.

    Returns:
        A cold observable of one answer. Its errors are `SendError`, if the connection is not open, the message cannot
        be made, or a full send queue drops it; `RequestTimeout`; and `ConnectionLost`, if the session ends or the
        attempt drops before the answer: its `code` and `reason` are those of the end, and its `__cause__` is the error
        that broke the connection, if any. Disposing the subscription gives up the answer.

    Raises:
        TypeError: If a constant is of the wrong type, or `match` is neither a plain function nor a key and a value that
            can be hashed, `timeout` no time or `codec` no codec.
        ValueError: If `timeout` is out of its range, or a constant cannot be encoded.

    Example:
        >>> from rxnodes import Project
        >>> clock = Project(websocket={"clock": "ws://127.0.0.1:8080/"}).websocket("clock")
        >>> time = request(clock, {"id": 7, "get": "time"}, match=("id", 7), codec="json")
        >>> time.subscribe(print, lambda error: print(type(error).__name__, "-", error)) and None
        SendError - 'clock' is idle, not open: request not sent
    """
    reader, writer = reader_and_writer(connection, codec)
    wanted = as_match(match, reader, gives="whether a message is the answer")
    seconds = to_seconds(timeout)
    return _Request(Question(connection, answers_of(connection, reader), wanted, writer.sender(message), seconds))


class _Request(Observable[Any]):
    """A question that is asked at each subscription."""

    def __init__(self, question: Question) -> None:
        super().__init__()
        self._question = question

    def _subscribe_core(
        self, observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        exchange = Exchange(self._question, observer_on_loop_of(scheduler, observer))
        exchange.start(scheduler)
        return exchange

    def __await__(self) -> Generator[Any, None, Any]:
        """Asks, and waits for the answer, as with any observable, but without a pipeline and a scheduler."""
        future = asyncio.get_running_loop().create_future()
        exchange = Exchange(self._question, _Answering(future))
        exchange.start()
        try:
            return (yield from future)
        finally:
            exchange.dispose()
            # The future's exception refers to this frame. If the frame referred to the future, they would be a cycle.
            del future, exchange


class _Answering(abc.ObserverBase[Any]):
    """Gives a future the answer, on whatever loop it is awaited."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future

    def on_next(self, value: Any) -> None:
        call_on(self._future.get_loop(), self._set_result, value)

    def on_error(self, error: Exception) -> None:
        call_on(self._future.get_loop(), self._set_exception, error)

    def on_completed(self) -> None:
        """The answer came before it."""

    def _set_result(self, value: Any) -> None:
        if not self._future.done():
            self._future.set_result(value)

    def _set_exception(self, error: Exception) -> None:
        if not self._future.done():
            self._future.set_exception(error)
