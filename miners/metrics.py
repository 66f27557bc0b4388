"""What the miners service shows about itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import Metric

from runtime.postgres.pool import Pool, acquired
from runtime.telemetry.families import counter, gauge

BATCHES = counter("lodepool_miners_batches_total", "Transactions of the consumer")
SEEN = counter("lodepool_miners_seen_shares_total", "Accepted shares seen")
MALFORMED = counter("lodepool_miners_malformed_records_total", "Records passed over because they cannot be read")
UPDATES = counter("lodepool_miners_account_updates_total", "Changes of accounts' settings")
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
    """

    batches_total: int = 0
    shares_seen_total: int = 0
    records_malformed_total: int = 0
    accounts_updated_total: int = 0


def counted(counters: Counters) -> Callable[[], Iterator[Metric]]:
    """Return the source of what is counted in this process."""

    def families() -> Iterator[Metric]:
        yield BATCHES.of(counters.batches_total)
        yield SEEN.of(counters.shares_seen_total)
        yield MALFORMED.of(counters.records_malformed_total)
        yield UPDATES.of(counters.accounts_updated_total)

    return families


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Who mines, by coin.

    Attributes:
        accounts: Accounts that have ever mined.
        online: Workers that count as online.
        offline: All others.
    """

    accounts: dict[str, int]
    online: dict[str, int]
    offline: dict[str, int]


async def read_population(pool: Pool, *, now_ms: int) -> Population:
    """Count accounts and workers."""
    async with acquired(pool) as connection:
        rows = await connection.fetch(
            """
            SELECT account.coin, count(DISTINCT account.account_id) AS account_count,
                count(worker_id) FILTER (WHERE worker.last_share_time_ms + offline_after_ms > $1) AS online_count,
                count(worker_id) AS worker_count
            FROM miners.account LEFT JOIN miners.worker USING (account_id)
            GROUP BY account.coin
            """,
            now_ms,
        )
    return Population(
        accounts={row["coin"]: row["account_count"] for row in rows},
        online={row["coin"]: row["online_count"] for row in rows},
        offline={row["coin"]: row["worker_count"] - row["online_count"] for row in rows},
    )


def read_families(population: Population) -> Iterator[Metric]:
    """Yield what was read."""
    yield ACCOUNTS.by(population.accounts)
    states = {"online": population.online, "offline": population.offline}
    yield WORKERS.by({(coin, state): count for state, counts in states.items() for coin, count in counts.items()})
