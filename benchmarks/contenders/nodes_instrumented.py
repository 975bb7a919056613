"""rxnodes with its telemetry on, which is collected ten times a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader as Periodically

from benchmarks.contenders import nodes
from rxnodes.telemetry import instrument

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData

    from benchmarks.job import Job, Metrics


class Nowhere(MetricExporter):
    """Exports to nobody."""

    def export(self, _: MetricsData, **__: object) -> MetricExportResult:
        """Takes what is collected."""
        return MetricExportResult.SUCCESS

    def force_flush(self, **_: object) -> bool:
        """Nothing waits."""
        return True

    def shutdown(self, **_: object) -> None:
        """Nothing is held."""


async def receive(job: Job) -> Metrics:
    """Counts messages, in so many subscribers."""
    provider = MeterProvider([Periodically(Nowhere(), export_interval_millis=100)])
    try:
        return await nodes.receive(job, lambda project: instrument(project, meter_provider=provider))
    finally:
        provider.shutdown()
