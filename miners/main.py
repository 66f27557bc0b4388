"""Composition root of the miners service."""

import asyncio
import logging

from coins.settings import PoolSettings
from miners import metrics, storage
from miners.config import MinersSettings
from miners.consumer import MinerConsumer
from miners.metrics import Counters
from miners.presence import PresenceWatch
from miners.service import ACCESS, SERVICE_NAME, MinerServicer
from proto.lodepool.miners.v1 import miners_pb2_grpc
from runtime.live import Live
from runtime.logs import log_event
from runtime.outbox import OutboxPublisher
from runtime.platform import Platform
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import check_database
from runtime.process import keep_running
from runtime.telemetry import Reading

SERVICE = "miners"

_log = logging.getLogger("lodepool.miners")


async def run(live: Live[MinersSettings], pool_settings: PoolSettings, platform: Platform) -> None:
    """Take note of who mines and answer questions until cancelled.

    Args:
        live: The `[miners]` section.
        pool_settings: The `[pool]` section.
        platform: What the process runs on.
    """
    settings = live.value
    await migrate(platform.pool, schema=storage.SCHEMA, package="miners")
    counters = Counters()
    servicer = MinerServicer(pool=platform.pool, settings=settings, counters=counters)
    consumer = MinerConsumer(
        pool=platform.pool,
        eventlog=platform.eventlog,
        counters=counters,
        batch_records_max=settings.batch_records_max,
    )
    outbox = OutboxPublisher(platform.pool, platform.eventlog, storage.SCHEMA, platform.clock)
    presence = PresenceWatch(
        pool=platform.pool,
        coin_id=pool_settings.coin,
        clock=platform.clock,
        counters=counters,
        on_put=outbox.wake,
    )

    async def watch() -> None:
        # Who does not reach the database leaves the term to a process that does.
        await check_database(platform.pool)
        await platform.exclusive.run(f"presence/{pool_settings.coin}", presence.run)

    platform.telemetry.register(metrics.counted(counters, outbox))
    reading = Reading(
        SERVICE,
        read=lambda: metrics.read_population(platform.pool),
        families=metrics.read_families,
        clock=platform.clock,
    )
    offered = [(miners_pb2_grpc.add_MinerServiceServicer_to_server, servicer, SERVICE_NAME)]
    async with platform.serve(SERVICE, offered, access=ACCESS), asyncio.TaskGroup() as tasks:
        tasks.create_task(keep_running("miners consumer", consumer.run, clock=platform.clock))
        tasks.create_task(keep_running("presence", watch, clock=platform.clock))
        tasks.create_task(keep_running("miners outbox", outbox.run, clock=platform.clock))
        tasks.create_task(platform.telemetry.read(reading))
        log_event(_log, logging.INFO, "miners service started", coin=pool_settings.coin)
        platform.ready(SERVICE)
