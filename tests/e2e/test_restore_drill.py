"""The restore drill: what an operator does after a loss, on real servers, and what it costs (docs/OPERATING.md)."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import miners.audit
import shares.audit
from cli.settings import TREE_SCHEMA
from coins import registry
from coins.bitcoin.address import encode
from coins.coin import AddressKind
from miners import storage as miner_storage
from miners.consumer import MinerConsumer
from miners.metrics import Counters as MinerCounters
from proto.lodepool.events.v1.events_pb2 import JournalEntry, ShareBatch, Submitter
from runtime.clock import SystemClock
from runtime.etcd.claims import ClaimTiming
from runtime.etcd.client import EtcdClient
from runtime.etcd.config_source import EtcdConfigSource
from runtime.etcd.config_tree import ConfigTree, Tree
from runtime.etcd.prefix_lease import NumberLeases
from runtime.eventlog.kafka import KafkaEventLog
from runtime.eventlog.kafka_settings import KafkaSettings
from runtime.platform import Platform
from runtime.postgres.embedded import EmbeddedPostgres
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import Pool, close_pool, open_pool
from runtime.postgres.settings import PostgresSettings
from runtime.process import keep_running
from shares import storage as share_storage
from shares.consumer import ShareConsumer
from shares.metrics import Counters
from stratum.journal import JournalWriter, journal_dir
from stratum.shipper import Shipper
from tests.fakes.etcd_cluster import EtcdCluster
from tests.fakes.kafka_cluster import KafkaCluster, quick_settings, require_kafka
from tests.fakes.postgres_tools import run
from tests.fakes.share_stream import FakeInstance, FakeShare
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

ARCHIVE_TIMEOUT_S = 1
RPO_S_MAX = 10.0
"""Far above the archive_timeout: the machine may be busy; what it was is printed."""
LIMIT_S = 40.0
COIN_ID = "litecoin-regtest"
_BOOKED = "SELECT coalesce(sum(accepted_count), 0)::bigint FROM shares.instance"


# --- PostgreSQL: a base backup and the archive ---


class ArchivingServer:
    """A PostgreSQL that copies each finished WAL segment into an archive.

    Args:
        folder: Its own.
        archive: Where the segments go and, after a loss, come from.
    """

    def __init__(self, folder: Path, archive: Path) -> None:
        self.folder = folder
        self._archive = archive
        self.server = EmbeddedPostgres(
            folder,
            settings={
                "archive_mode": "on",
                "archive_command": f"cp %p {archive}/.%f && mv {archive}/.%f {archive}/%f",
                "archive_timeout": f"{ARCHIVE_TIMEOUT_S}s",
                "restore_command": f"cp {archive}/%f %p",
                # Nobody is let in before all of the archive has been read.
                "hot_standby": "off",
                "shared_buffers": "32MB",
            },
        )

    async def base_backup(self, target: Path) -> None:
        """Copy the whole server while it works."""
        await run("pg_basebackup", f"--pgdata={target}", "--checkpoint=fast", f"--dbname={self.server.dsn}")

    async def destroy(self) -> None:
        """Lose the server and everything in its folder at once."""
        pid = self.server.postmaster_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await self.server.stop()
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    def lay_down(self, backup: Path) -> None:
        """Put a base backup where the server will look, and tell it to read the archive from there on."""
        owner = self._archive.stat()
        cluster_dir = self.folder / "postgres"
        shutil.copytree(backup, cluster_dir)
        (cluster_dir / "recovery.signal").touch()
        if os.geteuid() == 0:
            for path in (cluster_dir, *cluster_dir.rglob("*")):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        cluster_dir.chmod(0o700)


class Beat:
    """Commits the time again and again, to see afterwards how much of it is lost."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.committed_s = 0.0

    async def prepare(self) -> None:
        await self._pool.execute("CREATE TABLE beat (time_s double precision NOT NULL)")

    async def run(self) -> None:
        while True:
            now_s = time.time()
            await self._pool.execute("INSERT INTO beat VALUES ($1)", now_s)
            self.committed_s = now_s
            await asyncio.sleep(0.02)


