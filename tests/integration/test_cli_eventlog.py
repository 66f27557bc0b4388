"""A pool goes from PostgreSQL's event log to Kafka under its miners, with its own processes and commands."""

import json
from pathlib import Path

from cli.demo.node import demo_node
from runtime.postgres.pool import acquired
from tests.conftest import TestDatabase
from tests.fakes.etcd_cluster import EtcdCluster
from tests.fakes.kafka_cluster import KafkaCluster, quick_settings, require_kafka
from tests.fakes.service_processes import ServiceProcesses, running_services
from tests.fakes.stratum_miner import Miner
from tests.fakes.waiting import eventually

READERS = ("shares", "miners", "rewards", "payouts")
SHARES = 30


async def submit(miner: Miner, count: int) -> None:
    for _ in range(count):
        await miner.submit_until_accepted()


async def test_a_pool_changes_its_event_log_and_every_accepted_share_is_booked_once(
    database: TestDatabase, short_dir: Path
) -> None:
    """D3, D5: shares wait in the journal; without the switch the services refuse the other log."""
    require_kafka()
    kafka = KafkaCluster(directory=short_dir / "kafka", node_count=1)

    async def booked() -> int:
        async with acquired(database.pool) as connection:
            return int(await connection.fetchval("SELECT coalesce(sum(accepted_count), 0) FROM shares.pool_slice"))

    async def is_all_read() -> bool:
        async with acquired(database.pool) as connection:
            rows = await connection.fetch(
                """
                SELECT position.next_offset = topic.next_offset FROM eventlog.topic JOIN (
                    SELECT topic, next_offset FROM shares.position UNION ALL
                    SELECT topic, next_offset FROM miners.position UNION ALL
                    SELECT topic, next_offset FROM rewards.position
                ) AS position USING (topic)
                """
            )
            return len(rows) == 3 and all(row[0] for row in rows)

    async with EtcdCluster() as etcd, demo_node("simulated", short_dir / "chain") as node:
        try:
            await kafka.start()
            services = ServiceProcesses(
                short_dir, etcd=etcd, node=node, dsn=database.dsn,
                kafka=quick_settings(kafka, prefix="switch."), eventlog_kind="postgres",
            )  # fmt: skip
            await services.prepare()
            async with running_services(services, (*READERS, "shipper", "stratum")):
                miner = await Miner.ready(services.stratum_port, f"{await node.miner_address()}.rig")
                await submit(miner, SHARES)

                async def is_booked() -> bool:
                    return await booked() == SHARES

                await eventually(is_booked, timeout_s=30, what="the shares in the books")
                assert await services.terminate("shipper") == 0
                await submit(miner, SHARES)
                await eventually(is_all_read, timeout_s=30, what="the old log to be read")

                code, _, err = await services.cli("eventlog", "switch")
                assert (code, "These still run: miners, payouts, rewards, shares" in err) == (2, True), err
                for role in READERS:
                    assert await services.terminate(role) == 0

                await services.config_set("eventlog.kind", "kafka")
                services.start("shares")
                assert await services.ended("shares") == 2
                assert "were made from the event log postgres, but this is kafka:" in services.text("shares")
                code, _, err = await services.cli("eventlog", "switch")
                assert (code, "made from the event log postgres" in err) == (2, True), err
                await services.config_set("eventlog.kind", "postgres")
                code, out, err = await services.cli("eventlog", "switch", "--json")
                assert code == 0, err
                assert json.loads(out)["records"]["shares"] > 0
                await services.config_set("eventlog.kind", "kafka")
                for role in (*READERS, "shipper"):
                    services.log(role).write_text("")
                services.start(*READERS, "shipper")
                await services.wait_serving(*READERS, "shipper")
                await submit(miner, SHARES)

                async def is_all_booked() -> bool:
                    return await booked() == 3 * SHARES

                await eventually(is_all_booked, timeout_s=60, what="all shares in the books")
                code, out, err = await services.cli("eventlog", "show", "--json")
                assert code == 0, err
                shown = json.loads(out)
                assert shown["bound"] == shown["configured"]
                assert shown["bound"].startswith("kafka:")
                await miner.close()
            assert await booked() == 3 * SHARES
        finally:
            await kafka.stop()
