"""The rules of presence: who has mined, and who is mining now."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

RECENT_TIMES_MAX = 8
OFFLINE_AFTER_MS_MIN = 60_000
OFFLINE_AFTER_INTERVALS = 12
NAME_CHARS_MAX = 255
USER_AGENT_CHARS_MAX = 64
TIME_MS_MAX = 1 << 42
SEQ_MAX = 1 << 62

WorkerKey: TypeAlias = tuple[str, str, str]
"""coin, account, worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedShares:
    """The accepted shares of a batch, reduced to who and when.

    Attributes:
        instance: The stratum instance.
        coin: Coin id.
        first_seq: Number of the batch's first share.
        last_seq: Number of its last share.
        submitters: Account, worker, scheme and user agent.
        seqs: Number of each accepted share, growing.
        submitter_index: Of each accepted share.
        times_ms: Of each accepted share, milliseconds since the Unix epoch.
    """

    instance: str
    coin: str
    first_seq: int
    last_seq: int
    submitters: Sequence[tuple[str, str, str, str]]
    seqs: Sequence[int]
    submitter_index: Sequence[int]
    times_ms: Sequence[int]


@dataclass(slots=True, kw_only=True)
class Seen:
    """What was seen of one worker.

    Attributes:
        first_time_ms: Its first share here.
        times_ms: Its last shares, oldest first, at most `RECENT_TIMES_MAX`.
        scheme: Of its last share.
        user_agent: Of its last share.
    """

    first_time_ms: int
    times_ms: list[int]
    scheme: str
    user_agent: str


@dataclass(slots=True, kw_only=True)
class Activity:
    """Sum up who has mined in some records; shares that were seen before are skipped by their number.

    Attributes:
        last_seqs: Number of the last share seen of each instance.
        workers: Who has mined.
        share_count: Accepted shares that were new.
    """

    last_seqs: dict[str, int]
    workers: dict[WorkerKey, Seen] = field(default_factory=dict)
    share_count: int = 0

    def add(self, shares: AcceptedShares) -> None:
        """Take note of the shares that are new."""
        last_seq = self.last_seqs.get(shares.instance, 0)
        times_by_index: dict[int, list[int]] = {}
        for seq, index, time_ms in zip(shares.seqs, shares.submitter_index, shares.times_ms, strict=True):
            if seq > last_seq:
                times_by_index.setdefault(index, []).append(time_ms)
                self.share_count += 1
        for index, times_ms in times_by_index.items():
            account, worker, scheme, user_agent = shares.submitters[index]
            self._note((shares.coin, account, worker), times_ms, scheme=scheme, user_agent=user_agent)
        self.last_seqs[shares.instance] = max(last_seq, shares.last_seq)

    def _note(self, key: WorkerKey, times_ms: list[int], *, scheme: str, user_agent: str) -> None:
        seen = self.workers.get(key)
        if seen is None:
            recent = sorted(times_ms)[-RECENT_TIMES_MAX:]
            self.workers[key] = Seen(first_time_ms=min(times_ms), times_ms=recent, scheme=scheme, user_agent=user_agent)
            return
        if max(times_ms) >= seen.times_ms[-1]:
            seen.scheme, seen.user_agent = scheme, user_agent
        seen.first_time_ms = min(seen.first_time_ms, *times_ms)
        seen.times_ms = sorted([*seen.times_ms, *times_ms])[-RECENT_TIMES_MAX:]


def offline_after_ms(times_ms: Sequence[int]) -> int:
    """Return how long after its last share a worker counts as offline.

    Twelve times the mean interval of its last shares, at least a minute: with vardiff aiming at one share in 10 s a
    living worker stays silent for two minutes once in e^12 (160,000) shares.

    Example: shares at 0, 20 and 40 s: mean 20 s, offline after 240 s.

    Args:
        times_ms: Times of its last shares, oldest first, never none.
    """
    if len(times_ms) < 2:
        return OFFLINE_AFTER_MS_MIN
    span_ms = times_ms[-1] - times_ms[0]
    return max(OFFLINE_AFTER_MS_MIN, OFFLINE_AFTER_INTERVALS * span_ms // (len(times_ms) - 1))


def recent_times(known_ms: Iterable[int], new_ms: Iterable[int]) -> list[int]:
    """Return the last shares of a worker, oldest first, at most `RECENT_TIMES_MAX`.

    A silence that made the worker offline ends the old shares: its pause is not an interval.
    """
    recent: list[int] = []
    for time_ms in sorted([*known_ms, *new_ms]):
        if recent and time_ms - recent[-1] > offline_after_ms(recent):
            recent.clear()
        recent.append(time_ms)
        del recent[:-RECENT_TIMES_MAX]
    return recent


def is_online(*, last_share_time_ms: int, offline_after_ms: int, now_ms: int) -> bool:
    """Tell whether a worker is mining now."""
    return now_ms - last_share_time_ms <= offline_after_ms


def threshold_problem(threshold_atomic: int, *, minimum_atomic: int) -> str | None:
    """Return what is wrong with a payout threshold, None when it may be set; zero means the pool's default."""
    if threshold_atomic < 0:
        return "must not be negative"
    if 0 < threshold_atomic < minimum_atomic:
        return f"must be at least {minimum_atomic} atomic units, or 0 for the pool's default"
    return None
