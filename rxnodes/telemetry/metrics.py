"""The metrics of connections.

What is counted for each message stands in the connections already, and is read when somebody collects, so that a
message costs nothing more. What is counted for each event is kept here, in tallies, and read then too. A tally outlives
its connection: the last export of a program comes when its project has been left.
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
    Words,
    initiated_by,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opentelemetry.metrics import CallbackOptions, MeterProvider
    from reactivex import abc

    from rxnodes.connection.connection import Connection

__all__ = ["MOST_NAMES", "Metrics"]

# OpenTelemetry's SDK keeps 2,000 sets of attributes of a metric, for good, and tells all further ones as one that has
# none of them. What is told in place of the names must find room there behind them.

#: How many connections are told apart. Two directions of each, and two of all together, are the 2,000.
MOST_NAMES: Final = 999
#: How many of them in each of their six states; more of them in `open` alone. 199 in six states, 800 more in one, and
#: the six of all together are the 2,000.
MOST_NAMES_IN_EACH_STATE: Final = 199
#: How many sets of attributes there may be of a counter of events, which has several for a name.
MOST_SETS: Final = 1_800

#: In seconds: those of OpenTelemetry's conventions for HTTP, and one more for pings in a local network.
BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

#: Attributes, as they are counted by.
Items: TypeAlias = tuple[tuple[str, str | bool | int | float], ...]

#: Guards all tallies. It is held for moments only: events are rare, and so are collections.
_lock = RLock()
guard(_lock)


@dataclass(slots=True)
class Tally:
    """What was counted for a connection, or for all of those that are not told apart.

    Attributes:
        words: The attributes of all of it.
        counts: By metric, how often each set of further attributes was counted.
        traffic: What was carried in sessions that are over.
        reported: The most that was reported of the traffic. A counter never goes back.
    """

    words: Words
    counts: defaultdict[str, Counter[Items]] = field(default_factory=lambda: defaultdict(Counter))
    traffic: Traffic = field(default_factory=Traffic)
    reported: Traffic = field(default_factory=Traffic)

    def add(self, metric: str, words: Words) -> None:
        """Counts one more."""
        self.counts[metric][tuple(words.items())] += 1

    def merge(self, other: Tally) -> None:
        """Takes over what another one has counted."""
        for metric, counts in other.counts.items():
            self.counts[metric].update(counts)
        self.traffic = self.traffic.plus(other.traffic)
        self.reported = self.reported.plus(other.reported)


class Book:
    """The tallies of one meter provider, and the connections that are being watched for it.

    The SDK sets up a name only once, and ignores the callbacks of whoever comes with it a second time. So all projects
    share one book.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self._tallies: dict[str | None, Tally] = {}
        self._has_left_names_out = False
        self._watched: set[ConnectionMetrics] = set()
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

    # Who is in it

    def enter(self, watched: ConnectionMetrics) -> None:
        """Begins with a connection."""
        with _lock:
            self._watched.add(watched)

    def leave(self, watched: ConnectionMetrics) -> None:
        """Lets a connection go. What was counted stays."""
        with _lock:
            self._watched.discard(watched)

    def tally(self, name: str | None) -> Tally:
        """The tally of a name. With too many names, all of them have one in common from then on."""
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
        told: set[tuple[Items, Items]] = set()

        def observe(_: CallbackOptions) -> list[Observation]:
            with _lock:
                counts = {
                    (words, tuple(tally.words.items())): count
                    for tally in self._tallies.values()
                    for words, count in tally.counts[metric].items()
                }
                if len(told) <= MOST_SETS:
                    told.update(counts)
                has_room = len(told) <= MOST_SETS
                shown: Counter[Items] = Counter()
                for (words, name), count in counts.items():
                    shown[words + name if has_room else words] += count
                return [Observation(count, dict(words)) for words, count in shown.items()]

        return observe

    def _carried(
        self, receive_and_transmit: Callable[[Traffic], tuple[int, int]]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> list[Observation]:
            with _lock:
                return [
                    Observation(value, tally.words | {DIRECTION: direction})
                    for tally, traffic in self._traffic()
                    for direction, value in zip(("receive", "transmit"), receive_and_transmit(traffic), strict=True)
                ]

        return observe

    def _traffic(self) -> Iterator[tuple[Tally, Traffic]]:
        under_way: defaultdict[int, Traffic] = defaultdict(Traffic)
        for watched in self._watched:
            key = id(watched.tally)
            under_way[key] = under_way[key].plus(watched.since_taken())
        for tally in self._tallies.values():
            so_far = tally.traffic.plus(under_way[id(tally)])
            tally.reported = Traffic(*map(max, tally.reported, so_far))
            yield tally, tally.reported

    def _states(self, _: CallbackOptions) -> list[Observation]:
        """Every state, of every name or of all; 0 where nobody is in it, since a series that is gone raises no alarm.

        Of many names it is told alone whether they are open, which is what alarms ask for.
        """
        with _lock:
            # A name that was once shown takes its room for good, and so does its tally.
            has_room = len(self._tallies) <= MOST_NAMES_IN_EACH_STATE
            counts: Counter[tuple[str | None, ConnectionState]] = Counter()
            for watched in self._watched:
                name, now = watched.shown_name, watched.connection.state
                for state in ConnectionState:
                    shown = name if has_room or state is ConnectionState.OPEN else None
                    counts[shown, state] += state is now
            return [
                Observation(count, {STATE: state.value} | ({} if name is None else {NAME: name}))
                for (name, state), count in counts.items()
            ]


class _Books:
    """The books there are. A provider that nobody holds any more takes its book with it."""

    def __init__(self) -> None:
        self._books: WeakKeyDictionary[MeterProvider, Book] = WeakKeyDictionary()
        self._of_global: Book | None = None

    def of(self, provider: MeterProvider | None) -> Book:
        """The book of a provider; `None`: the global one."""
        current = get_meter_provider()
        chosen = provider or current
        with _lock:
            # The global provider may have been set since: what was set up before is handed on to it.
            book = self._books.get(chosen) or (self._of_global if chosen is current else None) or Book(chosen)
            self._books[chosen] = book
            if chosen is current:
                self._of_global = book
        return book


_books = _Books()


class Metrics:
    """Measures a project's connections.

    Args:
        provider: Gives the meter; `None`: the global one.
        by_connection: Whether connections are told apart.
    """

    def __init__(self, provider: MeterProvider | None, *, by_connection: bool) -> None:
        self._book = _books.of(provider)
        self._by_connection = by_connection

    def watch(self, connection: Connection) -> abc.DisposableBase:
        """Begins with a connection."""
        metrics = ConnectionMetrics(connection, self._book, connection.name if self._by_connection else None)
        return CompositeDisposable(
            connection.lifecycle.subscribe(guarded(metrics.tell)),
            connection.latency.subscribe(guarded(metrics.measure_ping)),
            Disposable(guarded(metrics.leave)),
        )


class ConnectionMetrics:
    """Measures one connection, from the moment it is made."""

    def __init__(self, connection: Connection, book: Book, name: str | None) -> None:
        self.connection = connection
        self._book = book
        self._name = name
        # Up to where the traffic is in the tally, or is none of ours: a session, and what it had carried.
        self._taken = connection.for_project.traffic
        self._is_connecting = connection.state is ConnectionState.CONNECTING
        self._error: str | None = None
        self._closing_since: float | None = None
        with _lock:
            book.tally(name)
            book.enter(self)

    @property
    def tally(self) -> Tally:
        """Where it is counted, which may become another one."""
        return self._book.tally(self._name)

    @property
    def shown_name(self) -> str | None:
        """The connection's name, where it is told."""
        return self._name if self.tally.words else None

    def since_taken(self) -> Traffic:
        """What the connection has carried that is not in the tally yet."""
        session, traffic = self.connection.for_project.traffic
        return traffic.minus(self._taken[1]) if session == self._taken[0] else traffic

    def tell(self, event: LifecycleEvent) -> None:
        """Counts a lifecycle event."""
        match event:
            case Connecting():
                self._is_connecting = True
                self._error = None
            case Opened():
                self._end_attempt("opened")
                self._book.connect_duration.record(event.elapsed, self._words)
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

    def measure_ping(self, seconds: float) -> None:
        """Measures a ping."""
        self._book.ping_duration.record(seconds, self._words)

    def leave(self) -> None:
        """Takes what the connection has carried so far, and lets it go."""
        with _lock:
            self.tally.traffic = self.tally.traffic.plus(self.since_taken())
            self._book.leave(self)

    @property
    def _words(self) -> Words:
        with _lock:
            return self.tally.words

    def _add(self, metric: str, words: Words) -> None:
        with _lock:
            self.tally.add(metric, words)

    def _count_error(self, event: ErrorEvent) -> None:
        if isinstance(event.error, HolderLost):
            # In the place of a Stopped, which is told, and counted, elsewhere.
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
        why: Words = {ERROR_TYPE: self._error} if outcome == "failed" and self._error is not None else {}
        self._add("rxnodes.attempt.count", why | {OUTCOME: outcome})

    def _take_traffic(self) -> None:
        with _lock:
            self.tally.traffic = self.tally.traffic.plus(self.since_taken())
            self._taken = self.connection.for_project.traffic

    def _end_session(self, event: Stopped) -> None:
        self._end_attempt("stopped" if event.error is None else "failed")
        self._take_traffic()
        self._add("rxnodes.session.count", initiated_by(event) | {CODE: event.code, CLEAN: event.was_clean})
        since, self._closing_since = self._closing_since, None
        if since is not None:
            # Not by the times of the events, because the clock may have been set meanwhile.
            self._book.close_duration.record(stopwatch_of(running_loop())() - since, self._words)
