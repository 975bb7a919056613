"""A request and its one answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, overload

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.scheduler.eventloop import AsyncIOScheduler

from rxnodes.errors import ConnectionLost, RequestTimeout, SendError
from rxnodes.lifecycle.events import Dropped, LifecycleEvent, Stopped
from rxnodes.lifecycle.states import ConnectionState
from rxnodes.rx.arguments import check_callback
from rxnodes.rx.event_loops import observer_on_loop_of
from rxnodes.transport.receipts import SendDropped
from rxnodes.websocket.codec_argument import UNSET, Writer, read_with

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeForm

    from rxnodes.codecs import CodecName, CodecOf, V
    from rxnodes.connection.connection import Binary
    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.transport.receipts import Receipt, SendOutcome

__all__ = ["request"]

_DAY = 24 * 60 * 60.0


@overload
def request(
    connection: ConnectionLike,
    message: str | Binary | Callable[[], str | Binary],
    *,
    match: Callable[[str], object],
    timeout: float | timedelta | None = 10.0,
) -> Observable[str]: ...
@overload
def request(
    connection: ConnectionLike,
    message: str | Binary | Callable[[], str | Binary],
    *,
    match: Callable[[str | bytes], object],
    timeout: float | timedelta | None = 10.0,
    codec: None,
) -> Observable[str | bytes]: ...
@overload
def request(
    connection: ConnectionLike,
    message: Any,
    *,
    match: Callable[[Any], object],
    timeout: float | timedelta | None = 10.0,
    codec: CodecName,
) -> Observable[Any]: ...
@overload
def request(
    connection: ConnectionLike,
    message: Any,
    *,
    match: Callable[[V], object],
    timeout: float | timedelta | None = 10.0,
    codec: CodecOf[V],
) -> Observable[V]: ...
@overload
def request(
    connection: ConnectionLike,
    message: Any,
    *,
    match: Callable[[V], object],
    timeout: float | timedelta | None = 10.0,
    codec: TypeForm[V],
) -> Observable[V]: ...
def request(
    connection: ConnectionLike,
    message: Any,
    *,
    match: Callable[[Any], object],
    timeout: float | timedelta | None = 10.0,
    codec: Any = UNSET,
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
        match: Says whether a message is the answer. It is called with every message until the answer comes. What it
            raises is the observable's error.
        timeout: Seconds to wait for the answer, or a `timedelta`, from 0.001 s to one day; `None`: as long as the
            connection lasts. It runs on the subscription's scheduler, or else on the event loop.
        codec: Writes the message, as in `client_send`, and reads the answer, as in `on_receive`. A message that it
            cannot read is an `ErrorEvent`, and no answer.

    Returns:
        A cold observable of one answer. Its errors are `SendError`, if the connection is not open, the message cannot
        be made, or a full send queue drops it; `RequestTimeout`; and `ConnectionLost`, if the session ends or the
        attempt drops before the answer. Disposing the subscription gives up the answer.

    Raises:
        TypeError: If a constant is of the wrong type, or `match` is no plain function, `timeout` no time or `codec` no
            codec.
        ValueError: If `timeout` is out of its range, or a constant cannot be encoded.

    Example:
        >>> from rxnodes import Project
        >>> clock = Project(websocket={"clock": "ws://127.0.0.1:8080/"}).websocket("clock")
        >>> time = request(clock, {"id": 7, "get": "time"}, match=lambda answer: answer.get("id") == 7, codec="json")
        >>> time.subscribe(print, lambda error: print(type(error).__name__, "-", error)) and None
        SendError - 'clock' is idle, not open: request not sent
    """
    check_callback("match", match, gives="whether a message is the answer")
    seconds = _seconds(timeout)
    answers = read_with(connection, codec)
    send = Writer(connection, codec, takes_any_type=True).sender(message)

    def subscribe(observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        exchange = _Exchange(connection, observer_on_loop_of(scheduler, observer), match, seconds)
        # Another loop's scheduler must not be touched from our loop; our own loop's is as good as the loop itself.
        if scheduler is not None and type(scheduler) is not AsyncIOScheduler:
            exchange.time_by(scheduler)
        connection.for_nodes.run_on_loop(lambda: exchange.begin(send, answers))
        return exchange

    return Observable(subscribe)


def _seconds(timeout: Any) -> float | None:
    if timeout is None:
        return None
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"timeout must be seconds, a timedelta or None, not {type(timeout).__name__}")
    # Written so that it refuses NaN too.
    if not 0.001 <= seconds <= _DAY:  # noqa: PLR2004 - as in the settings
        raise ValueError(f"timeout must be from 0.001 to {_DAY:.0f} seconds, or None")
    return seconds


