"""`lodepool audit` on a cluster: configuration from etcd, records from Kafka, journals of this host only."""

import asyncio
import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from coins import registry
from coins.bitcoin.address import encode
from coins.coin import AddressKind
from miners import storage as miner_storage
from miners.consumer import MinerConsumer
from miners.metrics import Counters as MinerCounters
from runtime.clock import SystemClock
from runtime.eventlog.kafka import KafkaEventLog
from runtime.postgres.migrations import migrate
from runtime.process import keep_running
from shares import storage as share_storage
from shares.consumer import ShareConsumer
from shares.metrics import Counters
from tests.fakes.etcd_cluster import EtcdCluster
from tests.fakes.kafka_cluster import KafkaCluster, quick_settings
from tests.fakes.share_stream import FakeInstance, FakeShare
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parents[2]
COIN_ID = "litecoin-regtest"
SHARE_COUNT = 60


async def cli(*arguments: str, folder: Path, dsn: str) -> tuple[int, str]:
    environment = {**os.environ, "LODEPOOL_POSTGRES_DSN": dsn, "LODEPOOL_POOL_DATA_DIR": str(folder / "data")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from cli.main import main; main()", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT, env=environment,
    )  # fmt: skip
    async with asyncio.timeout(90):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode() + err.decode()


async def test_audit_proves_a_clusters_books_against_its_own_event_log(
    database: Any, kafka_server: KafkaCluster, short_dir: Path
) -> None:
    """D4: from any host, with the host's file; a share that was changed in the database is found by the stream."""
    kafka = quick_settings(kafka_server, prefix=f"audit.{uuid.uuid4().hex}.")
    host, pool_file = short_dir / "host.toml", short_dir / "pool.toml"
    tree = {
        "pool": {"coin": COIN_ID, "address": encode(registry.get(COIN_ID), AddressKind.P2WPKH, bytes(20))},
        "nodes": [{"url": "http://127.0.0.1:1"}],
        "eventlog": {"kind": "kafka"},
        "kafka": {
            "bootstrap_servers": list(kafka.bootstrap_servers),
            "prefix": kafka.prefix,
            "topic": {"partitions": 3, "replication_factor": 1, "min_insync_replicas": 1, "retention_hours": 1},
        },
    }
    pool_file.write_text(tomlkit.dumps(tree))
    async with EtcdCluster(1) as etcd:
        host.write_text(tomlkit.dumps({"etcd": {"endpoints": list(etcd.endpoints), "cluster": "audit"}}))
        code, said = await cli(
            "config", "push", str(pool_file), "--config", str(host), folder=short_dir, dsn=database.dsn
        )
        assert code == 0, said
        code, said = await cli("migrate", "--config", str(host), folder=short_dir, dsn=database.dsn)
        assert code == 0, said
        await book(database.pool, KafkaEventLog(kafka))

        arguments = ("audit", "--offline", "--json", "--config", str(host))
        code, said = await cli(*arguments, folder=short_dir, dsn=database.dsn)
        assert code == 0, said
        report = json.loads(said)
        assert report["audit_ok"]
        assert report["compared"]["slices = stream"]
        assert [note for note in report["notes"] if "journals were looked at on this host only" in note]

        await database.pool.execute("UPDATE shares.slice SET accepted_count = accepted_count + 1")
        code, said = await cli(*arguments, folder=short_dir, dsn=database.dsn)
        assert code == 1
        assert "slices = stream" in {finding["check"] for finding in json.loads(said)["findings"]}


async def book(pool: Any, eventlog: KafkaEventLog) -> None:
    """Publish shares and let the consumers book them."""
    clock = SystemClock()
    await migrate(pool, schema=share_storage.SCHEMA, package="shares")
    await migrate(pool, schema=miner_storage.SCHEMA, package="miners")
    instance = FakeInstance()
    await eventlog.publish("shares", [instance.batch([FakeShare()] * SHARE_COUNT)])
    work = {
        "shares": ShareConsumer(
            pool=pool, eventlog=eventlog, clock=clock, counters=Counters(), batch_records_max=20
        ).run,
        "miners": MinerConsumer(pool=pool, eventlog=eventlog, counters=MinerCounters(), batch_records_max=20).run,
    }
    tasks = [asyncio.create_task(keep_running(name, each, clock=clock)) for name, each in work.items()]

    async def are_booked() -> bool:
        return bool(
            await pool.fetchval("SELECT coalesce(sum(accepted_count), 0) = $1 FROM shares.instance", SHARE_COUNT)
            and await pool.fetchval("SELECT count(*) > 0 FROM miners.worker")
        )

    try:
        await eventually(are_booked, timeout_s=60, what="the shares being booked")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await eventlog.close()
