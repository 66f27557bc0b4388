"""The rules of the stream: who has mined, and how far the instances have come."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

NAME_CHARS_MAX = 255
USER_AGENT_CHARS_MAX = 64
TIME_MS_MAX = 1 << 42
SEQ_MAX = 1 << 62
BIN_MS = 1_800_000
"""Length of the bins for hashrates and refused shares: half an hour."""
PAUSE_MS = 10_000
"""An instance writes something each second: a longer time without a record is a pause of its stream."""

WorkerKey: TypeAlias = tuple[str, str, str]
"""coin, account, worker."""


class Outcome(IntEnum):
    """How a share was decided; the numbers of lodepool.events.v1.ShareOutcome."""

    ACCEPTED = 1
    STALE = 2
    DUPLICATE = 3
    LOW_DIFFICULTY = 4
    INVALID = 5


_ACCEPTED = int(Outcome.ACCEPTED)
_BIN_COLUMNS = 1 + len(Outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The shares of a batch, reduced to who, when and how much.

    Attributes:
        instance: The stratum instance.
        coin: Coin id.
        first_seq: Number of the batch's first share; those behind it count on.
        submitters: Account, worker, scheme and user agent.
        submitter_index: Of each share.
        times_ms: Of each share, milliseconds since the Unix epoch.
        works: Expected hashes of each share.
        outcomes: Of each share, as `Outcome` numbers them; other numbers count as nothing.
    """

    instance: str
    coin: str
    first_seq: int
    submitters: Sequence[tuple[str, str, str, str]]
    submitter_index: Sequence[int]
    times_ms: Sequence[int]
    works: Sequence[int]
    outcomes: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A watermark: how far an instance has come without shares."""

    instance: str
    coin: str
    time_ms: int
    is_closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the stream of an instance was read.

    Attributes:
        coin: Coin id.
        last_seq: Number of the last share seen.
        run_start_ms: Where the part begins that has no pause and reaches up to `time_ms`.
        time_ms: Time of the newest record, milliseconds since the Unix epoch.
        is_closed: The instance is gone.
    """

    coin: str
    last_seq: int
    run_start_ms: int
    time_ms: int
    is_closed: bool

    def to(self, first_ms: int, last_ms: int, *, last_seq: int, is_closed: bool = False) -> "Progress":
        """Return how far it is after a record that covers the times from `first_ms` to `last_ms`."""
        is_pause = first_ms - self.time_ms > PAUSE_MS
        return Progress(
            coin=self.coin,
            last_seq=max(self.last_seq, last_seq),
            run_start_ms=first_ms if is_pause else self.run_start_ms,
            time_ms=max(self.time_ms, last_ms),
            is_closed=self.is_closed or is_closed,
        )


@dataclass(slots=True, kw_only=True)
class Seen:
    """What was seen of one worker.

    Attributes:
        shares: Time and work of its accepted shares.
        scheme: Of its last accepted share; empty without one.
        user_agent: Likewise.
        bins: Start of a half hour → work, and the counts of each outcome.
        last_time_ms: Of its last accepted share; −1 without one.
    """

    shares: list[tuple[int, int]] = field(default_factory=list)
    scheme: str = ""
    user_agent: str = ""
    bins: dict[int, list[int]] = field(default_factory=dict)
    last_time_ms: int = -1


@dataclass(slots=True, kw_only=True)
class Activity:
    """Sum up who has mined in some records; shares that were seen before are skipped by their number.

    Attributes:
        instances: How far the stream of each instance was read.
        workers: Who has mined.
        share_count: Accepted shares that were new.
    """

    instances: dict[str, Progress]
    workers: dict[WorkerKey, Seen] = field(default_factory=dict)
    share_count: int = 0

    def add(self, shares: Shares) -> None:
        """Take note of the shares that are new."""
        known = self._progress(shares.instance, shares.coin, min(shares.times_ms, default=0))
        by_index: dict[int, list[tuple[int, int, int]]] = {}
        skipped = max(known.last_seq + 1 - shares.first_seq, 0)
        columns = zip(shares.submitter_index, shares.times_ms, shares.works, shares.outcomes, strict=True)
        for number, (index, time_ms, work, outcome) in enumerate(columns):
            if number >= skipped:
                by_index.setdefault(index, []).append((time_ms, work, outcome))
        for index, entries in by_index.items():
            account, worker, scheme, user_agent = shares.submitters[index]
            seen = self.workers.setdefault((shares.coin, account, worker), Seen())
            self.share_count += _note(seen, entries, scheme=scheme, user_agent=user_agent)
        if shares.times_ms:
            last_seq = shares.first_seq + len(shares.times_ms) - 1
            span = min(shares.times_ms), max(shares.times_ms)
            self.instances[shares.instance] = known.to(*span, last_seq=last_seq)

    def mark(self, mark: Mark) -> None:
        """Take note of how far an instance has come."""
        known = self._progress(mark.instance, mark.coin, mark.time_ms)
        self.instances[mark.instance] = known.to(mark.time_ms, mark.time_ms, last_seq=0, is_closed=mark.is_closed)

    def _progress(self, instance: str, coin: str, time_ms: int) -> Progress:
        known = self.instances.get(instance)
        if known is None or not known.time_ms:
            last_seq = 0 if known is None else known.last_seq
            return Progress(coin=coin, last_seq=last_seq, run_start_ms=time_ms, time_ms=time_ms, is_closed=False)
        return known


