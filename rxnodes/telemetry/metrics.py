"""The metrics of connections.

Connections count their messages themselves. A collection reads those counts, so that a message costs nothing more.
Events are counted here, in tallies. A tally outlives its connection, because the last export of a program comes when
its project has been left.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Final, TypeAlias
from weakref import WeakKeyDictionary

from opentelemetry.metrics import Observation, get_meter_provider
from reactivex.disposable import CompositeDisposable, Disposable

from rxnodes import __version__
from rxnodes.errors import HolderLost
from rxnodes.lifecycle.events import (
    Closing,
    Connecting,
    Dropped,
    ErrorEvent,
    LifecycleEvent,
    Opened,
    Stopped,
    Traffic,
)
from rxnodes.lifecycle.states import ConnectionState
from rxnodes.rx.forking import guard
from rxnodes.rx.schedulers import running_loop, stopwatch_of
from rxnodes.telemetry.guarded import guarded
from rxnodes.telemetry.words import (
    CLEAN,
    CODE,
    CONNECT_DURATION,
    DIRECTION,
    ERROR_TYPE,
    NAME,
    OUTCOME,
    PHASE,
    SCOPE,
    STATE,
    Attributes,
    initiator_attribute,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opentelemetry.metrics import CallbackOptions, MeterProvider
    from reactivex import abc

    from rxnodes.connection.connection import Connection
    from rxnodes.telemetry.guarded import Watch

__all__ = ["metrics"]

# OpenTelemetry's SDK keeps up to 2,000 sets of attributes for each metric, for good. It reports all further sets as one
# without attributes. So these limits leave room for the sets without a name that come once there are too many names.

#: How many names a metric has. Two directions for each, and two for all together, make 2,000 sets.
MOST_NAMES: Final = 999
#: How many names have all six states; more names have `open` alone. 199 names in six states, 800 more in one, and six
#: states for all together make 2,000 sets.
MOST_NAMES_IN_EACH_STATE: Final = 199
#: How many sets a counter of events has, where one name has several.
MOST_SETS: Final = 1_800

#: Bounds of the histograms, in seconds: those of the conventions for HTTP, and one more for pings in a local network.
BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

#: Attributes that can be a key.
Items: TypeAlias = tuple[tuple[str, str | bool | int | float], ...]

#: Guards all tallies. Nobody holds it for long: events are rare, and so are collections.
_lock = RLock()
guard(_lock)


@dataclass(slots=True)
class Tally:
    """What was counted for one name, or for all connections together.

    Attributes:
        attributes: The name, or nothing.
        counts: By metric, how often each set of further attributes was counted.
        traffic: The traffic of sessions that are over.
        reported: The most traffic that was reported. A counter never goes back.
    """

    attributes: Attributes
    counts: defaultdict[str, Counter[Items]] = field(default_factory=lambda: defaultdict(Counter))
    traffic: Traffic = field(default_factory=Traffic)
    reported: Traffic = field(default_factory=Traffic)

    def add(self, metric: str, attributes: Attributes) -> None:
        """Counts one more."""
        self.counts[metric][tuple(attributes.items())] += 1

    def merge(self, other: Tally) -> None:
        """Adds another tally to this one."""
        for metric, counts in other.counts.items():
            self.counts[metric].update(counts)
        self.traffic = self.traffic.plus(other.traffic)
        self.reported = self.reported.plus(other.reported)


class Book:
    """The tallies of one meter provider, and the connections that are watched for it.

    All projects share one book, because the SDK ignores the callbacks of a metric that is created a second time.

    Attributes:
        watched: The connections.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self._tallies: dict[str | None, Tally] = {}
        self._has_left_names_out = False
        self.watched: set[_ConnectionMetrics] = set()
        meter = provider.get_meter(SCOPE, __version__)
        for metric, unit, description in (
            ("rxnodes.session.count", "{session}", "Sessions that are over"),
            ("rxnodes.attempt.count", "{attempt}", "Attempts to connect that are decided"),
            ("rxnodes.error.count", "{error}", "Error events"),
        ):
            meter.create_observable_counter(metric, [self._counted(metric)], unit, description)
        meter.create_observable_counter(
            "rxnodes.message.count",
            [self._carried(lambda it: (it.messages_received, it.messages_sent))],
            "{message}",
            "Messages received and sent",
        )
        meter.create_observable_counter(
            "rxnodes.message.io",
            [self._carried(lambda it: (it.bytes_received, it.bytes_sent))],
            "By",
            "Bytes of messages received and sent, uncompressed and without framing",
        )
        meter.create_observable_up_down_counter(
            "rxnodes.connection.count", [self._states], "{connection}", "Connections in each state"
        )
        self.connect_duration, self.close_duration, self.ping_duration = (
            meter.create_histogram(metric, "s", description, explicit_bucket_boundaries_advisory=BUCKETS)
            for metric, description in (
                (CONNECT_DURATION, "From the beginning of an attempt until it is open"),
                ("rxnodes.close.duration", "From the beginning of the closing until it is over"),
                ("rxnodes.ping.duration", "From a ping to its pong"),
            )
        )

    def tally(self, name: str | None) -> Tally:
        """The tally of a name. Once there are too many names, all share one tally."""
        if name is not None and name not in self._tallies and len(self._tallies) >= MOST_NAMES:
            self._leave_names_out()
        key = None if self._has_left_names_out else name
        if key not in self._tallies:
            self._tallies[key] = Tally({} if key is None else {NAME: key})
        return self._tallies[key]

    def _leave_names_out(self) -> None:
        self._has_left_names_out = True
        everything = Tally({})
        for tally in self._tallies.values():
            everything.merge(tally)
        self._tallies = {None: everything}

    # What is collected

    def _counted(self, metric: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        reported: set[tuple[Items, Items]] = set()

        def observe(_: CallbackOptions) -> list[Observation]:
            with _lock:
                counts = {
                    (items, tuple(tally.attributes.items())): count
                    for tally in self._tallies.values()
                    for items, count in tally.counts[metric].items()
                }
                if len(reported) <= MOST_SETS:
                    reported.update(counts)
                has_room = len(reported) <= MOST_SETS
                shown: Counter[Items] = Counter()
                for (items, name), count in counts.items():
                    shown[items + name if has_room else items] += count
                return [Observation(count, dict(items)) for items, count in shown.items()]

        return observe

    def _carried(
        self, receive_and_transmit: Callable[[Traffic], tuple[int, int]]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> list[Observation]:
            with _lock:
                return [
                    Observation(value, tally.attributes | {DIRECTION: direction})
                    for tally, traffic in self._traffic()
                    for direction, value in zip(("receive", "transmit"), receive_and_transmit(traffic), strict=True)
                ]

        return observe

    def _traffic(self) -> Iterator[tuple[Tally, Traffic]]:
        under_way: defaultdict[int, Traffic] = defaultdict(Traffic)
        for watched in self.watched:
            key = id(watched.tally)
            under_way[key] = under_way[key].plus(watched.since_taken())
        for tally in self._tallies.values():
            so_far = tally.traffic.plus(under_way[id(tally)])
            tally.reported = Traffic(*map(max, tally.reported, so_far))
            yield tally, tally.reported

    def _states(self, _: CallbackOptions) -> list[Observation]:
        """How many connections are in each state, by name. A state without any has 0: a missing series raises no alarm.

        Once there are many names, they have `open` alone, because alarms ask for that.
        """
        with _lock:
            # A name that was once reported takes its room for good, and so does its tally.
            has_room = len(self._tallies) <= MOST_NAMES_IN_EACH_STATE
            counts: Counter[tuple[str | None, ConnectionState]] = Counter()
            for watched in self.watched:
                name, now = watched.shown_name, watched.connection.state
                for state in ConnectionState:
                    shown = name if has_room or state is ConnectionState.OPEN else None
                    counts[shown, state] += state is now
            return [
                Observation(count, {STATE: state.value} | ({} if name is None else {NAME: name}))
                for (name, state), count in counts.items()
            ]


class _Books:
    """The books by provider. A book is freed with its provider."""

    def __init__(self) -> None:
        self._books: WeakKeyDictionary[MeterProvider, Book] = WeakKeyDictionary()
        self._of_global: Book | None = None

    def of(self, provider: MeterProvider | None) -> Book:
        """The book of a provider; `None`: the global one."""
        current = get_meter_provider()
        chosen = provider or current
        with _lock:
            # The global provider may have been set since. OpenTelemetry hands on to it what was created before.
            book = self._books.get(chosen) or (self._of_global if chosen is current else None) or Book(chosen)
            self._books[chosen] = book
            if chosen is current:
                self._of_global = book
        return book


_books = _Books()


def metrics(provider: MeterProvider | None, *, by_connection: bool) -> Watch:
    """Measures a connection, by the provider or else the global one, under its name if `by_connection`."""
    book = _books.of(provider)

    def watch(connection: Connection) -> abc.DisposableBase:
        of_connection = _ConnectionMetrics(connection, book, connection.name if by_connection else None)
        return CompositeDisposable(
            connection.lifecycle.subscribe(guarded(of_connection.take)),
            connection.latency.subscribe(guarded(of_connection.take_ping)),
            Disposable(guarded(of_connection.end)),
        )

    return watch


class _ConnectionMetrics:
    """Measures one connection, from the moment it is made."""

    def __init__(self, connection: Connection, book: Book, name: str | None) -> None:
        self.connection = connection
        self._book = book
        self._name = name
        # The session and its traffic up to which the tally has it, or telemetry had not begun.
        self._taken = connection.for_project.traffic
        self._is_connecting = connection.state is ConnectionState.CONNECTING
        self._error: str | None = None
        self._closing_since: float | None = None
        with _lock:
            book.tally(name)
            book.watched.add(self)

    @property
    def tally(self) -> Tally:
        """Its tally, which is another one once there are too many names."""
        return self._book.tally(self._name)

    @property
    def shown_name(self) -> str | None:
        """The connection's name, if its metrics have it."""
        return self._name if self.tally.attributes else None

    def since_taken(self) -> Traffic:
        """The traffic that is not in the tally yet."""
        session, traffic = self.connection.for_project.traffic
        return traffic.minus(self._taken[1]) if session == self._taken[0] else traffic

    def take(self, event: LifecycleEvent) -> None:
        """Counts a lifecycle event."""
        match event:
            case Connecting():
                self._is_connecting = True
                self._error = None
            case Opened():
                self._end_attempt("opened")
                self._book.connect_duration.record(event.elapsed, self._attributes)
            case Dropped():
                self._end_attempt("failed")
            case Closing():
                self._closing_since = stopwatch_of(running_loop())()
            case Stopped():
                self._end_session(event)
            case ErrorEvent():
                self._count_error(event)
            case _:
                pass

    def take_ping(self, seconds: float) -> None:
        """Measures a ping."""
        self._book.ping_duration.record(seconds, self._attributes)

    def end(self) -> None:
        """Counts the traffic so far, and no more."""
        with _lock:
            self._take_traffic()
            self._book.watched.discard(self)

    @property
    def _attributes(self) -> Attributes:
        with _lock:
            return self.tally.attributes

    def _add(self, metric: str, attributes: Attributes) -> None:
        with _lock:
            self.tally.add(metric, attributes)

    def _count_error(self, event: ErrorEvent) -> None:
        if isinstance(event.error, HolderLost):
            # It stands in for the Stopped, which another worker tells and counts.
            self._closing_since = None
            self._end_attempt("failed")
            self._take_traffic()
        kind = type(event.error).__name__
        if event.phase == "connect":
            self._error = kind
        self._add("rxnodes.error.count", {PHASE: event.phase, ERROR_TYPE: kind})

    def _end_attempt(self, outcome: str) -> None:
        if not self._is_connecting:
            return
        self._is_connecting = False
        why: Attributes = {ERROR_TYPE: self._error} if outcome == "failed" and self._error is not None else {}
        self._add("rxnodes.attempt.count", why | {OUTCOME: outcome})

    def _take_traffic(self) -> None:
        with _lock:
            self.tally.traffic = self.tally.traffic.plus(self.since_taken())
            self._taken = self.connection.for_project.traffic

    def _end_session(self, event: Stopped) -> None:
        self._end_attempt("stopped" if event.error is None else "failed")
        self._take_traffic()
        self._add("rxnodes.session.count", initiator_attribute(event) | {CODE: event.code, CLEAN: event.was_clean})
        since, self._closing_since = self._closing_since, None
        if since is not None:
            # Not by the times of the events: somebody may have set the clock meanwhile.
            self._book.close_duration.record(stopwatch_of(running_loop())() - since, self._attributes)
