"""`lodepool mine`: a CPU miner that speaks Stratum, to try a pool with."""

import asyncio
import json
import time
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cli.mining.client import Miner, MinerSettings, MinerStats, PoolRefused
from coins.coin import Algorithm
from runtime.errors import UserError

REFRESH_S = 0.5


@click.command(epilog="Example: lodepool mine stratum+tcp://127.0.0.1:3333 --user ADDRESS.rig1 --algorithm scrypt")
@click.argument("url")
@click.option("--user", required=True, help="Your payout address and a worker name: ADDRESS.WORKER.")
@click.option("--password", default="x", show_default=True, help="x, or settings: d=N, m=solo.")
@click.option("--algorithm", type=click.Choice([a.value for a in Algorithm]), default="scrypt", show_default=True)
@click.option(
    "--hashrate-max", type=click.FloatRange(min=0, min_open=True), help="Stay below this many hashes per second."
)
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after this time; default: when interrupted."
)
@click.option("--json", "as_json", is_flag=True, help="No live view; one JSON object at the end.")
def mine(
    url: str,
    user: str,
    password: str,
    algorithm: str,
    hashrate_max: float | None,
    seconds: float | None,
    *,
    as_json: bool,
) -> None:
    """Mine at URL (stratum+tcp://HOST:PORT) on one CPU thread."""
    host, port = _endpoint(url)
    miner = Miner(
        MinerSettings(
            host=host,
            port=port,
            user=user,
            password=password,
            algorithm=Algorithm(algorithm),
            hashrate_max=hashrate_max,
        )
    )
    started_s = time.monotonic()
    try:
        asyncio.run(_mine(miner, seconds=seconds, console=None if as_json else Console()))
    except KeyboardInterrupt:
        pass
    except PoolRefused as refusal:
        raise UserError(str(refusal), hint="check the address, the coin's network and the worker name") from None
    if as_json:
        click.echo(json.dumps(summary(miner.stats, seconds=time.monotonic() - started_s)))


def summary(stats: MinerStats, *, seconds: float) -> dict[str, object]:
    """Return what a miner did as one JSON object."""
    return {
        "hashes": stats.hashes,
        "hashrate_hps": round(stats.hashes / seconds, 3) if seconds else 0,
        "shares_accepted": stats.accepted,
        "shares_rejected": dict(stats.rejected),
        "shares_unanswered": stats.unanswered,
        "connects": stats.connects,
        "last_error": stats.last_error,
    }


def _endpoint(url: str) -> tuple[str, int]:
    parts = urlsplit(url if "://" in url else f"stratum+tcp://{url}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "stratum+tcp" or not parts.hostname or not port:
        raise UserError(f"{url!r} is not a pool's address", hint="expected stratum+tcp://HOST:PORT")
    return parts.hostname, port


async def _mine(miner: Miner, *, seconds: float | None, console: Console | None) -> None:
    async with asyncio.TaskGroup() as group:
        mining = group.create_task(miner.run())
        view = group.create_task(_show(miner, console)) if console else None
        done, _ = await asyncio.wait({mining}, timeout=seconds)
        if not done:
            miner.stop()
            await asyncio.wait({mining})
        if view:
            view.cancel()


async def _show(miner: Miner, console: Console) -> None:
    started_s = time.monotonic()
    with Live(console=console, transient=False) as live:
        while True:
            stats = miner.stats
            table = Table.grid(padding=(0, 2))
            table.add_row("hashrate", f"{stats.hashes / (time.monotonic() - started_s or 1):,.1f} H/s")
            table.add_row("difficulty", f"{stats.difficulty:g}")
            table.add_row("shares", f"{stats.accepted} accepted, {stats.rejected.total()} rejected")
            for reason, count in stats.rejected.items():
                table.add_row("", f"{count} × {reason}")
            if stats.last_error:
                table.add_row("last error", stats.last_error)
            live.update(table)
            await asyncio.sleep(REFRESH_S)
