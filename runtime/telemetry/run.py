"""Start and stop a process's telemetry."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from opentelemetry.trace import NoOpTracer

from runtime.clock import Clock, SystemClock
from runtime.process import keep_running
from runtime.telemetry.process import ProcessMetrics
from runtime.telemetry.server import MetricsServer
from runtime.telemetry.settings import TelemetrySettings
from runtime.telemetry.telemetry import Telemetry
from runtime.telemetry.tracing import open_provider


@contextlib.asynccontextmanager
async def run_telemetry(
    settings: TelemetrySettings, process: str, *, clock: Clock | None = None
) -> AsyncIterator[Telemetry]:
    """Show metrics and send traces for as long as the block runs.

    Args:
        settings: The `[telemetry]` section.
        process: The process's name: "office", "stratum-0".
        clock: For tests.

    Raises:
        UserError: When the metrics' address cannot be listened on.
    """
    clock = clock or SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        telemetry = Telemetry(NoOpTracer())
        if settings.otlp_endpoint:
            provider, processor = open_provider(settings.otlp_endpoint, process=process)
            stack.push_async_callback(asyncio.to_thread, provider.shutdown)
            telemetry = Telemetry(
                provider.get_tracer("lodepool"), is_tracing=True, trace_sample_per_s=settings.trace_sample_per_s
            )
            telemetry.register(processor.families)
        if settings.metrics_port is not None:
            metrics = ProcessMetrics(process=process, clock=clock)
            telemetry.register(metrics.families)
            server = MetricsServer(telemetry.registry, process=process)
            await server.start(settings.metrics_host, settings.metrics_port)
            stack.push_async_callback(server.stop)
            telemetry.metrics_address = server.address
            watcher = asyncio.create_task(keep_running("loop watch", metrics.watch_loop, clock=clock))
            stack.callback(watcher.cancel)
        yield telemetry
