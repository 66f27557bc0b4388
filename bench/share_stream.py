"""Measure how fast the share stream becomes slices in PostgreSQL.

Publishes records as stratum instances write them to the event log of an embedded PostgreSQL (fsync on), then runs the
consumer until all of them are booked, and compares the totals. Prints one JSON object at the end.

    python -m bench.share_stream --shares 2000000 --workers 2000
    python -m bench.share_stream --log kafka --consumers 2

With `--log kafka` the stream goes through a real Apache Kafka, and each consumer is a process on a core of its own.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path

from bench.database import in_new_folder, shares_database
from bench.share_stream_kafka import measure_kafka
from proto.lodepool.events.v1 import events_pb2
from runtime.clock import SystemClock
from runtime.eventlog.interface import OutRecord
from runtime.eventlog.postgres import PostgresEventLog
from runtime.postgres.pool import Pool
from shares.audit import audit
from shares.consumer import ShareConsumer
from shares.metrics import Counters
from shares.stats import totals

COIN = "litecoin-regtest"
INSTANCES = 16
RECORDS_PER_PUBLISH = 100
RECORD_MS = 200
RECORDS_PER_HEIGHT = 500


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shares", type=int, default=2_000_000)
    parser.add_argument("--workers", type=int, default=2_000)
    parser.add_argument("--workers-per-account", type=int, default=4)
    parser.add_argument("--shares-per-record", type=int, default=1_000)
    parser.add_argument("--records-max", type=int, default=500, help="records of one transaction")
    parser.add_argument("--log", choices=("postgres", "kafka"), default="postgres")
    parser.add_argument("--consumers", type=int, default=1, help="with --log kafka: processes that share the stream")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one-core", action="store_true", help="PostgreSQL shares the consumer's core too")
    parser.add_argument("--audit", action="store_true", help="rebuild all slices from the stream and compare")
    return parser.parse_args()


def make_records(options: argparse.Namespace) -> list[OutRecord]:
    """Make the stream: shares of random workers in time order, 1 in 100 rejected, a new height now and then."""
    rng = random.Random(options.seed)
    start_ms = time.time_ns() // 1_000_000 - options.shares // options.shares_per_record * RECORD_MS
    next_seq = dict.fromkeys(range(INSTANCES), 1)
    submitters = [
        events_pb2.Submitter(
            account=f"account{number // options.workers_per_account}", worker=f"worker{number}", scheme="pplns"
        )
        for number in range(options.workers)
    ]
    records = []
    for number in range(options.shares // options.shares_per_record):
        count = options.shares_per_record
        instance = number % INSTANCES
        chosen = [rng.randrange(options.workers) for _ in range(count)]
        table = sorted(set(chosen))
        index = {worker: place for place, worker in enumerate(table)}
        outcomes = [rng.choice((2, 3, 4, 5)) if rng.random() < 0.01 else 1 for _ in range(count)]
        batch = events_pb2.ShareBatch(
            instance=f"bench-{instance}",
            first_seq=next_seq[instance],
            coin=COIN,
            base_time_ms=start_ms + number * RECORD_MS,
            submitters=[submitters[worker] for worker in table],
            submitter_index=[index[worker] for worker in chosen],
            time_offset_ms=[place * RECORD_MS // count for place in range(count)],
            height=[100 + number // RECORDS_PER_HEIGHT] * count,
            work=[1 << 20] * count,
            hash_work=[rng.randrange(1 << 20, 1 << 40) if outcome == 1 else 0 for outcome in outcomes],
            outcome=outcomes,
        )
        next_seq[instance] += count
        payload = events_pb2.ShareRecord(batch=batch).SerializeToString()
        records.append(OutRecord(key=batch.instance.encode(), payload=payload))
    return records


async def measure(options: argparse.Namespace, data_dir: Path) -> dict[str, object]:
    if options.log == "postgres":
        async with shares_database(data_dir) as pool:
            return await measure_postgres(options, pool)
    records = make_records(options)
    share_count = len(records) * options.shares_per_record
    found = await measure_kafka(options, records, share_count, data_dir)
    return {
        "log": "kafka",
        "consumers": options.consumers,
        "shares": share_count,
        "workers": options.workers,
        "records": len(records),
        "record_bytes_mean": sum(len(record.payload) for record in records) // len(records),
        **found,
    }


async def measure_postgres(options: argparse.Namespace, pool: Pool) -> dict[str, object]:
    eventlog = await PostgresEventLog.open(pool)
    records = make_records(options)
    published_s = time.perf_counter()
    for first in range(0, len(records), RECORDS_PER_PUBLISH):
        await eventlog.publish("shares", records[first : first + RECORDS_PER_PUBLISH])
    published_s = time.perf_counter() - published_s
    counters = Counters()
    consumer = ShareConsumer(
        pool=pool,
        eventlog=eventlog,
        clock=SystemClock(),
        counters=counters,
        batch_records_max=options.records_max,
    )
    share_count = len(records) * options.shares_per_record
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    task = asyncio.create_task(consumer.run())
    while counters.shares_booked_total < share_count and not counters.records_poison_total and not task.done():  # noqa: ASYNC110 - counts, not an event
        await asyncio.sleep(0.005)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    if task.done():
        await task
    task.cancel()
    await asyncio.wait({task})
    async with pool.acquire() as connection:
        found = await totals(connection, coin=COIN)
        slice_count = await connection.fetchval("SELECT count(*) FROM shares.slice")
    assert found.slices == found.instances
    assert found.slices_work == found.instances_work
    result: dict[str, object] = {
        "log": "postgres",
        "shares": share_count,
        "workers": options.workers,
        "records": len(records),
        "record_bytes_mean": sum(len(record.payload) for record in records) // len(records),
        "publish_shares_per_s": round(share_count / published_s),
        "booked_shares_per_s": round(share_count / wall_s),
        "booked_wall_s": round(wall_s, 3),
        "consumer_cpu_s": round(cpu_s, 3),
        "consumer_us_per_share": round(cpu_s / share_count * 1e6, 3),
        "transactions": counters.batches_total,
        "slices": slice_count,
        "postgres_on_same_core": options.one_core,
    }
    if options.audit:
        started_s = time.perf_counter()
        report = await audit(pool, eventlog)
        result |= {"audit_ok": report.is_ok, "audit_s": round(time.perf_counter() - started_s, 2)}
    await eventlog.close()
    return result


def main() -> int:
    options = arguments()
    core = min(os.sched_getaffinity(0))
    if options.one_core:
        os.sched_setaffinity(0, {core})
    result = in_new_folder(lambda data_dir: measure(options, data_dir))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
