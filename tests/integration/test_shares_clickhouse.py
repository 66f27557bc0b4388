"""The optional sink: ClickHouse's own engine decodes our records and sums them as the slices do."""

import asyncio
import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]  # the stubs leave it out

from runtime.clock import SystemClock
from runtime.eventlog.interface import Record
from runtime.eventlog.postgres import PostgresEventLog
from runtime.postgres.migrations import migrate
from shares.consumer import ShareConsumer
from shares.metrics import Counters
from tests.fakes.share_stream import ACCEPTED, DUPLICATE, INVALID, LOW, STALE, FakeInstance, FakeShare

ROOT = Path(__file__).parents[2]
FETCH_TIMEOUT_S = 120
QUERY_TIMEOUT_S = 60

# A process of its own: the library is big, and its engine ends with it.
SCRIPT = """
import json, sys
given = json.load(sys.stdin)
sys.path.insert(0, given["home"])
from chdb.session import Session
session = Session()
for statement in given["statements"]:
    session.query(statement)
print(json.dumps([[line for line in str(session.query(query, "TSV")).splitlines()] for query in given["queries"]]))
"""


@pytest.fixture(scope="module")
def chdb_home() -> Path:
    """Return the folder with chDB; skips the test, counted in the summary, where it cannot be had."""
    command = ["env", f"PYTHON={sys.executable}", str(ROOT / "tools" / "fetch_chdb")]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"missing component: chdb (fetching it took longer than {FETCH_TIMEOUT_S} s)")
    if result.returncode != 0:
        pytest.skip(f"missing component: chdb ({' '.join(result.stderr.split())})")
    return Path(result.stdout.strip())


def statements() -> list[str]:
    """Return the statements of the files in order, the Kafka table with an engine that chDB has."""
    texts = [path.read_text() for path in sorted((ROOT / "shares" / "clickhouse").glob("*.sql"))]
    text, count = re.subn(r"ENGINE = Kafka\nSETTINGS\n.*?;", "ENGINE = Null;", "\n".join(texts), flags=re.DOTALL)
    assert count == 1
    return ["CREATE DATABASE lodepool", *(part for part in text.split(";\n") if part.strip())]


def asked(given: dict[str, object]) -> list[list[str]]:
    """Return the lines of each query's answer."""
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(given), capture_output=True, text=True, timeout=QUERY_TIMEOUT_S, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    found: list[list[str]] = json.loads(result.stdout)
    return found


async def test_clickhouse_decodes_the_records_and_its_sums_equal_the_slices(
    database, chdb_home: Path, tmp_path: Path
) -> None:
    """R6: the same records, decoded by ClickHouse's Protobuf format, give the same work and counts."""
    rng, now_ms = random.Random(5), time.time_ns() // 1_000_000
    instances = [FakeInstance(f"instance-{number}") for number in range(3)]
    payloads = []
    for _ in range(30):
        instance = rng.choice(instances)
        shares = [
            FakeShare(
                account=rng.choice(("alice", "bob")),
                worker=rng.choice(("", "rig")),
                scheme=rng.choice(("pplns", "solo")),
                work=rng.randrange(1, 1 << 62),
                hash_work=rng.randrange(1, 1 << 63),
                height=rng.randrange(100, 103),
                outcome=rng.choice((ACCEPTED, ACCEPTED, STALE, DUPLICATE, LOW, INVALID)),
                time_ms=now_ms + rng.randrange(10_000),
            )
            for _ in range(rng.randrange(1, 50))
        ]
        payloads += [instance.batch(shares).payload, instance.mark(height=100, time_ms=now_ms).payload]
    stream = tmp_path / "records.bin"
    stream.write_bytes(b"".join(_VarintBytes(len(payload)) + payload for payload in payloads))
    schema = ROOT / "proto" / "lodepool" / "events" / "v1" / "events.proto"
    insert = f"INSERT INTO lodepool.share_record SELECT * FROM file('{stream}', 'Protobuf')"
    counts = ", ".join(f"sum({name}_count)" for name in ("accepted", "stale", "duplicate", "low_difficulty", "invalid"))
    given = {
        "home": str(chdb_home),
        "statements": [*statements(), f"{insert} SETTINGS format_schema = '{schema}:ShareRecord'"],
        "queries": [
            f"SELECT account, worker, scheme, sum(work), {counts} FROM lodepool.worker_hour GROUP BY ALL ORDER BY ALL",
            "SELECT count(), uniqExact(instance, seq), toUnixTimestamp64Milli(min(time)) FROM lodepool.share",
        ],
    }
    hourly, (raw,) = await asyncio.to_thread(asked, given)

    await migrate(database.pool, schema="shares", package="shares")
    eventlog = await PostgresEventLog.open(database.pool)
    counters = Counters()
    consumer = ShareConsumer(
        pool=database.pool, eventlog=eventlog, clock=SystemClock(), counters=counters, batch_records_max=500
    )
    await consumer.book(
        [
            Record(topic="shares", partition=0, offset=offset, key=b"k", payload=payload, append_time_ms=now_ms)
            for offset, payload in enumerate(payloads)
        ]
    )
    rows = await database.pool.fetch(
        f"""
        SELECT account, worker, scheme, sum(slice.work)::text AS work, {counts.replace("sum(", "sum(slice.")}
        FROM shares.slice JOIN shares.account USING (account_id) JOIN shares.worker USING (worker_id)
        JOIN shares.book USING (book_id) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        """
    )
    assert hourly == ["\t".join(map(str, tuple(row))) for row in rows]
    count, distinct_count, first_ms = map(int, raw.split("\t"))
    assert count == distinct_count == counters.shares_booked_total
    assert now_ms <= first_ms < now_ms + 10_000
