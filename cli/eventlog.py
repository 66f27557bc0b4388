"""`lodepool eventlog`: which event log the books are made from, and how to change it."""

import asyncio
import fcntl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cli.database import database
from cli.eventlogs import open_named
from cli.options import config_option, json_option, print_facts, print_json, print_rows
from cli.reading import all_instances, register
from cli.settings import Settings, load_settings
from runtime.clock import SystemClock
from runtime.errors import UserError
from runtime.eventlog.bound import SCHEMA, current, give_up, leave
from runtime.eventlog.interface import EventLogUnavailable
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import acquired
from runtime.telemetry import Telemetry

BOOKS = {"shares": ("shares", "miners"), "blocks": ("rewards",)}
"""Topic → schemas that must have read all of it; of others, those that have begun to read must have."""
USERS = ("shares", "miners", "rewards", "payouts", "notifier", "shipper")
"""Processes that read or publish: none of them may run while the log is changed."""


@click.group()
def eventlog() -> None:
    """Show or change the event log that the books are made from.

    A position in one log means nothing in another. So the database holds the log that its positions belong to, and
    the services refuse any other.
    """


@eventlog.command(epilog="Example: lodepool eventlog show --json")
@config_option
@json_option
def show(config: Path, *, as_json: bool) -> None:
    """Show the log that the books are made from, and the one that is configured."""
    facts = asyncio.run(_show(load_settings(config)))
    if as_json:
        print_json(facts)
    else:
        print_facts({"books are made from": facts["bound"] or "none yet", "configured": facts["configured"]})


@eventlog.command(epilog="Example: lodepool eventlog switch")
@click.option("--lost", default="", metavar="LOG", help="Give up LOG, as `show` names it: it is gone for good.")
@config_option
@json_option
def switch(config: Path, *, lost: str, as_json: bool) -> None:
    """Let the books leave the event log that is configured now; the one configured next begins anew.

    Stop the shippers first (miners do not notice: shares wait in the journals), let the services read what is left,
    and stop them. Run this with the old [eventlog] still configured: it refuses while a record is not read. Then
    configure the new one and start everything. Who comes back to an old log goes on where it was left.

    With --lost nobody asks the old log: what was not read of it is in no book, and how far it was read is printed.
    """
    if lost:
        _print_given_up(asyncio.run(_give_up(load_settings(config), lost)), as_json=as_json)
        return
    held = asyncio.run(_switch(load_settings(config)))
    if as_json:
        print_json({"records": held})
        return
    click.echo("The books have left the event log. Set [eventlog] to the new one before anything is started.")


async def _show(settings: Settings) -> dict[str, Any]:
    async with (
        database(settings) as pool,
        open_named(settings, SystemClock(), Telemetry.off(), pool=pool) as log,
        acquired(pool) as connection,
    ):
        await migrate(pool, schema=SCHEMA, package="runtime.eventlog")
        try:
            configured = await log.identity()
        except EventLogUnavailable as error:
            configured = f"{settings.eventlog.kind} (does not answer: {error})"
        return {"bound": await current(connection), "configured": configured}


async def _switch(settings: Settings) -> Mapping[str, int]:
    await _require_nothing_runs(settings)
    async with (
        database(settings) as pool,
        open_named(settings, SystemClock(), Telemetry.off(), pool=pool) as log,
    ):
        try:
            return await leave(pool, log, BOOKS)
        except EventLogUnavailable as error:
            raise UserError(f"The event log cannot be asked: {error}.") from None


async def _give_up(settings: Settings, lost: str) -> Mapping[tuple[str, str, int], int]:
    await _require_nothing_runs(settings)
    async with database(settings) as pool:
        return await give_up(pool, lost)


def _print_given_up(positions: Mapping[tuple[str, str, int], int], *, as_json: bool) -> None:
    rows = [(schema, f"{topic}/{partition}", offset) for (schema, topic, partition), offset in positions.items()]
    if as_json:
        print_json({"read": [dict(zip(("service", "partition", "next_offset"), row, strict=True)) for row in rows]})
    else:
        print_rows("The lost log was read up to", ("service", "partition", "next record"), rows, empty="Nothing was.")


async def _require_nothing_runs(settings: Settings) -> None:
    """Refuse while a process of the pool is known to run; what is not known is held off by the database."""
    if settings.etcd is None:
        try:
            with (settings.data_dir / "lodepool.lock").open("a+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError("The pool runs.", "stop `lodepool up` first") from None
        except OSError as error:
            raise UserError(f"The data directory cannot be used: {error.strerror}.") from None
        return
    async with register(settings.etcd) as directory:
        running = sorted({each.service for each in all_instances(directory)} & set(USERS))
    if running:
        raise UserError(f"These still run: {', '.join(running)}.", "stop them on every host first")
