"""A question, and the exchange that follows each time that it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from reactivex import abc
from reactivex.scheduler.eventloop import AsyncIOScheduler

from rxnodes.errors import RequestTimeout, SendError
from rxnodes.lifecycle.states import ConnectionState
from rxnodes.transport.receipts import SendDropped

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from rxnodes.connection.matching import Wanted
    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.transport.receipts import Receipt, SharedOutcome
    from rxnodes.websocket.answers import Answers

    Timeout: TypeAlias = float | timedelta | None

__all__ = ["Exchange", "Question", "to_seconds"]

_DAY = 24 * 60 * 60.0


def to_seconds(timeout: Any) -> float | None:
    """The argument `timeout` in seconds.

    Raises:
        TypeError: If it is no time.
        ValueError: If it is out of its range.
    """
    if timeout is None:
        return None
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"timeout must be seconds, a timedelta or None, not {type(timeout).__name__}")
    # Written so that it also refuses NaN.
    if not 0.001 <= seconds <= _DAY:  # noqa: PLR2004 - as in the settings
        raise ValueError(f"timeout must be from 0.001 to {_DAY:.0f} seconds, or None")
    return seconds


@dataclass(slots=True, eq=False)
class Question:
    """A message to a peer, and which of the peer's messages answer it.

    Attributes:
        connection: The connection.
        answers: Where the answer is waited for.
        match: Says which message is the answer.
        send: Sends the message.
        timeout: How many seconds to wait; `None`: as long as the connection lasts.
    """

    connection: ConnectionLike
    answers: Answers
    match: Callable[[Any], object] | Wanted
    send: Callable[[], Receipt]
    timeout: float | None


class Exchange(abc.DisposableBase):
    """One asking of a question, from the sending to the end. `start` and `dispose` may be called from any thread.

    Attributes:
        question: The question.
        observer: Gets the answer or the error.
        is_over: Whether the observer gets nothing more.
        generation: As in `Waiter`.
    """

    __slots__ = ("_asked_in", "_is_timed", "_scheduler", "_timer", "generation", "is_over", "observer", "question")

    generation: int

    #: What errors say that it waited for.
    awaited = "the answer"

    def __init__(self, question: Question, observer: abc.ObserverBase[Any]) -> None:
        self.question = question
        self.observer = observer
        self.is_over = False
        # The session and the attempt in which it was asked, while the answer is waited for.
        self._asked_in: tuple[int, int] | None = None
        self._scheduler: abc.SchedulerBase | None = None
        # While the time runs: on the loop, or on the scheduler.
        self._is_timed = False
        self._timer: abc.DisposableBase | None = None

    def start(self, scheduler: abc.SchedulerBase | None = None) -> None:
        """Asks. The subscription's scheduler measures the time, unless it is an event loop's.

        That loop may be another one, which must not be touched from here, and our own measures as well.
        """
        if scheduler is not None and not isinstance(scheduler, AsyncIOScheduler):
            self._scheduler = scheduler
            self.start_timer()
        self.question.connection.for_nodes.run_on_loop(self._begin)

    def dispose(self) -> None:
        """Gives up the answer."""
        if not self.is_over:
            self.is_over = True
            self.question.connection.for_nodes.run_on_loop(self.give_up)

    def _begin(self) -> None:
        question = self.question
        connection = question.connection
        if self.is_over:
            return
        if connection.state is not ConnectionState.OPEN:
            self._fail(SendError(f"{connection.name!r} is {connection.state.value}, not open: request not sent"))
            return
        # First, because the answer may come while the message is being sent.
        self._asked_in = (connection.session, connection.attempt)
        question.answers.add(question.match, self)
        try:
            receipt = question.send()
        except Exception as error:  # noqa: BLE001 - as in every operator
            self._fail(error)
            return
        if self._scheduler is None and not self.is_over:
            self.start_timer()
        receipt.follow(self._on_outcome)

    # How it ends

    def give_up(self, error: Exception | None = None) -> None:
        """Ends it early: nobody wants the answer any more, or something failed here."""
        asked_in = self._asked_in
        self.close()
        if asked_in is not None:
            self.retract(asked_in)
        if error is not None:
            self.observer.on_error(error)

    def retract(self, asked_in: tuple[int, int]) -> None:
        """Called when the answer to a question that was sent is given up."""

    def close(self) -> None:
        """Releases everything. It runs before the observer is called, which then finds nothing left."""
        self.is_over = True
        if self._asked_in is not None:
            self._asked_in = None
            self.question.answers.remove(self.question.match, self)
        self._stop_timer()

    def _fail(self, error: Exception) -> None:
        if not self.is_over:
            self.close()
            self.observer.on_error(error)

    # As a waiter

    def on_message(self, message: Any) -> None:
        """The answer has come."""
        self.close()
        try:
            self.observer.on_next(message)
        finally:
            # An observer that raises gets the completion all the same.
            self.observer.on_completed()

    def on_failure(self, error: Exception) -> None:
        """The function that says whether a message is the answer has raised, or the attempt has ended."""
        self.give_up(error)

    def _on_outcome(self, shared: SharedOutcome) -> None:
        # A message that is unsent ended with its attempt, and the error of that end says more.
        if shared.kind is SendDropped:
            reason = shared.more["reason"]
            why = "the send queue is full" if reason == "full" else f"the connection is {reason}"
            self._fail(SendError(f"{self.question.connection.name!r}: {why}, request not sent"))

    # The time

    def start_timer(self) -> None:
        """Begins to wait for as long as `timeout` says."""
        seconds = self.question.timeout
        if seconds is None:
            return
        self._stop_timer()
        if self._scheduler is None:
            self.question.answers.deadlines.add(seconds, self)
            self._is_timed = True
        else:
            self._timer = self._scheduler.schedule_relative(seconds, self._time_out_on_loop)

    def _stop_timer(self) -> None:
        if self._is_timed:
            assert self.question.timeout is not None
            self._is_timed = False
            self.question.answers.deadlines.remove(self.question.timeout, self)
        elif self._timer is not None:
            self._timer.dispose()

    def _time_out_on_loop(self, _scheduler: abc.SchedulerBase, _state: object = None) -> None:
        self.question.connection.for_nodes.run_on_loop(self.on_deadline)

    def on_deadline(self) -> None:
        """The answer has not come in time."""
        if not self.is_over:
            question = self.question
            self.give_up(RequestTimeout(f"{question.connection.name!r}: no answer within {question.timeout:.10g} s"))
