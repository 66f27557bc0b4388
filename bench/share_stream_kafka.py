"""The share stream through a real Apache Kafka: one broker, and consumers in processes of their own.

Part of bench.share_stream (`--log kafka`). The records are published first; the consumers join their group, and read
from the moment when all of them have their partitions. Everything but the consumers is pinned to the other core, as far
as there is one.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from runtime.clock import SystemClock
from runtime.eventlog.interface import LoadPosition, OutRecord, Subscription
from runtime.eventlog.kafka import KafkaEventLog
from runtime.eventlog.kafka_settings import KafkaSettings, TopicSettings
from runtime.postgres.embedded import EmbeddedPostgres
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import Pool, close_pool, open_pool
from runtime.postgres.settings import PostgresSettings
from shares.audit import audit
from shares.consumer import ShareConsumer
from shares.metrics import Counters
from tests.fakes.kafka_cluster import KafkaCluster, kafka_home

PARTITIONS = 8
RECORDS_PER_PUBLISH = 100
SETTLE_S = 4.0
_BOOKED = """
SELECT coalesce(sum(accepted_count + stale_count + duplicate_count + low_difficulty_count + invalid_count), 0)::bigint
FROM shares.instance
"""


class GatedLog:
    """An event log whose subscriptions get their positions when the gate opens; says when they ask first."""

    def __init__(self, log: KafkaEventLog, gate: asyncio.Event) -> None:
        self._log = log
        self._gate = gate

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        await self._log.publish(topic, records)

    async def subscribe(self, topic: str, *, group: str, load_position: LoadPosition) -> Subscription:
        async def gated(partition: int) -> int:
            if not self._gate.is_set():
                print("assigned", flush=True)
            await self._gate.wait()
            return await load_position(partition)

        return await self._log.subscribe(topic, group=group, load_position=gated)

    async def partition_count(self, topic: str) -> int:
        return await self._log.partition_count(topic)

    async def close(self) -> None:
        await self._log.close()


async def consume(*, dsn: str, settings: KafkaSettings, records_max: int) -> None:
    """Run one consumer: begins at the first line of standard input, ends at its end, prints one JSON object."""
    pool = await open_pool(dsn, PostgresSettings(dsn=dsn))
    gate, counters = asyncio.Event(), Counters()
    log = KafkaEventLog(settings)
    consumer = ShareConsumer(
        pool=pool,
        eventlog=GatedLog(log, gate),
        clock=SystemClock(),
        counters=counters,
        batch_records_max=records_max,
    )
    task = asyncio.create_task(consumer.run())
    line = asyncio.create_task(_line())
    await asyncio.wait({task, line}, return_when=asyncio.FIRST_COMPLETED)
    cpu_s = time.process_time()
    gate.set()
    end = asyncio.create_task(_line())
    await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    found = {
        "shares": counters.shares_booked_total,
        "transactions": counters.batches_total,
        "cpu_s": round(time.process_time() - cpu_s, 3),
    }
    task.cancel()
    await asyncio.wait({task})
    await log.close()
    await close_pool(pool)
    print(json.dumps(found), flush=True)


async def _line() -> None:
    """Return when something comes on standard input; no thread that would have to be waited for."""
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(0, came.set)
    await came.wait()
    loop.remove_reader(0)
    os.read(0, 64)


async def measure_kafka(
    options: Namespace, records: Sequence[OutRecord], share_count: int, data_dir: Path
) -> dict[str, object]:
    """Start broker and database, publish, let the consumers book everything, and compare the totals."""
    home = kafka_home()
    if isinstance(home, str):
        raise SystemExit(f"missing component: kafka ({home})")
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    server = EmbeddedPostgres(data_dir / "pg")
    cluster = KafkaCluster(directory=Path(tempfile.mkdtemp(prefix="lp-kafka-", dir=data_dir)))
    dsn = await server.start()
    pool = await open_pool(dsn, PostgresSettings(dsn=dsn))
    try:
        await migrate(pool, schema="shares", package="shares")
        await cluster.start()
        settings = KafkaSettings(
            bootstrap_servers=cluster.bootstrap_servers,
            topic=TopicSettings(partitions=PARTITIONS, replication_factor=1, min_insync_replicas=1, retention_hours=1),
        )
        log = KafkaEventLog(settings)
        published_s = time.perf_counter()
        for first in range(0, len(records), RECORDS_PER_PUBLISH):
            await log.publish("shares", records[first : first + RECORDS_PER_PUBLISH])
        published_s = time.perf_counter() - published_s
        if options.consumers > 1:
            _let_run(cluster, server, cores)
        result = await _run_consumers(options, pool, dsn=dsn, settings=settings, share_count=share_count, cores=cores)
        report = await audit(pool, log if options.audit else None)
        assert report.is_ok, report.findings
        await log.close()
        return {"publish_shares_per_s": round(share_count / published_s), **result}
    finally:
        await close_pool(pool)
        await cluster.stop()
        await server.stop()


def _let_run(cluster: KafkaCluster, server: EmbeddedPostgres, cores: Sequence[int]) -> None:
    """Let broker and database run on all cores: with two consumers there is none to spare."""
    pids = [node.process.pid for node in cluster.nodes if node.process is not None]
    if server.postmaster_pid is not None:
        pids.append(server.postmaster_pid)
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


async def _run_consumers(
    options: Namespace, pool: Pool, *, dsn: str, settings: KafkaSettings, share_count: int, cores: Sequence[int]
) -> dict[str, object]:
    arguments = json.dumps({"dsn": dsn, "settings": msgspec.to_builtins(settings), "records_max": options.records_max})
    processes = [
        subprocess.Popen(  # noqa: ASYNC220 - a handful of starts, before anything is timed
            [sys.executable, "-m", "bench.share_stream_kafka", str(cores[number % len(cores)]), arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(options.consumers)
    ]  # fmt: skip
    try:
        for process in processes:
            assert process.stdout is not None
            line = await asyncio.to_thread(process.stdout.readline)
            assert line == "assigned\n", f"the consumer ended with {process.poll()}"
        await asyncio.sleep(SETTLE_S if options.consumers > 1 else 0)
        wall_s = time.perf_counter()
        for process in processes:
            _write(process)
        while await pool.fetchval(_BOOKED) < share_count:
            assert all(process.poll() is None for process in processes), "a consumer has ended"
            await asyncio.sleep(0.02)
        wall_s = time.perf_counter() - wall_s
        found = [await _result(process) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    cpu_s = sum(each["cpu_s"] for each in found)
    return {
        "booked_shares_per_s": round(share_count / wall_s),
        "booked_wall_s": round(wall_s, 3),
        "consumer_cpu_s": round(cpu_s, 3),
        "consumer_us_per_share": round(cpu_s / share_count * 1e6, 3),
        "shares_by_consumer": [each["shares"] for each in found],
        "transactions": sum(each["transactions"] for each in found),
        "partitions": PARTITIONS,
    }


def _write(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


async def _result(process: "subprocess.Popen[str]") -> Mapping[str, float]:
    assert process.stdout is not None
    _write(process)
    while (line := await asyncio.to_thread(process.stdout.readline)) == "assigned\n":
        pass
    found: dict[str, float] = json.loads(line)
    return found


def main() -> int:
    core, text = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    given = json.loads(text)
    settings = msgspec.convert(given["settings"], KafkaSettings)
    asyncio.run(consume(dsn=given["dsn"], settings=settings, records_max=given["records_max"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
