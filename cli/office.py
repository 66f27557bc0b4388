"""The back office: shares, miners, rewards, payouts and gateway in one process, speaking gRPC to one another.

Started by `lodepool up` as `python -m cli.office --config FILE`. Killing it loses nothing: the stratum workers go on
and the journal waits.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import click

import gateway.main
import miners.main
import payouts.main
import rewards.main
import shares.main
from cli.directory import SERVICES, local_directory
from cli.nodes import open_nodes
from cli.settings import Settings, load_settings
from gateway.main import GatewayInfo
from runtime.clock import SystemClock
from runtime.eventlog.postgres import PostgresEventLog
from runtime.live import Live
from runtime.logs import configure_logging, log_event
from runtime.platform import Platform
from runtime.postgres.pool import acquired, close_pool, open_pool
from runtime.process import keep_running, notify_ready, run_async
from runtime.rpc.client import RpcClients

_log = logging.getLogger("lodepool.office")

PRUNE_INTERVAL_S = 600.0
EVENTS_KEPT = timedelta(days=7)
CONSUMERS = {"shares": ("shares", "miners"), "blocks": ("rewards",)}
"""Topic → the schemas whose consumers must have read a record before it may go."""


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True)
def main(config: Path) -> None:
    """Run the back office in the foreground."""
    sys.exit(run_async(serve(config)))


async def serve(config: Path) -> None:
    """Run all back-office services until cancelled."""
    settings = load_settings(config)
    configure_logging("office", json=settings.log.json, level=settings.log.level)
    async with (
        _platform(settings) as platform,
        open_nodes(settings.nodes, coin=settings.coin, clock=platform.clock) as (group, wallet),
    ):
        info = GatewayInfo(
            scheme_default=settings.stratum.scheme_default,
            fee_ppm=settings.rewards.fee_ppm,
            payout_threshold_atomic=settings.payouts.threshold_atomic,
            stratum_port=settings.stratum.port,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(group.run())
            tasks.create_task(shares.main.run(Live(settings.shares), settings.pool, platform))
            tasks.create_task(miners.main.run(Live(settings.miners), settings.pool, platform))
            tasks.create_task(rewards.main.run(Live(settings.rewards), settings.pool, platform, group))
            tasks.create_task(payouts.main.run(Live(settings.payouts), settings.pool, platform, wallet))
            if settings.gateway.is_enabled:
                tasks.create_task(gateway.main.run(settings.gateway, settings.pool, Live(info), platform))
            tasks.create_task(keep_running("retention", lambda: _prune(platform), clock=platform.clock))


@contextlib.asynccontextmanager
async def _platform(settings: Settings) -> AsyncIterator[Platform]:
    clock = SystemClock()
    waited_for = set(SERVICES) | ({"gateway"} if settings.gateway.is_enabled else set())

    def ready(service: str) -> None:
        waited_for.discard(service)
        if not waited_for:
            notify_ready("office")

    pool = await open_pool(settings.postgres.dsn, settings.postgres)
    eventlog = await PostgresEventLog.open(pool)
    directory = local_directory(settings.data_dir, worker_count=settings.stratum.worker_count)
    clients = RpcClients(directory)
    try:
        yield Platform.local(
            clock=clock, pool=pool, eventlog=eventlog, directory=directory, clients=clients, ready=ready
        )
    finally:
        await clients.close()
        await eventlog.close()
        await close_pool(pool)


async def _prune(platform: Platform) -> None:
    """Delete what every consumer has read and the retention no longer keeps."""
    eventlog = platform.eventlog
    assert isinstance(eventlog, PostgresEventLog)  # the embedded pool's only event log
    await platform.clock.sleep(PRUNE_INTERVAL_S)
    for topic, schemas in CONSUMERS.items():
        async with acquired(platform.pool) as connection:
            positions = [
                await connection.fetchval(f"SELECT min(next_offset) FROM {schema}.position WHERE topic = $1", topic)
                for schema in schemas
            ]
        if all(position is not None for position in positions):
            count = await eventlog.prune(topic, keep=EVENTS_KEPT, below_offset=min(positions))
            if count:
                log_event(_log, logging.INFO, "records pruned", topic=topic, record_count=count)


if __name__ == "__main__":
    main()
