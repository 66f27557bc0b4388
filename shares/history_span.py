"""The rules of histories: their steps, and the hashrate of a step. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from shares.domain import MINUTE_MS
from shares.hashrate import AGE_MS_MIN

ROLL_MIN = 10
"""Minutes of the shortest span: what a roll-up adds at once."""
SPANS = (10, 60, 360)
LATE_BUCKETS = 24 * 60 // ROLL_MIN
"""Ten-minute spans behind the newest rolled one that are still compared with the slices, and rolled again if need be.

A share that is booked later than that is missing in the history, never in the books.
"""
KEPT_BUCKETS = {10: 2 * LATE_BUCKETS, 60: 8 * 24, 360: 92 * 4}
"""Spans kept, counted back from the newest: a little more than what is shown and compared."""


class Window(IntEnum):
    """How far a history reaches back, by its number in the contract."""

    DAY = 1
    WEEK = 2
    QUARTER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The steps of a history.

    Attributes:
        span_min: Length of one, minutes.
        count: Full steps before the current one.
    """

    span_min: int
    count: int

    def start_bucket(self, now_ms: int, *, first_share_ms: int) -> int:
        """Return the oldest step that is shown: none lies before the pool's first share."""
        current = now_ms // MINUTE_MS // self.span_min
        return max(current - self.count, first_share_ms // MINUTE_MS // self.span_min)


STEPS: Mapping[Window, Steps] = {
    Window.DAY: Steps(span_min=10, count=144),
    Window.WEEK: Steps(span_min=60, count=168),
    Window.QUARTER: Steps(span_min=360, count=360),
}


def step_hps(work: int, *, bucket: int, span_min: int, now_ms: int, first_share_ms: int) -> int:
    """Return the average hashrate of a step, hashes per second, rounded down.

    Divided by the part of the step that lies between the pool's first share and now, at least a minute.

    Example: 10-minute step that began 5 minutes ago, work 60,000: 60,000 / 300 s = 200 H/s.
    """
    start_ms = max(bucket * span_min * MINUTE_MS, first_share_ms)
    end_ms = min((bucket + 1) * span_min * MINUTE_MS, now_ms)
    return work * 1000 // max(end_ms - start_ms, AGE_MS_MIN)
