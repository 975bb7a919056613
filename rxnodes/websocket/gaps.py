"""Gaps: times in which nothing could be received, and numbers that were skipped."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, Any, overload

from reactivex.disposable import CompositeDisposable

from rxnodes.lifecycle.events import LifecycleEvent, Opened
from rxnodes.rx.arguments import check_callback
from rxnodes.rx.streams import IsolatedSubject
from rxnodes.websocket.codec_argument import UNSET, read_with
from rxnodes.websocket.event_nodes import on_start

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from reactivex import Observable, abc
    from typing_extensions import TypeForm

    from rxnodes.codecs import CodecName, CodecOf, V
    from rxnodes.connection.protocols import ConnectionLike

__all__ = ["Gap", "on_gap"]

#: How many skips are remembered, because their numbers may still come. A server that is asked for them answers soon.
FILLABLE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(LifecycleEvent):
    """Messages may have been missed. `session` and `attempt` are those at its end; `at` is when it was found.

    Attributes:
        since: When the last sign of life before the gap came, in UTC; with `missed`, when the last number came.
        until: When the connection was open again, in UTC; with `missed`, when the first number after the gap came.
        missed: The numbers that were skipped; `None` for the time between two attempts, when nobody knows them.

    Example:
        >>> from datetime import UTC, datetime
        >>> noon = datetime(2000, 1, 1, 12, tzinfo=UTC)
        >>> gap = Gap(connection="feed", session=1, attempt=2, at=noon, since=noon, until=noon, missed=range(7, 9))
        >>> list(gap.missed)
        [7, 8]
    """

    since: datetime
    until: datetime
    missed: range | None


@overload
def on_gap(connection: ConnectionLike, *, sequence: Callable[[str], int | None] | None = None) -> Observable[Gap]: ...
@overload
def on_gap(
    connection: ConnectionLike, *, sequence: Callable[[str | bytes], int | None], codec: None
) -> Observable[Gap]: ...
@overload
def on_gap(
    connection: ConnectionLike, *, sequence: Callable[[Any], int | None], codec: CodecName
) -> Observable[Gap]: ...
@overload
def on_gap(
    connection: ConnectionLike, *, sequence: Callable[[V], int | None], codec: CodecOf[V]
) -> Observable[Gap]: ...
@overload
def on_gap(
    connection: ConnectionLike, *, sequence: Callable[[V], int | None], codec: TypeForm[V]
) -> Observable[Gap]: ...
def on_gap(
    connection: ConnectionLike, *, sequence: Callable[[Any], int | None] | None = None, codec: Any = UNSET
) -> Observable[Gap]:
    """Fires after each reconnect, with the time in which nothing could be received, and when numbers were skipped.

    ::

        state:                        open---------reconnecting---open-----------
        messages:                     ---7---8-----------------------------11-12-
        on_gap(feed):                 ----------------------------G--------------    since 8
        on_gap(feed, sequence=int):   ----------------------------G--------G'----    G' missed 9 and 10

    The time begins with the last sign of life of the attempt that ended: its last message, its last pong, or its
    `Opened`. It does not begin before the first subscription.

    Numbers are expected to grow by one, within an attempt and from one attempt to the next. The first number after the
    first subscription, and the first of each session, is never a gap. A missed number that comes late, because it was
    requested again or overtaken, changes nothing. Any other number that does not grow is no gap either: counting goes
    on from it, for servers that start again from the beginning.

    Args:
        connection: The connection.
        sequence: A plain function that gives the number of a message, an `int`, or `None` if it has none. If it raises
            or gives anything else, there is an `ErrorEvent` of phase `handler`, and the message does not count.
        codec: Reads the messages for `sequence`, as in `on_receive`; both share the values. A message that does not fit
            has no number.

    Returns:
        A hot observable of `Gap`. It never errors, and completes when the project closes. The gap of a reconnect comes
        after its `Opened`; that of skipped numbers comes after the messages of the same read. All subscribers get the
        same gaps. While there is no subscriber, nothing is remembered.

    Raises:
        TypeError: If `sequence` is no plain function, or `codec` is no codec.
        ValueError: If no codec has that name, or the package it needs is not installed.

    Example:
        >>> from rxnodes import Project
        >>> feed = Project(websocket={"feed": "ws://127.0.0.1:8080/"}).websocket("feed")
        >>> subscription = on_gap(feed).subscribe(lambda gap: print("fetch what came since", gap.since))
    """
    check_callback("sequence", sequence, gives="a message's number", is_optional=True)
    return _GapStream(connection, sequence, read_with(connection, codec))


class _GapStream(IsolatedSubject[Gap]):
    """Follows a connection while anybody is subscribed."""

    def __init__(
        self, connection: ConnectionLike, sequence: Callable[[Any], int | None] | None, messages: Observable[Any]
    ) -> None:
        self._side = connection.for_nodes
        super().__init__(self._side.on_handler_error)
        self._connection = connection
        self._sequence = sequence
        self._messages = messages
        self._following: abc.DisposableBase | None = None
        self._opened: Opened | None = None
        self._heard_at = self._side.now()
        self._number: int | None = None
        self._numbered_at = self._heard_at
        # The latest skips: their numbers may still come.
        self._missed: deque[range] = deque(maxlen=FILLABLE)

    def note_observed(self) -> None:
        """Follows the connection from the first subscriber to the last."""
        with self.lock:
            if self.is_observed and self._following is None:
                self._following = self._follow()
            elif not self.is_observed and self._following is not None:
                self._following.dispose()
                self._following = None

    def _follow(self) -> abc.DisposableBase:
        connection = self._connection
        self._opened = connection.last_opened
        self._heard_at = self._side.now()
        self._forget_numbers()
        following = CompositeDisposable(
            self._side.batches(is_binary=None).subscribe(self._note_life),
            connection.latency.subscribe(self._note_life),
            self._side.gaps.subscribe(self._relay),
            on_start(connection).subscribe(self._on_opened, on_completed=self.on_completed),
        )
        if self._sequence is not None:
            following.add(self._messages.subscribe(self._count))
        return following

    def _relay(self, gap: LifecycleEvent) -> None:
        """Passes on a gap that the connection has found itself."""
        assert isinstance(gap, Gap)
        self.on_next(gap)

    def _forget_numbers(self) -> None:
        self._number = None
        self._missed.clear()

    def _on_opened(self, opened: Opened) -> None:
        self._opened = opened
        if opened.is_reconnect:
            # The time of day, because the loop's clock may stand still while the machine sleeps. If the time of day was
            # set back meanwhile, the gap is empty.
            self._emit_gap(since=min(self._heard_at, opened.at), until=opened.at, missed=None)
        else:
            self._forget_numbers()
        self._heard_at = opened.at

    def _note_life(self, _: object) -> None:
        self._heard_at = self._side.now()

    def _count(self, message: Any) -> None:
        assert self._sequence is not None
        try:
            number = self._sequence(message)
            number = None if number is None else index(number)
        except BaseException as error:  # noqa: BLE001 - the user's function may raise anything
            self._report(error)
            return
        if number is not None:
            self._follow_number(number)

    def _follow_number(self, number: int) -> None:
        last = number - 1 if self._number is None else self._number
        if number > last + 1:
            missed = range(last + 1, number)
            self._missed.append(missed)
            self._emit_gap(since=self._numbered_at, until=self._heard_at, missed=missed)
        elif number < last:
            if any(number in missed for missed in self._missed):
                return
            # The server has started again from the beginning.
            self._missed.clear()
        self._number, self._numbered_at = number, self._heard_at

    def _emit_gap(self, *, since: datetime, until: datetime, missed: range | None) -> None:
        # This follows an Opened or a message, and no message comes before an Opened.
        assert self._opened is not None
        gap = Gap(
            connection=self._connection.name,
            session=self._opened.session,
            attempt=self._opened.attempt,
            at=until,
            since=since,
            until=until,
            missed=missed,
        )
        # In its turn: a subscriber must not see it before its cause.
        self._side.notify(self.on_next, gap)
