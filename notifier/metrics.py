"""What the notifier shows about itself."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Metric

from notifier.domain import ChannelKind
from notifier.notices import Kind
from runtime.postgres.pool import Pool, acquired
from runtime.telemetry.families import Histogram, counter, gauge, histogram

DELAYS_S = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86_400.0)
OUTCOME_WORDS: Final = ("sent", "retry", "refused", "dead")
"""What a try brings: taken, to be tried again, refused for good, given up after too many tries or too long."""

TAKEN = counter("lodepool_notifier_notices_taken_total", "Notices taken for the first time", "kind")
REPEATED = counter("lodepool_notifier_repeated_records_total", "Records of notices that were known already")
STALE = counter("lodepool_notifier_stale_notices_total", "Notices too old to be told when they were read")
POISON = counter("lodepool_notifier_poison_records_total", "Records set aside because they are no notices")
QUEUED = counter("lodepool_notifier_deliveries_queued_total", "Deliveries queued; skipped ones included")
OUTCOMES = counter("lodepool_notifier_messages_total", "Messages by what a try has brought", "channel", "outcome")
LOST = counter(
    "lodepool_notifier_claims_lost_total", "Messages sent under a claim that had ended: they may have been sent twice"
)
TAKEN_OVER = counter("lodepool_notifier_taken_over_deliveries_total", "Deliveries taken over from a process that died")
PAUSED = counter("lodepool_notifier_subscriptions_paused_total", "Subscriptions that a channel's answer has paused")
SENDING = gauge("lodepool_notifier_messages_under_way", "Messages under way in this process", "channel")
DELAY = histogram(
    "lodepool_notifier_delivery_delay_seconds",
    "From when a notice could be sent at the earliest to when it was taken; tries, quiet hours and digests included",
    "channel",
)
WAITING = gauge("lodepool_notifier_waiting_deliveries", "Deliveries that are due and wait for their turn", "channel")
HELD = gauge("lodepool_notifier_held_deliveries", "Deliveries that wait for a time", "channel")
DEAD = gauge("lodepool_notifier_dead_deliveries", "Deliveries given up; `lodepool notify replay` sends them again")
OLDEST = gauge("lodepool_notifier_oldest_due_age_seconds", "Since when the oldest due delivery has been due", "channel")
SUBSCRIPTIONS = gauge("lodepool_notifier_subscriptions", "Subscriptions, paused ones apart", "channel", "state")
POISON_KEPT = gauge("lodepool_notifier_poison_kept_records", "Records that lie aside, of all processes and times")


@dataclass(slots=True, kw_only=True)
class Counters:
    """Numbers since the process started; those of closed sets begin with all their zeros, so that rates see the first.

    Attributes:
        taken: Notices taken, by kind.
        repeated_total: Records of notices known already.
        stale_total: Notices too old to be told.
        poison_total: Records set aside.
        queued_total: Deliveries queued.
        outcomes: Tries by (channel, outcome).
        claims_lost_total: Messages sent under a claim that had ended.
        taken_over_total: Deliveries taken over.
        paused_total: Subscriptions paused.
        sending: Messages under way, by channel.
        delays: Seconds from queued to taken, by channel.
    """

    taken: Counter[str] = field(default_factory=lambda: Counter({kind.value: 0 for kind in Kind}))
    repeated_total: int = 0
    stale_total: int = 0
    poison_total: int = 0
    queued_total: int = 0
    outcomes: Counter[tuple[str, str]] = field(
        default_factory=lambda: Counter({(each.value, word): 0 for each in ChannelKind for word in OUTCOME_WORDS})
    )
    claims_lost_total: int = 0
    taken_over_total: int = 0
    paused_total: int = 0
    sending: dict[str, int] = field(default_factory=lambda: {channel.value: 0 for channel in ChannelKind})
    delays: dict[str, Histogram] = field(
        default_factory=lambda: {channel.value: Histogram(DELAYS_S) for channel in ChannelKind}
    )


def counted(counters: Counters) -> Callable[[], Iterator[Metric]]:
    """Return the source of what is counted in this process."""

    def families() -> Iterator[Metric]:
        yield TAKEN.by(counters.taken)
        yield REPEATED.of(counters.repeated_total)
        yield STALE.of(counters.stale_total)
        yield POISON.of(counters.poison_total)
        yield QUEUED.of(counters.queued_total)
        yield OUTCOMES.by(counters.outcomes)
        yield LOST.of(counters.claims_lost_total)
        yield TAKEN_OVER.of(counters.taken_over_total)
        yield PAUSED.of(counters.paused_total)
        yield SENDING.by(counters.sending)
        yield DELAY.seen_by(counters.delays)

    return families


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the queue stands.

    Attributes:
        waiting: Due deliveries, by channel.
        held: Others that wait, by channel.
        oldest_s: Since when the oldest due one has been due, by channel.
        dead_count: Given up.
        subscriptions: By channel and "active" or "paused".
        poison_count: Records set aside.
    """

    waiting: dict[str, int]
    held: dict[str, int]
    oldest_s: dict[str, float]
    dead_count: int
    subscriptions: dict[tuple[str, str], int]
    poison_count: int


async def read_standing(pool: Pool, *, now_ms: int) -> Standing:
    """Read how the queue stands."""
    async with acquired(pool) as connection:
        rows = await connection.fetch(
            """
            SELECT channel, count(*) FILTER (WHERE due_ms <= $1) AS due_count,
                count(*) FILTER (WHERE due_ms > $1) AS held_count, min(due_ms) AS oldest_ms
            FROM notifier.delivery WHERE state IN ('queued', 'retry') GROUP BY channel
            """,
            now_ms,
        )
        dead_count = await connection.fetchval("SELECT count(*) FROM notifier.delivery WHERE state = 'dead'")
        states = await connection.fetch(
            "SELECT channel, is_paused, count(*) AS number FROM notifier.subscription GROUP BY channel, is_paused"
        )
        poison_count = await connection.fetchval("SELECT count(*) FROM notifier.poison")
    by_channel = {row["channel"]: row for row in rows}
    counts = {(row["channel"], "paused" if row["is_paused"] else "active"): row["number"] for row in states}
    waiting, held, oldest = {}, {}, {}
    for channel in map(str, ChannelKind):
        row = by_channel.get(channel)
        waiting[channel] = row["due_count"] if row else 0
        held[channel] = row["held_count"] if row else 0
        oldest[channel] = max(0, now_ms - row["oldest_ms"]) / 1000 if row else 0.0
    return Standing(
        waiting=waiting,
        held=held,
        oldest_s=oldest,
        dead_count=dead_count,
        subscriptions={
            (channel, state): counts.get((channel, state), 0)
            for channel in map(str, ChannelKind)
            for state in ("active", "paused")
        },
        poison_count=poison_count,
    )


def read_families(standing: Standing) -> Iterator[Metric]:
    """Yield what was read."""
    yield WAITING.by(standing.waiting)
    yield HELD.by(standing.held)
    yield OLDEST.by(standing.oldest_s)
    yield DEAD.of(standing.dead_count)
    yield SUBSCRIPTIONS.by(standing.subscriptions)
    yield POISON_KEPT.of(standing.poison_count)