class Load:
    """Instances whose shares go into the event log, as their shippers send them."""

    def __init__(self, eventlog: KafkaEventLog) -> None:
        self._eventlog = eventlog
        self._instances = [FakeInstance(f"0-{number}-1") for number in range(4)]
        self.is_stopping = False
        self.accepted = 0

    async def run(self) -> None:
        while not self.is_stopping:
            now_ms = time.time_ns() // 1_000_000
            sent = [FakeShare(account=f"a{n % 5}", worker=f"rig{n % 3}", time_ms=now_ms) for n in range(20)]
            await self._eventlog.publish("shares", [instance.batch(sent) for instance in self._instances])
            self.accepted += len(sent) * len(self._instances)
            await asyncio.sleep(0.03)


@contextlib.asynccontextmanager
async def services(dsn: str, settings: KafkaSettings) -> AsyncIterator[Pool]:
    """Run the consumers of the share stream on a database, as processes started again do."""
    pool = await open_pool(dsn, PostgresSettings(dsn=dsn))
    eventlog = KafkaEventLog(settings)
    await migrate(pool, schema=share_storage.SCHEMA, package="shares")
    await migrate(pool, schema=miner_storage.SCHEMA, package="miners")
    clock = SystemClock()
    work = {
        "shares": ShareConsumer(
            pool=pool, eventlog=eventlog, clock=clock, counters=Counters(), batch_records_max=200
        ).run,
        "miners": MinerConsumer(pool=pool, eventlog=eventlog, counters=MinerCounters(), batch_records_max=200).run,
    }
    tasks = [asyncio.create_task(keep_running(name, each, clock=clock)) for name, each in work.items()]
    try:
        yield pool
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await eventlog.close()
        await close_pool(pool)


async def until_booked(pool: Pool, count: int) -> None:
    async def is_booked() -> bool:
        return int(await pool.fetchval(_BOOKED)) >= count

    await eventually(is_booked, timeout_s=LIMIT_S, what=f"{count} shares being booked")


@pytest.fixture(scope="module")
def kafka_server() -> Iterator[KafkaCluster]:
    require_kafka()
    cluster = KafkaCluster(directory=Path(tempfile.mkdtemp(prefix="lp-kafka-")))
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        try:
            runner.run(cluster.start())
            yield cluster
        finally:
            runner.run(cluster.stop())


@pytest.fixture
def drill_dir(short_dir: Path) -> Path:
    """Return a folder that the server's user can pass and write an archive into."""
    short_dir.chmod(0o755)
    (short_dir / "archive").mkdir()
    (short_dir / "archive").chmod(0o777)
    return short_dir


@pytest.mark.parametrize("is_torn", [False, True], ids=["archive is complete", "last segment is lost"])
async def test_database_comes_back_from_base_backup_and_archive_and_every_share_is_booked_once(
    kafka_server: KafkaCluster, drill_dir: Path, *, is_torn: bool
) -> None:
    """D3 D4: positions are restored with the books, so what is lost of them is read again from the event log."""
    settings = quick_settings(kafka_server, prefix=f"drill{int(is_torn)}.")
    first = ArchivingServer(drill_dir / "first", drill_dir / "archive")
    second = ArchivingServer(drill_dir / "second", drill_dir / "archive")
    log = KafkaEventLog(settings)
    load = Load(log)
    loading = asyncio.create_task(load.run())
    dsn = await first.server.start()
    if os.geteuid() == 0:
        owner = (drill_dir / "first" / "postgres").stat()
        os.chown(drill_dir / "archive", owner.st_uid, owner.st_gid)
    try:
        async with services(dsn, settings) as pool:
            beat = Beat(pool)
            await beat.prepare()
            beating = asyncio.create_task(beat.run())
            await until_booked(pool, 1000)
            await first.base_backup(drill_dir / "base")
            await until_booked(pool, int(await pool.fetchval(_BOOKED)) + 3000)
            if not is_torn:
                await end(beating)
                await archive_everything(pool)
            committed_s, booked = beat.committed_s, int(await pool.fetchval(_BOOKED))
            lost_s = time.monotonic()
            await first.destroy()
            await end(beating)

        await asyncio.to_thread(second.lay_down, drill_dir / "base")
        async with services(await second.server.start(), settings) as pool:
            serving_s = time.monotonic()
            kept_s = float(await pool.fetchval("SELECT max(time_s) FROM beat"))
            await until_booked(pool, booked)
            recovered_s = time.monotonic()
            load.is_stopping = True
            await loading
            await until_booked(pool, load.accepted)

            assert int(await pool.fetchval(_BOOKED)) == load.accepted
            for report in (await shares.audit.audit(pool, log), await miners.audit.audit(pool)):
                assert report.findings == ()
        rpo_s = max(0.0, committed_s - kept_s)
        say(
            f"{'torn' if is_torn else 'complete'} archive: RPO {rpo_s:.2f} s of PostgreSQL, 0 shares of "
            f"{load.accepted}; RTO {serving_s - lost_s:.1f} s to serve, {recovered_s - lost_s:.1f} s to have caught up"
        )
        assert rpo_s <= (RPO_S_MAX if is_torn else 0.0)
    finally:
        await end(loading)
        await log.close()
        await first.server.stop()
        await second.server.stop()