class _Exchange(abc.DisposableBase):
    """One subscription of a request, from the sending to the answer. It runs on the loop's thread."""

    def __init__(
        self,
        connection: ConnectionLike,
        observer: abc.ObserverBase[Any],
        match: Callable[[Any], object],
        timeout: float | None,
    ) -> None:
        self._connection = connection
        self._observer = observer
        self._match = match
        self._timeout = timeout
        self._is_timed = timeout is None
        self._is_over = False
        self._group = CompositeDisposable()

    def time_by(self, scheduler: abc.SchedulerBase) -> None:
        """Lets a scheduler measure the time, not the loop. Called on the thread of the subscription."""
        if self._timeout is None:
            return

        def time_out(_scheduler: abc.SchedulerBase, _state: object = None) -> None:
            self._connection.for_nodes.run_on_loop(self._time_out)

        self._is_timed = True
        self._group.add(scheduler.schedule_relative(self._timeout, time_out))

    def begin(self, send: Callable[[], Receipt], answers: Observable[Any]) -> None:
        """Subscribes to what may be the answer, and sends the message."""
        if self._is_over:
            return
        connection = self._connection
        if connection.state is not ConnectionState.OPEN:
            self._fail(SendError(f"{connection.name!r} is {connection.state.value}, not open: request not sent"))
            return
        self._group.add(answers.subscribe(self._take))
        self._group.add(connection.lifecycle.subscribe(self._watch))
        try:
            receipt = send()
        except Exception as error:  # noqa: BLE001 - as in every operator
            self._fail(error)
            return
        if not self._is_timed:
            self._time_by_loop()
        receipt.follow(self._on_outcome)

    def dispose(self) -> None:
        """Gives up the answer."""
        self._is_over = True
        self._group.dispose()

    def _time_by_loop(self) -> None:
        assert self._timeout is not None
        timer = asyncio.get_running_loop().call_later(self._timeout, self._time_out)
        self._group.add(Disposable(lambda: self._connection.for_nodes.run_on_loop(timer.cancel)))

    def _on_outcome(self, outcome: SendOutcome) -> None:
        # A message that is unsent ended with its attempt: that end is the error, as it says more.
        if isinstance(outcome, SendDropped):
            why = "the send queue is full" if outcome.reason == "full" else f"the connection is {outcome.reason}"
            self._fail(SendError(f"{self._connection.name!r}: {why}, request not sent"))

    def _take(self, message: Any) -> None:
        try:
            is_answer = self._match(message)
        except Exception as error:  # noqa: BLE001 - as in every operator
            self._fail(error)
            return
        if is_answer:
            self.dispose()
            self._observer.on_next(message)
            self._observer.on_completed()

    def _watch(self, event: LifecycleEvent) -> None:
        if isinstance(event, Dropped | Stopped):
            self._fail(ConnectionLost(f"{self._connection.name!r}: the connection ended before the answer came"))

    def _time_out(self) -> None:
        self._fail(RequestTimeout(f"{self._connection.name!r}: no answer within {self._timeout:.10g} s"))

    def _fail(self, error: Exception) -> None:
        if not self._is_over:
            self.dispose()
            self._observer.on_error(error)
