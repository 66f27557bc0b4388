"""What the rewards service shows about itself, and about the ledger."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import Metric

from rewards.domain import Status
from runtime.outbox import OutboxPublisher, Waiting, read_waiting
from runtime.postgres.pool import Pool, acquired
from runtime.telemetry.families import counter, gauge

FOUND = counter("lodepool_rewards_blocks_found_total", "Blocks written for the first time")
REPEATED = counter("lodepool_rewards_repeated_records_total", "Records of blocks that were known already")
POISON = counter("lodepool_rewards_poison_records_total", "Records set aside because they cannot be booked")
CREDITED = counter("lodepool_rewards_blocks_credited_total", "Blocks credited, again included")
MATURED = counter("lodepool_rewards_blocks_matured_total", "Blocks whose credits became payable")
ORPHANED = counter("lodepool_rewards_blocks_orphaned_total", "Blocks orphaned")
WAITS = counter("lodepool_rewards_window_waits_total", "Times that a block's window could not be fixed yet")
PUBLISHED = counter("lodepool_rewards_published_notices_total", "Notices that the event log has acknowledged")
UNPUBLISHED = gauge("lodepool_rewards_outbox_records", "Notices that the event log has not acknowledged")
UNPUBLISHED_AGE = gauge("lodepool_rewards_outbox_oldest_age_seconds", "Age of the oldest of them")
LOOKED = gauge(
    "lodepool_rewards_last_look_time_seconds",
    "When this process last looked at all blocks, since the Unix epoch; absent in a process that does not follow them",
)
POISON_KEPT = gauge("lodepool_rewards_poison_kept_records", "Records that lie aside, of all processes and times")
BLOCKS = gauge("lodepool_rewards_blocks", "Blocks by status", "coin", "status")
HELD = gauge("lodepool_rewards_held_blocks", "Blocks that wait for the operator", "coin")
OLDEST = gauge(
    "lodepool_rewards_oldest_candidate_age_seconds", "Age of the oldest block that is neither credited nor lost", "coin"
)
LEDGER = gauge("lodepool_ledger_balance_atomic", "Sum of the ledger's accounts of one kind, posted", "coin", "bucket")
PENDING = gauge("lodepool_ledger_reserved_atomic", "Reserved for payouts that are not settled", "coin")
IMBALANCE = gauge(
    "lodepool_ledger_imbalance_atomic", "Debits less credits of all accounts; anything but 0 is wrong books", "coin"
)

_BUCKETS = ("external", "immature", "payable", "paid")


@dataclass(slots=True, kw_only=True)
class Counters:
    """Numbers since the process started.

    Attributes:
        blocks_found_total: Blocks written for the first time.
        blocks_repeated_total: Records of blocks that were already known.
        blocks_poison_total: Records set aside.
        blocks_credited_total: Blocks credited, again included.
        blocks_matured_total: Blocks whose credits became payable.
        blocks_orphaned_total: Blocks orphaned.
        blocks_held: Blocks that wait for the operator now.
        windows_waited_total: Times a window could not be fixed yet.
        looked_s: When all blocks were last looked at, seconds since the Unix epoch; 0 when never.
    """

    blocks_found_total: int = 0
    blocks_repeated_total: int = 0
    blocks_poison_total: int = 0
    blocks_credited_total: int = 0
    blocks_matured_total: int = 0
    blocks_orphaned_total: int = 0
    blocks_held: int = 0
    windows_waited_total: int = 0
    looked_s: float = 0.0


def counted(counters: Counters, outbox: OutboxPublisher) -> Callable[[], Iterator[Metric]]:
    """Return the source of what is counted in this process."""

    def families() -> Iterator[Metric]:
        yield FOUND.of(counters.blocks_found_total)
        yield REPEATED.of(counters.blocks_repeated_total)
        yield POISON.of(counters.blocks_poison_total)
        yield CREDITED.of(counters.blocks_credited_total)
        yield MATURED.of(counters.blocks_matured_total)
        yield ORPHANED.of(counters.blocks_orphaned_total)
        yield WAITS.of(counters.windows_waited_total)
        yield PUBLISHED.of(outbox.published_total)
        if counters.looked_s:
            yield LOOKED.of(counters.looked_s)

    return families


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How blocks and ledger stand.

    Attributes:
        poison_count: Records set aside.
        blocks: By coin and status.
        held: By coin.
        oldest_candidate_s: Age of the oldest candidate, by coin; 0 without one.
        balances: By coin and bucket, posted credits less debits; external is what came from coinbases.
        reserved: Pending debits, by coin.
        imbalance: Debits less credits, posted and pending, by coin.
        unpublished: Notices in the outbox.
    """

    poison_count: int
    blocks: dict[tuple[str, str], int]
    held: dict[str, int]
    oldest_candidate_s: dict[str, float]
    balances: dict[tuple[str, str], int]
    reserved: dict[str, int]
    imbalance: dict[str, int]
    unpublished: Waiting


async def read_standing(pool: Pool, *, coin_id: str) -> Standing:
    """Read how blocks and ledger of a coin stand; in one transaction, so that the sums fit."""
    async with acquired(pool) as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        poison_count = await connection.fetchval("SELECT count(*) FROM rewards.poison")
        unpublished = await read_waiting(connection, "rewards")
        rows = await connection.fetch(
            """
            SELECT status, count(*) AS block_count, count(*) FILTER (WHERE hold_reason <> '') AS held_count,
                extract(epoch FROM now() - min(create_time))::float8 AS age_s
            FROM rewards.block WHERE coin = $1 GROUP BY status
            """,
            coin_id,
        )
        sums = await connection.fetch(
            """
            SELECT bucket, sum(credits_posted - debits_posted)::bigint AS posted,
                sum(debits_pending)::bigint AS reserved, sum(credits_pending)::bigint AS coming
            FROM ledger.account WHERE coin = $1 GROUP BY bucket
            """,
            coin_id,
        )
    counts = {row["status"]: row["block_count"] for row in rows}
    posted = {row["bucket"]: row["posted"] for row in sums}
    reserved, coming = (sum(row[name] for row in sums) for name in ("reserved", "coming"))
    return Standing(
        poison_count=poison_count,
        blocks={(coin_id, status.value): counts.get(status.value, 0) for status in Status},
        held={coin_id: sum(row["held_count"] for row in rows)},
        oldest_candidate_s={
            coin_id: next((row["age_s"] for row in rows if row["status"] == Status.CANDIDATE.value), 0.0)
        },
        balances={(coin_id, bucket): posted.get(bucket, 0) for bucket in _BUCKETS},
        reserved={coin_id: reserved},
        imbalance={coin_id: abs(sum(posted.values())) + abs(reserved - coming)},
        unpublished=unpublished,
    )


def read_families(standing: Standing) -> Iterator[Metric]:
    """Yield what was read."""
    yield POISON_KEPT.of(standing.poison_count)
    yield UNPUBLISHED.of(standing.unpublished.record_count)
    yield UNPUBLISHED_AGE.of(standing.unpublished.oldest_s)
    yield BLOCKS.by(standing.blocks)
    yield HELD.by(standing.held)
    yield OLDEST.by(standing.oldest_candidate_s)
    yield LEDGER.by(standing.balances)
    yield PENDING.by(standing.reserved)
    yield IMBALANCE.by(standing.imbalance)