async def archive_everything(pool: Pool) -> None:
    """Close the segment that is being written, and wait until the archive has it."""
    name = await pool.fetchval("SELECT pg_walfile_name(pg_switch_wal())")

    async def is_archived() -> bool:
        return str(await pool.fetchval("SELECT last_archived_wal FROM pg_stat_archiver")) >= str(name)

    await eventually(is_archived, timeout_s=LIMIT_S, what=f"WAL segment {name} in the archive")


async def end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


# --- etcd: a snapshot ---

TREE: Tree = {
    "pool": {"coin": COIN_ID, "address": encode(registry.get(COIN_ID), AddressKind.P2WPKH, bytes(20))},
    "nodes": [{"url": "http://127.0.0.1:1"}],
}
TIMING = ClaimTiming(ttl_s=2.0, margin_s=0.3)


async def etcdctl(*arguments: str) -> None:
    program = shutil.which("etcdctl")
    if program is None:
        pytest.skip("missing component: etcdctl")
    process = await asyncio.create_subprocess_exec(
        program, *arguments, env={**os.environ, "ETCDCTL_API": "3"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(LIMIT_S):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()


async def restore_members(cluster: EtcdCluster, snapshot: Path) -> None:
    """Make every member anew from a snapshot."""
    initial = ",".join(f"{member.name}={member.peer_url}" for member in cluster.members)
    for member in cluster.members:
        data_dir = member.arguments[member.arguments.index("--data-dir") + 1]
        await asyncio.to_thread(shutil.rmtree, data_dir)
        await etcdctl(
            "snapshot", "restore", str(snapshot), f"--name={member.name}", f"--data-dir={data_dir}",
            f"--initial-cluster={initial}", f"--initial-advertise-peer-urls={member.peer_url}",
            "--initial-cluster-token=restored",
        )  # fmt: skip
    await asyncio.gather(*(member.start() for member in cluster.members))
    await cluster.wait_healthy()


async def test_etcd_comes_back_from_a_snapshot_with_its_configuration_and_lends_no_number_twice(
    short_dir: Path,
) -> None:
    """S4: who held a number that the snapshot has forgotten has stopped before others are let in."""
    snapshot = short_dir / "snapshot.db"
    async with EtcdCluster(3) as cluster, EtcdClient(cluster.settings()) as etcd:

        def leases(owner: str) -> NumberLeases:
            return NumberLeases(etcd, prefix="/drill/numbers/", numbers=range(16), owner=owner, timing=TIMING)

        tree = ConfigTree(etcd, TREE_SCHEMA)
        await tree.push(TREE)
        source = EtcdConfigSource(etcd, TREE_SCHEMA, copy_path=short_dir / "copy.json")
        await source.load()
        seen: list[Tree] = []
        following = asyncio.create_task(follow(source, seen))
        async with leases("before").hold() as before:
            await etcdctl("--endpoints", cluster.members[0].endpoint, "snapshot", "save", str(snapshot))
            async with leases("after").hold() as after:
                assert before.number != after.number
                await asyncio.gather(*(member.kill() for member in cluster.members))
                lost_s = time.monotonic()
                await restore_members(cluster, snapshot)
                restored_s = time.monotonic()
                assert (await tree.pull()).tree == TREE
                # What OPERATING says: nobody is let in before those whom the snapshot has forgotten have stopped.
                async with asyncio.timeout(LIMIT_S):
                    await after.wait_lost()
                async with leases("c").hold() as third, leases("d").hold() as fourth:
                    held = [lease.number for lease in (before, after, third, fourth) if lease.is_held]
                    assert len(set(held)) == len(held) >= 2
                    assert not after.is_held
                    say(
                        f"etcd: restored in {restored_s - lost_s:.1f} s, numbers lent again after "
                        f"{time.monotonic() - lost_s:.1f} s"
                    )
        await tree.set("rewards.fee_ppm", 7_000)
        await eventually(
            lambda: any(entry.get("rewards") == {"fee_ppm": 7_000} for entry in seen),
            timeout_s=LIMIT_S,
            what="a process that lived through the restore seeing a change",
        )
        await end(following)


async def follow(source: EtcdConfigSource, seen: list[Tree]) -> None:
    async for configuration in source.watch():
        seen += [configuration.tree]


# --- journals: a host's data directory on another host ---


def journal(data_dir: Path, instance: str) -> JournalWriter:
    return JournalWriter(journal_dir(data_dir) / COIN_ID / instance, segment_bytes_max=4096)


def entry(instance: str, first_seq: int, count: int) -> bytes:
    batch = ShareBatch(
        instance=instance,
        first_seq=first_seq,
        coin=COIN_ID,
        base_time_ms=1_700_000_000_000 + first_seq,
        submitters=[Submitter(account="a", worker="rig", scheme="pplns")],
        submitter_index=[0] * count,
        time_offset_ms=[0] * count,
        height=[7] * count,
        work=[100] * count,
        hash_work=[200] * count,
        outcome=[1] * count,
    )
    return JournalEntry(batch=batch).SerializeToString()


async def test_journals_of_a_lost_host_are_shipped_from_a_copy_once_also_when_it_is_shipped_twice(
    platform: Platform, short_dir: Path
) -> None:
    """D4: the copy may be older than what was shipped, and shipped by two hosts: consumers tell by (instance, seq)."""
    await migrate(platform.pool, schema=share_storage.SCHEMA, package="shares")
    lost, rescued = short_dir / "lost", short_dir / "rescued"
    writer = journal(lost, "0-1-1")
    for number in range(100):
        writer.append([entry("0-1-1", 1 + 10 * number, 10)])
    writer.sync()
    consumer = ShareConsumer(
        pool=platform.pool,
        eventlog=platform.eventlog,
        clock=platform.clock,
        counters=Counters(),
        batch_records_max=200,
    )
    consuming = asyncio.create_task(consumer.run())
    try:
        await asyncio.to_thread(shutil.copytree, lost, rescued)
        await ship_all(lost, platform)
        writer.append([entry("0-1-1", 1001, 500)])
        writer.close()
        again = short_dir / "again"
        await asyncio.to_thread(shutil.copytree, lost, again)
        for folder in (rescued, again, lost):
            await ship_all(folder, platform)
        await until_booked(platform.pool, 1500)

        report = await shares.audit.audit(platform.pool, platform.eventlog)
        assert report.findings == ()
        assert int(await platform.pool.fetchval(_BOOKED)) == 1500
    finally:
        await end(consuming)


async def ship_all(data_dir: Path, platform: Platform) -> None:
    shipper = Shipper(data_dir, platform.eventlog, clock=platform.clock)
    async with asyncio.timeout(LIMIT_S):
        while await shipper.ship_round():
            pass
