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
    Words,
    initiated_by,
    nanoseconds,
    words_of_end,
    words_of_error,
    words_of_event,
)

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider
    from reactivex import abc

    from rxnodes.connection.connection import Connection
    from rxnodes.errors import RxNodesError

__all__ = ["Spans"]


class Spans:
    """Makes the spans of a project's connections.

    Args:
        provider: Gives the tracer; `None`: the global one.
    """

    def __init__(self, provider: TracerProvider | None) -> None:
        self._tracer = get_tracer(SCOPE, __version__, provider)

    def watch(self, connection: Connection) -> abc.DisposableBase:
        """Begins with a connection."""
        spans = ConnectionSpans(self._tracer)
        told = connection.lifecycle.subscribe(guarded(spans.tell))
        return CompositeDisposable(told, Disposable(guarded(spans.leave)))


class ConnectionSpans:
    """The spans of one connection.

    Each is the root of a trace. A connection outlives whoever started it, and its later attempts are nobody's.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._connect: Span | None = None
        self._close: Span | None = None

    def tell(self, event: LifecycleEvent) -> None:
        """Begins and ends spans."""
        match event:
            case Connecting():
                self._connect = self._begin("websocket connect", event, {URL: event.url})
            case Opened():
                self._end_connect(event, {OUTCOME: "opened"})
            case ErrorEvent(phase="connect") if self._connect is not None:
                _note_error(self._connect, event.error)
            case Dropped():
                self._end_connect(event, words_of_end(event) | {OUTCOME: "failed"})
            case Closing():
                self._close = self._begin("websocket close", event, initiated_by(event))
            case Stopped():
                self._end(event)
            case ErrorEvent(error=HolderLost()):
                # In the place of a Stopped, which is told elsewhere.
                self.leave()
            case _:
                pass

    def leave(self) -> None:
        """Ends what is under way, and says nothing of how it came out."""
        connect, close = self._connect, self._close
        self._connect = self._close = None
        for span in (connect, close):
            if span is not None:
                span.end()

    def _begin(self, name: str, event: LifecycleEvent, words: Words) -> Span:
        return self._tracer.start_span(
            name,
            context=Context(),
            kind=SpanKind.CLIENT,
            attributes=words_of_event(event) | words,
            start_time=nanoseconds(event.at),
        )

    def _end_connect(self, event: LifecycleEvent, words: Words) -> None:
        # Forgotten first, so that a provider that raises here is not asked again.
        span, self._connect = self._connect, None
        if span is not None:
            span.set_attributes(words)
            span.end(nanoseconds(event.at))

    def _end(self, event: Stopped) -> None:
        outcome = "stopped" if event.error is None else "failed"
        self._end_connect(event, words_of_end(event) | {OUTCOME: outcome})
        span, self._close = self._close, None
        if span is None:
            return
        span.set_attributes(words_of_end(event) | initiated_by(event))
        if event.error is not None:
            _note_error(span, event.error)
        span.end(nanoseconds(event.at))


def _note_error(span: Span, error: RxNodesError) -> None:
    span.set_attributes(words_of_error(error))
    span.set_status(Status(StatusCode.ERROR, str(error)))
