"""Conversations on one socket: a request and its answer, and channels that share one subscription at the server."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.scheduler.eventloop import AsyncIOScheduler

from rxnodes.errors import ConnectionLost, RequestTimeout, SendError, text_of
from rxnodes.lifecycle.events import Dropped, LifecycleEvent, Opened, Stopped
from rxnodes.lifecycle.states import ConnectionState
from rxnodes.rx.arguments import check_callback
from rxnodes.rx.filtered import Filtered
from rxnodes.rx.streams import Derived, observer_on_loop_of
from rxnodes.transport.receipts import SendDropped
from rxnodes.websocket.forms import UNSET, form_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeForm

    from rxnodes.codecs import CodecName, CodecOf
    from rxnodes.connection.connection import Binary, Connection
    from rxnodes.rx.streams import IsolatedSubject
    from rxnodes.transport.receipts import Receipt, SendOutcome
    from rxnodes.websocket.forms import Form

__all__ = ["channel", "request"]

T = TypeVar("T")

_DAY = 24 * 60 * 60.0


# --- Request and answer -----------------------------------------------------------------------------------------------


@overload
def request(
    connection: Connection,
    message: str | Binary | Callable[[], str | Binary],
    *,
    match: Callable[[str], object],
    timeout: float | timedelta | None = 10.0,
    is_binary: Literal[False] = ...,
    codec: None = ...,
) -> Observable[str]: ...
@overload
def request(
    connection: Connection,
    message: str | Binary | Callable[[], str | Binary],
    *,
    match: Callable[[bytes], object],
    timeout: float | timedelta | None = 10.0,
    is_binary: Literal[True],
    codec: None = ...,
) -> Observable[bytes]: ...
@overload
def request(
    connection: Connection,
    message: str | Binary | Callable[[], str | Binary],
    *,
    match: Callable[[str | bytes], object],
    timeout: float | timedelta | None = 10.0,
    is_binary: None,
    codec: None = ...,
) -> Observable[str | bytes]: ...
@overload
def request(
    connection: Connection,
    message: Any,
    *,
    match: Callable[[T], object],
    timeout: float | timedelta | None = 10.0,
    codec: CodecOf[T],
) -> Observable[T]: ...
@overload
def request(
    connection: Connection,
    message: Any,
    *,
    match: Callable[[Any], object],
    timeout: float | timedelta | None = 10.0,
    codec: CodecName,
) -> Observable[Any]: ...
@overload
def request(
    connection: Connection,
    message: Any,
    *,
    match: Callable[[T], object],
    timeout: float | timedelta | None = 10.0,
    codec: TypeForm[T],
) -> Observable[T]: ...
def request(  # noqa: PLR0913 - what is asked, and what counts as an answer
    connection: Connection,
    message: Any,
    *,
    match: Callable[[Any], object],
    timeout: float | timedelta | None = 10.0,
    is_binary: bool | None = UNSET,
    codec: Any = UNSET,
) -> Observable[Any]:
    """Sends a message when it is subscribed to, emits the one answer, and completes.

    ::

        on the wire:   ----"a1"---"b1"---"a2"---
              request(chat, ..., match=lambda text: text.startswith("b"))
        result:        -----------"b1"|

    It is cold: each subscription sends the message once more. In coroutines it can be awaited.

    Args:
        connection: The connection.
        message: What to send: a constant, or a function that gives it at each subscription. With the codec of a type it
            goes as JSON whatever its own type is, so that it need not be of the answer's type.
        match: Whether a message that came is the answer. It is asked about every message that comes meanwhile. What it
            raises is the observable's error.
        timeout: Seconds to wait for the answer, or a `timedelta`, from 0.001 s to one day; `None`: as long as the
            connection lasts. It runs on the subscription's scheduler, or on the event loop where there is none.
        is_binary: As in `client_send` and `on_receive`: of the message, and of the answer.
        codec: As in `client_send` and `on_receive`. Messages that do not fit it are `ErrorEvent`s, as everywhere.

    Returns:
        A cold observable of one answer. Its errors are: `SendError`, at once where the connection is not open, and
        where the message cannot be made or is dropped from a full send queue; `RequestTimeout`; `ConnectionLost` where
        the session ends, or the attempt drops, before the answer has come. Disposing it gives up the answer.

    Raises:
        TypeError: If a constant is of the wrong type, or `match` is no plain function, or `timeout` no time, or `codec`
            is no codec, or is given together with `is_binary=True` or `None`.
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
    form = form_of(connection, codec, is_binary)
    send = _sender(connection, form, message)
    answers = form.read(connection)

    def subscribe(observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        exchange = _Exchange(connection, observer_on_loop_of(scheduler, observer), match, seconds)
        # One of another loop must not be touched from ours; that of ours is as good as the loop itself.
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
    # Written so that "not a number" (NaN) is refused too.
    if not 0.001 <= seconds <= _DAY:  # noqa: PLR2004 - as in the settings
        raise ValueError(f"timeout must be from 0.001 to {_DAY:.0f} seconds, or None")
    return seconds


class _Exchange(abc.DisposableBase):
    """One subscription of a request, from the sending to the answer. What it does, it does on the loop's thread."""

    def __init__(
        self,
        connection: Connection,
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
        """Has a scheduler measure the time, rather than the loop. It is called where the subscription is made."""
        if self._timeout is None:
            return

        def time_out(_scheduler: abc.SchedulerBase, _state: object = None) -> None:
            self._connection.for_nodes.run_on_loop(self._time_out)

        self._is_timed = True
        self._group.add(scheduler.schedule_relative(self._timeout, time_out))

    def begin(self, send: Callable[[], Receipt], answers: Observable[Any]) -> None:
        """Listens, and sends."""
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
        # What is unsent has the end of the attempt behind it, which says more.
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


# --- Channels ---------------------------------------------------------------------------------------------------------


@overload
def channel(
    connection: Connection,
    *,
    subscribe: str | Binary | Callable[[], str | Binary],
    unsubscribe: str | Binary | Callable[[], str | Binary] | None = None,
    match: Callable[[str], object],
    is_binary: Literal[False] = ...,
    codec: None = ...,
) -> Observable[str]: ...
@overload
def channel(
    connection: Connection,
    *,
    subscribe: str | Binary | Callable[[], str | Binary],
    unsubscribe: str | Binary | Callable[[], str | Binary] | None = None,
    match: Callable[[bytes], object],
    is_binary: Literal[True],
    codec: None = ...,
) -> Observable[bytes]: ...
@overload
def channel(
    connection: Connection,
    *,
    subscribe: str | Binary | Callable[[], str | Binary],
    unsubscribe: str | Binary | Callable[[], str | Binary] | None = None,
    match: Callable[[str | bytes], object],
    is_binary: None,
    codec: None = ...,
) -> Observable[str | bytes]: ...
@overload
def channel(
    connection: Connection,
    *,
    subscribe: Any,
    unsubscribe: Any = None,
    match: Callable[[T], object],
    codec: CodecOf[T],
) -> Observable[T]: ...
@overload
def channel(
    connection: Connection,
    *,
    subscribe: Any,
    unsubscribe: Any = None,
    match: Callable[[Any], object],
    codec: CodecName,
) -> Observable[Any]: ...
@overload
def channel(
    connection: Connection,
    *,
    subscribe: Any,
    unsubscribe: Any = None,
    match: Callable[[T], object],
    codec: TypeForm[T],
) -> Observable[T]: ...
def channel(  # noqa: PLR0913 - what is asked for, and what belongs to it
    connection: Connection,
    *,
    subscribe: Any,
    unsubscribe: Any = None,
    match: Callable[[Any], object],
    is_binary: bool | None = UNSET,
    codec: Any = UNSET,
) -> Observable[Any]:
    """Shares one subscription at the server among all that subscribe here.

    The first subscriber has `subscribe` sent: at once where the connection is open, or else when it opens. It is sent
    again each time the connection opens while there are subscribers, after a reconnect too. When the last one leaves
    while it is open, `unsubscribe` is sent.

    ::

        subscribers:   --1-----2--1-----0----
        state:         open------gap--open---
        sent:          --s------------s--u---
        on the wire:   ---a-b----------a-b---
              channel(feed, subscribe="s", unsubscribe="u", match=lambda text: text == "a")
        result:        ---a------------a

    Keep the observable: each call makes a channel of its own. What a server wants to hear before, such as a login, is
    to be sent by a pipeline that was subscribed before.

    Args:
        connection: The connection.
        subscribe: What asks the server for the channel: a constant, or a function that gives it at each sending.
            With the codec of a type it goes as JSON whatever its own type is.
        unsubscribe: What ends it, likewise. `None`: nothing is sent; then `subscribe` is sent once for each opening.
        match: Whether a message belongs to the channel. What it raises is an `ErrorEvent` of phase `handler`.
        is_binary: As in `client_send` and `on_receive`.
        codec: As in `client_send` and `on_receive`. Messages that do not fit it are `ErrorEvent`s, as everywhere: where
            other messages come on the same socket, take one that fits them all.

    Returns:
        A hot observable of the channel's messages. It never errors, and completes when the project closes. What cannot
        be sent, or is dropped from a full send queue, is an `ErrorEvent` of phase `send`; then the next subscriber, or
        the next opening, has it sent.

    Raises:
        TypeError: If a constant is of the wrong type, or `codec` is no codec, or is given together with
            `is_binary=True` or `None`.
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
    check_callback("match", match, gives="whether a message belongs to the channel")
    form = form_of(connection, codec, is_binary)
    return _Channel(
        connection,
        cast("IsolatedSubject[Any]", form.read(connection)),
        match,
        _sender(connection, form, subscribe),
        None if unsubscribe is None else _sender(connection, form, unsubscribe),
    )


class _Channel(Derived[Any]):
    """The messages of a channel. While it is observed, the server has been asked for them."""

    def __init__(
        self,
        connection: Connection,
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
        # For which session and attempt the server was asked; only the loop's thread looks at it.
        self._asked_in: tuple[int, int] | None = None
        # How often it was told anything.
        self._told = 0
        self._openings: abc.DisposableBase | None = None

    def note_observed(self) -> None:
        """Follows the source, and the connection's openings, while there are subscribers."""
        super().note_observed()
        self._connection.for_nodes.run_on_loop(self._settle)

    def _settle(self, _: object = None) -> None:
        """Has the server know what is wanted of it, where it does not yet."""
        self._watch_openings()
        connection = self._connection
        if connection.state is not ConnectionState.OPEN:
            return
        opening = (connection.session, connection.attempt)
        if self.is_observed and self._asked_in != opening:
            self._tell_server(self._ask, opening)
        elif not self.is_observed and self._asked_in == opening and self._leave is not None:
            self._tell_server(self._leave, None)

    def _watch_openings(self) -> None:
        with self.lock:
            if self.is_observed and self._openings is None:
                self._openings = Filtered(self._connection.lifecycle, Opened).subscribe(self._settle)
            elif not self.is_observed and self._openings is not None:
                self._openings.dispose()
                self._openings = None

    def _tell_server(self, send: Callable[[], Receipt], asked_in: tuple[int, int] | None) -> None:
        """Sends one of the two messages. If the last one is not sent, that leaves things as they were, and is told."""
        before, self._asked_in = self._asked_in, asked_in
        self._told += 1
        told = self._told

        def fail(problem: str, cause: BaseException | None = None) -> None:
            if self._told != told:
                # The server has been told something else since.
                return
            self._asked_in = before
            undone = "left" if asked_in is None else "asked for; the next subscriber, or the next opening, asks again"
            error = SendError(f"{self._connection.name!r}: {problem}: a channel was not {undone}")
            error.__cause__ = cause
            self._connection.for_nodes.report("send", error)

        try:
            receipt = send()
        except Exception as error:  # noqa: BLE001 - a function may raise anything, and the channel goes on
            cause = error.__cause__ or error if isinstance(error, SendError) else error
            fail(text_of(cause), cause)
        else:
            receipt.follow(lambda outcome: fail("the send queue is full") if isinstance(outcome, SendDropped) else None)


# --- What both send ---------------------------------------------------------------------------------------------------


def _sender(connection: Connection, form: Form, message: Any) -> Callable[[], Receipt]:
    """What sends the message. A constant is encoded now, so that one that cannot be is raised where it is given."""
    form = form.for_any_type()
    if callable(message):
        check_callback("a message", message, gives="what to send")
        return lambda: form.send(connection, message())
    constant = form.constant(message)
    return lambda: form.send_written(connection, constant)
