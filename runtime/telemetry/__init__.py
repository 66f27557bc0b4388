"""What a process tells about itself: metrics for Prometheus and traces for OpenTelemetry.

Start with telemetry.py (`Telemetry`), which services are given in their Platform, and families.py, with which a metric
is declared. A service counts in plain integers and registers a source, which makes families of them at each scrape;
what costs a query is a Reading, read in the background. `run_telemetry` is for the composition root.

Reading order: families.py, readings.py, telemetry.py, process.py, server.py, tracing.py, parents.py, run.py.
May import: runtime.clock, runtime.errors, runtime.logs, runtime.process; opentelemetry, prometheus_client, msgspec.
"""

from runtime.telemetry.readings import Reading
from runtime.telemetry.settings import TelemetrySettings
from runtime.telemetry.telemetry import MetricSource, Telemetry

__all__ = ["MetricSource", "Reading", "Telemetry", "TelemetrySettings"]
