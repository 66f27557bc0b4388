"""Open the event log that the configuration names."""

import contextlib
from collections.abc import AsyncIterator

from cli.settings import Settings
from runtime.clock import Clock
from runtime.eventlog.bound import BoundEventLog, NamedEventLog
from runtime.eventlog.interface import EventLog, EventLogUnavailable
from runtime.eventlog.kafka import KafkaEventLog
from runtime.eventlog.postgres import PostgresEventLog
from runtime.postgres.pool import Pool, close_pool, open_pool
from runtime.telemetry import Telemetry
from runtime.telemetry.eventlog import observed
from runtime.telemetry.postgres import pool_source


@contextlib.asynccontextmanager
async def open_database(settings: Settings, telemetry: Telemetry) -> AsyncIterator[Pool]:
    """Open connections to PostgreSQL.

    Raises:
        UserError: It cannot be reached, or refuses us.
    """
    pool = await open_pool(settings.postgres.dsn, settings.postgres)
    try:
        telemetry.register(pool_source(pool))
        yield pool
    finally:
        await close_pool(pool)


@contextlib.asynccontextmanager
async def open_eventlog(
    settings: Settings, clock: Clock, telemetry: Telemetry, *, pool: "Pool | None" = None
) -> AsyncIterator[EventLog]:
    """Open the event log; on PostgreSQL over `pool`, or over connections of its own.

    With `pool`, which is the database of the books, the log is read only while their positions belong to it.

    Raises:
        UserError: PostgreSQL cannot be reached, or the books were made from another log. Kafka is connected to when it
            is first used.
    """
    async with contextlib.AsyncExitStack() as stack:
        named = await stack.enter_async_context(open_named(settings, clock, telemetry, pool=pool))
        eventlog: EventLog = named
        if pool is not None:
            eventlog = bound = BoundEventLog(named, pool)
            # A log that is away is asked again when it is first used.
            with contextlib.suppress(EventLogUnavailable):
                await bound.bind()
        async with observed(eventlog, telemetry=telemetry, clock=clock) as counted:
            yield counted


@contextlib.asynccontextmanager
async def open_named(
    settings: Settings, clock: Clock, telemetry: Telemetry, *, pool: "Pool | None" = None
) -> AsyncIterator[NamedEventLog]:
    """Open the event log that the configuration names, whether the books are made from it or not.

    Raises:
        UserError: PostgreSQL cannot be reached.
    """
    async with contextlib.AsyncExitStack() as stack:
        eventlog: NamedEventLog
        if settings.eventlog.kind == "kafka":
            eventlog = KafkaEventLog(settings.kafka, clock=clock)
        else:
            if pool is None:
                pool = await stack.enter_async_context(open_database(settings, telemetry))
            eventlog = await PostgresEventLog.open(pool)
        stack.push_async_callback(eventlog.close)
        yield eventlog
