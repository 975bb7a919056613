"""Instruments a project: has its connections watched, by each of the signals, for as long as that is wanted."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from reactivex.disposable import CompositeDisposable, Disposable, RefCountDisposable

from rxnodes.rx.forking import guard
from rxnodes.telemetry.log_events import LogEvents
from rxnodes.telemetry.metrics import Metrics
from rxnodes.telemetry.spans import Spans

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from reactivex import abc

    from rxnodes.connection.connection import Connection
    from rxnodes.project.project import Project

__all__ = ["instrument"]


class _Signal(Protocol):
    """Metrics, spans, or log events."""

    def watch(self, connection: Connection) -> abc.DisposableBase:
        """Watches a connection until what it gives is disposed. It asks the project for nothing, and never raises."""
        ...


def instrument(
    project: Project,
    *,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
    logger_provider: LoggerProvider | None = None,
    by_connection: bool = True,
) -> abc.DisposableBase:
    """Makes metrics, spans and log events of a project's connections, those that are added later too.

    It can be called before the project is open or while it is, from any thread. What is emitted, docs/telemetry.md
    lists: counters, which are read from the connections when they are collected, so that a message costs nothing more;
    a span for each attempt, from `Connecting` to `Opened` or its end, and for each closing, from `Closing` to
    `Stopped`; a log event for each lifecycle event. Nothing of it holds a secret, or anything of a message.

    A provider that raises is logged, and harms neither the connection nor the other signals. Instrumenting a project
    again with the same providers counts nothing twice; that ends when all the disposables are disposed.

    Args:
        project: The project.
        meter_provider: Takes the metrics; `None`: OpenTelemetry's global one, which does nothing until it is set.
        tracer_provider: Takes the spans; `None` likewise.
        logger_provider: Takes the log events; `None` likewise.
        by_connection: Whether metrics have the connection's name. From 1,000 names on they lose it in any case, since
            the SDK has no room for more, and of `rxnodes.connection.count` all states but `open` from 200 on. Spans
            and log events always have it.

    Returns:
        A disposable that ends it. What was counted by then stays in the counters. Without it, it ends with the project.

    Example:
        >>> import asyncio
        >>> from opentelemetry.sdk.metrics import MeterProvider
        >>> from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        >>> from rxnodes import Project
        >>> from rxnodes.testing import WebSocketServer, echo
        >>> async def main() -> None:
        ...     reader = InMemoryMetricReader()
        ...     async with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as project:
        ...         instrument(project, meter_provider=MeterProvider([reader]))
        ...         project.websocket("chat").start()
        ...         await project.websocket("chat").wait_started()
        ...     for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics:
        ...         if metric.name == "rxnodes.session.count":
        ...             for point in metric.data.data_points:
        ...                 print(point.value, *point.attributes.values())
        >>> asyncio.run(main())
        1 local 1000 True chat
    """
    # All are made before the first begins, because a provider that refuses raises here.
    signals: list[tuple[object, _Signal]] = [
        ((Metrics, meter_provider), Metrics(meter_provider, by_connection=by_connection)),
        ((Spans, tracer_provider), Spans(tracer_provider)),
        ((LogEvents, logger_provider), LogEvents(logger_provider)),
    ]
    return CompositeDisposable([_shared(project, key, signal) for key, signal in signals])


#: By project and signal, what is under way, so that nothing is told twice.
_under_way: WeakKeyDictionary[Project, dict[object, RefCountDisposable]] = WeakKeyDictionary()
_lock = RLock()
guard(_lock)


def _shared(project: Project, key: object, signal: _Signal) -> abc.DisposableBase:
    """A share in a signal of a project, which is under way until all shares are disposed."""
    with _lock:
        of_project = _under_way.setdefault(project, {})
        if key in of_project:
            return of_project[key].disposable
        following = _Following(project, signal)

        def end() -> None:
            with _lock:
                del of_project[key]
            following.dispose()

        shares = RefCountDisposable(Disposable(end))
        of_project[key] = shares
        share = shares.disposable
        # From here on the shares alone keep it under way.
        shares.dispose()
        return share


class _Following:
    """Has a signal watch every connection of a project."""

    def __init__(self, project: Project, signal: _Signal) -> None:
        self._signal = signal
        self._watched: set[abc.DisposableBase] = set()
        self._end_following = project.follow_connections(self._follow)

    def dispose(self) -> None:
        """Ends it for all connections."""
        self._end_following()
        for watched in tuple(self._watched):
            watched.dispose()

    def _follow(self, connection: Connection) -> None:
        watched = CompositeDisposable(self._signal.watch(connection))
        self._watched.add(watched)

        def let_go() -> None:
            self._watched.discard(watched)
            watched.dispose()

        watched.add(connection.lifecycle.subscribe(on_completed=let_go))
