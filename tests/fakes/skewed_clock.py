"""A clock that is wrong: hours off, and a little too fast or too slow."""

from runtime.clock import Clock


class SkewedClock:
    """Another clock, as a badly kept host would show it.

    Args:
        clock: The right one.
        wall_offset_s: What its wall clock is ahead.
        rate: Its seconds in one right second.
    """

    def __init__(self, clock: Clock, *, wall_offset_s: float = 0.0, rate: float = 1.0) -> None:
        self._clock = clock
        self._wall_offset_s = wall_offset_s
        self._rate = rate
        self._start_s = clock.now_s()

    def now_s(self) -> float:
        return self._start_s + self._wall_offset_s + (self._clock.now_s() - self._start_s) * self._rate

    def now_ms(self) -> int:
        return round(self.now_s() * 1000)

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s() * self._rate

    async def sleep(self, delay_s: float) -> None:
        await self._clock.sleep(delay_s / self._rate)
