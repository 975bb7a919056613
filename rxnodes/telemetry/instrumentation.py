"""Instruments a project: metrics, spans and log events each watch its connections until they are disposed."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from reactivex.disposable import CompositeDisposable, Disposable, RefCountDisposable

from rxnodes.rx.forking import guard
from rxnodes.telemetry.log_events import log_events
from rxnodes.telemetry.metrics import metrics
from rxnodes.telemetry.spans import spans

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from reactivex import abc

    from rxnodes.connection.connection import Connection
    from rxnodes.project.project import Project
    from rxnodes.telemetry.guarded import Watch

__all__ = ["instrument"]


def instrument(
    project: Project,
    *,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
    logger_provider: LoggerProvider | None = None,
    by_connection: bool = True,
) -> abc.DisposableBase:
    """Makes metrics, spans and log events of a project's connections, also of those that are added later.

    Call it in any thread, before the project is open or while it is. docs/telemetry.md lists what is emitted: metrics,
    which a collection reads from the connections, so that a message costs nothing more; a span for each attempt, from
    `Connecting` to `Opened` or its end, and for each closing, from `Closing` to `Stopped`; a log event for each
    lifecycle event. None of them holds a secret, or anything of a message.

    An exception of a provider is logged. It harms neither the connection nor the other signals. A project that is
    instrumented again with the same providers is counted once, until all the disposables are disposed.

    Args:
        project: The project.
        meter_provider: Takes the metrics; `None`: OpenTelemetry's global one, which does nothing until it is set.
        tracer_provider: Takes the spans; `None` likewise.
        logger_provider: Takes the log events; `None` likewise.
        by_connection: Whether metrics have the connection's name. From 1,000 names on none has it, because the SDK has
            no room for more. From 200 names on, `rxnodes.connection.count` has it for the state `open` alone. Spans and
            log events always have it.

    Returns:
        A disposable that ends it; otherwise it ends with the project. The counters keep what was counted.

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
    watches: list[tuple[object, Watch]] = [
        ((metrics, meter_provider), metrics(meter_provider, by_connection=by_connection)),
        ((spans, tracer_provider), spans(tracer_provider)),
        ((log_events, logger_provider), log_events(logger_provider)),
    ]
    return CompositeDisposable([_shared(project, key, watch) for key, watch in watches])


#: The watches that are under way, by project, so that nothing is counted twice.
_under_way: WeakKeyDictionary[Project, dict[object, RefCountDisposable]] = WeakKeyDictionary()
_lock = RLock()
guard(_lock)


def _shared(project: Project, key: object, watch: Watch) -> abc.DisposableBase:
    """A share in a watch over a project, which ends when all its shares are disposed."""
    with _lock:
        of_project = _under_way.setdefault(project, {})
        if key in of_project:
            return of_project[key].disposable
        watching = _watch_all(project, watch)

        def end() -> None:
            with _lock:
                del of_project[key]
            watching.dispose()

        shares = of_project[key] = RefCountDisposable(Disposable(end))
        share = shares.disposable
        # From here on the shares alone keep it under way.
        shares.dispose()
        return share


def _watch_all(project: Project, watch: Watch) -> abc.DisposableBase:
    """Watches every connection of a project, each until its streams complete."""
    watching = CompositeDisposable()

    def follow(connection: Connection) -> None:
        watched = CompositeDisposable(watch(connection))
        watching.add(watched)

        def let_go() -> None:
            watching.remove(watched)

        watched.add(connection.lifecycle.subscribe(on_completed=let_go))

    return CompositeDisposable(Disposable(project.follow_connections(follow)), watching)
