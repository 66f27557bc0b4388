"""The rules of slices: which shares are new, where they are booked, what an instance's stream has brought."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias, TypeVar

from shares.errors import MalformedRecord

MINUTE_MS = 60_000
NAME_CHARS_MAX = 255
TIME_MS_MAX = 1 << 42
SEQ_MAX = 1 << 62
NOTHING_CLOSED = -1


class Outcome(IntEnum):
    """How a share was decided; the numbers of lodepool.events.v1.ShareOutcome."""

    ACCEPTED = 1
    STALE = 2
    DUPLICATE = 3
    LOW_DIFFICULTY = 4
    INVALID = 5


_OUTCOMES = frozenset(map(int, Outcome))
_ACCEPTED = int(Outcome.ACCEPTED)

SliceKey: TypeAlias = tuple[str, str, str, str, int, int]
"""coin, scheme, account, worker, height, minute since the Unix epoch."""

SliceSum: TypeAlias = list[int]
"""work, accepted, stale, duplicate, low difficulty, invalid count, best hash_work, last accepted share's time in ms.

Counts stand at their outcome's number. A plain list because one is touched for each share.
"""
WORK, BEST, LAST_TIME = 0, 6, 7

_Key = TypeVar("_Key", bound=tuple[object, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitter:
    """Who submitted, one row of a batch's table."""

    account: str
    worker: str
    scheme: str
    user_agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareColumns:
    """Shares of one instance in the order in which they were decided; entry i of each column describes share i.

    Attributes:
        instance: One life of one worker process.
        coin: Coin id.
        first_seq: Number of the first share, from 1.
        base_time_ms: Time of the first share, milliseconds since the Unix epoch.
        submitters: Named by `submitter_index`.
        submitter_index: Index into `submitters`.
        time_offset_ms: Milliseconds after `base_time_ms`.
        height: Height of the job.
        work: Expected hashes of the share target.
        hash_work: Expected hashes of the hash itself; zero for rejected shares.
        outcome: Numbers of `Outcome`.
        trace_parents: Traces that some of the shares belong to.
    """

    instance: str
    coin: str
    first_seq: int
    base_time_ms: int
    submitters: Sequence[Submitter]
    submitter_index: Sequence[int]
    time_offset_ms: Sequence[int]
    height: Sequence[int]
    work: Sequence[int]
    hash_work: Sequence[int]
    outcome: Sequence[int]
    trace_parents: Sequence[str] = ()

    @property
    def share_count(self) -> int:
        """Return the number of shares."""
        return len(self.outcome)

    @property
    def last_seq(self) -> int:
        """Return the number of the last share; `first_seq` − 1 when there is none."""
        return self.first_seq + len(self.outcome) - 1

    def without_first(self, count: int) -> "ShareColumns":
        """Return the shares after the first `count`."""
        return ShareColumns(
            instance=self.instance,
            coin=self.coin,
            first_seq=self.first_seq + count,
            base_time_ms=self.base_time_ms,
            submitters=self.submitters,
            submitter_index=self.submitter_index[count:],
            time_offset_ms=self.time_offset_ms[count:],
            height=self.height[count:],
            work=self.work[count:],
            hash_work=self.hash_work[count:],
            outcome=self.outcome[count:],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far an instance has come; everything it decided before stands before the mark in its stream.

    Attributes:
        instance: The instance.
        coin: Coin id.
        last_seq: Number of the last share before the mark; zero when there was none.
        height: Height of the newest job.
        time_ms: When it was made, milliseconds since the Unix epoch.
        is_closed: Nothing will follow.
    """

    instance: str
    coin: str
    last_seq: int
    height: int
    time_ms: int
    is_closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Shares of an instance that never came, from `first_seq` to `last_seq`."""

    instance: str
    first_seq: int
    last_seq: int


@dataclass(slots=True, kw_only=True)
class InstanceState:
    """What one instance's stream has brought, summed apart from the slices.

    Attributes:
        instance: The instance.
        coin: Coin id.
        last_seq: Number of the last booked share.
        seen_time_ms: Time of the newest share or mark.
        mark_seq: `last_seq` of the newest mark.
        mark_height: Height of the newest mark; zero before the first.
        mark_time_ms: Time of the newest mark; zero before the first.
        is_closed: Nothing will follow.
        work: Accepted work.
        counts: Shares by outcome: accepted, stale, duplicate, low difficulty, invalid.
    """

    instance: str
    coin: str
    last_seq: int = 0
    seen_time_ms: int = 0
    mark_seq: int = 0
    mark_height: int = 0
    mark_time_ms: int = 0
    is_closed: bool = False
    work: int = 0
    counts: list[int] = field(default_factory=lambda: [0] * len(Outcome))


@dataclass(slots=True, kw_only=True)
class Booking:
    """Sum up the effects of records until they are written in one transaction.

    Any cut of a stream into bookings gives the same slices: what was booked before is skipped by its number, and sums
    do not depend on order.

    Attributes:
        instances: State of each instance in the records before them; missing means new. Changed as records are added.
        closed_heights: Closed height by (coin, scheme); missing means none.
        slices: What to add to each slice.
        late_counts: Shares by coin that were booked above the height they were made for.
        gaps: Shares that never came.
        share_count: Shares booked.
        repeated_count: Shares that were booked before and now skipped.
    """

    instances: dict[str, InstanceState]
    closed_heights: dict[tuple[str, str], int]
    slices: dict[SliceKey, SliceSum] = field(default_factory=dict)
    late_counts: dict[str, int] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    share_count: int = 0
    repeated_count: int = 0

    def add_batch(self, batch: ShareColumns) -> None:
        """Book the shares that are new.

        Raises:
            MalformedRecord: When the instance belongs to another coin; nothing was changed.
        """
        state = self._state(batch.instance, batch.coin)
        repeated_count = min(max(state.last_seq + 1 - batch.first_seq, 0), batch.share_count)
        self.repeated_count += repeated_count
        if repeated_count == batch.share_count:
            return
        if repeated_count:
            batch = batch.without_first(repeated_count)
        elif batch.first_seq > state.last_seq + 1:
            gap = Gap(instance=batch.instance, first_seq=state.last_seq + 1, last_seq=batch.first_seq - 1)
            self.gaps.append(gap)
        state.last_seq = batch.last_seq
        state.seen_time_ms = max(state.seen_time_ms, batch.base_time_ms + max(batch.time_offset_ms))
        for outcome in Outcome:
            state.counts[outcome - 1] += batch.outcome.count(outcome)
        state.work += accepted_work(batch)
        self.share_count += batch.share_count
        self._merge(batch)

    def add_mark(self, mark: Mark) -> Gap | None:
        """Take note of an instance's progress; return the shares that should have come before it.

        The newest mark counts, by its own time: a tip can fall back, and a mark can be sent twice.

        Raises:
            MalformedRecord: When the instance belongs to another coin; nothing was changed.
        """
        state = self._state(mark.instance, mark.coin)
        state.is_closed = state.is_closed or mark.is_closed
        state.seen_time_ms = max(state.seen_time_ms, mark.time_ms)
        if mark.time_ms >= state.mark_time_ms:
            state.mark_time_ms = mark.time_ms
            state.mark_height = mark.height
        if mark.last_seq <= state.mark_seq:
            return None
        state.mark_seq = mark.last_seq
        if mark.last_seq <= state.last_seq:
            return None
        return Gap(instance=mark.instance, first_seq=state.last_seq + 1, last_seq=mark.last_seq)

    def _state(self, instance: str, coin: str) -> InstanceState:
        state = self.instances.get(instance)
        if state is None:
            state = self.instances[instance] = InstanceState(instance=instance, coin=coin)
        elif state.coin != coin:
            raise MalformedRecord(f"instance {instance} serves {state.coin}, not {coin}")
        return state

    def _merge(self, batch: ShareColumns) -> None:
        owners = [(batch.coin, who.scheme, who.account, who.worker) for who in batch.submitters]
        closed = [self.closed_heights.get((batch.coin, who.scheme), NOTHING_CLOSED) for who in batch.submitters]
        for (index, height, minute), found in summed(batch).items():
            if height > closed[index]:
                add(self.slices, (*owners[index], height, minute), found)
                continue
            late, rest = split_late(found)
            if late is not None:
                add(self.slices, (*owners[index], closed[index] + 1, minute), late)
                self.late_counts[batch.coin] = self.late_counts.get(batch.coin, 0) + late[_ACCEPTED]
            if rest is not None:
                add(self.slices, (*owners[index], height, minute), rest)


def check_batch(batch: ShareColumns) -> None:
    """Refuse what no stratum process writes and no table can hold.

    Raises:
        MalformedRecord: Names the first rule that is broken.
    """
    count = batch.share_count
    columns = (batch.submitter_index, batch.time_offset_ms, batch.height, batch.work, batch.hash_work)
    if any(len(column) != count for column in columns):
        raise MalformedRecord("the columns differ in length")
    check_name("instance", batch.instance)
    check_name("coin", batch.coin)
    if not 1 <= batch.first_seq < SEQ_MAX:
        raise MalformedRecord("first_seq is out of range")
    for who in batch.submitters:
        check_name("account", who.account)
        check_name("scheme", who.scheme)
        check_name("worker", who.worker, is_empty_allowed=True)
    if not count:
        return
    if max(batch.submitter_index) >= len(batch.submitters):
        raise MalformedRecord("a share names no submitter")
    if not 0 <= batch.base_time_ms < TIME_MS_MAX:
        raise MalformedRecord("base_time_ms is out of range")
    if not _OUTCOMES.issuperset(batch.outcome):
        raise MalformedRecord("a share has an unknown outcome")
    if min(batch.work) < 0 or min(batch.hash_work) < 0:
        raise MalformedRecord("work is negative")
    if 0 in batch.work and any(
        not work and outcome == _ACCEPTED for work, outcome in zip(batch.work, batch.outcome, strict=True)
    ):
        raise MalformedRecord("an accepted share has no work")


def check_mark(mark: Mark) -> None:
    """Refuse what no stratum process writes.

    Raises:
        MalformedRecord: Names the first rule that is broken.
    """
    check_name("instance", mark.instance)
    check_name("coin", mark.coin)
    if not 0 <= mark.last_seq < SEQ_MAX or mark.height < 0:
        raise MalformedRecord("a watermark's numbers are out of range")
    if not 0 <= mark.time_ms < TIME_MS_MAX:
        raise MalformedRecord("time_ms is out of range")


def check_name(name: str, text: str, *, is_empty_allowed: bool = False) -> None:
    """Refuse a string that a key column cannot hold.

    Raises:
        MalformedRecord: When it is empty, too long or has a NUL character.
    """
    if not text and not is_empty_allowed:
        raise MalformedRecord(f"{name} is empty")
    if len(text) > NAME_CHARS_MAX:
        raise MalformedRecord(f"{name} is longer than {NAME_CHARS_MAX} characters")
    if "\x00" in text:
        raise MalformedRecord(f"{name} has a NUL character")


def accepted_work(batch: ShareColumns) -> int:
    """Return the work of the accepted shares."""
    if batch.outcome.count(_ACCEPTED) == batch.share_count:
        return sum(batch.work)
    return sum(work for work, outcome in zip(batch.work, batch.outcome, strict=True) if outcome == _ACCEPTED)


def summed(batch: ShareColumns) -> dict[tuple[int, int, int], SliceSum]:
    """Return the batch's sums by (submitter index, height, minute). Cost: about half a microsecond a share."""
    sums: dict[tuple[int, int, int], SliceSum] = {}
    base_ms = batch.base_time_ms
    columns = zip(
        batch.submitter_index,
        batch.time_offset_ms,
        batch.height,
        batch.work,
        batch.hash_work,
        batch.outcome,
        strict=True,
    )
    for index, offset_ms, height, work, hash_work, outcome in columns:
        time_ms = base_ms + offset_ms
        key = (index, height, time_ms // MINUTE_MS)
        found = sums.get(key)
        if found is None:
            found = sums[key] = [0, 0, 0, 0, 0, 0, 0, 0]
        found[outcome] += 1
        if outcome == _ACCEPTED:
            found[WORK] += work
            if hash_work > found[BEST]:  # noqa: PLR1730 - max() costs a call for each share
                found[BEST] = hash_work
            if time_ms > found[LAST_TIME]:  # noqa: PLR1730 - max() costs a call for each share
                found[LAST_TIME] = time_ms
    return sums


def add(sums: dict[_Key, SliceSum], key: _Key, found: SliceSum) -> None:
    """Add one part to the sums; `found` may become the entry itself."""
    total = sums.get(key)
    if total is None:
        sums[key] = found
        return
    work, accepted, stale, duplicate, low_difficulty, invalid, best, last_time_ms = found
    total[0] += work
    total[1] += accepted
    if stale or duplicate or low_difficulty or invalid:
        total[2] += stale
        total[3] += duplicate
        total[4] += low_difficulty
        total[5] += invalid
    if best > total[6]:  # noqa: PLR1730 - max() costs a call for each share
        total[6] = best
    if last_time_ms > total[7]:  # noqa: PLR1730 - max() costs a call for each share
        total[7] = last_time_ms


def split_late(found: SliceSum) -> tuple[SliceSum | None, SliceSum | None]:
    """Divide what came for a closed height into accepted shares, which move up, and rejected ones, which stay.

    Only work must not enter a window that is fixed; a stale share is late by its nature and counts where it was made.
    """
    accepted = found[_ACCEPTED]
    late = [found[WORK], accepted, 0, 0, 0, 0, found[BEST], found[LAST_TIME]] if accepted else None
    rejected = found[_ACCEPTED + 1 : BEST]
    return late, [0, 0, *rejected, 0, 0] if any(rejected) else None


def counts_of(found: Sequence[int]) -> tuple[int, int, int, int, int]:
    """Return accepted, stale, duplicate, low difficulty and invalid count of a slice's sums."""
    return found[1], found[2], found[3], found[4], found[5]


def pool_sums(slices: Mapping[SliceKey, SliceSum]) -> dict[tuple[str, str, int, int], SliceSum]:
    """Sum slices by coin, scheme, height and minute."""
    sums: dict[tuple[str, str, int, int], SliceSum] = {}
    for (coin, scheme, _, _, height, minute), found in slices.items():
        add(sums, (coin, scheme, height, minute), found.copy())
    return sums


def worker_sums(slices: Mapping[SliceKey, SliceSum]) -> dict[tuple[str, str, str], SliceSum]:
    """Sum slices by coin, account and worker."""
    sums: dict[tuple[str, str, str], SliceSum] = {}
    for (coin, _, account, worker, _, _), found in slices.items():
        add(sums, (coin, account, worker), found.copy())
    return sums


def tally_sums(slices: Mapping[SliceKey, SliceSum], span_min: int) -> dict[tuple[str, str, str, int], int]:
    """Sum accepted work by coin, account, worker and bucket of `span_min` minutes; without empty ones."""
    sums: dict[tuple[str, str, str, int], int] = {}
    for (coin, _, account, worker, _, minute), found in slices.items():
        if found[WORK]:
            key = (coin, account, worker, minute // span_min)
            sums[key] = sums.get(key, 0) + found[WORK]
    return sums
