"""What a process tells about itself: metrics for Prometheus and traces for OpenTelemetry.

Start with telemetry.py (`Telemetry`), which services are given in their Platform.

Reading order: telemetry.py.
May import: runtime.clock, runtime.config, runtime.errors, runtime.logs; aiohttp, opentelemetry, prometheus_client.
"""

from runtime.telemetry.telemetry import MetricSource, Telemetry

__all__ = ["MetricSource", "Telemetry"]
