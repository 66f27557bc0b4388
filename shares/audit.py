"""Prove the slices: against the instances' sums, against one another, and against the stream itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import asyncpg

from runtime.audit import Finding, Report, merge
from runtime.eventlog.bound import was_left
from runtime.eventlog.interface import EventLog, Subscription
from runtime.postgres.pool import Connection, Pool, acquired
from shares.consumer import GROUP, TOPIC
from shares.domain import BEST, LAST_TIME, Booking, Mark, ShareColumns, SliceKey, SliceSum
from shares.errors import MalformedRecord
from shares.records import decode_record

_RECORDS_MAX = 500
_POLL_TIMEOUT_S = 2.0
_SILENT_POLLS_MAX = 10
_DIFFERENCES_MAX = 1000
_QUERY_TIMEOUT_S = 3600

_SUMS = """
    coalesce(sum(work), 0)::text AS work, coalesce(sum(accepted_count), 0)::bigint AS accepted,
    coalesce(sum(stale_count), 0)::bigint AS stale, coalesce(sum(duplicate_count), 0)::bigint AS duplicate,
    coalesce(sum(low_difficulty_count), 0)::bigint AS low_difficulty, coalesce(sum(invalid_count), 0)::bigint AS invalid
"""
_BY_COIN = f"""
SELECT coin, {_SUMS} FROM ({{rows}}) AS booked JOIN (SELECT coin_key, coin FROM shares.coin) AS named USING (coin_key)
GROUP BY coin
"""
_COUNTS = "work, accepted_count, stale_count, duplicate_count, low_difficulty_count, invalid_count"
_SLICES = f"SELECT coin_key, {_COUNTS} FROM shares.slice UNION ALL SELECT coin_key, {_COUNTS} FROM shares.pruned"
_OTHERS = {
    "slices = instances": f"SELECT coin_key, {_COUNTS} FROM shares.instance",
    "slices = pool sums": f"""
        SELECT coin_key, {_COUNTS} FROM shares.pool_slice UNION ALL SELECT coin_key, {_COUNTS} FROM shares.pruned
        """,
    "slices = coin": f"SELECT coin_key, {_COUNTS} FROM shares.coin",
    "slices = workers": """
        SELECT coin_key, worker.work, worker.accepted_count, worker.stale_count, worker.duplicate_count,
            worker.low_difficulty_count, worker.invalid_count
        FROM shares.worker JOIN shares.account USING (account_id)
        """,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Book:
    """What the database held at one moment."""

    positions: dict[int, int]
    closings: dict[tuple[str, str], list[tuple[int, int, int]]]
    pruned: dict[str, int]
    slices: dict[SliceKey, SliceSum]
    is_of_several_logs: bool


async def audit(pool: Pool, eventlog: EventLog | None = None) -> Report:
    """Compare the slices with everything that must equal them, at one moment; works while the pool runs.

    Args:
        pool: The database.
        eventlog: When given and its records reach back to the first, every slice is rebuilt from the stream.
    """
    reports: list[Report] = []
    book: _Book | None = None
    async with acquired(pool) as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("SET LOCAL statement_timeout = 0")
        reports.append(await _compare_sums(connection))
        reports.append(await _check_streams(connection))
        reports.append(await _check_windows(connection))
        if eventlog is not None:
            book = await _load_book(connection)
    if eventlog is not None and book is not None:
        reports.append(await _compare_with_stream(eventlog, book))
    return merge(reports)


async def _compare_sums(connection: Connection) -> Report:
    slices = await _sums(connection, _SLICES)
    compared: dict[str, int] = {}
    findings: list[Finding] = []
    for check, rows in _OTHERS.items():
        others = await _sums(connection, rows)
        for coin in sorted(slices.keys() | others.keys()):
            for column in ("work", "accepted", "stale", "duplicate", "low_difficulty", "invalid"):
                expected, actual = others.get(coin, {}).get(column, 0), slices.get(coin, {}).get(column, 0)
                compared[check] = compared.get(check, 0) + 1
                if expected != actual:
                    findings.append(_finding(check, f"{coin} {column}", expected, actual))
    return Report(compared=compared, findings=tuple(findings))


async def _sums(connection: Connection, rows: str) -> dict[str, dict[str, int]]:
    found = await connection.fetch(_BY_COIN.format(rows=rows), timeout=_QUERY_TIMEOUT_S)
    return {row["coin"]: {name: int(value) for name, value in row.items() if name != "coin"} for row in found}


async def _check_streams(connection: Connection) -> Report:
    """Name every gap in an instance's numbers and every record that was set aside."""
    findings: list[Finding] = []
    instances = await connection.fetch(
        """
        SELECT instance, last_seq, mark_seq,
            accepted_count + stale_count + duplicate_count + low_difficulty_count + invalid_count AS share_count,
            coalesce((SELECT sum(gap.last_seq - gap.first_seq + 1) FROM shares.gap WHERE gap.instance = i.instance), 0)
                ::bigint AS missing_count
        FROM shares.instance AS i ORDER BY instance
        """
    )
    for row in instances:
        name = f"instance {row['instance']}"
        if row["last_seq"] < row["mark_seq"]:
            findings.append(_finding("no gaps in a stream", f"{name} last_seq", row["mark_seq"], row["last_seq"]))
        if row["share_count"] + row["missing_count"] != row["last_seq"]:
            booked = row["share_count"] + row["missing_count"]
            findings.append(_finding("shares of an instance = its numbers", name, row["last_seq"], booked))
    for row in await connection.fetch("SELECT instance, first_seq, last_seq FROM shares.gap ORDER BY 1, 2"):
        subject = f"instance {row['instance']} shares {row['first_seq']} to {row['last_seq']}"
        findings.append(_finding("no gaps in a stream", subject, "booked", "never came"))
    for row in await connection.fetch("SELECT topic, partition, log_offset, error FROM shares.poison ORDER BY 1, 2, 3"):
        subject = f"{row['topic']} partition {row['partition']} offset {row['log_offset']}"
        findings.append(_finding("every record is booked", subject, "booked", f"set aside: {row['error']}"))
    notes = [
        f"{row['late_share_count']} late shares of {row['coin']} were booked above their height"
        for row in await connection.fetch("SELECT coin, late_share_count FROM shares.coin WHERE late_share_count > 0")
    ]
    return Report(
        compared={"no gaps in a stream": len(instances)},
        findings=tuple(findings),
        notes=tuple(notes),
    )


