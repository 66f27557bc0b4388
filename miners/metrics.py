"""What the miners service shows about itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import Metric

from miners.accounts import IS_ONLINE
from miners.storage import SCHEMA
from runtime.outbox import OutboxPublisher, Waiting, read_waiting
from runtime.postgres.pool import Pool, acquired
from runtime.telemetry.families import counter, gauge

BATCHES = counter("lodepool_miners_batches_total", "Transactions of the consumer")
SEEN = counter("lodepool_miners_seen_shares_total", "Accepted shares seen")
MALFORMED = counter("lodepool_miners_malformed_records_total", "Records passed over because they cannot be read")
UPDATES = counter("lodepool_miners_account_updates_total", "Changes of accounts' settings")
OFFLINE = counter("lodepool_miners_offline_notices_total", "Workers told to be offline")
ONLINE = counter("lodepool_miners_online_notices_total", "Workers told to be back")
HASHRATE_LOW = counter("lodepool_miners_hashrate_notices_total", "Hashrates told to be low")
REJECTS_HIGH = counter("lodepool_miners_reject_notices_total", "Workers told to have many refused shares")
PUBLISHED = counter("lodepool_miners_published_notices_total", "Notices that the event log has acknowledged")
UNPUBLISHED = gauge("lodepool_miners_outbox_records", "Notices that the event log has not acknowledged")
UNPUBLISHED_AGE = gauge("lodepool_miners_outbox_oldest_age_seconds", "Age of the oldest of them")
ACCOUNTS = gauge("lodepool_miners_accounts", "Accounts that have ever mined", "coin")
WORKERS = gauge("lodepool_miners_workers", "Workers by whether they mine now", "coin", "state")


@dataclass(slots=True, kw_only=True)
class Counters:
    """Numbers since the process started.

    Attributes:
        batches_total: Transactions of the consumer.
        shares_seen_total: Accepted shares seen.
        records_malformed_total: Records passed over.
        accounts_updated_total: Changes of settings.
        offline_total: Workers told to be offline.
        online_total: Workers told to be back.
        hashrate_low_total: Hashrates told to be low.
        rejects_high_total: Workers told to have many refused shares.
    """

    batches_total: int = 0
    shares_seen_total: int = 0
    records_malformed_total: int = 0
    accounts_updated_total: int = 0
    offline_total: int = 0
    online_total: int = 0
    hashrate_low_total: int = 0
    rejects_high_total: int = 0


def counted(counters: Counters, outbox: OutboxPublisher) -> Callable[[], Iterator[Metric]]:
    """Return the source of what is counted in this process."""

    def families() -> Iterator[Metric]:
        yield BATCHES.of(counters.batches_total)
        yield SEEN.of(counters.shares_seen_total)
        yield MALFORMED.of(counters.records_malformed_total)
        yield UPDATES.of(counters.accounts_updated_total)
        yield OFFLINE.of(counters.offline_total)
        yield ONLINE.of(counters.online_total)
        yield HASHRATE_LOW.of(counters.hashrate_low_total)
        yield REJECTS_HIGH.of(counters.rejects_high_total)
        yield PUBLISHED.of(outbox.published_total)

    return families


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Who mines, by coin.

    Attributes:
        accounts: Accounts that have ever mined.
        online: Workers that count as online.
        offline: All others.
        unpublished: Notices in the outbox.
    """

    accounts: dict[str, int]
    online: dict[str, int]
    offline: dict[str, int]
    unpublished: Waiting


async def read_population(pool: Pool) -> Population:
    """Count accounts and workers."""
    async with acquired(pool) as connection:
        rows = await connection.fetch(
            f"""
            SELECT account.coin, count(DISTINCT account.account_id) AS account_count,
                count(worker_id) FILTER (WHERE {IS_ONLINE}) AS online_count,
                count(worker_id) AS worker_count
            FROM miners.account LEFT JOIN miners.worker USING (account_id)
            GROUP BY account.coin
            """
        )
        unpublished = await read_waiting(connection, SCHEMA)
    return Population(
        accounts={row["coin"]: row["account_count"] for row in rows},
        online={row["coin"]: row["online_count"] for row in rows},
        offline={row["coin"]: row["worker_count"] - row["online_count"] for row in rows},
        unpublished=unpublished,
    )


def read_families(population: Population) -> Iterator[Metric]:
    """Yield what was read."""
    yield ACCOUNTS.by(population.accounts)
    yield UNPUBLISHED.of(population.unpublished.record_count)
    yield UNPUBLISHED_AGE.of(population.unpublished.oldest_s)
    states = {"online": population.online, "offline": population.offline}
    yield WORKERS.by({(coin, state): count for state, counts in states.items() for coin, count in counts.items()})