def _note(seen: Seen, entries: Iterable[tuple[int, int, int]], *, scheme: str, user_agent: str) -> int:
    """Add shares of a worker; return how many were accepted."""
    accepted_count = 0
    bins, shares = seen.bins, seen.shares
    for time_ms, work, outcome in entries:
        start_ms = time_ms - time_ms % BIN_MS
        sums = bins.get(start_ms)
        if outcome == _ACCEPTED:
            if sums is None:
                sums = bins[start_ms] = [0] * _BIN_COLUMNS
            sums[0] += work
            sums[_ACCEPTED] += 1
            shares.append((time_ms, work))
            accepted_count += 1
            if time_ms >= seen.last_time_ms:
                seen.last_time_ms, seen.scheme, seen.user_agent = time_ms, scheme, user_agent
        elif _ACCEPTED < outcome < _BIN_COLUMNS:
            if sums is None:
                sums = bins[start_ms] = [0] * _BIN_COLUMNS
            sums[outcome] += 1
    return accepted_count


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTime:
    """What time it is in the stream of a coin.

    Attributes:
        now_ms: Every instance has come so far: what was mined before is known.
        awake_ms: Since then the pool has taken shares without a pause; 0 where it always has.
    """

    now_ms: int
    awake_ms: int


class StreamClock:
    """Tells the time of the stream, so that silence counts only while the pool could hear.

    An instance that says nothing while others go on holds the time back, for it may have shares that nobody has read
    yet; after `wait_s` seconds of that it is given up. When all are silent (the log away, the reader behind, the pool
    stopped) no time passes at all.

    Args:
        wait_s: As above.
    """

    def __init__(self, *, wait_s: float = 600.0) -> None:
        self._wait_s = wait_s
        self._times_ms: dict[str, int] = {}
        self._silent_s: dict[str, float] = {}

    def look(self, instances: Mapping[str, Progress], *, elapsed_s: float) -> StreamTime | None:
        """Return the time; None when it has not gone on since the last look.

        Args:
            instances: Of one coin.
            elapsed_s: Seconds since the last look; long ones count as 10, since nobody has looked.
        """
        moved = {
            name
            for name, progress in instances.items()
            if progress.time_ms > self._times_ms.get(name, progress.time_ms)
        }
        is_first_look = not self._times_ms
        for name, progress in instances.items():
            silent_s = self._silent_s.get(name, 0.0)
            self._silent_s[name] = 0.0 if name in moved else silent_s + min(elapsed_s, 10.0) * bool(moved)
            self._times_ms[name] = progress.time_ms
        if is_first_look or not moved:
            return None
        heard = [
            progress.time_ms
            for name, progress in instances.items()
            if not progress.is_closed and self._silent_s[name] < self._wait_s
        ]
        if not heard:
            return None
        now_ms = min(heard)
        return StreamTime(now_ms=now_ms, awake_ms=_awake_since(instances.values(), now_ms=now_ms))


def _awake_since(instances: Iterable[Progress], *, now_ms: int) -> int:
    """Return the end of the last time in which no instance ran; 0 when there was none."""
    awake_ms, end_ms = 0, None
    for progress in sorted(instances, key=lambda progress: progress.run_start_ms):
        if progress.run_start_ms > now_ms:
            break
        if end_ms is None or progress.run_start_ms - end_ms > PAUSE_MS:
            awake_ms = progress.run_start_ms
        end_ms = max(end_ms or 0, progress.time_ms)
    return awake_ms


def threshold_problem(threshold_atomic: int, *, minimum_atomic: int) -> str | None:
    """Return what is wrong with a payout threshold, None when it may be set; zero means the pool's default."""
    if threshold_atomic < 0:
        return "must not be negative"
    if 0 < threshold_atomic < minimum_atomic:
        return f"must be at least {minimum_atomic} atomic units, or 0 for the pool's default"
    return None
