"""How long a worker may be silent before that is no chance: the rule of presence.

Shares of a worker that goes on arrive as a Poisson process. After n intervals that sum up to S, the next one is longer
than t with probability (S / (S + t))^n: exactly, whatever its true rate (the ratio of a sum of n exponential times and
one more has Pareto's distribution). The limit is the t at which that probability, times the shares of thirty days, is
`FALSE_ALARMS_PER_30_DAYS`.
"""

from dataclasses import dataclass

FALSE_ALARMS_PER_30_DAYS = 0.1
"""False alarms that one worker causes in thirty days, on average."""
BLOCK_SHARES = 48
"""The limit is drawn from the last 48 to 95 intervals: fewer make it longer, more of them keep an old rate longer."""
FEW_SHARES = 8
"""With fewer intervals than twice as many, little is known of a worker."""
LIMIT_MS_MIN = 60_000
"""Also the quickest worker may need so long to connect again."""
RESTLESS_LIMIT_MS_MIN = 300_000
"""While the share difficulty changes, the next interval may be longer than the ones before."""
NEW_LIMIT_MS_MIN = 900_000
"""While fewer than twice `FEW_SHARES` intervals are known."""

_MONTH_MS = 30 * 86_400_000


@dataclass(slots=True, kw_only=True)
class Pace:
    """A worker's last intervals, as sums over two blocks: the full one before, and the one that is filled.

    Attributes:
        last_time_ms: Its last accepted share, milliseconds since the Unix epoch.
        last_work: The work of that share.
        return_time_ms: Its first share, or the first after a silence beyond the limit.
        old_count: Intervals of the block before.
        old_ms: Their sum, milliseconds.
        old_work: The work of the shares at their ends.
        new_count: Of the block that is filled, as above.
        new_ms: As above.
        new_work: As above.
    """

    last_time_ms: int
    last_work: int
    return_time_ms: int
    old_count: int = 0
    old_ms: int = 0
    old_work: int = 0
    new_count: int = 0
    new_ms: int = 0
    new_work: int = 0

    def note(self, time_ms: int, work: int) -> None:
        """Take a share; one that is older than the last one counts as if it had come with it.

        A silence beyond the limit is no interval: what was known before it is forgotten.
        """
        gap_ms = time_ms - self.last_time_ms
        if gap_ms > LIMIT_MS_MIN and gap_ms > limit_ms(self):
            self.old_count = self.old_ms = self.old_work = self.new_count = self.new_ms = self.new_work = 0
            self.last_time_ms = self.return_time_ms = time_ms
            self.last_work = work
            return
        if gap_ms > 0:
            self.new_ms += gap_ms
            self.last_time_ms = time_ms
        self.last_work = work
        self.new_work += work
        self.new_count += 1
        if self.new_count == BLOCK_SHARES:
            self.old_count, self.old_ms, self.old_work = self.new_count, self.new_ms, self.new_work
            self.new_count = self.new_ms = self.new_work = 0


def interval_ms(pace: Pace) -> float:
    """Return the expected time from share to share, milliseconds; 0 where nothing is known.

    The larger one of the mean interval and of the time that a share like the last one takes at the mean hashrate: after
    the share difficulty was raised that is longer than the intervals before, and of several rigs under one name the
    biggest one counts.

    Example: 10 intervals of 20 s with work 1000 each, then one of 20 s with work 4000: about 63 s.
    """
    count = pace.old_count + pace.new_count
    work = pace.old_work + pace.new_work
    if not count or not work:
        return 0.0
    span_ms = pace.old_ms + pace.new_ms
    return max(span_ms / count, pace.last_work * span_ms / work)


def limit_ms(pace: Pace) -> int:
    """Return how long after its last share a worker counts as offline.

    Example: 48 intervals of 60 s: false once in 10 × 30 days × 1 share a minute = 432,000 shares, so
    60 s × 48 × (432,000^(1/48) − 1) = 894 s.
    """
    count = pace.old_count + pace.new_count
    mean_ms = interval_ms(pace)
    limit = _beyond_chance_ms(mean_ms, max(count, FEW_SHARES))
    if count < 2 * FEW_SHARES:
        return max(NEW_LIMIT_MS_MIN, limit)
    is_steady = pace.old_work + pace.new_work == count * pace.last_work
    return max(LIMIT_MS_MIN if is_steady else RESTLESS_LIMIT_MS_MIN, limit)


def _beyond_chance_ms(mean_ms: float, count: int) -> int:
    if mean_ms <= 0:
        return 0
    probability = min(FALSE_ALARMS_PER_30_DAYS * mean_ms / _MONTH_MS, 0.01)
    odds: float = probability ** (-1 / count)
    return int(mean_ms * count * (odds - 1))
