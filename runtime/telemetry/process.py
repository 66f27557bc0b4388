"""What every process shows about itself: time, memory, descriptors, the loop's lag, what was built."""

import asyncio
import importlib.metadata
import os
import platform
import resource
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import Metric

from runtime.clock import Clock
from runtime.telemetry.families import Histogram, counter, gauge, histogram

START_TIME = gauge("lodepool_process_start_time_seconds", "When the process started, seconds since the Unix epoch")
CPU = counter("lodepool_process_cpu_seconds_total", "CPU time used, in user and system mode")
RESIDENT = gauge("lodepool_process_resident_memory_bytes", "Memory that the process holds")
OPEN_FDS = gauge("lodepool_process_open_fds", "Open file descriptors, connections included")
MAX_FDS = gauge("lodepool_process_max_fds", "File descriptors that the process may open")
LAG = histogram(
    "lodepool_process_event_loop_lag_seconds", "How late the event loop ran what was due, looked at twice a second"
)
BUILD = gauge("lodepool_build_info", "Always 1; tells what runs", "process", "version", "python_version")

_LAG_S = (0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_LOOK_S = 0.5
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessMetrics:
    """The families that every process has.

    Args:
        process: Its name: "office", "stratum-0".
        clock: The time.
    """

    def __init__(self, *, process: str, clock: Clock) -> None:
        self._clock = clock
        self._start_s = clock.now_s()
        self._lag = Histogram(_LAG_S)
        self._build = (process, version(), platform.python_version())

    async def watch_loop(self) -> None:
        """Measure the loop's lag until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + _LOOK_S
            await self._clock.sleep(_LOOK_S)
            self._lag.observe(max(0.0, loop.time() - due_s))

    def families(self) -> Iterator[Metric]:
        """Yield the families as they are now."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield START_TIME.of(self._start_s)
        yield CPU.of(usage.ru_utime + usage.ru_stime)
        yield RESIDENT.of(int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES)
        yield OPEN_FDS.of(len(os.listdir("/proc/self/fd")) - 1)  # noqa: PTH208  half the cost of making a Path of each
        yield MAX_FDS.of(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        yield LAG.seen(self._lag)
        yield BUILD.by({self._build: 1})


def version() -> str:
    """Return the installed version of the program, "unknown" when it was not installed."""
    try:
        return importlib.metadata.version("lodepool")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