async def _check_windows(connection: Connection) -> Report:
    """Compare each fixed window with the slices that it was summed from; closed heights do not change any more."""
    rows = await connection.fetch(
        """
        SELECT w.request_id, w.total_work::text AS total_work, w.instances_missing,
            coalesce((SELECT sum(work) FROM shares.window_account a WHERE a.request_id = w.request_id), 0)::text
                AS accounts_work,
            coalesce((
                SELECT sum(p.work) FROM shares.pool_slice p
                WHERE p.book_id = w.book_id AND (p.height, p.minute) >= (w.start_height, w.start_minute)
                    AND p.height <= w.end_height
            ), 0)::text AS slices_work,
            EXISTS (
                SELECT FROM shares.pruned JOIN shares.book USING (coin_key)
                WHERE book.book_id = w.book_id AND pruned.start_minute > w.start_minute
            ) AS is_pruned
        FROM shares.fixed_window w ORDER BY w.request_id
        """,
        timeout=_QUERY_TIMEOUT_S,
    )
    check = "a window = its slices"
    findings: list[Finding] = []
    notes: list[str] = []
    for row in rows:
        name = f"window {row['request_id']}"
        if row["accounts_work"] != row["total_work"]:
            findings.append(_finding(check, f"{name} accounts", row["total_work"], row["accounts_work"]))
        if row["slices_work"] != row["total_work"] and not row["is_pruned"]:
            findings.append(_finding(check, f"{name} slices", row["total_work"], row["slices_work"]))
        if row["instances_missing"]:
            notes.append(f"{name} was fixed without {', '.join(row['instances_missing'])}")
    return Report(compared={check: len(rows)}, findings=tuple(findings), notes=tuple(notes))


async def _load_book(connection: Connection) -> _Book:
    positions = await connection.fetch("SELECT partition, next_offset FROM shares.position WHERE topic = $1", TOPIC)
    closings: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    rows = await connection.fetch(
        """
        SELECT coin, scheme, closing.closed_height, partition, next_offset
        FROM shares.closing JOIN shares.book USING (book_id) JOIN shares.coin USING (coin_key) WHERE topic = $1
        """,
        TOPIC,
    )
    for row in rows:
        entry = (row["partition"], row["next_offset"], row["closed_height"])
        closings.setdefault((row["coin"], row["scheme"]), []).append(entry)
    pruned = await connection.fetch("SELECT coin, start_minute FROM shares.pruned JOIN shares.coin USING (coin_key)")
    slices: dict[SliceKey, SliceSum] = {}
    cursor = connection.cursor(
        """
        SELECT coin, scheme, account, worker, height, minute, slice.work::text, slice.accepted_count, slice.stale_count,
            slice.duplicate_count, slice.low_difficulty_count, slice.invalid_count, slice.best_hash_work
        FROM shares.slice JOIN shares.coin USING (coin_key) JOIN shares.book USING (book_id)
        JOIN shares.account USING (account_id) JOIN shares.worker USING (worker_id)
        """,
        prefetch=5000,
        timeout=_QUERY_TIMEOUT_S,
    )
    async for row in cursor:
        key, found = _slice(row)
        slices[key] = found
    return _Book(
        positions={row["partition"]: row["next_offset"] for row in positions},
        closings=closings,
        pruned={row["coin"]: row["start_minute"] for row in pruned},
        slices=slices,
        is_of_several_logs=await was_left(connection),
    )


