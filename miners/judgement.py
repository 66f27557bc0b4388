"""What is judged each half hour: hashrates that have sunk, and shares that do not count."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt

from miners.domain import BIN_MS, Outcome

HASHRATE_STEPS = (80, 70, 60, 50, 40, 30, 20, 10)
"""Per cent of the usual hashrate; each is told once when it is crossed downwards."""
REJECT_STEPS = (2, 5, 10, 20, 50)
"""Per cent of all shares; each is told once when it is crossed upwards."""
REJECTS_SHARES_MIN = 20
HOUR_MS = 3_600_000
USUAL_MS = 24 * HOUR_MS
USUAL_MS_MIN = 12 * HOUR_MS
"""Who has not mined for so long before has no usual hashrate."""
RECOVERED_PERCENT = 90

_Z = 3.3
"""Standard deviations: chance alone is beyond it once in 2,000 looks at a hashrate that is just at the step."""

REASONS = {
    Outcome.STALE: "stale",
    Outcome.DUPLICATE: "duplicate",
    Outcome.LOW_DIFFICULTY: "low-difficulty",
    Outcome.INVALID: "invalid",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """A worker's or an account's last hour, and the day before it.

    Attributes:
        work: Of the hour's accepted shares, expected hashes.
        accepted: Their number.
        usual_work: Of the day before the hour.
        usual_ms: For how long of that day it was known.
    """

    work: int
    accepted: int
    usual_work: int
    usual_ms: int

    @property
    def hps(self) -> int:
        """Hashes a second over the hour, rounded down."""
        return self.work * 1000 // HOUR_MS

    @property
    def usual_hps(self) -> int:
        """Hashes a second on average over the day before, rounded down."""
        return self.usual_work * 1000 // self.usual_ms if self.usual_ms else 0


def hashrate_step(hour: Hour, *, told: int) -> int:
    """Return the lowest step that the hashrate is below with certainty: `told` while there is no lower one, 0 for none.

    Certain means: also a hashrate 3.3 standard deviations above what was seen is below the step. With n shares seen,
    that many could have been (sqrt(n + 1) + 1.65)^2. Example: 60 shares an hour are usual, 15 were seen; up to 32 could
    have been expected, 53 %: below 60 %, not below 50 %.
    """
    if hour.usual_ms < USUAL_MS_MIN or not hour.usual_work:
        return 0
    usual_work = Fraction(hour.usual_work * HOUR_MS, hour.usual_ms)
    if 100 * hour.work >= RECOVERED_PERCENT * usual_work:
        return 0
    if not hour.accepted:
        # Silence is the business of presence.
        return told
    could = (sqrt(hour.accepted + 1) + _Z / 2) ** 2 / hour.accepted
    percent = 100.0 * could * float(hour.work / usual_work)
    crossed = [step for step in HASHRATE_STEPS if percent < step]
    if not crossed:
        return told
    return min(crossed[-1], told) if told else crossed[-1]


def reject_step(counts: Sequence[int], *, told: int) -> int:
    """Return the highest step that the refused shares have reached: `told` while they have not sunk to half of it.

    Args:
        counts: Shares of the last hour by outcome, `Outcome.ACCEPTED` first.
        told: The step that was told last, 0 for none.
    """
    total = sum(counts)
    if total < REJECTS_SHARES_MIN:
        return told if total else 0
    refused = total - counts[0]
    step = max((step for step in REJECT_STEPS if 100 * refused >= step * total), default=0)
    return max(step, told) if 200 * refused >= told * total else step


def refused(counts: Sequence[int]) -> tuple[str, int, int]:
    """Return the reason of most refused shares, their part in hundredths of a per cent, and the count of all shares."""
    total = sum(counts)
    worst = max(REASONS, key=lambda outcome: counts[outcome - 1])
    return REASONS[worst], (total - counts[0]) * 10_000 // total, total


def bin_due(now_ms: int) -> int:
    """Return the start of the newest half hour that is over, with 30 seconds for what arrives late."""
    over_ms = now_ms - 30_000
    return over_ms - over_ms % BIN_MS - BIN_MS
