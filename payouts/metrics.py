"""What the payouts service shows about itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import Metric

from payouts.domain import OPEN, BatchStatus
from payouts.errors import WaitCause
from payouts.notices import SCHEMA
from runtime.outbox import OutboxPublisher, Waiting, read_waiting
from runtime.postgres.pool import Pool, acquired
from runtime.telemetry.families import counter, gauge

ROUNDS = counter("lodepool_payouts_rounds_total", "Rounds begun")
RESERVED = counter("lodepool_payouts_batches_reserved_total", "Batches made")
SENT = counter("lodepool_payouts_batches_sent_total", "Times that stored bytes went to a node, repeats included")
CONFIRMED = counter("lodepool_payouts_batches_confirmed_total", "Batches settled")
REVIEWED = counter("lodepool_payouts_batches_reviewed_total", "Batches that went to review")
VOIDED = counter("lodepool_payouts_batches_voided_total", "Batches given up by the payer because they were split")
PAID = counter("lodepool_payouts_payments_confirmed_total", "Payments settled")
PAID_ATOMIC = counter("lodepool_payouts_paid_atomic_total", "Atomic units settled")
WAITS = counter("lodepool_payouts_waits_total", "Rounds that ended because something was missing")
LOCKS_LOST = counter("lodepool_payouts_locks_lost_total", "Times that the connection with the payer's lock was lost")
PUBLISHED = counter("lodepool_payouts_published_notices_total", "Notices that the event log has acknowledged")
UNPUBLISHED = gauge("lodepool_payouts_outbox_records", "Notices that the event log has not acknowledged")
UNPUBLISHED_AGE = gauge("lodepool_payouts_outbox_oldest_age_seconds", "Age of the oldest of them")
IS_PAYER = gauge("lodepool_payouts_is_payer", "1 in the process that pays")
WAITING = gauge("lodepool_payouts_waiting", "1 for what the paying process waits for", "cause")
IS_HELD = gauge("lodepool_payouts_is_held", "1 while the operator holds payouts", "coin")
BATCHES = gauge("lodepool_payouts_batches", "Batches by status", "coin", "status")
OPEN_PAYMENTS = gauge("lodepool_payouts_open_payments", "Payments reserved and not settled", "coin")
OPEN_ATOMIC = gauge("lodepool_payouts_open_atomic", "Atomic units reserved and not settled", "coin")
OLDEST = gauge("lodepool_payouts_oldest_open_age_seconds", "Age of the oldest batch that is not settled", "coin")
UNKNOWN_SENDS = gauge(
    "lodepool_payouts_unknown_sends", "Transactions of the wallet that pay accounts and that no batch knows", "coin"
)
ISOLATED = gauge("lodepool_payouts_isolated_accounts", "Accounts that cannot be paid", "coin")

_MS = 1000


@dataclass(slots=True, kw_only=True)
class PayoutMetrics:
    """Counters of one payer; each only grows.

    Attributes:
        rounds: Rounds begun.
        batches_reserved: Batches made.
        batches_sent: Times that stored bytes were handed to a node, repeats included.
        batches_confirmed: Batches settled.
        batches_reviewed: Batches that went to review.
        batches_voided: Batches given up, by the operator or because they were split.
        payouts_confirmed: Payments settled.
        paid_atomic: Atomic units settled.
        accounts_isolated: Accounts found that cannot be paid.
        waits: Rounds that ended because something was missing.
        locks_lost: Times the lock's connection was lost.
        wait_cause: What the payer waits for now; None when for nothing.
    """

    rounds: int = 0
    batches_reserved: int = 0
    batches_sent: int = 0
    batches_confirmed: int = 0
    batches_reviewed: int = 0
    batches_voided: int = 0
    payouts_confirmed: int = 0
    paid_atomic: int = 0
    accounts_isolated: int = 0
    waits: int = 0
    locks_lost: int = 0
    wait_cause: WaitCause | None = None


def counted(
    metrics: PayoutMetrics, outbox: OutboxPublisher, *, is_payer: Callable[[], bool]
) -> Callable[[], Iterator[Metric]]:
    """Return the source of what is counted in this process."""

    def families() -> Iterator[Metric]:
        yield ROUNDS.of(metrics.rounds)
        yield RESERVED.of(metrics.batches_reserved)
        yield SENT.of(metrics.batches_sent)
        yield CONFIRMED.of(metrics.batches_confirmed)
        yield REVIEWED.of(metrics.batches_reviewed)
        yield VOIDED.of(metrics.batches_voided)
        yield PAID.of(metrics.payouts_confirmed)
        yield PAID_ATOMIC.of(metrics.paid_atomic)
        yield WAITS.of(metrics.waits)
        yield LOCKS_LOST.of(metrics.locks_lost)
        yield PUBLISHED.of(outbox.published_total)
        is_paying = is_payer()
        yield IS_PAYER.of(is_paying)
        yield WAITING.by({cause.value: is_paying and cause is metrics.wait_cause for cause in WaitCause})

    return families


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a coin's payouts stand.

    Attributes:
        coin_id: Whose.
        is_held: Whether the operator holds them.
        batches: By status.
        open_payments: Payments in batches that are not settled.
        open_atomic: Their sum.
        oldest_open_ms: When the oldest such batch was made; None without one.
        isolated: Accounts that cannot be paid.
        unknown_sends: Transactions of the wallet that pay accounts and wait for the operator's word.
        unpublished: Notices in the outbox.
        read_ms: When it was read; both in milliseconds since the Unix epoch.
    """

    coin_id: str
    is_held: bool
    batches: dict[str, int]
    open_payments: int
    open_atomic: int
    oldest_open_ms: int | None
    isolated: int
    unknown_sends: int
    unpublished: Waiting
    read_ms: int


