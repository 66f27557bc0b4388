"""The shapes of what changes over time: histories and the leaderboard."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from gateway.models import Address, Answer, Degraded, Hashrate, Percent, Time, Work


class Window(StrEnum):
    """How far a history reaches back."""

    DAY = "24h"
    WEEK = "7d"
    QUARTER = "90d"


Interval = Annotated[int, Meta(description="Length of a step, seconds.")]
StepTime = Annotated[Time, Meta(description="When the step begins; the last one is still going on.")]


class PoolPoint(Answer, frozen=True, kw_only=True):
    """A step of the pool's history."""

    time: StepTime
    hps: Hashrate
    accepted: int
    rejected: int
    worker_count: Annotated[
        int | None, Meta(description="Most workers that mined in ten minutes of it; null in the first ten minutes.")
    ]


class FoundBlock(Answer, frozen=True, kw_only=True):
    """A block in the pool's history; orphaned ones are left out."""

    time: Time
    height: int
    effort_percent: Percent | None


class PoolHistory(Answer, frozen=True, kw_only=True):
    """The pool over time: steps oldest first without gaps, none before its first share."""

    window: Window
    interval_s: Interval
    points: list[PoolPoint]
    blocks: Annotated[list[FoundBlock] | None, Meta(description="Newest first; null while rewards is away.")]
    degraded: Degraded


class MinerPoint(Answer, frozen=True, kw_only=True):
    """A step of a miner's history."""

    time: StepTime
    hps: Hashrate
    accepted: int
    rejected: int
    work: Work


class MinerHistory(Answer, frozen=True, kw_only=True):
    """A miner or one of its workers over time: steps oldest first without gaps, none before the pool's first share."""

    window: Window
    interval_s: Interval
    points: list[MinerPoint]


class Leader(Answer, frozen=True, kw_only=True):
    """A miner in the leaderboard."""

    rank: int
    address: Annotated[Address | None, Meta(description="Null for a miner who wants to stay anonymous.")]
    hps: Hashrate
    work: Work
    worker_count: Annotated[int, Meta(description="Workers that mined in the window.")]


class Leaderboard(Answer, frozen=True, kw_only=True):
    """The miners with the most work of the last day, at most 100."""

    window: Annotated[str, Meta(description="24h.")]
    leaders: list[Leader]