def _slice(row: asyncpg.Record) -> tuple[SliceKey, SliceSum]:
    coin, scheme, account, worker, height, minute, work, *counts, best = tuple(row)
    return (coin, scheme, account, worker, height, minute), [int(work), *counts, best]


async def _compare_with_stream(eventlog: EventLog, book: _Book) -> Report:
    check = "slices = stream"
    booking, problem = await _rebuild(eventlog, book)
    if booking is None:
        return Report(compared={}, findings=(), notes=(f"slices were not rebuilt from the stream: {problem}",))
    rebuilt = {key: found[: BEST + 1] for key, found in booking.slices.items() if key[5] >= book.pruned.get(key[0], 0)}
    stored = {key: found for key, found in book.slices.items() if key[5] >= book.pruned.get(key[0], 0)}
    findings = list(_differences(check, rebuilt, stored))
    notes: tuple[str, ...] = ()
    if len(findings) > _DIFFERENCES_MAX:
        notes = (f"{len(findings) - _DIFFERENCES_MAX} more slices differ from the stream",)
    return Report(
        compared={check: len(rebuilt.keys() | stored.keys())}, findings=tuple(findings[:_DIFFERENCES_MAX]), notes=notes
    )


def _differences(
    check: str, expected: Mapping[SliceKey, SliceSum], actual: Mapping[SliceKey, SliceSum]
) -> Iterator[Finding]:
    for key in sorted(expected.keys() | actual.keys()):
        if expected.get(key) != actual.get(key):
            coin, scheme, account, worker, height, minute = key
            subject = f"{coin} {scheme} {account}.{worker} height {height} minute {minute}"
            yield _finding(check, subject, _in_words(expected.get(key)), _in_words(actual.get(key)))


async def _rebuild(eventlog: EventLog, book: _Book) -> tuple[Booking | None, str]:
    """Book the stream again from its first record to where the database was; say why when that is not possible."""
    if book.is_of_several_logs:
        return None, "the pool has changed its event log; an older one holds the first records"
    ends = {partition: offset for partition, offset in book.positions.items() if offset > 0}
    booking = Booking(instances={}, closed_heights={})
    next_offsets = dict.fromkeys(ends, 0)

    async def beginning(_partition: int) -> int:
        return 0

    subscription = await eventlog.subscribe(TOPIC, group=f"{GROUP}-audit", load_position=beginning)
    try:
        silent_count = 0
        while any(next_offsets[partition] < end for partition, end in ends.items()):
            records = await subscription.poll(records_max=_RECORDS_MAX, timeout_s=_POLL_TIMEOUT_S)
            # A log with several consumers first has to share its partitions out.
            silent_count = 0 if records else silent_count + 1
            if silent_count > _SILENT_POLLS_MAX or (silent_count and await _is_read(subscription, ends)):
                return None, "the log does not reach to the stored position"
            for record in records:
                if record.offset >= ends.get(record.partition, 0):
                    continue
                if record.offset != next_offsets[record.partition]:
                    return None, f"the log begins at offset {record.offset} of partition {record.partition}"
                next_offsets[record.partition] = record.offset + 1
                for key, closings in book.closings.items():
                    booking.closed_heights[key] = _closed_height(closings, record.partition, record.offset)
                _book_again(booking, record.payload)
    finally:
        await subscription.close()
    return booking, ""


async def _is_read(subscription: Subscription, ends: Mapping[int, int]) -> bool:
    """Tell whether nothing more will come from the partitions."""
    lag = await subscription.lag()
    return ends.keys() <= lag.keys() and not any(lag[partition] for partition in ends)


def _closed_height(closings: list[tuple[int, int, int]], partition: int, offset: int) -> int:
    """Return the height that was closed when the record at `offset` was booked."""
    closed = (height for at, next_offset, height in closings if at == partition and next_offset <= offset)
    return max(closed, default=-1)


def _book_again(booking: Booking, payload: bytes) -> None:
    try:
        match decode_record(payload):
            case ShareColumns() as batch:
                booking.add_batch(batch)
            case Mark() as mark:
                booking.add_mark(mark)
    except MalformedRecord:
        return  # set aside by the consumer too, and named by the check of the streams


def _in_words(found: SliceSum | None) -> str:
    if found is None:
        return "no slice"
    work, accepted, stale, duplicate, low_difficulty, invalid, best = found[:LAST_TIME]
    return (
        f"work {work}, accepted {accepted}, stale {stale}, duplicate {duplicate}, low difficulty {low_difficulty}, "
        f"invalid {invalid}, best {best}"
    )


def _finding(check: str, subject: str, expected: object, actual: object) -> Finding:
    return Finding(check=check, subject=subject, expected=str(expected), actual=str(actual))
