"""A project's telemetry, read by the SDK's readers in memory."""

from __future__ import annotations

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Observed:
    """Providers of all three signals, and what came of them."""

    def __init__(self):
        self.reader = InMemoryMetricReader()
        self._spans = InMemorySpanExporter()
        self._logs = InMemoryLogRecordExporter()
        # There is nothing to send at the exit, until which they would otherwise be kept, with all connections they know.
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        loggers = LoggerProvider(shutdown_on_exit=False)
        loggers.add_log_record_processor(SimpleLogRecordProcessor(self._logs))
        self.providers = {
            "meter_provider": MeterProvider([self.reader], shutdown_on_exit=False),
            "tracer_provider": tracers,
            "logger_provider": loggers,
        }

    def metrics(self):
        """Of each metric that was collected, the SDK's data."""
        data = self.reader.get_metrics_data()
        found = data.resource_metrics if data is not None else ()
        return {metric.name: metric for one in found for scope in one.scope_metrics for metric in scope.metrics}

    def points(self, metric, *words):
        """What was counted, by the values of these attributes."""
        found = self.metrics().get(metric)
        points = found.data.data_points if found is not None else ()
        return {tuple(it.attributes.get(word) for word in words): it.value for it in points}

    def histogram(self, metric):
        """How often something was measured, and what it sums up to, by the connection's name."""
        found = self.metrics().get(metric)
        points = found.data.data_points if found is not None else ()
        return {it.attributes.get("rxnodes.connection.name"): (it.count, it.sum) for it in points}

    @property
    def spans(self):
        return self._spans.get_finished_spans()

    @property
    def logs(self):
        return [it.log_record for it in self._logs.get_finished_logs()]

    def everything(self):
        """All that can be read, as one text."""
        return repr([self.metrics(), [it.to_json() for it in self.spans], self._logs.get_finished_logs()])
