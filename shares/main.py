"""Composition root of the shares service."""

import asyncio
import logging

from coins.settings import PoolSettings
from proto.lodepool.shares.v1 import shares_pb2_grpc
from runtime.live import Live
from runtime.logs import log_event
from runtime.outbox import OutboxPublisher
from runtime.platform import Platform
from runtime.postgres.migrations import migrate
from runtime.process import keep_running
from runtime.telemetry import Reading
from shares import history, storage
from shares.config import SharesSettings
from shares.consumer import TOPIC, ShareConsumer
from shares.metrics import Counters, counted, read_books, read_families
from shares.retention import prune
from shares.service import ACCESS, SERVICE_NAME, ShareServicer

SERVICE = "shares"
ROLL_INTERVAL_S = 30.0

_log = logging.getLogger("lodepool.shares")


async def run(live: Live[SharesSettings], pool_settings: PoolSettings, platform: Platform) -> None:
    """Book the stream and answer questions until cancelled.

    Args:
        live: The `[shares]` section.
        pool_settings: The `[pool]` section.
        platform: What the process runs on.
    """
    settings = live.value
    await migrate(platform.pool, schema=storage.SCHEMA, package="shares")
    counters = Counters()
    servicer = ShareServicer(pool=platform.pool, clock=platform.clock, settings=settings, counters=counters)
    consumer = ShareConsumer(
        pool=platform.pool,
        eventlog=platform.eventlog,
        clock=platform.clock,
        counters=counters,
        batch_records_max=settings.batch_records_max,
        refused_run_max=settings.refused_run_max,
        telemetry=platform.telemetry,
    )

    outbox = OutboxPublisher(platform.pool, platform.eventlog, storage.SCHEMA, platform.clock)

    async def retain() -> None:
        while True:
            removed = await prune(platform.pool, keep_days=settings.retention_days, now_ms=platform.clock.now_ms())
            if removed:
                log_event(_log, logging.INFO, "old slices removed", slice_count=removed)
            await platform.clock.sleep(settings.retention_interval_s)

    async def roll() -> None:
        while True:
            await history.roll(platform.pool, now_ms=platform.clock.now_ms())
            await platform.clock.sleep(ROLL_INTERVAL_S)

    platform.telemetry.register(counted(counters, outbox))
    reading = Reading(
        SERVICE, read=lambda: read_books(platform.pool, topic=TOPIC), families=read_families, clock=platform.clock
    )
    offered = [(shares_pb2_grpc.add_ShareServiceServicer_to_server, servicer, SERVICE_NAME)]
    async with platform.serve(SERVICE, offered, access=ACCESS), asyncio.TaskGroup() as tasks:
        tasks.create_task(keep_running("shares consumer", consumer.run, clock=platform.clock))
        tasks.create_task(keep_running("shares outbox", outbox.run, clock=platform.clock))
        tasks.create_task(platform.telemetry.read(reading))
        tasks.create_task(keep_running("shares retention", retain, clock=platform.clock))
        tasks.create_task(keep_running("shares history", roll, clock=platform.clock))
        log_event(_log, logging.INFO, "shares service started", coin=pool_settings.coin)
        platform.ready(SERVICE)
