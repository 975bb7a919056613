"""The spans of connections: one for each attempt, and one for each closing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode, get_tracer
from reactivex.disposable import CompositeDisposable, Disposable

from rxnodes import __version__
from rxnodes.errors import HolderLost
from rxnodes.lifecycle.events import Closing, Connecting, Dropped, ErrorEvent, LifecycleEvent, Opened, Stopped
from rxnodes.telemetry.guarded import guarded
from rxnodes.telemetry.words import (
    OUTCOME,
    SCOPE,
    URL,
    Attributes,
    end_attributes,
    error_attributes,
    event_attributes,
    initiator_attribute,
    nanoseconds,
)

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider
    from reactivex import abc

    from rxnodes.connection.connection import Connection
    from rxnodes.errors import RxNodesError
    from rxnodes.telemetry.guarded import Watch

__all__ = ["spans"]


def spans(provider: TracerProvider | None) -> Watch:
    """Makes the spans of a connection, by the provider or else the global one."""
    tracer = get_tracer(SCOPE, __version__, provider)

    def watch(connection: Connection) -> abc.DisposableBase:
        of_connection = _Spans(tracer)
        subscription = connection.lifecycle.subscribe(guarded(of_connection.take))
        return CompositeDisposable(subscription, Disposable(guarded(of_connection.end)))

    return watch


class _Spans:
    """The spans of one connection.

    Each is the root of a trace, because a connection outlives the request that started it.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._connect: Span | None = None
        self._close: Span | None = None

    def take(self, event: LifecycleEvent) -> None:
        """Begins and ends the spans of an event."""
        match event:
            case Connecting():
                self._connect = self._begin("websocket connect", event, {URL: event.url})
            case Opened():
                self._end_connect(event, {OUTCOME: "opened"})
            case ErrorEvent(phase="connect") if self._connect is not None:
                _note_error(self._connect, event.error)
            case Dropped():
                self._end_connect(event, end_attributes(event) | {OUTCOME: "failed"})
            case Closing():
                self._close = self._begin("websocket close", event, initiator_attribute(event))
            case Stopped():
                self._end_session(event)
            case ErrorEvent(error=HolderLost()):
                # It stands in for the Stopped, which another worker tells.
                self.end()
            case _:
                pass

    def end(self) -> None:
        """Ends the spans that are open, without an outcome."""
        connect, close = self._connect, self._close
        self._connect = self._close = None
        for span in (connect, close):
            if span is not None:
                span.end()

    def _begin(self, name: str, event: LifecycleEvent, attributes: Attributes) -> Span:
        return self._tracer.start_span(
            name,
            context=Context(),
            kind=SpanKind.CLIENT,
            attributes=event_attributes(event) | attributes,
            start_time=nanoseconds(event.at),
        )

    def _end_connect(self, event: LifecycleEvent, attributes: Attributes) -> None:
        # Forgotten first: a provider that raises here is not called again for it.
        span, self._connect = self._connect, None
        if span is not None:
            span.set_attributes(attributes)
            span.end(nanoseconds(event.at))

    def _end_session(self, event: Stopped) -> None:
        outcome = "stopped" if event.error is None else "failed"
        self._end_connect(event, end_attributes(event) | {OUTCOME: outcome})
        span, self._close = self._close, None
        if span is None:
            return
        span.set_attributes(end_attributes(event) | initiator_attribute(event))
        if event.error is not None:
            _note_error(span, event.error)
        span.end(nanoseconds(event.at))


def _note_error(span: Span, error: RxNodesError) -> None:
    span.set_attributes(error_attributes(error))
    span.set_status(Status(StatusCode.ERROR, str(error)))
