"""Who waits for which messages of a connection, and how a message finds those who wait for it."""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, cast

from rxnodes.connection.matching import NO_MATCH, Wanted, key_reader
from rxnodes.errors import ConnectionLost, DecodeError, HolderLost, printable
from rxnodes.lifecycle.events import Dropped, ErrorEvent, LifecycleEvent, Stopped
from rxnodes.rx.streams import Subscription
from rxnodes.websocket.codec_argument import stream_of
from rxnodes.websocket.deadlines import Deadlines

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator

    from reactivex import Observable

    from rxnodes.codecs import Codec
    from rxnodes.connection.matching import Key
    from rxnodes.connection.protocols import ConnectionLike
    from rxnodes.rx.streams import IsolatedSubject

__all__ = ["Answers", "Waiter", "answers_of"]


class Waiter(Protocol):
    """One who waits for messages.

    Attributes:
        awaited: What errors say that it waited for.
        generation: The number of the subscription that serves it first. A waiter that is added during a notification
            belongs to a new subscription, and does not get the message that is being delivered.
    """

    awaited: str
    generation: int

    @property
    def is_over(self) -> bool:
        """Whether it waits no more."""
        ...

    def on_message(self, message: Any) -> None:
        """A message that matches has come."""
        ...

    def on_failure(self, error: Exception) -> None:
        """The function that says whether a message matches has raised, or the attempt or the project has ended."""
        ...

    def on_deadline(self) -> None:
        """Its time is over."""
        ...


def answers_of(connection: ConnectionLike, reader: Codec[Any] | None) -> Answers:
    """Those who wait for a connection's messages, as this codec reads them: one object for each codec."""
    return connection.for_nodes.shared((Answers, reader), lambda: Answers(connection, stream_of(connection, reader)))


