"""Telemetry: metrics, spans and log events of connections, by OpenTelemetry."""

try:
    from rxnodes.telemetry.instrumentation import instrument
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "rxnodes.telemetry needs opentelemetry-api, which is not installed: pip install 'rxnodes[otel]'",
        name=missing.name,
    ) from missing

__all__ = ["instrument"]
