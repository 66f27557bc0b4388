"""Write who has mined. SQL of the consumer."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import asyncpg

from miners.domain import Activity, Progress, Seen, WorkerKey
from miners.pace import Pace, limit_ms
from runtime.postgres.pool import Connection

SCHEMA = "miners"


async def load_progress(connection: Connection, instances: Collection[str]) -> dict[str, Progress]:
    """Return how far those instances that are known were read, held until the transaction ends."""
    query = """
        SELECT instance, coin, last_seq, run_start_ms, time_ms, is_closed
        FROM miners.instance WHERE instance = ANY($1::text[]) ORDER BY instance FOR UPDATE
        """
    return {row["instance"]: progress_of(row) for row in await connection.fetch(query, sorted(instances))}


def progress_of(row: asyncpg.Record) -> Progress:
    """Return how far an instance was read, from its row."""
    return Progress(
        coin=row["coin"],
        last_seq=row["last_seq"],
        run_start_ms=row["run_start_ms"],
        time_ms=row["time_ms"],
        is_closed=row["is_closed"],
    )


async def write_activity(connection: Connection, activity: Activity) -> None:
    """Write who has mined, and how far each instance's stream was seen.

    Consumers of other partitions write at the same time: all take the tables in this order, and the rows of a table in
    the order of its key, so that they cannot wait for one another in a circle. Who writes a worker holds its account's
    row.
    """
    if activity.instances:
        await _write_instances(connection, activity.instances)
    mined = {key: seen for key, seen in activity.workers.items() if seen.shares}
    account_ids = await _write_accounts(connection, mined) if mined else {}
    worker_ids = await _write_workers(connection, account_ids, mined) if mined else {}
    others = [key for key, seen in activity.workers.items() if seen.bins and not seen.shares]
    if others:
        worker_ids |= await _known_workers(connection, others)
    await _write_bins(connection, {worker_ids[key]: activity.workers[key].bins for key in worker_ids})


async def _write_instances(connection: Connection, instances: Mapping[str, Progress]) -> None:
    await connection.execute(
        """
        INSERT INTO miners.instance (instance, coin, last_seq, run_start_ms, time_ms, is_closed)
        SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::boolean[])
        ON CONFLICT (instance) DO UPDATE SET
            coin = excluded.coin, last_seq = excluded.last_seq, run_start_ms = excluded.run_start_ms,
            time_ms = excluded.time_ms, is_closed = excluded.is_closed
        """,
        *_columns(
            (name, entry.coin, entry.last_seq, entry.run_start_ms, entry.time_ms, entry.is_closed)
            for name, entry in sorted(instances.items())
        ),
    )


async def _write_accounts(connection: Connection, workers: Mapping[WorkerKey, Seen]) -> dict[tuple[str, str], int]:
    times: dict[tuple[str, str], tuple[int, int]] = {}
    for (coin, account, _), seen in workers.items():
        own_ms = [time_ms for time_ms, _ in seen.shares]
        first_ms, last_ms = times.get((coin, account), (own_ms[0], own_ms[0]))
        times[coin, account] = min(first_ms, *own_ms), max(last_ms, *own_ms)
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
) -> dict[WorkerKey, int]:
    """Write accepted shares into the workers' paces; return the workers' ids."""
    keys = {(account_ids[coin, account], worker): (coin, account, worker) for coin, account, worker in workers}
    known = await connection.fetch(
        """
        SELECT account_id, worker, create_time_ms, scheme, user_agent, last_share_time_ms, last_work, return_time_ms,
            old_count, old_ms, old_work, new_count, new_ms, new_work
        FROM unnest($1::integer[], $2::text[]) AS wanted(account_id, worker)
        JOIN miners.worker USING (account_id, worker)
        """,
        *_columns(sorted(keys)),
    )
    rows_by_key = {(row["account_id"], row["worker"]): row for row in known}
    rows = [_worker_row(key, workers[keys[key]], rows_by_key.get(key)) for key in sorted(keys)]
    # asyncpg takes numeric as Decimal only: sums of work travel as text.
    written = await connection.fetch(
        """
        INSERT INTO miners.worker AS old (
            account_id, worker, create_time_ms, last_share_time_ms, offline_after_ms, last_work, return_time_ms,
            old_count, old_ms, old_work, new_count, new_ms, new_work, scheme, user_agent
        )
        SELECT account_id, worker, first_ms, last_ms, after_ms, last_work, return_ms,
            old_count, old_ms, old_work::numeric, new_count, new_ms, new_work::numeric, scheme, user_agent
        FROM unnest(
            $1::integer[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
            $8::smallint[], $9::bigint[], $10::text[], $11::smallint[], $12::bigint[], $13::text[], $14::text[],
            $15::text[]
        ) AS new(account_id, worker, first_ms, last_ms, after_ms, last_work, return_ms,
            old_count, old_ms, old_work, new_count, new_ms, new_work, scheme, user_agent)
        ON CONFLICT (account_id, worker) DO UPDATE SET
            create_time_ms = excluded.create_time_ms,
            last_share_time_ms = excluded.last_share_time_ms,
            offline_after_ms = excluded.offline_after_ms,
            last_work = excluded.last_work,
            return_time_ms = excluded.return_time_ms,
            old_count = excluded.old_count, old_ms = excluded.old_ms, old_work = excluded.old_work,
            new_count = excluded.new_count, new_ms = excluded.new_ms, new_work = excluded.new_work,
            scheme = excluded.scheme,
            user_agent = excluded.user_agent
        RETURNING worker_id, account_id, worker
        """,
        *_columns(rows),
    )
    return {keys[row["account_id"], row["worker"]]: row["worker_id"] for row in written}


def _worker_row(key: tuple[int, str], seen: Seen, known: asyncpg.Record | None) -> tuple[object, ...]:
    shares = sorted(seen.shares)
    first_ms, first_work = shares[0]
    scheme, user_agent = seen.scheme, seen.user_agent
    if known is None:
        create_ms = first_ms
        pace = Pace(last_time_ms=first_ms, last_work=first_work, return_time_ms=first_ms)
        shares = shares[1:]
    else:
        create_ms = min(known["create_time_ms"], first_ms)
        pace = _pace(known)
        if shares[-1][0] < pace.last_time_ms:
            scheme, user_agent = known["scheme"], known["user_agent"]
    for time_ms, work in shares:
        pace.note(time_ms, work)
    return (
        *key,
        create_ms,
        pace.last_time_ms,
        limit_ms(pace),
        pace.last_work,
        pace.return_time_ms,
        pace.old_count,
        pace.old_ms,
        str(pace.old_work),
        pace.new_count,
        pace.new_ms,
        str(pace.new_work),
        scheme,
        user_agent,
    )


def _pace(row: asyncpg.Record) -> Pace:
    return Pace(
        last_time_ms=row["last_share_time_ms"],
        last_work=row["last_work"],
        return_time_ms=row["return_time_ms"],
        old_count=row["old_count"],
        old_ms=row["old_ms"],
        old_work=int(row["old_work"]),
        new_count=row["new_count"],
        new_ms=row["new_ms"],
        new_work=int(row["new_work"]),
    )


async def _known_workers(connection: Connection, keys: Iterable[WorkerKey]) -> dict[WorkerKey, int]:
    """Return the ids of those workers that have had an accepted share."""
    rows = await connection.fetch(
        """
        SELECT worker_id, coin, account, worker
        FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted(coin, account, worker)
        JOIN miners.account USING (coin, account) JOIN miners.worker USING (account_id, worker)
        """,
        *_columns(keys),
    )
    return {(row["coin"], row["account"], row["worker"]): row["worker_id"] for row in rows}


async def _write_bins(connection: Connection, bins: Mapping[int, Mapping[int, Sequence[int]]]) -> None:
    rows = [
        (worker_id, start_ms, str(work), *counts)
        for worker_id, own in sorted(bins.items())
        for start_ms, (work, *counts) in sorted(own.items())
    ]
    if not rows:
        return
    await connection.execute(
        """
        INSERT INTO miners.worker_bin AS old (
            worker_id, start_ms, work, accepted, stale, duplicate, low_difficulty, invalid
        )
        SELECT worker_id, start_ms, work::numeric, accepted, stale, duplicate, low_difficulty, invalid FROM unnest(
            $1::integer[], $2::bigint[], $3::text[], $4::integer[], $5::integer[], $6::integer[], $7::integer[],
            $8::integer[]
        ) AS new(worker_id, start_ms, work, accepted, stale, duplicate, low_difficulty, invalid)
        ON CONFLICT (worker_id, start_ms) DO UPDATE SET
            work = old.work + excluded.work,
            accepted = old.accepted + excluded.accepted,
            stale = old.stale + excluded.stale,
            duplicate = old.duplicate + excluded.duplicate,
            low_difficulty = old.low_difficulty + excluded.low_difficulty,
            invalid = old.invalid + excluded.invalid
        """,
        *_columns(rows),
    )


def _columns(rows: Iterable[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
