"""`lodepool migrate`: bring the database's schemas up to date."""

import asyncio
from pathlib import Path

import click

from cli.database import database
from cli.options import config_option, json_option, print_json
from cli.settings import Settings, load_settings
from runtime.postgres.migrations import migrate as migrate_schema

SCHEMAS = {
    "eventlog": "runtime.eventlog",
    "ledger": "ledger",
    "shares": "shares",
    "miners": "miners",
    "rewards": "rewards",
    "payouts": "payouts",
    "notifier": "notifier",
}
"""Schema → the package its migrations lie in, in the order they build on one another."""


@click.command(epilog="Example: lodepool migrate --config lodepool.toml")
@config_option
@json_option
def migrate(config: Path, *, as_json: bool) -> None:
    """Apply the migrations that are missing. `lodepool up` does this by itself; forward only."""
    applied = asyncio.run(_migrate(load_settings(config)))
    if as_json:
        print_json(applied)
        return
    for schema, count in applied.items():
        click.echo(f"{schema}: {f'{count} applied' if count else 'up to date'}")


async def _migrate(settings: Settings) -> dict[str, int]:
    async with database(settings) as pool:
        return {
            schema: await migrate_schema(pool, schema=schema, package=package) for schema, package in SCHEMAS.items()
        }
