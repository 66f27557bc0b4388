"""The rules of hashrates: work over time in whole numbers. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from shares.domain import MINUTE_MS

AGE_MS_MIN = 60_000
RECENT_MS = 600_000


class Span(IntEnum):
    """Length of the buckets that a hashrate is summed from, in minutes."""

    MINUTE = 1
    TEN_MINUTES = 10
    HOUR = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class HashrateWindow:
    """One of the hashrates shown.

    Attributes:
        name: As in the proto field.
        span: Its buckets.
        full_count: Full buckets before the current one.
    """

    name: str
    span: Span
    full_count: int

    def start_bucket(self, now_ms: int) -> int:
        """Return the oldest bucket inside, counted since the Unix epoch."""
        return now_ms // MINUTE_MS // self.span - self.full_count

    def start_minute(self, now_ms: int) -> int:
        """Return the oldest minute inside, counted since the Unix epoch."""
        return self.start_bucket(now_ms) * self.span

    def hashrate_hps(self, work: int, *, now_ms: int, first_share_ms: int) -> int:
        """Return hashes per second, rounded down.

        Work of the full buckets and of the current one is divided by the time that has really passed since the first of
        them began, or since the pool's first share when that is later; at least a minute, so that the first share of a
        new pool does not show as a rate no miner has.

        Example: 1m at 12:00:30 sums 11:59:00 to 12:00:30; work 9,000 over 90 s is 100 H/s.

        Args:
            work: Accepted work since `start_minute`.
            now_ms: The time, milliseconds since the Unix epoch.
            first_share_ms: Time of the pool's first share.
        """
        elapsed_ms = now_ms - max(self.start_minute(now_ms) * MINUTE_MS, first_share_ms)
        return work * 1000 // max(elapsed_ms, AGE_MS_MIN)


WINDOWS = (
    HashrateWindow(name="hps_1m", span=Span.MINUTE, full_count=1),
    HashrateWindow(name="hps_5m", span=Span.MINUTE, full_count=5),
    HashrateWindow(name="hps_15m", span=Span.MINUTE, full_count=15),
    HashrateWindow(name="hps_1h", span=Span.TEN_MINUTES, full_count=6),
    HashrateWindow(name="hps_24h", span=Span.HOUR, full_count=24),
)
HOUR_WINDOW = WINDOWS[3]
Rates = tuple[int, ...]
"""Hashes per second in the order of `WINDOWS`."""


def rates_of(works: Sequence[int], *, now_ms: int, first_share_ms: int) -> Rates:
    """Return hashrates from the work of each of `WINDOWS`."""
    return tuple(
        window.hashrate_hps(work, now_ms=now_ms, first_share_ms=first_share_ms)
        for window, work in zip(WINDOWS, works, strict=True)
    )


def tally_starts(now_ms: int) -> dict[Span, int]:
    """Return the oldest bucket of each span that a hashrate still needs."""
    starts: dict[Span, int] = {}
    for window in WINDOWS:
        bucket = window.start_bucket(now_ms)
        starts[window.span] = min(starts.get(window.span, bucket), bucket)
    return starts