class Answers:
    """Gives each message to those who wait for it. It is used on the loop's thread.

    A message finds all who wait for a value by one look-up for each key in use, however many they are. Waiters with a
    function are asked one after the other. A waiter that is added during a notification gets the next message first, as
    if it had subscribed to the connection by itself.

    Args:
        connection: The connection.
        messages: Its messages, as the waiters want them read.

    Attributes:
        deadlines: Those of the waiters.
    """

    __slots__ = (
        "__weakref__",
        "_asked",
        "_broken_by",
        "_connection",
        "_generation",
        "_lifecycle",
        "_messages",
        "_subscriptions",
        "_tables",
        "deadlines",
    )

    def __init__(self, connection: ConnectionLike, messages: Observable[Any]) -> None:
        self._connection = connection
        self._messages = cast("IsolatedSubject[Any]", messages)
        self._lifecycle = cast("IsolatedSubject[LifecycleEvent]", connection.lifecycle)
        self._tables: dict[Key, _Table] = {}
        self._asked: dict[Waiter, Callable[[Any], object]] = {}
        # To the messages and the lifecycle events, while anybody waits.
        self._subscriptions: tuple[Subscription, ...] = ()
        self._generation = 0
        self._broken_by: ErrorEvent | None = None
        # A method of ours would make a reference cycle.
        self.deadlines = Deadlines[Waiter](partial(_tell_time_is_over, connection))

    # Who waits

    def add(self, match: Callable[[Any], object] | Wanted, waiter: Waiter) -> None:
        """From now on, the waiter is given the messages that match."""
        # The message that is being delivered may still arrive here. It is for those who waited before.
        begins_generation = not self._subscriptions or self._connection.for_nodes.is_delivering
        self._generation += begins_generation
        waiter.generation = self._generation
        if isinstance(match, Wanted):
            key, value = match
            table = self._tables.get(key)
            if table is None:
                table = self._tables[key] = _Table(key_reader(key))
            table.waiting.setdefault(value, {})[waiter] = None
        else:
            self._asked[waiter] = match
        if begins_generation:
            self._follow()

    def remove(self, match: Callable[[Any], object] | Wanted, waiter: Waiter) -> None:
        """The waiter is given nothing more."""
        if isinstance(match, Wanted):
            key, value = match
            table = self._tables[key]
            waiters = table.waiting[value]
            del waiters[waiter]
            if not waiters:
                del table.waiting[value]
                if not table.waiting:
                    del self._tables[key]
        else:
            del self._asked[waiter]
        if not self._tables and not self._asked:
            self._broken_by = None
            self._resubscribe()

    def _all(self, generation: int) -> list[Waiter]:
        waiters = [*chain.from_iterable(table.all() for table in self._tables.values()), *self._asked]
        return [waiter for waiter in waiters if waiter.generation <= generation]

    # What comes from the connection

    def _follow(self) -> None:
        generation = self._generation
        self._resubscribe(
            Subscription(self._messages, partial(self._on_message, generation)),
            Subscription(self._lifecycle, partial(self._on_event, generation), on_completed=self._on_project_closed),
        )

    def _resubscribe(self, *subscriptions: Subscription) -> None:
        # The new ones first: a stream that nobody observes for a moment drops what it is delivering.
        before, self._subscriptions = self._subscriptions, subscriptions
        for subscription in subscriptions:
            subscription.stream.attach(subscription)
        for subscription in before:
            subscription.stream.detach(subscription)

    def _on_message(self, generation: int, message: Any) -> None:
        """Gives a message to the waiters of this generation and of earlier ones."""
        asked = tuple(self._asked.items())
        for table in tuple(self._tables.values()):
            for waiter in self._look_up(generation, table, message):
                if waiter.generation <= generation:
                    _tell(self._connection, waiter, waiter.on_message, message)
        for waiter, match in asked:
            if waiter.generation <= generation and not waiter.is_over:
                self._ask(waiter, match, message)

    def _look_up(self, generation: int, table: _Table, message: Any) -> Collection[Waiter]:
        """Those who wait for the value that the message has."""
        try:
            return table.find(message)
        except NO_MATCH:
            pass
        except Exception as error:  # noqa: BLE001 - as in every operator
            for waiter in tuple(table.all()):
                if waiter.generation <= generation:
                    _tell(self._connection, waiter, waiter.on_failure, error)
        return ()

    def _ask(self, waiter: Waiter, match: Callable[[Any], object], message: Any) -> None:
        try:
            is_meant = match(message)
        except Exception as error:  # noqa: BLE001 - as in every operator
            _tell(self._connection, waiter, waiter.on_failure, error)
        else:
            if is_meant:
                _tell(self._connection, waiter, waiter.on_message, message)

    def _on_event(self, generation: int, event: LifecycleEvent) -> None:
        if isinstance(event, ErrorEvent):
            if isinstance(event.error, HolderLost):
                # It takes the place of a Stopped.
                self._end(generation, event.error.code, event.error.reason, event.error)
            elif event.phase in {"connect", "receive", "close"} and not isinstance(event.error, DecodeError):
                self._broken_by = event
        elif isinstance(event, Dropped | Stopped):
            cause = event.error if isinstance(event, Stopped) else self._cause_of(event)
            self._end(generation, event.code, event.reason, cause)

    def _end(self, generation: int, code: int, reason: str, cause: Exception | None) -> None:
        """Tells the waiters that the attempt or the session has ended, and what broke it, if it was not closed."""
        end = f"with code {code}" + (f" and reason '{printable(reason)}'" if reason else "")
        for waiter in self._all(generation):
            # Each gets an error of its own, because each raises it elsewhere.
            text = f"{self._connection.name!r}: the connection ended before {waiter.awaited} came, {end}"
            lost = ConnectionLost(text, code=code, reason=reason)
            lost.__cause__ = cause
            _tell(self._connection, waiter, waiter.on_failure, lost)

    def _cause_of(self, dropped: Dropped) -> Exception | None:
        """What broke the attempt: an `ErrorEvent` announces each end that is not clean."""
        broken_by = self._broken_by
        if broken_by is None or dropped.was_clean or broken_by.attempt != dropped.attempt:
            return None
        return broken_by.error

    def _on_project_closed(self) -> None:
        # A waiter that is added meanwhile subscribes anew, and learns of the end at once.
        self._subscriptions = ()
        name = self._connection.name
        for waiter in self._all(self._generation):
            lost = ConnectionLost(f"{name!r} was removed, or the project closed, before {waiter.awaited} came")
            _tell(self._connection, waiter, waiter.on_failure, lost)


def _tell_time_is_over(connection: ConnectionLike, waiter: Waiter) -> None:
    _tell(connection, waiter, waiter.on_deadline)


def _tell(connection: ConnectionLike, waiter: Waiter, tell: Callable[..., None], *what: Any) -> None:
    """Calls a waiter. If its subscriber raises, that harms no other waiter."""
    if waiter.is_over:
        return
    try:
        tell(*what)
    except BaseException as error:  # noqa: BLE001 - those who wait are as isolated as subscribers
        connection.for_nodes.on_handler_error(error)


class _Table:
    """Those who wait for some value of one key."""

    __slots__ = ("_read", "waiting")

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self._read = read
        # The inner dicts are sets that keep their order.
        self.waiting: dict[Hashable, dict[Waiter, None]] = {}

    def find(self, message: Any) -> Collection[Waiter]:
        """Those who wait for this message."""
        waiters = self.waiting.get(self._read(message))
        return () if waiters is None else tuple(waiters)

    def all(self) -> Iterator[Waiter]:
        """All of them."""
        for waiters in self.waiting.values():
            yield from waiters
