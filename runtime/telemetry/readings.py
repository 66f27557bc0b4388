"""Values that cost a query: read in the background, shown as they were last read."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final, Generic, TypeVar

from prometheus_client import Metric

from runtime.clock import Clock
from runtime.process import keep_running
from runtime.telemetry.families import gauge

T = TypeVar("T")

READ_EVERY_S: Final = 10.0
AGE = gauge(
    "lodepool_reading_age_seconds",
    "How long ago values that cost a query were read; they are shown as they were then",
    "reading",
)


class Reading(Generic[T]):
    """A value that is read again every `READ_EVERY_S` seconds; nothing is shown before the first time.

    Args:
        name: In the log, and the label of its age.
        read: Reads the value.
        families: Shows it.
        clock: The time.
    """

    def __init__(
        self,
        name: str,
        *,
        read: Callable[[], Awaitable[T]],
        families: Callable[[T], Iterable[Metric]],
        clock: Clock,
    ) -> None:
        self.name = name
        self._read = read
        self._families = families
        self._clock = clock
        self._value: T | None = None
        self._read_s = 0.0

    async def run(self) -> None:
        """Read until cancelled; a failure is logged, and what was read before stays."""
        await keep_running(f"{self.name} reading", self._run, clock=self._clock, backoff_s_min=1.0)

    async def _run(self) -> None:
        while True:
            self._value = await self._read()
            self._read_s = self._clock.monotonic_s()
            await self._clock.sleep(READ_EVERY_S)

    def families(self) -> Iterator[Metric]:
        """Yield the families of what was read last; a MetricSource."""
        if self._value is not None:
            yield from self._families(self._value)

    @property
    def age_s(self) -> float | None:
        """Return how long ago it was read; None when it was not yet."""
        return None if self._value is None else self._clock.monotonic_s() - self._read_s
