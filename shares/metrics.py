"""What the shares service shows about itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import Metric

from runtime.outbox import OutboxPublisher, Waiting, read_waiting
from runtime.postgres.pool import Pool, acquired
from runtime.telemetry.families import CALLS_S, Histogram, counter, gauge, histogram

BOOKED = counter("lodepool_shares_booked_shares_total", "Shares booked")
REPEATED = counter("lodepool_shares_repeated_shares_total", "Shares skipped because they were booked before")
LATE = counter("lodepool_shares_late_shares_total", "Shares booked one height above because their window was closed")
GAPS = counter("lodepool_shares_gaps_total", "Gaps found in the instances' streams: shares that never came")
POISON = counter("lodepool_shares_poison_records_total", "Records set aside because they cannot be booked")
BATCHES = counter("lodepool_shares_batches_total", "Transactions of the consumer")
BATCH_DURATION = histogram("lodepool_shares_batch_duration_seconds", "How long booking one batch of records took")
WINDOWS = counter("lodepool_shares_windows_fixed_total", "PPLNS windows fixed")
PUBLISHED = counter("lodepool_shares_published_notices_total", "Notices that the event log has acknowledged")
UNPUBLISHED = gauge("lodepool_shares_outbox_records", "Notices that the event log has not acknowledged")
UNPUBLISHED_AGE = gauge("lodepool_shares_outbox_oldest_age_seconds", "Age of the oldest of them")
POISON_KEPT = gauge("lodepool_shares_poison_kept_records", "Records that lie aside, of all processes and times")
GAPS_KEPT = gauge("lodepool_shares_gaps_kept", "Gaps that are known, of all processes and times")
LAST_SHARE = gauge(
    "lodepool_shares_last_share_time_seconds", "When the newest booked share was found, since the Unix epoch", "coin"
)
BOOKED_TIME = gauge(
    "lodepool_shares_booked_time_seconds",
    "Everything that the event log took before this time is booked, since the Unix epoch; absent before the first",
)
INSTANCES = gauge("lodepool_shares_open_instances", "Stratum instances whose stream has not been closed", "coin")

_MS = 1000


@dataclass(slots=True, kw_only=True)
class Counters:
    """Numbers since the process started.

    Attributes:
        shares_booked_total: Shares booked.
        shares_repeated_total: Shares skipped because they were booked before.
        shares_late_total: Shares booked one height above because their window was closed.
        gaps_total: Gaps found in instances' streams.
        records_poison_total: Records set aside.
        batches_total: Transactions of the consumer.
        windows_fixed_total: Windows fixed.
        batch_durations: Seconds from the records to the commit.
    """

    shares_booked_total: int = 0
    shares_repeated_total: int = 0
    shares_late_total: int = 0
    gaps_total: int = 0
    records_poison_total: int = 0
    batches_total: int = 0
    windows_fixed_total: int = 0
    batch_durations: Histogram = field(default_factory=lambda: Histogram(CALLS_S))


def counted(counters: Counters, outbox: OutboxPublisher) -> Callable[[], Iterator[Metric]]:
    """Return the source of what is counted in this process."""

    def families() -> Iterator[Metric]:
        yield BOOKED.of(counters.shares_booked_total)
        yield REPEATED.of(counters.shares_repeated_total)
        yield LATE.of(counters.shares_late_total)
        yield GAPS.of(counters.gaps_total)
        yield POISON.of(counters.records_poison_total)
        yield BATCHES.of(counters.batches_total)
        yield BATCH_DURATION.seen(counters.batch_durations)
        yield WINDOWS.of(counters.windows_fixed_total)
        yield PUBLISHED.of(outbox.published_total)

    return families


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """How the books stand; times in milliseconds since the Unix epoch.

    Attributes:
        poison_count: Records set aside.
        gap_count: Gaps known.
        booked_time_ms: Everything before is booked; 0 before the first record.
        last_share_time_ms: By coin.
        open_instances: Instances whose stream is open, by coin.
        unpublished: Notices in the outbox.
    """

    poison_count: int
    gap_count: int
    booked_time_ms: int
    last_share_time_ms: dict[str, int]
    open_instances: dict[str, int]
    unpublished: Waiting


async def read_books(pool: Pool, *, topic: str) -> Books:
    """Read how the books stand."""
    async with acquired(pool) as connection:
        row = await connection.fetchrow(
            """
            SELECT (SELECT count(*) FROM shares.poison) AS poison_count,
                (SELECT count(*) FROM shares.gap) AS gap_count,
                (SELECT coalesce(min(booked_time_ms), 0) FROM shares.position WHERE topic = $1) AS booked_time_ms
            """,
            topic,
        )
        coins = await connection.fetch(
            """
            SELECT coin, last_share_time_ms,
                (SELECT count(*) FROM shares.instance WHERE coin_key = coin.coin_key AND NOT is_closed) AS open_count
            FROM shares.coin
            """
        )
        unpublished = await read_waiting(connection, "shares")
    assert row is not None  # a select of scalars has one row
    return Books(
        poison_count=row["poison_count"],
        gap_count=row["gap_count"],
        booked_time_ms=row["booked_time_ms"],
        last_share_time_ms={coin["coin"]: coin["last_share_time_ms"] for coin in coins if coin["last_share_time_ms"]},
        open_instances={coin["coin"]: coin["open_count"] for coin in coins},
        unpublished=unpublished,
    )


def read_families(books: Books) -> Iterator[Metric]:
    """Yield what was read."""
    yield POISON_KEPT.of(books.poison_count)
    yield GAPS_KEPT.of(books.gap_count)
    yield UNPUBLISHED.of(books.unpublished.record_count)
    yield UNPUBLISHED_AGE.of(books.unpublished.oldest_s)
    if books.booked_time_ms:
        yield BOOKED_TIME.of(books.booked_time_ms / _MS)
    yield LAST_SHARE.by({coin: time_ms / _MS for coin, time_ms in books.last_share_time_ms.items()})
    yield INSTANCES.by(books.open_instances)
