"""`lodepool up`: the whole pool on this machine, in the foreground."""

import asyncio
import sys
from pathlib import Path

import click

from cli.local_pool import running
from cli.options import config_option
from cli.settings import Settings, load_settings
from runtime.logs import configure_logging
from runtime.process import run_async


@click.command(epilog="Example: lodepool up --config lodepool.toml")
@config_option
def up(config: Path) -> None:
    """Run the whole pool on this machine until interrupted.

    Starts PostgreSQL under the data directory (or uses a given server), the stratum workers, the shipper and the back
    office; starts again what dies; refuses to start when the pool's address and the node disagree.
    """
    settings = load_settings(config)
    configure_logging("up", json=settings.log.json, level=settings.log.level)
    sys.exit(run_async(_serve(settings)))


async def _serve(settings: Settings) -> None:
    async with running(settings):
        click.echo(
            f"lodepool: miners connect to stratum+tcp://{settings.stratum.host}:{settings.stratum.port}", err=True
        )
        if settings.gateway.is_enabled:
            url = f"http://{settings.gateway.host}:{settings.gateway.port}/"
            click.echo(f"lodepool: the page is at {url}, the API below {url}api/v1", err=True)
        await asyncio.Event().wait()
