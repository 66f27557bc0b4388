"""Clocks: the only place of the program that reads the time."""

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """Tells and waits for time."""

    def now_s(self) -> float:
        """Return the wall clock in seconds since the Unix epoch."""
        ...

    def now_ms(self) -> int:
        """Return the wall clock in whole milliseconds since the Unix epoch."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds from an arbitrary start that never go back."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Return after `delay_s` seconds."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now_s(self) -> float:
        """Return the wall clock in seconds since the Unix epoch."""
        return time.time()

    def now_ms(self) -> int:
        """Return the wall clock in whole milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Return seconds from an arbitrary start that never go back."""
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        """Return after `delay_s` seconds."""
        await asyncio.sleep(delay_s)


async def sleep_unless(event: asyncio.Event, clock: Clock, delay_s: float) -> None:
    """Return after `delay_s` seconds, or at once when the event is set or gets set."""
    sleeping = asyncio.ensure_future(clock.sleep(delay_s))
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((sleeping, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        sleeping.cancel()
        waiting.cancel()


class ManualClock:
    """A clock for tests: it stands still until `advance` is called.

    Args:
        now_s: Wall clock at the start, in seconds since the Unix epoch.
    """

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        self._start_s = now_s
        self._elapsed_s = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now_s(self) -> float:
        """Return the wall clock in seconds since the Unix epoch."""
        return self._start_s + self._elapsed_s

    def now_ms(self) -> int:
        """Return the wall clock in whole milliseconds since the Unix epoch."""
        return round(self.now_s() * 1000)

    def monotonic_s(self) -> float:
        """Return the seconds that `advance` has added so far."""
        return self._elapsed_s

    @property
    def sleeper_count(self) -> int:
        """Return how many tasks wait in `sleep`."""
        return sum(not future.done() for _, _, future in self._sleepers)

    async def sleep(self, delay_s: float) -> None:
        """Return once `advance` has moved the clock by `delay_s` seconds."""
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + delay_s, next(self._order), future))
        await future

    def advance(self, delay_s: float) -> None:
        """Move the clock and wake those whose time has come, in the order of their times."""
        if delay_s < 0:
            raise ValueError("a clock does not go back")
        self._elapsed_s += delay_s
        while self._sleepers and self._sleepers[0][0] <= self._elapsed_s:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