async def read_standing(pool: Pool, *, coin_id: str, now_ms: int) -> Standing:
    """Read how a coin's payouts stand."""
    async with acquired(pool) as connection:
        row = await connection.fetchrow(
            """
            SELECT coalesce((SELECT is_held FROM payouts.payer WHERE coin = $1), false) AS is_held,
                (SELECT count(*) FROM payouts.isolated WHERE coin = $1) AS isolated_count,
                (SELECT count(*) FROM payouts.wallet_send
                 WHERE coin = $1 AND decision = 'open' AND account_count > 0) AS unknown_count
            """,
            coin_id,
        )
        rows = await connection.fetch(
            """
            SELECT status, count(*) AS batch_count, sum(payout_count)::bigint AS payout_count,
                sum(amount_atomic)::bigint AS amount_atomic, min(create_time_ms) AS create_time_ms
            FROM payouts.batch WHERE coin = $1 GROUP BY status
            """,
            coin_id,
        )
        unpublished = await read_waiting(connection, SCHEMA)
    assert row is not None  # a select of scalars has one row
    counts = {entry["status"]: entry["batch_count"] for entry in rows}
    unsettled = [entry for entry in rows if BatchStatus(entry["status"]) in OPEN]
    return Standing(
        coin_id=coin_id,
        is_held=row["is_held"],
        batches={status.value: counts.get(status.value, 0) for status in BatchStatus},
        open_payments=sum(entry["payout_count"] for entry in unsettled),
        open_atomic=sum(entry["amount_atomic"] for entry in unsettled),
        oldest_open_ms=min((entry["create_time_ms"] for entry in unsettled), default=None),
        isolated=row["isolated_count"],
        unknown_sends=row["unknown_count"],
        unpublished=unpublished,
        read_ms=now_ms,
    )


def read_families(standing: Standing) -> Iterator[Metric]:
    """Yield what was read."""
    coin = standing.coin_id
    age_ms = 0 if standing.oldest_open_ms is None else max(0, standing.read_ms - standing.oldest_open_ms)
    yield IS_HELD.by({coin: standing.is_held})
    yield BATCHES.by({(coin, status): count for status, count in standing.batches.items()})
    yield OPEN_PAYMENTS.by({coin: standing.open_payments})
    yield OPEN_ATOMIC.by({coin: standing.open_atomic})
    yield OLDEST.by({coin: age_ms / _MS})
    yield UNPUBLISHED.of(standing.unpublished.record_count)
    yield UNPUBLISHED_AGE.of(standing.unpublished.oldest_s)
    yield ISOLATED.by({coin: standing.isolated})
    yield UNKNOWN_SENDS.by({coin: standing.unknown_sends})
