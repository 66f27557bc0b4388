"""The processes behind the miners' port: each service alone, or all of them in one, the back office.

Killing one loses nothing: the stratum workers go on and the journal waits.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import timedelta

import gateway.main
import miners.main
import notifier.main
import payouts.main
import rewards.main
import shares.main
from cli.directory import SERVICES
from cli.eventlogs import open_database, open_eventlog
from cli.nodes import open_nodes
from cli.surroundings import Surroundings
from nodes.bitcoin import BitcoinRpc
from nodes.group import NodeGroup
from nodes.metrics import group_source
from runtime.errors import UserError
from runtime.eventlog.postgres import PostgresEventLog
from runtime.exclusive import Term
from runtime.logs import log_event
from runtime.platform import FrontPlatform, Platform
from runtime.postgres.pool import Connection, Pool, acquired
from runtime.process import keep_running

_log = logging.getLogger("lodepool.office")

PRUNE_INTERVAL_S = 600.0
EVENTS_KEPT = timedelta(days=7)
CONSUMERS = {"shares": ("shares", "miners"), "blocks": ("rewards",), "notices": ("notifier",)}
"""Topic → the schemas whose consumers must have read a record before it may go."""

OFFICE = "office"
GATEWAY = gateway.main.SERVICE


async def run(around: Surroundings) -> None:
    """Run the services of the process's role until cancelled: one of them, or all as "office".

    Raises:
        UserError: Something cannot be opened; names it.
    """
    if around.role == GATEWAY:
        async with around.services() as (directory, clients):
            front = FrontPlatform(
                clock=around.clock,
                directory=directory,
                clients=clients,
                telemetry=around.telemetry,
                ready=around.ready,
            )
            await _serve_gateway(around, front)
        return
    if around.role == OFFICE and around.cluster is not None:
        raise UserError(
            "The office is for one machine.", "on a cluster run shares, miners, rewards, payouts, notifier and gateway"
        )
    async with _platform(around) as platform, _nodes(around) as (group, wallet), asyncio.TaskGroup() as tasks:
        for work in _works(around, platform, group, wallet):
            tasks.create_task(work)


def names_awaited(around: Surroundings) -> frozenset[str]:
    """Return the services that are ready before the process is."""
    if around.role != OFFICE:
        return frozenset({around.role})
    return frozenset({*SERVICES, *([GATEWAY] if around.settings.gateway.is_enabled else [])})


def _works(
    around: Surroundings, platform: Platform, group: NodeGroup | None, wallet: BitcoinRpc | None
) -> Iterator[Coroutine[None, None, None]]:
    """Yield what runs side by side in this process."""
    live, pool_settings = around.live, around.settings.pool
    runs = SERVICES if around.role == OFFICE else (around.role,)
    if "shares" in runs:
        yield shares.main.run(live.shares, pool_settings, platform)
        if around.settings.eventlog.kind == "postgres":
            yield keep_running("retention", lambda: _retain(platform), clock=platform.clock)
    if "miners" in runs:
        yield miners.main.run(live.miners, pool_settings, platform)
    if "notifier" in runs:
        yield notifier.main.run(live.notifier, pool_settings, platform)
    if group is not None and wallet is not None:
        yield group.run()
        if "rewards" in runs:
            yield rewards.main.run(live.rewards, pool_settings, platform, group)
        if "payouts" in runs:
            yield payouts.main.run(live.payouts, pool_settings, platform, wallet)
    if around.role == OFFICE and around.settings.gateway.is_enabled:
        yield _serve_gateway(around, platform)


async def _serve_gateway(around: Surroundings, platform: Platform | FrontPlatform) -> None:
    settings = around.settings.gateway
    async with around.registered(GATEWAY, around.advertised(settings.host, settings.port)):
        await gateway.main.run(settings, around.settings.pool, around.live.info, platform)


@contextlib.asynccontextmanager
async def _platform(around: Surroundings) -> AsyncIterator[Platform]:
    settings, clock, telemetry = around.settings, around.clock, around.telemetry
    async with (
        open_database(settings, telemetry) as pool,
        open_eventlog(settings, clock, telemetry, pool=pool) as eventlog,
        around.services() as (directory, clients),
    ):
        yield Platform(
            clock=clock,
            pool=pool,
            eventlog=eventlog,
            directory=directory,
            clients=clients,
            serve=around.serve_at(directory),
            exclusive=around.exclusive,
            telemetry=telemetry,
            ready=around.ready,
        )


@contextlib.asynccontextmanager
async def _nodes(around: Surroundings) -> AsyncIterator[tuple[NodeGroup | None, BitcoinRpc | None]]:
    """Open the nodes where somebody needs them."""
    if around.role not in {OFFICE, "rewards", "payouts"}:
        yield None, None
        return
    settings = around.settings
    async with open_nodes(settings.nodes, coin=settings.coin, clock=around.clock) as (group, wallet):
        around.telemetry.register(group_source(group))
        yield group, wallet


async def _retain(platform: Platform) -> None:
    async def prune_for_ever(_term: Term) -> None:
        eventlog = await PostgresEventLog.open(platform.pool)
        try:
            while True:
                await platform.clock.sleep(PRUNE_INTERVAL_S)
                await _prune(eventlog, platform.pool)
        finally:
            await eventlog.close()

    await platform.exclusive.run("eventlog/retention", prune_for_ever)


async def _prune(eventlog: PostgresEventLog, pool: Pool) -> None:
    """Delete what every consumer has read and the retention no longer keeps."""
    for topic, schemas in CONSUMERS.items():
        async with acquired(pool) as connection:
            found = [await _position(connection, schema, topic) for schema in schemas]
        positions = [position for position in found if position is not None]
        if len(positions) == len(schemas):
            count = await eventlog.prune(topic, keep=EVENTS_KEPT, below_offset=min(positions))
            if count:
                log_event(_log, logging.INFO, "records pruned", topic=topic, record_count=count)


async def _position(connection: Connection, schema: str, topic: str) -> int | None:
    """Return how far a consumer has read everywhere; None when it has not, or has never run here."""
    if await connection.fetchval("SELECT to_regclass($1)", f"{schema}.position") is None:
        return None
    offset: int | None = await connection.fetchval(
        f"SELECT min(next_offset) FROM {schema}.position WHERE topic = $1", topic
    )
    return offset
