"""Write who has mined. SQL of the consumer."""

from collections.abc import Collection, Iterable, Mapping

from miners.domain import Activity, Seen, WorkerKey, offline_after_ms, recent_times
from runtime.postgres.pool import Connection

SCHEMA = "miners"


async def load_last_seqs(connection: Connection, instances: Collection[str]) -> dict[str, int]:
    """Return the number of the last share seen of those instances that are known, held until the transaction ends."""
    query = """
        SELECT instance, last_seq FROM miners.instance WHERE instance = ANY($1::text[]) ORDER BY instance FOR UPDATE
        """
    return {row["instance"]: row["last_seq"] for row in await connection.fetch(query, sorted(instances))}


async def write_activity(connection: Connection, activity: Activity) -> None:
    """Write who has mined, and how far each instance's stream was seen.

    Consumers of other partitions write at the same time: all take the tables in this order, and the rows of a table in
    the order of its key, so that they cannot wait for one another in a circle. Who writes a worker holds its account's
    row.
    """
    last_seqs = sorted(activity.last_seqs.items())
    await connection.execute(
        """
        INSERT INTO miners.instance (instance, last_seq) SELECT * FROM unnest($1::text[], $2::bigint[])
        ON CONFLICT (instance) DO UPDATE SET last_seq = excluded.last_seq
        """,
        [instance for instance, _ in last_seqs],
        [last_seq for _, last_seq in last_seqs],
    )
    if activity.workers:
        account_ids = await _write_accounts(connection, activity.workers)
        await _write_workers(connection, account_ids, activity.workers)


async def _write_accounts(connection: Connection, workers: Mapping[WorkerKey, Seen]) -> dict[tuple[str, str], int]:
    times: dict[tuple[str, str], tuple[int, int]] = {}
    for (coin, account, _), seen in workers.items():
        first_ms, last_ms = times.get((coin, account), (seen.first_time_ms, seen.times_ms[-1]))
        times[coin, account] = min(first_ms, seen.first_time_ms), max(last_ms, seen.times_ms[-1])
    rows = [(coin, account, *span) for (coin, account), span in sorted(times.items())]
    columns = _columns(rows)
    await connection.execute(
        """
        INSERT INTO miners.account (coin, account, create_time_ms, last_share_time_ms)
        SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
            AS new(coin, account, first_ms, last_ms)
        WHERE NOT EXISTS (SELECT FROM miners.account old WHERE (old.coin, old.account) = (new.coin, new.account))
        ON CONFLICT DO NOTHING
        """,
        *columns,
    )
    found = await connection.fetch(
        """
        WITH held AS (
            SELECT account_id, first_ms, last_ms FROM miners.account
            JOIN unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
                AS new(coin, account, first_ms, last_ms) USING (coin, account)
            ORDER BY account_id FOR NO KEY UPDATE OF account
        )
        UPDATE miners.account AS old SET
            create_time_ms = least(old.create_time_ms, held.first_ms),
            last_share_time_ms = greatest(old.last_share_time_ms, held.last_ms)
        FROM held WHERE old.account_id = held.account_id
        RETURNING old.account_id, old.coin, old.account
        """,
        *columns,
    )
    return {(row["coin"], row["account"]): row["account_id"] for row in found}


async def _write_workers(
    connection: Connection, account_ids: Mapping[tuple[str, str], int], workers: Mapping[WorkerKey, Seen]
) -> None:
    seen_by_id = {(account_ids[coin, account], worker): seen for (coin, account, worker), seen in workers.items()}
    keys = sorted(seen_by_id)
    known = await connection.fetch(
        """
        SELECT account_id, worker, recent_times_ms, create_time_ms
        FROM unnest($1::integer[], $2::text[]) AS wanted(account_id, worker)
        JOIN miners.worker USING (account_id, worker)
        """,
        *_columns(keys),
    )
    times = {(row["account_id"], row["worker"]): row["recent_times_ms"] for row in known}
    rows = []
    for key in keys:
        seen = seen_by_id[key]
        recent = recent_times(times.get(key, ()), seen.times_ms)
        # asyncpg has no arrays of unequal arrays: the times travel as text.
        text = "{" + ",".join(map(str, recent)) + "}"
        rows.append(
            (*key, seen.first_time_ms, recent[-1], text, offline_after_ms(recent), seen.scheme, seen.user_agent)
        )
    await connection.execute(
        """
        INSERT INTO miners.worker AS old (
            account_id, worker, create_time_ms, last_share_time_ms, recent_times_ms, offline_after_ms,
            scheme, user_agent
        )
        SELECT account_id, worker, first_ms, last_ms, times_ms::bigint[], after_ms, scheme, user_agent
        FROM unnest(
            $1::integer[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::text[]
        ) AS new(account_id, worker, first_ms, last_ms, times_ms, after_ms, scheme, user_agent)
        ON CONFLICT (account_id, worker) DO UPDATE SET
            create_time_ms = least(old.create_time_ms, excluded.create_time_ms),
            last_share_time_ms = excluded.last_share_time_ms,
            recent_times_ms = excluded.recent_times_ms,
            offline_after_ms = excluded.offline_after_ms,
            scheme = CASE WHEN excluded.last_share_time_ms < old.last_share_time_ms
                THEN old.scheme ELSE excluded.scheme END,
            user_agent = CASE WHEN excluded.last_share_time_ms < old.last_share_time_ms
                THEN old.user_agent ELSE excluded.user_agent END
        """,
        *_columns(rows),
    )


def _columns(rows: Iterable[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
