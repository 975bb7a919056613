"""Expecting a message that something is about to cause."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from reactivex import abc
from reactivex.scheduler import TimeoutScheduler

from rxnodes.connection.matching import as_match
from rxnodes.errors import RequestTimeout
from rxnodes.rx.event_loops import call_on
from rxnodes.rx.schedulers import running_loop
from rxnodes.rx.streams import IsolatedSubject
from rxnodes.websocket.answers import answers_of
from rxnodes.websocket.codec_argument import UNSET, reader_of
from rxnodes.websocket.exchange import to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeForm

    from rxnodes.codecs import CodecName, CodecOf, V
    from rxnodes.connection.matching import Match, Wanted
    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.rx.streams import Subscription
    from rxnodes.websocket.answers import Answers
    from rxnodes.websocket.exchange import Timeout

__all__ = ["Expectation", "expect"]

T = TypeVar("T")


@overload
def expect(connection: ConnectionLike, match: Match[str], *, timeout: Timeout = None) -> Expectation[str]: ...
@overload
def expect(
    connection: ConnectionLike, match: Match[str | bytes], *, timeout: Timeout = None, codec: None
) -> Expectation[str | bytes]: ...
@overload
def expect(
    connection: ConnectionLike, match: Match[Any], *, timeout: Timeout = None, codec: CodecName
) -> Expectation[Any]: ...
@overload
def expect(
    connection: ConnectionLike, match: Match[V], *, timeout: Timeout = None, codec: CodecOf[V]
) -> Expectation[V]: ...
@overload
def expect(
    connection: ConnectionLike, match: Match[V], *, timeout: Timeout = None, codec: TypeForm[V]
) -> Expectation[V]: ...
def expect(
    connection: ConnectionLike, match: Match[Any], *, timeout: Timeout = None, codec: Any = UNSET
) -> Expectation[Any]:
    """Listens for one message from this call on, whether or not anybody has subscribed yet.

    ::

        on the wire:   ---"b1"-------"a1"---"b2"---"b3"---
        called:        --------here
              expect(chat, lambda text: text.startswith("b"))
        result:                      --------"b2"|

    Use it if the next thing you do makes the peer send the message: a subscription made afterwards could be too late.
    The result is an observable, which a coroutine can await, and a context manager, which gives the message up when it
    is left. It keeps its outcome, a message or an error, for later subscribers. Nobody has to subscribe.

    It may be called in any thread, and before the project is open. While the connection is idle or connecting, it
    waits.

    Args:
        connection: The connection.
        match: Says which message is expected: a function, or a key and a value, as in `request`. If the function
            raises, that is the observable's error.
        timeout: Seconds to wait for the message, or a `timedelta`, from 0.001 s to one day, counted from the call;
            `None`: as long as the connection lasts.
        codec: Reads the messages, as in `on_receive`. A message that it cannot read is an `ErrorEvent`, and no match.

    Returns:
        An observable of one message. Its errors are `RequestTimeout`, and `ConnectionLost` at the first `Dropped` or
        `Stopped`, or when the connection is removed or its project is left. If it is disposed before there is an
        outcome, it completes without a message, and awaiting it raises reactivex's `SequenceContainsNoElementsError`.

    Raises:
        TypeError: If `match` is neither a plain function nor a key and a value that can be hashed, or `timeout` no time
            or `codec` no codec.
        ValueError: If `timeout` is out of its range, or no codec has that name.

    Example:
        >>> import asyncio
        >>> from rxnodes import Project
        >>> from rxnodes.testing import WebSocketServer, echo
        >>> async def main() -> None:
        ...     async with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as project:
        ...         chat = project.websocket("chat")
        ...         chat.start()
        ...         await chat.wait_started()
        ...         with expect(chat, ("joined", "me"), timeout=5, codec="json") as joined:
        ...             chat.send({"joined": "me"}, codec="json")
        ...             print(await joined)
        >>> asyncio.run(main())
        {'joined': 'me'}
    """
    reader = reader_of(connection, codec)
    wanted = as_match(match, reader, gives="whether a message is the expected one")
    return Expectation[Any](connection, answers_of(connection, reader), wanted, to_seconds(timeout))


class Expectation(IsolatedSubject[T], abc.DisposableBase):
    """An expected message: the observable that `expect` returns."""

    awaited = "the expected message"
    generation: int

    def __init__(
        self,
        connection: ConnectionLike,
        answers: Answers,
        match: Callable[[Any], object] | Wanted,
        timeout: float | None,
    ) -> None:
        super().__init__(connection.for_nodes.on_handler_error)
        self._connection = connection
        self._answers = answers
        self._match = match
        self._timeout = timeout
        self._came: tuple[T, ...] = ()
        self._is_waiting = False
        self._stop_timer: Callable[[], None] | None = None
        self._run(self._begin)
        if timeout is not None:
            self._run(partial(self._keep_timer, _after(timeout, partial(self._run, self.on_deadline))))

    def __enter__(self) -> Self:
        return self

    def dispose(self) -> None:
        """Gives the message up, unless it has come: the observable completes without it."""
        self._run(partial(self._end, self.on_completed))

    @property
    def is_over(self) -> bool:
        """Whether there is an outcome."""
        return self._is_stopped

    def on_next(self, value: T) -> None:
        """Keeps the message, which is emitted with the completion."""
        self._came = (value,)

    def _tell_end(self, subscription: Subscription) -> None:
        for value in self._came:
            try:
                subscription.on_next(value)
            except BaseException as error:  # noqa: BLE001 - as in every isolated subject
                self._report_raised(error)
        super()._tell_end(subscription)

    def _run(self, act: Callable[[], None]) -> None:
        self._connection.for_nodes.run_on_loop(act)

    def _begin(self) -> None:
        if not self.is_over:
            self._is_waiting = True
            self._answers.add(self._match, self)

    def _keep_timer(self, stop: Callable[[], None]) -> None:
        # In another thread the outcome may have come first, even the timer's own.
        if self.is_over:
            stop()
        else:
            self._stop_timer = stop

    def _end(self, tell: Callable[[], None]) -> None:
        """Releases everything, and then tells the outcome."""
        if self.is_over:
            return
        if self._is_waiting:
            self._is_waiting = False
            self._answers.remove(self._match, self)
        if self._stop_timer is not None:
            self._stop_timer()
        tell()

    # As a waiter

    def on_message(self, message: T) -> None:
        """The message has come."""
        self.on_next(message)
        self._end(self.on_completed)

    def on_failure(self, error: Exception) -> None:
        """The function that says whether a message is the expected one has raised, or the attempt has ended."""
        self._end(partial(self.on_error, error))

    def on_deadline(self) -> None:
        """The message has not come in time."""
        self.on_failure(RequestTimeout(f"{self._connection.name!r}: no expected message within {self._timeout:.10g} s"))


def _after(seconds: float, act: Callable[[], None]) -> Callable[[], None]:
    """Calls a function later: on the loop that runs in this thread, if one does, so that virtual time counts.

    The connection may have no loop yet.

    Returns:
        A function that cancels the call, from any thread.
    """
    loop = running_loop()
    if loop is None:

        def in_thread(_scheduler: abc.SchedulerBase, _state: object = None) -> None:
            act()

        return TimeoutScheduler.singleton().schedule_relative(seconds, in_thread).dispose
    return partial(call_on, loop, loop.call_later(seconds, act).cancel)
